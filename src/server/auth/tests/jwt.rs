//! Callers with JWTs.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::{
    guarded::{Guarded, grant},
    issuer::{Issuer, base64},
    tokens::{end, reason, unauthenticated},
};
use crate::{
    env::{
        Env, FileSystem, Open,
        sim::{SimClock, SimDisk, SimRandom},
    },
    server::auth::{
        Auth, Exposure, Grants, JwtAlgorithm, JwtKeys, JwtRules, Operation::Read, Unauthenticated,
        jwt,
    },
};

const KEYS: &str = "/keys.json";

/// 2026-11-28, in seconds and milliseconds since 1970.
const NOW_S: i64 = 1_795_824_000;
const NOW_MS: i64 = NOW_S * 1_000;

fn rules() -> JwtRules {
    JwtRules {
        issuer: "https://issuer.example".to_owned(),
        keys: KEYS.into(),
        audience: "taffrail".to_owned(),
        algorithms: JwtAlgorithm::ALL.to_vec(),
        claim: "sub".to_owned(),
        roles_claim: "/access/roles".to_owned(),
    }
}

/// The claims of a valid JWT.
fn claims() -> Value {
    json!({
        "iss": "https://issuer.example",
        "aud": "taffrail",
        "sub": "billing",
        "exp": NOW_S + 60,
    })
}

/// Valid claims, except for these.
fn with(others: &Value) -> Value {
    let mut claims = claims();
    let all = claims.as_object_mut().expect("it is an object");
    for (name, value) in others.as_object().expect("it is an object") {
        match value.is_null() {
            true => drop(all.remove(name)),
            false => drop(all.insert(name.clone(), value.clone())),
        }
    }
    claims
}

/// A disk with the file of an issuer's keys.
struct World {
    disk: SimDisk,
}

impl World {
    fn new(text: &str) -> Self {
        let world = Self {
            disk: SimDisk::new(1),
        };
        world.write(text);
        world
    }

    fn write(&self, text: &str) {
        let path = Path::new(KEYS);
        if self.disk.exists(path).expect("the disk is well") {
            self.disk.remove_file(path).expect("it is there");
        }
        let file = self.disk.open(path, Open::Create).expect("it is new");
        file.write_all_at(&[text.as_bytes()], 0).expect("sound");
    }

    fn load(&self, rules: JwtRules) -> Result<JwtKeys, String> {
        let env = Env {
            files: Arc::new(self.disk.clone()),
            clock: Arc::new(SimClock::new(NOW_MS)),
            random: Arc::new(SimRandom::new(1)),
        };
        JwtKeys::load(&env, rules).map_err(|unusable| unusable.to_string())
    }
}

/// The caller that a token has by these keys and rules.
fn verify(keys: &str, rules: JwtRules, token: &str) -> Result<jwt::Verified, Unauthenticated> {
    let loaded = World::new(keys).load(rules).expect("the keys are right");
    loaded.issuer().verify(token, NOW_MS)
}

/// Why a token of the issuer is refused.
fn refused(issuer: &Issuer, token: &str) -> Unauthenticated {
    verify(&issuer.jwks(), rules(), token).expect_err("it is wrong")
}

#[test]
fn a_token_that_is_right_names_its_caller_and_its_roles() {
    let issuer = Issuer::new();
    for algorithm in ["ES256", "EdDSA"] {
        let claims = with(&json!({
            "aud": ["others", "taffrail"],
            "nbf": NOW_S + 29,
            "access": { "roles": ["writers", "", 7, "readers"] },
        }));
        let token = issuer.token(algorithm, &claims);
        let verified = verify(&issuer.jwks(), rules(), &token).expect("it is right");
        assert_eq!(verified.principal.as_str(), "jwt:billing");
        assert_eq!(verified.expires_ms, NOW_MS + 60_000);
        let roles: Vec<_> = verified.roles.iter().map(ToString::to_string).collect();
        assert_eq!(roles, ["jwt-role:writers", "jwt-role:readers"]);
    }
    let others = JwtRules {
        claim: "client".to_owned(),
        roles_claim: "scope".to_owned(),
        ..rules()
    };
    let claims = with(&json!({ "client": "a b", "scope": "read  write" }));
    let token = issuer.token("ES256", &claims);
    let verified = verify(&issuer.jwks(), others, &token).expect("it is right");
    assert_eq!(verified.principal.as_str(), "jwt:a b");
    assert_eq!(verified.roles.len(), 2);
}

