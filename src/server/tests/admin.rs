//! The administrators' socket.

#![expect(
    clippy::disallowed_methods,
    reason = "the names of sockets are looked at as other processes see them"
)]

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::UnixStream};

use super::served::Served;
use crate::{
    client::{Client, Error, NewTopic},
    env::Env,
    server::AdminSocket,
};

fn listen(dir: &Path) -> io::Result<AdminSocket> {
    AdminSocket::listen(Env::system().files, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_what_follows_on_the_socket_as_on_the_port_and_removes_it() {
    let served = Served::start(|_| {});
    let path = served.dir().join("admin.sock");
    let client = Client::connect(&served.address())
        .await
        .expect("it listens");
    let topics = client.topics();
    topics.create(&NewTopic::new("t")).await.expect("it is new");
    let by_name = Client::connect(&format!("unix://{}", path.display())).await;
    let listed = by_name.expect("it listens").topics().list().await;
    assert_eq!(listed.expect("it is answered").len(), 1);
    // A read that does not reconnect.
    let following = client.read("t").follow().retry_for(Duration::ZERO);
    let mut following = following.open().await.expect("there is one");
    let (next, ()) = tokio::join!(following.next_record(), served.stop());
    let Err(Error::Unavailable { message }) = next else {
        panic!("there is nothing to read: {next:?}");
    };
    assert!(message.contains("shutting down"), "{message}");
    assert!(!fs::exists(path).expect("the directory is there"));
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_places_for_sixteen_administrators() {
    let served = Served::start(|_| {});
    let path = served.dir().join("admin.sock");
    let mut connected = Vec::new();
    for _ in 0..16 {
        let client = Client::connect(&served.address())
            .await
            .expect("it listens");
        client.topics().list().await.expect("there is a place");
        connected.push(client);
    }
    let mut turned_away = UnixStream::connect(&path).await.expect("it listens");
    let mut answer = Vec::new();
    turned_away
        .read_to_end(&mut answer)
        .await
        .expect("it is closed");
    assert_eq!(answer, b"");
    drop(connected);
    served.stop().await;
}

#[tokio::test]
async fn a_socket_is_its_owners_and_replaces_what_a_dead_broker_has_left() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let path = dir.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("sockets can be here"));
    let socket = listen(dir.path()).expect("nobody listens there");
    let found = fs::symlink_metadata(&path).expect("it is there");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    UnixStream::connect(&path).await.expect("it listens");
    drop(socket);
    assert!(!fs::exists(&path).expect("the directory is there"));
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let path = dir.path().join("admin.sock");
    fs::write(&path, b"mine").expect("there is room");
    let refused = listen(dir.path()).err().map(|error| error.kind());
    assert_eq!(refused, Some(io::ErrorKind::AlreadyExists));
    assert_eq!(fs::read(&path).expect("it is there"), b"mine");
}

#[tokio::test]
async fn a_path_that_is_too_long_is_named_as_such() {
    let dir = tempfile::tempdir().expect("there is room for a directory");
    let long = dir.path().join("x".repeat(120));
    fs::create_dir(&long).expect("there is room");
    let refused = listen(&long).err().map(|error| error.to_string());
    let refused = refused.expect("it is too long");
    assert!(refused.contains("too long for a socket"), "{refused}");
}
