//! The door: how many come in, and what happens to the others.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_stream::StreamExt;

use crate::server::{connections::Door, stop};

fn door(
    connections: Vec<io::Result<DuplexStream>>,
    places: usize,
) -> (Door<DuplexStream>, stop::Stop) {
    let (cut, connections_cut) = stop::channel();
    (
        Door::new(tokio_stream::iter(connections), places, connections_cut),
        cut,
    )
}

#[tokio::test]
async fn a_connection_over_the_limit_is_told_so_and_closed() {
    let (_client, first) = duplex(1024);
    let (mut turned_away, second) = duplex(1024);
    let (mut door, _cut) = door(vec![Ok(first), Ok(second)], 1);
    let _first = door.next().await.unwrap().unwrap();
    assert!(door.next().await.is_none());

    turned_away
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    turned_away.read_to_end(&mut answer).await.unwrap();
    assert!(answer.ends_with(b"too many connections"));
    // The frames' lengths: SETTINGS without content, and GOAWAY with two numbers and the text.
    assert_eq!(answer.len(), 9 + 9 + usize::from(answer[9 + 2]));
}

#[tokio::test]
async fn a_place_is_free_again_when_its_connection_has_ended() {
    let (_client, first) = duplex(1024);
    let (_other_client, second) = duplex(1024);
    let (mut door, _cut) = door(vec![Ok(first), Ok(second)], 1);
    drop(door.next().await.unwrap().unwrap());
    assert!(door.next().await.is_some());
}

#[tokio::test]
async fn a_failed_accept_does_not_end_the_server() {
    let (_client, connection) = duplex(1024);
    let too_many_files = io::Error::from_raw_os_error(24);
    let (mut door, _cut) = door(vec![Err(too_many_files), Ok(connection)], 1);
    assert!(door.next().await.unwrap().is_ok());
}

#[tokio::test]
async fn cutting_ends_reads_and_writes_that_wait() {
    let (_client, connection) = duplex(16);
    let (mut door, cut) = door(vec![Ok(connection)], 1);
    let connection = door.next().await.unwrap().unwrap();
    let (mut reading, mut writing) = tokio::io::split(connection);
    let mut byte = [0];
    let (read, written, ()) = tokio::join!(
        reading.read(&mut byte),
        writing.write_all(&[0; 64]),
        async { cut.give() }
    );
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    assert_eq!(
        written.unwrap_err().kind(),
        io::ErrorKind::ConnectionAborted
    );
}
