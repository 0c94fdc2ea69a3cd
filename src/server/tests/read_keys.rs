//! What reads keep of the requests that they came in.

use bytes::Bytes;
use prost::Message as _;

use super::reads::{PATIENCE, World, fill, take_all};
use crate::{
    proto::{self, ReadKeyRequest, ReadRequest},
    server::{entities::read_key, limits, log},
};

#[test]
fn a_read_keeps_its_keys_and_not_the_request_that_they_came_in() {
    let read = ReadRequest {
        filter: Some(proto::Filter {
            keys: vec!["a".into(), "b".into()],
            ..proto::Filter::default()
        }),
        ..ReadRequest::default()
    };
    let message = Bytes::from(read.encode_to_vec());
    let read = ReadRequest::decode(message.clone()).expect("it is one");
    let read = log::read::request(read).expect("it is good");
    assert_eq!(read.filter.keys, ["a", "b"]);
    assert!(message.is_unique(), "nothing of it is held");

    let read = ReadKeyRequest {
        key: "a".into(),
        ..ReadKeyRequest::default()
    };
    let message = Bytes::from(read.encode_to_vec());
    let read = ReadKeyRequest::decode(message.clone()).expect("it is one");
    let read = read_key::request(read).expect("it is good");
    assert_eq!(read.key, "a");
    assert!(message.is_unique(), "nothing of it is held");
}

#[tokio::test]
async fn the_keys_of_a_read_count() {
    let mut world = World::with(40 << 20, PATIENCE).await;
    let long = "x".repeat(60_000);
    let body = world.read_keys(true, &[&long, "a"]).await;
    let body = body.expect("there is room");
    assert!(world.used() > 60_000 + limits::READ_BYTES);
    drop(body);
    world.until_used_is_at_most(0).await;

    world.append(&long, 1_000).await;
    let key = ReadKeyRequest {
        topic: "t".into(),
        key: long.into(),
        ..ReadKeyRequest::default()
    };
    let of_key = world.call("/taffrail.v1.Entities/ReadKey", &key).await;
    let mut body = of_key.expect("an answer").into_body();
    let begun = fill(&mut body).await;
    // Once for the read, and once for the record that is on its way.
    assert!(world.used() > 2 * 60_000 + limits::READ_BYTES);
    take_all(begun, body).await;
    world.until_used_is_at_most(0).await;
}