/// The example of RFC 7515, appendix A.2, in which everything but the audience is right.
#[test]
fn a_signature_of_rsa_is_checked() {
    const N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJ\
        rcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL\
        -bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5Zw\
        Kh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpo\
        Q";
    const SIGNED: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQog\
        Imh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AA\
        uHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO\
        75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZES\
        c6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGl\
        UPQGe77Rw";
    let keys = json!({ "keys": [{ "kty": "RSA", "n": N, "e": "AQAB" }] }).to_string();
    let joe = JwtRules {
        issuer: "joe".to_owned(),
        ..rules()
    };
    let verify = |token: &str| verify(&keys, joe.clone(), token).expect_err("it is for nobody");
    assert_eq!(
        verify(&format!("{SIGNED}.{SIGNATURE}")),
        Unauthenticated::Audience
    );
    let other = SIGNATURE.replace("cC4h", "cC4i");
    assert_eq!(
        verify(&format!("{SIGNED}.{other}")),
        Unauthenticated::Signature
    );
}

#[test]
fn what_a_token_says_has_to_be_right() {
    let issuer = Issuer::new();
    use Unauthenticated::{
        Audience, Expired, Issuer as Origin, Malformed, NoName, NotYetValid, TooManyRoles,
    };
    for (others, expected) in [
        (json!({ "iss": "https://other.example" }), Origin),
        (json!({ "iss": null }), Origin),
        (json!({ "aud": "others" }), Audience),
        (json!({ "aud": ["others"] }), Audience),
        (json!({ "aud": [] }), Audience),
        (json!({ "aud": null }), Audience),
        (json!({ "aud": 7 }), Audience),
        (json!({ "exp": NOW_S }), Expired),
        (json!({ "exp": -1 }), Malformed),
        (json!({ "exp": null }), Malformed),
        (json!({ "exp": "tomorrow" }), Malformed),
        (json!({ "nbf": NOW_S + 31 }), NotYetValid),
        (json!({ "nbf": "yesterday" }), Malformed),
        (json!({ "sub": null }), NoName),
        (json!({ "sub": "" }), NoName),
        (json!({ "sub": 7 }), NoName),
        (json!({ "sub": "a\nb" }), NoName),
        (json!({ "sub": "a".repeat(257) }), NoName),
        (
            json!({ "access": { "roles": vec!["a"; 101] } }),
            TooManyRoles { roles: 101 },
        ),
    ] {
        let token = issuer.token("ES256", &with(&others));
        assert_eq!(refused(&issuer, &token), expected, "{others}");
    }
}

#[test]
fn too_many_roles_of_a_token_are_counted_in_the_refusal() {
    let status = Status::from(Unauthenticated::TooManyRoles { roles: 101 });
    let details = status.get_error_details();
    let info = details.error_info().expect("a reason");
    assert_eq!(info.reason, "TOKEN_TOO_MANY_ROLES");
    assert_eq!(
        (
            info.metadata["count"].as_str(),
            info.metadata["limit"].as_str()
        ),
        ("101", "100")
    );
    assert!(status.message().contains("101"), "{}", status.message());
}

