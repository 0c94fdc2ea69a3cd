//! The door: how many come in, what they must say, and what is said of the others.

use std::{io, sync::Arc};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use crate::server::{
    connections::Door,
    greeting::{self, Greeting},
    notices::{Count, Notices},
};

const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

fn door(connections: Vec<io::Result<DuplexStream>>, places: usize) -> Door<DuplexStream> {
    let notices = Arc::new(Notices::new(places));
    Door::new(tokio_stream::iter(connections), places, notices)
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_without_a_byte() {
    let (_client, first) = duplex(1024);
    let (mut turned_away, second) = duplex(1024);
    let mut door = door(vec![Ok(first), Ok(second)], 1);
    let _first = door.next().await.unwrap();
    assert!(door.next().await.is_none());

    let mut answer = Vec::new();
    turned_away.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_place_is_free_again_when_its_connection_has_ended() {
    let (_client, first) = duplex(1024);
    let (_other_client, second) = duplex(1024);
    let mut door = door(vec![Ok(first), Ok(second)], 1);
    drop(door.next().await.unwrap());
    assert!(door.next().await.is_some());
}

#[tokio::test]
async fn a_failed_accept_does_not_end_the_server() {
    const TOO_MANY_FILES: i32 = 24;
    const NO_MEMORY: i32 = 12;
    for code in [TOO_MANY_FILES, NO_MEMORY] {
        let (_client, connection) = duplex(1024);
        let failed = || io::Error::from_raw_os_error(code);
        let mut door = door(vec![Err(failed()), Err(failed()), Ok(connection)], 1);
        assert!(door.next().await.is_some(), "after {code}");
    }
}

#[test]
fn a_greeting_is_known_by_its_first_bytes_and_not_before() {
    for len in 0..OPENING.len() {
        assert_eq!(greeting::of(&OPENING[..len]), None, "{len} bytes");
    }
    assert_eq!(greeting::of(OPENING), Some(Greeting::Http2));
    for (bytes, greeting) in [
        (&b"G"[..], Some(Greeting::Http1)),
        (b"P", None),
        (b"POST / HTTP/1.1", Some(Greeting::Http1)),
        (b"\x16", None),
        (b"\x16\x03", Some(Greeting::Tls)),
        (b"\x16\x04", Some(Greeting::Unknown)),
        (b"\x00", Some(Greeting::Unknown)),
        (b"ssh", Some(Greeting::Unknown)),
    ] {
        assert_eq!(greeting::of(bytes), greeting, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_greeting_may_come_byte_by_byte_and_nothing_of_it_is_lost() {
    let (mut client, mut server) = duplex(1);
    let sent = [OPENING, b"more"].concat();
    let (sent, read) = tokio::join!(client.write_all(&sent), async {
        let greeted = greeting::read(&mut server).await;
        let mut rest = [0; 4];
        server.read_exact(&mut rest).await.unwrap();
        (greeted, rest)
    });
    sent.unwrap();
    let (greeted, rest) = read;
    let (greeting, opening) = greeted.unwrap();
    assert_eq!((greeting, &opening[..]), (Greeting::Http2, OPENING));
    assert_eq!(&rest, b"more");
}

#[tokio::test]
async fn an_answer_to_http1_has_the_length_that_it_says() {
    let (mut client, server) = duplex(1024);
    let mut answer = String::new();
    let (refused, read) = tokio::join!(Greeting::Http1.refuse(server), async {
        let read = client.read_to_string(&mut answer).await;
        client.shutdown().await.unwrap();
        read
    });
    refused.unwrap();
    read.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
}

#[test]
fn what_happens_often_is_said_once_a_period_with_how_often() {
    let mut count = Count::default();
    assert_eq!(count.happened(), Some(1));
    assert_eq!((count.happened(), count.happened()), (None, None));
    assert_eq!(count.period_over(), Some(2));
    assert_eq!(count.happened(), None, "it was said in this period");
    assert_eq!(count.period_over(), Some(1));
    assert_eq!(count.period_over(), None);
    assert_eq!(count.happened(), Some(1), "it has been quiet");
}
