//! JWTs with the real binary: their principals, refused ones, and streams whose JWT expires.

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Serve, assert_does_not_start, assert_fails, binary, free_port, serve, temporary, text,
};
use crate::issuer::Issuer;

/// Longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    dir: TempDir,
    issuer: Issuer,
}

impl World {
    fn new() -> Self {
        let world = Self {
            dir: temporary(),
            issuer: Issuer::new(),
        };
        world.write("keys.json", &world.issuer.jwks());
        world
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("there is room");
    }

    fn config(&self) -> String {
        let keys = self.dir.path().join("keys.json");
        format!(
            "[jwt]\nissuer = 'https://issuer.example'\nkeys = '{}'\naudience = 'taffrail'\n\
             algorithms = 'ES256'\nroles_claim = 'roles'\n",
            keys.display()
        )
    }

    fn serve(&self, config: &str) -> std::process::Command {
        self.write("taffrail.toml", config);
        let mut command = serve(&self.dir.path().join("data"), &free_port());
        command
            .arg("--config")
            .arg(self.dir.path().join("taffrail.toml"));
        command
    }

    fn claims(&self, sub: &str, life_s: u64) -> Value {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_s = now.expect("it is after 1970").as_secs();
        json!({
            "iss": "https://issuer.example",
            "aud": "taffrail",
            "sub": sub,
            "exp": now_s + life_s,
        })
    }

    fn token(&self, sub: &str, life_s: u64) -> String {
        self.issuer.token("ES256", &self.claims(sub, life_s))
    }
}

const GRANTS: &str = r#"
[[grant]]
principals = ["jwt:orders-*"]
operations = ["append", "read", "topic-admin"]
topics = ["orders"]

[[grant]]
principals = ["jwt-role:readers"]
operations = ["read"]
topics = ["orders"]
"#;

#[test]
fn tokens_of_the_issuer_are_taken_for_what_they_name_and_no_others() {
    let world = World::new();
    let broker = Serve::spawn(&mut world.serve(&format!("{}{GRANTS}", world.config())));
    let writer = world.token("orders-writer", 600);
    broker.succeed(&["topic", "create", "orders", "--token", &writer], b"");
    broker.succeed(&["produce", "orders", "--token", &writer], b"one\n");

    let mut claims = world.claims("somebody", 600);
    claims["roles"] = json!(["readers"]);
    let reader = world.issuer.token("ES256", &claims);
    let read = broker.succeed(&["consume", "orders", "--token", &reader], b"");
    assert_eq!(text(&read), "one\n");
    let denied = broker.run_with(&["produce", "orders", "--token", &reader], b"two\n");
    assert_fails(
        &denied,
        4,
        &["jwt:somebody may not do \"append\" on any topic"],
    );

    claims["aud"] = json!("others");
    for (token, expected) in [
        (
            world.issuer.token("ES256", &claims),
            "the token is not for this broker (aud)",
        ),
        (
            world
                .issuer
                .token("EdDSA", &world.claims("orders-writer", 600)),
            "signed with an algorithm that this broker does not take",
        ),
        (
            Issuer::new().token("ES256", &world.claims("orders-writer", 600)),
            "the signature of the token is not that of its issuer",
        ),
        (world.token("orders-writer", 0), "the token has expired"),
    ] {
        let refused = broker.run(&["topic", "list", "--token", &token]);
        assert_fails(&refused, 4, &[expected]);
    }
}

#[test]
fn a_stream_ends_when_its_token_expires() {
    let world = World::new();
    let broker = Serve::spawn(&mut world.serve(&format!("{}{GRANTS}", world.config())));
    let writer = world.token("orders-writer", 600);
    broker.succeed(&["topic", "create", "orders", "--token", &writer], b"");
    let short = world.token("orders-reader", 5);
    let mut follower = binary()
        .args([
            "consume",
            "orders",
            "--follow",
            "--retry-for",
            "1s",
            "--token",
            &short,
        ])
        .args(["--server", &broker.url])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary is there");
    let since = Instant::now();
    let ended = follower.wait().expect("it was started here");
    assert_eq!(ended.code(), Some(4), "the stream was ended");
    assert!(since.elapsed() < PATIENCE);
}

#[test]
fn other_keys_count_without_a_restart() {
    let world = World::new();
    let broker = Serve::spawn(&mut world.serve(&world.config()));
    let next = Issuer::new();
    let token = next.token("ES256", &world.claims("orders-writer", 600));
    let list = || {
        broker
            .run(&["topic", "list", "--token", &token])
            .status
            .code()
    };
    assert_eq!(list(), Some(4));
    world.write("keys.json", &next.jwks());
    let since = Instant::now();
    while list() != Some(0) {
        assert!(since.elapsed() < PATIENCE, "the keys are not taken over");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn settings_and_keys_that_are_wrong_are_refused_at_the_start_with_file_and_line() {
    let world = World::new();
    let config = world.config();
    let without = config.replace("audience = 'taffrail'\n", "");
    assert_does_not_start(
        &mut world.serve(&without),
        &["taffrail.toml, line 2: jwt.issuer has no effect without jwt.audience"],
    );
    let hmac = config.replace("'ES256'", "'HS256'");
    assert_does_not_start(
        &mut world.serve(&hmac),
        &["taffrail.toml, line 5: jwt.algorithms cannot be \"HS256\": it is some of RS256, ES256"],
    );
    world.write(
        "keys.json",
        "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}]}",
    );
    assert_does_not_start(
        &mut world.serve(&config),
        &[
            "taffrail.toml, line 3: jwt.keys: ",
            "keys.json cannot be used",
            "key 1 is a secret",
        ],
    );
}