#[test]
fn a_token_that_another_has_signed_or_nobody_is_refused() {
    use Unauthenticated::{Algorithm, Malformed, NoKey, Signature};
    let (issuer, other) = (Issuer::new(), Issuer::new());
    let header = |header: Value| issuer.signed(&header, &claims());
    let right = issuer.token("ES256", &claims());
    let unsigned = &right[..right.rfind('.').expect("it has three parts")];
    let longer = with(&json!({ "sub": "another" }));
    let parts: Vec<&str> = right.split('.').collect();
    let [first, _, last] = parts[..] else {
        panic!("it has three parts")
    };
    for (token, expected) in [
        (other.token("ES256", &claims()), Signature),
        (other.token("EdDSA", &claims()), Signature),
        (
            format!("{first}.{}.{last}", base64(longer.to_string())),
            Signature,
        ),
        (format!("{unsigned}."), Signature),
        (header(json!({ "alg": "none" })), Algorithm),
        (header(json!({ "alg": "HS256", "kid": "ec" })), Algorithm),
        (header(json!({ "alg": "ES384", "kid": "ec" })), Algorithm),
        (header(json!({ "kid": "ec" })), Algorithm),
        (header(json!({ "alg": "RS256", "kid": "ec" })), NoKey),
        (header(json!({ "alg": "EdDSA", "kid": "ec" })), NoKey),
        (header(json!({ "alg": "ES256", "kid": "third" })), NoKey),
        (
            header(json!({ "alg": "ES256", "kid": "ec", "crit": ["x"] })),
            Malformed,
        ),
        ("..".to_owned(), Malformed),
        ("a.b.c".to_owned(), Malformed),
    ] {
        assert_eq!(refused(&issuer, &token), expected, "{token}");
    }
    let only_one = header(json!({ "alg": "ES256" }));
    verify(&issuer.jwks(), rules(), &only_one).expect("there is one key for it");
    let strict = JwtRules {
        algorithms: vec![JwtAlgorithm::EdDsa],
        ..rules()
    };
    let refused = verify(&issuer.jwks(), strict, &right).expect_err("it is not on the list");
    assert_eq!(refused, Algorithm);
}

#[test]
fn files_without_a_key_that_can_be_used_are_refused_with_the_reason() {
    let issuer = Issuer::new();
    let mut private = issuer.keys();
    private[0]["d"] = json!("AAAA");
    let mut short = issuer.keys();
    short.truncate(1);
    short[0]["x"] = json!("AAAA");
    let mut encrypts = issuer.keys();
    encrypts.truncate(1);
    encrypts[0]["use"] = json!("enc");
    let twice = [issuer.keys(), issuer.keys()].concat();
    for (text, expected) in [
        ("{".to_owned(), "it is no JWK set, which is JSON"),
        ("{}".to_owned(), "there is no list \"keys\" in it"),
        ("{\"keys\": []}".to_owned(), "it has none at all"),
        (json!({ "keys": private }).to_string(), "key 1 is private"),
        (
            json!({ "keys": short }).to_string(),
            "key 1 does not have the size",
        ),
        (
            json!({ "keys": twice }).to_string(),
            "two keys of one algorithm have the id",
        ),
        (
            json!({ "keys": encrypts }).to_string(),
            "key 1 is not for signatures",
        ),
        (
            json!({ "keys": [{ "kty": "oct", "k": "AAAA" }, { "kty": "new" }] }).to_string(),
            "key 1 is a secret (oct), which this broker does not take; key 2 is of no kind",
        ),
    ] {
        let refused = World::new(&text).load(rules()).err().expect("it is wrong");
        assert!(
            refused.starts_with("/keys.json cannot be used: "),
            "{refused}"
        );
        assert!(
            refused.contains(expected),
            "{refused} does not say {expected}"
        );
    }
    let mut mixed = issuer.keys();
    mixed.push(json!({ "kty": "new", "kid": "later" }));
    let mixed = json!({ "keys": mixed }).to_string();
    let token = issuer.token("ES256", &claims());
    verify(&mixed, rules(), &token).expect("what is new is left out");
    let mut keys = issuer.keys();
    keys.retain(|key| key["kty"] != "EC");
    let keys = json!({ "keys": keys }).to_string();
    let other = JwtRules {
        algorithms: vec![JwtAlgorithm::Es256],
        ..rules()
    };
    let refused = World::new(&keys).load(other).err().expect("it has none");
    assert!(refused.contains("no key for any of jwt.algorithms"));
}

