//! The producer against a broker that fails on demand. `tests/it` tests it against the real broker,
//! over connections that break.

pub(super) mod fake;
mod retry;

use std::{collections::BTreeMap, future::poll_fn, pin::pin, task::Poll, time::Duration};

use proptest::{collection::vec, prelude::*};
use tonic::Code;

use self::fake::{FakeBroker, PARTITIONS, Play, refusal};
use crate::{
    client::{Error, NewProducer, Outage, Producer, Record, Sent, SentRecord},
    types::{Offset, PartitionId, Version, partition_of_key},
};

/// A producer that sends every record in a request of its own.
async fn one_by_one(new: NewProducer) -> Producer {
    new.request_records(1).open().await.unwrap()
}

async fn send_keyed(producer: &Producer, count: usize) -> Vec<Sent> {
    let mut sent = Vec::new();
    for at in 0..count {
        let (key, value) = (format!("k{}", at % 7), at.to_string());
        sent.push(
            producer
                .send(Record::new().key(&key).value(&value))
                .await
                .unwrap(),
        );
    }
    sent
}

/// The expected logs after [`send_keyed`].
fn expected(count: usize) -> BTreeMap<u32, Vec<String>> {
    let mut logs: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for at in 0..count {
        let partition = partition_of_key(format!("k{}", at % 7).as_bytes(), PARTITIONS);
        logs.entry(partition.0).or_default().push(at.to_string());
    }
    logs
}

