//! Administration: through the socket in the data directory, also where no place is free on the port.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
};

use super::{Serve, assert_fails, binary, free_port, run, serve, started, temporary, text};

fn at(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// A directory whose path is too long for a socket in it.
fn long_directory(dir: &Path) -> PathBuf {
    let long = dir.join("x".repeat(120));
    fs::create_dir(&long).expect("there is room");
    long
}

#[test]
fn an_administrator_gets_in_where_no_place_is_free_on_the_port() {
    let dir = temporary();
    let mut command = serve(dir.path(), &free_port());
    command.env("TAFFRAIL_SERVER_MAX_CONNECTIONS", "1");
    command.env("TAFFRAIL_SERVER_HANDSHAKE_TIMEOUT", "1h");
    let broker = Serve::spawn(&mut command);
    let _silent = TcpStream::connect(broker.listen()).expect("it listens");
    assert_fails(&broker.run(&["topic", "list"]), 5, &["not available"]);
    for address in [at(dir.path()), at(&dir.path().join("admin.sock"))] {
        let listed = run(&["topic", "list", "--json", "--server", &address], b"");
        assert_eq!(
            text(&listed.stdout),
            "{\"topics\":[]}\n",
            "{}",
            text(&listed.stderr)
        );
    }
}

#[test]
fn where_there_is_no_connection_to_a_socket_it_is_said_why() {
    let (dir, broker) = started();
    let address = at(dir.path());
    let list = |address: &str| run(&["topic", "list", "--server", address], b"");
    let nowhere = dir.path().join("nowhere");
    assert_fails(&list(&at(&nowhere)), 5, &["there is no socket", "nowhere"]);
    assert_fails(&list("unix:"), 2, &["the path of the socket is missing"]);

    broker.kill();
    let left = dir.path().join("admin.sock");
    assert_fails(&list(&address), 5, &["nobody listens on", "admin.sock"]);
    assert_fails(&list(&at(&left)), 5, &["nobody listens on", "admin.sock"]);

    let broker = Serve::start(dir.path(), &free_port());
    assert_eq!(
        list(&address).status.code(),
        Some(0),
        "what was left is replaced"
    );
    assert_eq!(broker.stop(), Some(0));
    assert!(!fs::exists(&left).expect("the directory is there"));
    assert_fails(&list(&address), 5, &["there is no socket", "admin.sock"]);

    let long = long_directory(dir.path());
    assert_fails(&list(&at(&long)), 5, &["is too long for a socket"]);
}

#[test]
fn a_broker_whose_directory_cannot_hold_a_socket_says_so_and_serves() {
    let dir = temporary();
    let mut broker = Serve::spawn(
        binary()
            .args([
                "serve",
                "--log-level",
                "warn",
                "--listen",
                &free_port(),
                "--data-dir",
            ])
            .arg(long_directory(dir.path())),
    );
    broker.succeed(&["topic", "create", "t"], b"");
    let errors = broker.process.stderr.take().expect("it is piped");
    assert_eq!(broker.stop(), Some(0));
    let log = std::io::read_to_string(errors).expect("it is text");
    assert!(
        log.contains("there is no socket for administrators"),
        "{log}"
    );
    assert!(log.contains("too long for a socket"), "{log}");
}