#[test]
fn another_file_counts_when_two_looks_have_found_it_and_one_that_is_wrong_does_not() {
    let (issuer, next) = (Issuer::new(), Issuer::new());
    let world = World::new(&issuer.jwks());
    let mut keys = world.load(rules()).expect("they are right");
    let (old, new) = (
        issuer.token("ES256", &claims()),
        next.token("ES256", &claims()),
    );
    let issuer = keys.issuer();
    let is_taken = |token: &str| issuer.verify(token, NOW_MS).is_ok();
    let verified = issuer.verify(&old, NOW_MS).expect("it is right");
    world.write("{");
    keys.look();
    keys.look();
    assert!(is_taken(&old) && issuer.still_has(&verified.key));
    world.write(&next.jwks());
    keys.look();
    assert!(is_taken(&old) && !is_taken(&new));
    keys.look();
    assert!(!is_taken(&old) && is_taken(&new));
    assert!(!issuer.still_has(&verified.key));
}

/// Longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Claims that are valid by the clock of this machine.
fn claims_until(guarded: &Guarded, life_s: i64) -> Value {
    let now_s = guarded.broker.now_ms() / 1_000;
    with(&json!({ "exp": now_s + life_s, "access": { "roles": ["readers"] } }))
}

/// A broker that accepts the issuer's JWTs and grants something to roles.
async fn guarded(world: &World) -> (Guarded, JwtKeys) {
    let keys = world.load(rules()).expect("they are right");
    let auth = Auth::new(Grants::default(), Exposure::Loopback).with_issuer(Some(keys.issuer()));
    let guarded = Guarded::start_with(auth, &["a", "b"]).await;
    guarded.grant([grant("jwt-role:readers", &[Read], &["a"])]);
    (guarded, keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_with_a_jwt_may_do_what_its_roles_are_granted_until_it_expires() {
    let issuer = Issuer::new();
    let (guarded, _keys) = guarded(&World::new(&issuer.jwks())).await;
    let token = issuer.token("EdDSA", &claims_until(&guarded, 3_600));
    let bearer = format!("Bearer {token}");
    for _ in 0..2 {
        guarded.describe("a", &bearer).await.expect("it is granted");
        let denied = guarded.describe("b", &bearer).await.expect_err("it is not");
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert!(
            denied.message().starts_with("jwt:billing may not do"),
            "{denied}"
        );
    }
    let wrong = issuer.token("EdDSA", &with(&json!({ "aud": "others" })));
    let refused = guarded.describe("a", &format!("Bearer {wrong}")).await;
    let refused = refused.expect_err("it is for others");
    assert_eq!(reason(&refused), unauthenticated("TOKEN_AUDIENCE"));

    let token = issuer.token("EdDSA", &claims_until(&guarded, 5));
    let mut read = guarded.follow("a", &token).await;
    let expired = timeout(PATIENCE, end(&mut read)).await.expect("it ends");
    assert_eq!(reason(&expired), unauthenticated("TOKEN_EXPIRED"));
    let refused = guarded.describe("a", &format!("Bearer {token}")).await;
    let refused = refused.expect_err("it has expired");
    assert_eq!(reason(&refused), unauthenticated("TOKEN_EXPIRED"));
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_its_issuer_does_not_have_any_more_ends_the_streams_of_its_tokens() {
    let (issuer, next) = (Issuer::new(), Issuer::new());
    let world = World::new(&issuer.jwks());
    let (guarded, mut keys) = guarded(&world).await;
    let token = issuer.token("ES256", &claims_until(&guarded, 3_600));
    let mut read = guarded.follow("a", &token).await;
    world.write(&next.jwks());
    keys.look();
    keys.look();
    let unknown = unauthenticated("TOKEN_KEY_UNKNOWN");
    assert_eq!(reason(&end(&mut read).await), unknown);
    let refused = guarded.describe("a", &format!("Bearer {token}")).await;
    assert_eq!(reason(&refused.expect_err("its key is gone")), unknown);
    guarded.stop().await;
}