fn any_play() -> impl Strategy<Value = Play> {
    prop_oneof![
        4 => Just(Play::Answer),
        2 => Just(Play::StoreAndCut),
        2 => Just(Play::Cut),
        1 => Just(Play::Refuse(refusal(Code::ResourceExhausted, "OVERLOADED"))),
        1 => Just(Play::Refuse(refusal(Code::ResourceExhausted, "DISK_FULL"))),
        1 => Just(Play::Refuse(refusal(Code::Unavailable, "SHUTTING_DOWN"))),
        1 => Just(Play::Refuse(refusal(Code::Unknown, "OUTCOME_UNKNOWN"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn every_record_is_stored_once_and_in_order_whatever_becomes_of_the_connection(
        script in vec(any_play(), 0..9),
        request_records in 1usize..20,
        in_flight in 1usize..6,
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let (broker, client) = FakeBroker::start(script);
            let new = client.producer("t").request_records(request_records).in_flight(in_flight).return_versions();
            let producer = new.open().await.unwrap();
            let sent = send_keyed(&producer, 100).await;
            producer.flush().await.unwrap();
            let logs = broker.values();
            assert_eq!(logs, expected(100));
            for (at, sent) in sent.into_iter().enumerate() {
                let SentRecord { partition, offset, version } = sent.await.unwrap();
                let offset = usize::try_from(offset.unwrap().0).unwrap();
                assert_eq!(logs[&partition.0][offset], at.to_string(), "the answer is about another record");
                assert!(version.is_some_and(|version| version >= Version(1)));
            }
            producer.finish().await.unwrap();
            assert_eq!(broker.producers_opened(), 1);
        });
    }
}

#[tokio::test]
async fn a_record_that_is_stored_nobody_remembers_where_is_delivered_without_its_offset() {
    let (broker, client) = FakeBroker::start([Play::StoreForgetWhereAndCut]);
    let producer = client
        .producer("t")
        .partition(PartitionId(2))
        .open()
        .await
        .unwrap();
    let sent = producer.send(Record::new().value("a")).await.unwrap().await;
    let expected = SentRecord {
        partition: PartitionId(2),
        offset: None,
        version: None,
    };
    assert_eq!(sent.unwrap(), expected);
    let next = producer.send(Record::new().value("b")).await.unwrap().await;
    assert_eq!(next.unwrap().offset, Some(Offset(1)));
    producer.finish().await.unwrap();
    assert_eq!(broker.values()[&2], ["a", "b"]);
}

#[tokio::test]
async fn requests_grow_while_others_are_under_way() {
    let (broker, client) = FakeBroker::start([Play::Wait]);
    let producer = client.producer("t").in_flight(1).open().await.unwrap();
    let first = producer
        .send(Record::new().key("a").value("first"))
        .await
        .unwrap();
    while broker.requests() == 0 {
        tokio::task::yield_now().await;
    }
    let sent = send_keyed(&producer, 500).await;
    broker.gate.add_permits(1);
    first.await.unwrap();
    for sent in sent {
        sent.await.unwrap();
    }
    assert_eq!(broker.requests(), 2);
    producer.finish().await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_full_is_followed_by_one_that_fills_too() {
    let (broker, client) = FakeBroker::start([Play::Wait]);
    let producer = client
        .producer("t")
        .in_flight(1)
        .request_records(50)
        .open()
        .await
        .unwrap();
    let first = producer
        .send(Record::new().key("a").value("first"))
        .await
        .unwrap();
    while broker.requests() == 0 {
        tokio::task::yield_now().await;
    }
    let sent = send_keyed(&producer, 200).await;
    broker.gate.add_permits(1);
    first.await.unwrap();
    for sent in sent {
        sent.await.unwrap();
    }
    assert_eq!(broker.requests(), 1 + 200 / 50);
}

#[tokio::test]
async fn records_without_a_key_go_to_another_partition_with_every_request() {
    let (broker, client) = FakeBroker::start([]);
    let producer = one_by_one(client.producer("t")).await;
    let mut partitions = Vec::new();
    for _ in 0..PARTITIONS {
        partitions.push(
            producer
                .send(Record::new().value("v"))
                .await
                .unwrap()
                .await
                .unwrap()
                .partition,
        );
    }
    partitions.sort_unstable();
    assert_eq!(
        partitions,
        (0..PARTITIONS).map(PartitionId).collect::<Vec<_>>()
    );
    assert_eq!(broker.values().len(), PARTITIONS as usize);
}

#[tokio::test]
async fn a_request_that_lingers_goes_when_it_is_asked_to() {
    let (broker, client) = FakeBroker::start([]);
    let producer = client
        .producer("t")
        .linger(Duration::from_secs(3_600))
        .open()
        .await
        .unwrap();
    let sent = send_keyed(&producer, 3).await;
    producer.flush().await.unwrap();
    assert_eq!(broker.requests(), 1);
    for sent in sent {
        sent.await.unwrap();
    }
    let last = producer.send(Record::new().value("last")).await.unwrap();
    producer.finish().await.unwrap();
    assert_eq!(last.await.unwrap().version, None, "nobody asked for it");
}

#[tokio::test]
async fn send_waits_when_the_window_is_full() {
    let (broker, client) = FakeBroker::start([Play::Wait]);
    let producer = client
        .producer("t")
        .window_bytes(1)
        .linger(Duration::from_secs(3_600))
        .open()
        .await
        .unwrap();
    let first = producer.send(Record::new().value("first")).await.unwrap();
    while broker.requests() == 0 {
        tokio::task::yield_now().await;
    }
    let mut second = pin!(producer.send(Record::new().value("second")));
    let waits = poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "the window has room for one");
    broker.gate.add_permits(1);
    first.await.unwrap();
    second.await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_record_that_would_be_refused_is_refused_at_once_and_the_producer_goes_on() {
    let (broker, client) = FakeBroker::start([]);
    let producer = client.producer("t").open().await.unwrap();
    let malformed = producer
        .send(Record::new().key("").value("v"))
        .await
        .unwrap_err();
    assert_eq!(malformed.reason(), Some("MALFORMED_RECORD"));
    let large = producer
        .send(Record::new().value(&[0; 1_100]))
        .await
        .unwrap_err();
    assert_eq!(large.reason(), Some("RECORD_TOO_LARGE"));
    assert!(large.to_string().contains("1024"), "{large}");
    let good = producer
        .send(Record::new().key("k").value("v"))
        .await
        .unwrap();
    assert_eq!(good.await.unwrap().offset, Some(Offset(0)));
    producer.finish().await.unwrap();
    assert_eq!(broker.values().values().flatten().count(), 1);
}

#[tokio::test]
async fn a_refusal_ends_the_producer_and_nothing_behind_it_is_stored() {
    let (broker, client) = FakeBroker::start([
        Play::Answer,
        Play::Refuse(refusal(Code::NotFound, "UNKNOWN_TOPIC")),
    ]);
    let producer = one_by_one(client.producer("t")).await;
    let mut sent = send_keyed(&producer, 5).await.into_iter();
    sent.next().unwrap().await.unwrap();
    assert_eq!(
        sent.next().unwrap().await.unwrap_err().reason(),
        Some("UNKNOWN_TOPIC")
    );
    for later in sent {
        let error = later.await.unwrap_err();
        assert!(
            matches!(&error, Error::StreamEnded { cause } if cause == "UNKNOWN_TOPIC"),
            "{error:?}"
        );
    }
    assert_eq!(
        producer.flush().await.unwrap_err().reason(),
        Some("UNKNOWN_TOPIC")
    );
    assert!(matches!(
        producer.send(Record::new()).await,
        Err(Error::StreamEnded { .. })
    ));
    assert_eq!(
        producer.finish().await.unwrap_err().reason(),
        Some("UNKNOWN_TOPIC")
    );
    assert_eq!(broker.values().values().flatten().count(), 1);
}

#[tokio::test]
async fn what_is_refused_after_it_may_have_been_stored_is_not_reported_as_refused() {
    for reason in ["FENCED", "UNKNOWN_PRODUCER", "RECORD_TOO_LARGE"] {
        let refused = Play::Refuse(refusal(Code::FailedPrecondition, reason));
        let (broker, client) = FakeBroker::start([Play::StoreAndCut, refused]);
        let producer = one_by_one(client.producer("t")).await;
        let sent = producer
            .send(Record::new().key("k").value("stored"))
            .await
            .unwrap();
        let error = sent.await.unwrap_err();
        assert!(
            matches!(&error, Error::OutcomeUnknown { message } if message.contains(reason)),
            "{error:?}"
        );
        assert_eq!(producer.finish().await.unwrap_err().reason(), Some(reason));
        assert_eq!(broker.values().values().flatten().count(), 1);
        assert_eq!(broker.producers_opened(), 1);
    }
}

#[tokio::test]
async fn a_producer_that_was_forgotten_while_nothing_was_in_doubt_is_opened_again_and_goes_on() {
    let (broker, client) = FakeBroker::start([]);
    let producer = client
        .producer("t")
        .request_records(3)
        .in_flight(2)
        .open()
        .await
        .unwrap();
    for sent in send_keyed(&producer, 2).await {
        sent.await.unwrap();
    }
    broker.play(Play::Forget);
    let sent = send_keyed(&producer, 40).await;
    for sent in sent {
        sent.await.unwrap();
    }
    producer.finish().await.unwrap();
    assert_eq!(broker.producers_opened(), 2);
    assert_eq!(broker.values().values().flatten().count(), 42);
}

#[tokio::test]
async fn a_producer_with_a_name_is_not_opened_again_because_it_could_fence_its_successor() {
    let (broker, client) = FakeBroker::start([Play::Answer, Play::Forget]);
    let producer = one_by_one(client.producer("t").name("importer")).await;
    let mut sent = send_keyed(&producer, 2).await.into_iter();
    sent.next().unwrap().await.unwrap();
    assert_eq!(
        sent.next().unwrap().await.unwrap_err().reason(),
        Some("UNKNOWN_PRODUCER")
    );
    assert_eq!(
        producer.finish().await.unwrap_err().reason(),
        Some("UNKNOWN_PRODUCER")
    );
    assert_eq!(broker.producers_opened(), 1);
}

#[tokio::test]
async fn a_broker_that_makes_no_progress_is_given_up() {
    let overloaded = Play::Refuse(refusal(Code::ResourceExhausted, "OVERLOADED"));
    let (_broker, client) = FakeBroker::start(vec![overloaded; 1_000]);
    let producer = client
        .producer("t")
        .give_up_after(Duration::from_millis(1))
        .open()
        .await
        .unwrap();
    let sent = producer.send(Record::new().value("v")).await.unwrap();
    let error = sent.await.unwrap_err();
    let is_refused = error.reason() == Some("OVERLOADED");
    assert!(
        is_refused || matches!(error, Error::OutcomeUnknown { .. }),
        "{error:?}"
    );
    let error = producer.finish().await.unwrap_err();
    assert!(error.to_string().contains("gave up"), "{error}");
}

#[tokio::test]
async fn a_producer_that_gives_up_because_it_is_refused_ends_with_the_brokers_reason() {
    for reason in ["RETENTION_HELD", "PARTITION_FULL", "DISK_FULL"] {
        let refused = Play::Refuse(refusal(Code::ResourceExhausted, reason));
        let (_broker, client) = FakeBroker::start(vec![refused; 1_000]);
        let producer = client
            .producer("t")
            .give_up_after(Duration::from_millis(300))
            .open()
            .await
            .unwrap();
        let sent = producer.send(Record::new().value("v")).await.unwrap();
        let error = sent.await.unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{error:?}");
        let error = producer.finish().await.unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{error:?}");
    }
}

#[tokio::test]
async fn a_producer_that_has_given_up_takes_nothing_until_it_has_found_out_what_is_stored() {
    let (broker, client) = FakeBroker::start([Play::StoreAndCut, Play::Wait]);
    let new = client
        .producer("t")
        .in_flight(1)
        .give_up_after(Duration::from_millis(200));
    let producer = one_by_one(new).await;
    let record = |value| Record::new().key("k").value(value);
    let stored = producer.send(record("stored")).await.unwrap();
    let unsent = producer.send(record("unsent")).await.unwrap();
    let unknown = stored.await.unwrap_err();
    assert!(
        matches!(unknown, Error::OutcomeUnknown { .. }),
        "{unknown:?}"
    );
    let unsent = unsent.await.unwrap_err();
    assert!(matches!(unsent, Error::StreamEnded { .. }), "{unsent:?}");
    let refused = producer.send(record("refused")).await;
    assert!(matches!(refused, Err(Error::StreamEnded { .. })));
    let why = producer.flush().await.unwrap_err();
    assert!(matches!(why, Error::OutcomeUnknown { .. }), "{why:?}");
    assert!(why.to_string().contains("gave up"), "{why}");

    producer.resend().await.unwrap();
    let later = producer.send(record("later")).await.unwrap();
    assert_eq!(later.await.unwrap().offset, Some(Offset(1)));
    // Of one that has not given up it is a flush.
    producer.resend().await.unwrap();
    producer.finish().await.unwrap();
    let values: Vec<String> = broker.values().into_values().flatten().collect();
    assert_eq!(values, ["stored", "later"]);
}

#[tokio::test]
async fn a_producer_that_gives_up_again_can_be_asked_again() {
    let (broker, client) = FakeBroker::start([Play::StoreAndCut, Play::Wait, Play::Wait]);
    let new = client
        .producer("t")
        .give_up_after(Duration::from_millis(200));
    let producer = one_by_one(new).await;
    let sent = producer.send(Record::new().value("stored")).await.unwrap();
    sent.await.unwrap_err();
    let again = producer.resend().await.unwrap_err();
    assert!(matches!(again, Error::OutcomeUnknown { .. }), "{again:?}");
    let why = producer.flush().await.unwrap_err();
    assert!(matches!(why, Error::OutcomeUnknown { .. }), "{why:?}");
    producer.resend().await.unwrap();
    producer.finish().await.unwrap();
    let values: Vec<String> = broker.values().into_values().flatten().collect();
    assert_eq!(values, ["stored"]);
}

#[tokio::test]
async fn a_producer_that_is_dropped_still_delivers() {
    let (broker, client) = FakeBroker::start([Play::Cut]);
    let producer = one_by_one(client.producer("t")).await;
    let sent = send_keyed(&producer, 20).await;
    drop(producer);
    for sent in sent {
        sent.await.unwrap();
    }
    assert_eq!(broker.values(), expected(20));
}

#[tokio::test]
async fn an_outage_is_told_once_when_it_begins_and_once_when_it_ends() {
    let refuse = |reason| Play::Refuse(refusal(Code::ResourceExhausted, reason));
    let script = vec![
        // It passes at once, and is none.
        refuse("OVERLOADED"),
        refuse("DISK_FULL"),
        refuse("DISK_FULL"),
        Play::Answer,
        Play::Answer,
        Play::Cut,
        Play::Answer,
    ];
    let (_broker, client) = FakeBroker::start(script);
    let (tell, told) = std::sync::mpsc::sync_channel(16);
    let new = client.producer("t").on_outage(move |outage| {
        tell.send(outage)
            .expect("there is room, and somebody to tell");
    });
    let producer = one_by_one(new).await;
    for sent in 0..3 {
        let value = sent.to_string();
        let answer = producer.send(Record::new().value(&value)).await.unwrap();
        answer.await.unwrap();
    }
    producer.finish().await.unwrap();
    let told: Vec<Outage> = told.try_iter().collect();
    let [
        Outage::Began { cause: full },
        Outage::Ended,
        Outage::Began { cause: cut },
        Outage::Ended,
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!(full.reason(), Some("DISK_FULL"));
    assert_eq!(cut.reason(), None, "{cut}");
}
