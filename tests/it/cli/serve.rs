//! `serve`: starting, stopping, and what it refuses to use.

use std::{
    fs,
    process::{Command, Stdio},
};

use super::{Serve, assert_fails, free_port, serve, started, temporary, text};

#[test]
fn what_was_produced_is_there_after_a_kill_and_after_a_clean_stop() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--partitions", "2"], b"");
    broker.succeed(&["produce", "t", "--partition", "0"], b"one\n");
    let listen = broker.kill();
    let broker = Serve::start(dir.path(), &listen);
    broker.succeed(&["produce", "t", "--partition", "0"], b"two\n");
    assert_eq!(broker.stop(), Some(0));
    let broker = Serve::start(dir.path(), &free_port());
    assert_eq!(text(&broker.succeed(&["consume", "t"], b"")), "one\ntwo\n");
}

#[test]
fn serve_ends_with_its_own_code_when_it_cannot_use_what_it_is_given() {
    let (dir, broker) = started();
    let refused = |command: &mut Command, says: &[&str]| {
        let output = command
            .stderr(Stdio::piped())
            .output()
            .expect("the binary is there");
        assert_fails(&output, 78, says);
        assert_eq!(text(&output.stdout), "", "it does not say that it listens");
    };
    let name = dir.path().to_str().expect("UTF-8");
    refused(
        &mut serve(dir.path(), "127.0.0.1:0"),
        &[name, "in use by another broker"],
    );
    let other = temporary();
    refused(
        &mut serve(other.path(), broker.listen()),
        &[broker.listen(), "--listen"],
    );
    refused(
        &mut serve(other.path(), "0.0.0.0:0"),
        &["0.0.0.0", "--insecure"],
    );
    assert_eq!(
        fs::read_dir(other.path()).expect("it is there").count(),
        0,
        "nothing was written"
    );

    fs::write(other.path().join("thesis.txt"), b"mine").expect("there is room");
    let name = other.path().to_str().expect("UTF-8");
    refused(
        &mut serve(other.path(), "127.0.0.1:0"),
        &[name, "not a taffrail data directory"],
    );
    assert_eq!(
        fs::read_dir(other.path()).expect("it is there").count(),
        1,
        "nothing was written"
    );

    let config = other.path().join("thesis.txt");
    for (setting, says) in [
        ("segment_size = 1\n", "segment_size"),
        ("[memory]\nbytes = \"lots\"\n", "memory.bytes"),
    ] {
        fs::write(&config, setting).expect("there is room");
        refused(
            serve(other.path(), "127.0.0.1:0")
                .arg("--config")
                .arg(&config),
            &["thesis.txt", says],
        );
    }
    refused(
        serve(other.path(), "127.0.0.1:0").args(["--config", "/nowhere.toml"]),
        &["/nowhere.toml"],
    );

    assert_eq!(broker.stop(), Some(0));
    let identity = dir.path().join("taffrail");
    let mut bytes = fs::read(&identity).expect("it is there");
    bytes[8] += 1;
    fs::write(&identity, bytes).expect("there is room");
    refused(
        &mut serve(dir.path(), "127.0.0.1:0"),
        &["format version", "use the broker that wrote it"],
    );
}
