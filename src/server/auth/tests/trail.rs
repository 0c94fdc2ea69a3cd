//! The audit log in a topic.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::guarded::{Guarded, grant};
use crate::{
    client::{Batch, Client, Reading, Record},
    server::auth::{
        Auth, Exposure, Grants, Operation,
        audit::Told,
        denials::Denials,
        trail::{About, Trail},
    },
    types::{Position, TopicName},
};

fn topic() -> Option<TopicName> {
    Some(TopicName::new("audit").expect("it is a name"))
}

/// Reads the topic of acts from its start. The broker creates it beside what it does for callers.
pub(super) async fn read_from_start(client: &Client) -> Reading {
    loop {
        let read = client.read("audit").from(Position::Earliest).follow();
        match read.open().await {
            Ok(reading) => return reading,
            Err(error) => assert_eq!(error.reason(), Some("UNKNOWN_TOPIC"), "{error}"),
        }
    }
}

#[test]
fn what_comes_faster_than_it_is_written_is_lost_and_counted_and_nobody_waits() {
    let trail = Trail::new(topic());
    let _told = trail.open();
    for _ in 0..1_500 {
        trail.tell(About::Denials, || "{}".to_owned());
    }
    assert_eq!((trail.lost.get(), trail.written.get()), (1_500 - 1_024, 0));
    trail.tell(About::Acts, || "{}".to_owned());
    assert_eq!(trail.lost.get(), 1_500 - 1_024, "acts have their own room");
    trail.close();
    trail.tell(About::Acts, || "{}".to_owned());
    assert_eq!(trail.lost.get(), 1_500 - 1_024 + 1);
    let none = Trail::new(None);
    none.tell(About::Acts, || unreachable!("nobody wants it"));
    assert_eq!(none.lost.get(), 0);
}

#[test]
fn equal_denials_are_told_once_and_then_by_their_number() {
    let denials = Denials::default();
    let told = |resource| Told {
        details: "",
        time_ms: 7,
        who: ("anonymous", "127.0.0.1:1"),
        operation: "read",
        resource,
    };
    assert!(denials.is_first(&told("a")));
    for _ in 0..41 {
        assert!(!denials.is_first(&told("a")));
    }
    assert!(denials.is_first(&told("b")), "it is another one");
    let again = denials.take();
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!((&*again[0].resource, again[0].count), ("a", 41));
    assert!(denials.is_first(&told("a")), "a second is over");
    assert!(denials.take().is_empty());
}

#[test]
fn denials_of_many_kinds_take_no_more_memory_and_are_counted_together() {
    let denials = Denials::default();
    let mut first = 0_u64;
    for nth in 0..3_000 {
        let resource = format!("topic {nth}");
        let told = Told {
            details: "",
            time_ms: 7,
            who: ("anonymous", "127.0.0.1:1"),
            operation: "read",
            resource: &resource,
        };
        first += u64::from(denials.is_first(&told));
    }
    let again = denials.take();
    assert_eq!((first, again.len()), (1_024, 1));
    assert_eq!(
        (&*again[0].resource, again[0].count),
        ("others", 3_000 - first)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_told_before_a_stop_is_written_and_appends_of_others_are_denied() {
    let auth = Auth::new(Grants::default(), Exposure::Loopback).with_audit_topic(topic());
    let guarded = Guarded::start_with(auth, &["t"]).await;
    let client = guarded.client().await;
    let forged = client
        .append(Batch::of("audit", [Record::new().value("{}")]))
        .await;
    let forged = forged.expect_err("only the broker may");
    assert_eq!(forged.reason(), Some("PERMISSION_DENIED"));
    guarded.grant([grant("token:other", &Operation::ALL, &["*"])]);
    let denied = client
        .append(Batch::of("t", [Record::new().value("x")]))
        .await;
    denied.expect_err("it is granted to others");
    guarded.grant([grant("anonymous", &Operation::ALL, &["*"])]);
    let mut told = Vec::new();
    let read = async {
        let mut reading = read_from_start(&client).await;
        while told.len() < 3 {
            let record = reading.next_record().await.expect("it is read");
            let value = record.and_then(|record| record.value).expect("it has one");
            told.push(String::from_utf8(value.to_vec()).expect("it is text"));
        }
    };
    timeout(Duration::from_secs(60), read)
        .await
        .expect("all of it is there");
    assert!(
        told[0].contains("\"operation\":\"create a topic\""),
        "{told:?}"
    );
    assert!(
        told[1].contains("\"resource\":\"topic \\\"audit\\\"\""),
        "{told:?}"
    );
    assert!(told[2].contains("\"outcome\":\"denied\""), "{told:?}");
    drop(client);
    let auth = Arc::clone(&guarded.auth);
    guarded.stop().await;
    assert_eq!(auth.trail().lost.get(), 0);
}
