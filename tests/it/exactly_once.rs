//! Producers at the level of the protocol: whatever is repeated, late, out of order or sent after a
//! restart is stored once.

use taffrail::{
    client::NewTopic,
    proto::{OpenProducerRequest, Producer, key_condition::State, wire::AppendRequest},
    testing::TestBroker,
    types::Position,
};
use tonic::{Code, Status};

use crate::raw::{batch, by, info, keyed, log, numbered, of_key, ranges, reason, request};

async fn started() -> TestBroker {
    let broker = TestBroker::start().await;
    for topic in ["t", "u"] {
        broker
            .client()
            .topics()
            .create(&NewTopic::new(topic).partitions(2))
            .await
            .expect("it is created");
    }
    broker
}

async fn open(broker: &TestBroker, name: &str) -> Producer {
    let request = OpenProducerRequest {
        name: name.to_owned(),
    };
    let response = log(broker)
        .open_producer(request)
        .await
        .expect("it is opened");
    response.into_inner().producer.expect("a producer")
}

async fn records(broker: &TestBroker) -> u64 {
    let mut records = 0;
    for topic in ["t", "u"] {
        let ends = broker
            .client()
            .list_offsets(topic, Position::Latest)
            .await
            .expect("the ends");
        records += ends.iter().map(|end| end.high_watermark.0).sum::<u64>();
    }
    records
}

async fn refused(broker: &TestBroker, request: AppendRequest) -> Status {
    log(broker)
        .append(request)
        .await
        .expect_err("it is refused")
}

/// A request of a producer with two batches. Keys `a` and `e` belong in partition 0 of 2, and `b`
/// in 1.
fn of(producer: Producer, sequence: u64) -> AppendRequest {
    let value = sequence.to_string();
    let first = numbered(
        "t",
        0,
        sequence,
        &[keyed(KEYS[0], &value), keyed(KEYS[0], "again")],
    );
    by(
        producer,
        [first, numbered("u", 1, sequence, &[keyed(KEYS[1], &value)])],
    )
}

/// Keys of partition 0 and partition 1 out of 2.
const KEYS: [&str; 2] = ["key-1", "key-0"];

#[test]
fn the_keys_of_these_tests_belong_where_they_are_put() {
    for (key, partition) in KEYS.iter().zip(0..) {
        assert_eq!(
            taffrail::types::partition_of_key(key.as_bytes(), 2).0,
            partition,
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_batch_that_is_stored_already_gets_the_answer_it_got_the_first_time() {
    let mut broker = started().await;
    let producer = open(&broker, "").await;
    let mut answers = Vec::new();
    for sequence in 0..20 {
        answers.push(
            log(&broker)
                .append(of(producer, sequence))
                .await
                .expect("it is stored")
                .into_inner(),
        );
    }
    assert_eq!(ranges(&answers[3])[0].versions, [7, 8]);

    for how in ["at once", "after a crash", "after a stop"] {
        match how {
            "after a crash" => broker.crash().await,
            "after a stop" => broker.stop().await,
            _ => {}
        }
        if how != "at once" {
            broker.restart().await;
        }
        // Forward, backward, and some again: their order does not matter.
        for sequence in (0..20).chain((0..20).rev()).chain([7, 7, 19, 0]) {
            let again = log(&broker)
                .append(of(producer, sequence))
                .await
                .expect("it is answered")
                .into_inner();
            assert_eq!(
                again,
                answers[usize::try_from(sequence).unwrap()],
                "batch {sequence} {how}"
            );
        }
        assert_eq!(records(&broker).await, 60, "{how}");
    }
    log(&broker)
        .append(of(producer, 20))
        .await
        .expect("it goes on");
}

#[tokio::test]
async fn a_batch_from_long_ago_is_answered_as_a_duplicate_without_ranges() {
    const BATCHES: u64 = 300;
    let mut broker = started().await;
    let producer = open(&broker, "").await;
    let of = |sequence: u64| {
        let value = sequence.to_string();
        by(
            producer,
            [numbered("t", 0, sequence, &[keyed(KEYS[0], &value)])],
        )
    };
    let mut answers = Vec::new();
    for sequence in 0..BATCHES {
        let answer = log(&broker).append(of(sequence)).await;
        answers.push(answer.expect("it is stored").into_inner());
    }
    for how in ["at once", "after a crash", "after a stop"] {
        match how {
            "after a crash" => broker.crash().await,
            "after a stop" => broker.stop().await,
            _ => {}
        }
        if how != "at once" {
            broker.restart().await;
        }
        for (sequence, answer) in (0..).zip(&answers) {
            let again = log(&broker).append(of(sequence)).await;
            let again = again.expect("it is answered").into_inner();
            if sequence >= BATCHES - 256 {
                assert_eq!(again, *answer, "batch {sequence} {how}");
                continue;
            }
            let batch = &again.batches[0];
            assert!(
                batch.duplicate && batch.ranges.is_empty(),
                "batch {sequence} {how}"
            );
        }
        assert_eq!(records(&broker).await, BATCHES, "{how}");
    }
}

#[tokio::test]
async fn a_batch_that_comes_twice_at_the_same_time_is_stored_once() {
    let broker = started().await;
    let producer = open(&broker, "").await;
    for sequence in 0..20 {
        let twins: Vec<_> = (0..4)
            .map(|_| {
                let mut log = log(&broker);
                tokio::spawn(async move { log.append(of(producer, sequence)).await })
            })
            .collect();
        let mut answers = Vec::new();
        for twin in twins {
            answers.push(
                twin.await
                    .expect("no panic")
                    .expect("it is answered")
                    .into_inner(),
            );
        }
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
    }
    assert_eq!(records(&broker).await, 60);
}

#[tokio::test]
async fn a_gap_is_refused_with_the_number_that_is_missing() {
    let broker = started().await;
    let producer = open(&broker, "").await;
    for (sequence, expected) in [(1, "0"), (u64::MAX, "0")] {
        let status = refused(&broker, of(producer, sequence)).await;
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::FailedPrecondition, "OUT_OF_SEQUENCE")
        );
        assert_eq!(info(&status).metadata["expected"], expected);
    }
    log(&broker)
        .append(of(producer, 0))
        .await
        .expect("it is stored");
    let status = refused(&broker, of(producer, 2)).await;
    let metadata = info(&status).metadata;
    assert_eq!((&*metadata["sequence"], &*metadata["expected"]), ("2", "1"));
    assert_eq!(metadata["topic"], "t");

    // One batch of the request is stored, the other one is new.
    let mixed = [
        numbered("t", 0, 0, &[keyed(KEYS[0], "0")]),
        numbered("u", 1, 1, &[keyed(KEYS[1], "1")]),
    ];
    let status = refused(&broker, by(producer, mixed)).await;
    assert_eq!(reason(&status), "OUT_OF_SEQUENCE");
    assert_eq!(records(&broker).await, 3);
}

#[tokio::test]
async fn partitions_are_counted_apart_and_a_request_may_have_several_batches_of_one() {
    let broker = started().await;
    let producer = open(&broker, "").await;
    let several = by(
        producer,
        [
            numbered("t", 0, 0, &[keyed(KEYS[0], "0")]),
            numbered("t", 1, 0, &[keyed(KEYS[1], "0")]),
            numbered("t", 0, 1, &[keyed(KEYS[0], "1")]),
        ],
    );
    let answer = log(&broker)
        .append(several.clone())
        .await
        .expect("it is stored")
        .into_inner();
    assert_eq!(
        log(&broker)
            .append(several)
            .await
            .expect("it is answered")
            .into_inner(),
        answer
    );
    let next = numbered("t", 0, 2, &[keyed(KEYS[0], "2")]);
    log(&broker)
        .append(by(producer, [next]))
        .await
        .expect("it is stored");
    assert_eq!(records(&broker).await, 4);
}

#[tokio::test]
async fn opening_a_name_again_fences_who_had_it() {
    let mut broker = started().await;
    let first = open(&broker, "importer").await;
    log(&broker)
        .append(of(first, 0))
        .await
        .expect("it is stored");
    let second = open(&broker, "importer").await;
    assert_eq!((second.id, second.epoch), (first.id, first.epoch + 1));
    log(&broker)
        .append(of(second, 0))
        .await
        .expect("it is stored");

    for restarted in [false, true] {
        if restarted {
            broker.crash().await;
            broker.restart().await;
        }
        for sequence in [0, 1] {
            let status = refused(&broker, of(first, sequence)).await;
            assert_eq!(
                (status.code(), &*reason(&status)),
                (Code::FailedPrecondition, "FENCED")
            );
            assert_eq!(info(&status).metadata["current"], second.epoch.to_string());
        }
    }
    let third = open(&broker, "importer").await;
    assert_eq!(
        (third.id, third.epoch),
        (second.id, second.epoch + 1),
        "a name is remembered over a crash"
    );
    assert_ne!(
        open(&broker, "").await.id,
        open(&broker, "").await.id,
        "without a name each is new"
    );
    assert_eq!(records(&broker).await, 6);
}

#[tokio::test]
async fn a_producer_that_the_broker_does_not_know_is_refused() {
    let broker = started().await;
    let opened = open(&broker, "").await;
    for unknown in [Producer { id: 1, epoch: 0 }, Producer { id: 0, epoch: 0 }] {
        let status = refused(&broker, of(unknown, 0)).await;
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::NotFound, "UNKNOWN_PRODUCER")
        );
    }
    let newer = Producer {
        epoch: opened.epoch + 1,
        ..opened
    };
    assert_eq!(
        reason(&refused(&broker, of(newer, 0)).await),
        "UNKNOWN_PRODUCER",
        "nobody has opened that epoch"
    );
    let name = "n".repeat(256);
    let status = log(&broker)
        .open_producer(OpenProducerRequest { name })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::InvalidArgument, "MALFORMED_REQUEST")
    );
    assert_eq!(records(&broker).await, 0);
}

#[tokio::test]
async fn numbers_without_a_producer_and_batches_without_numbers_are_refused() {
    let broker = started().await;
    let producer = open(&broker, "").await;
    let record = [keyed(KEYS[0], "v")];
    let mut without_partition = numbered("t", 0, 0, &record);
    without_partition.partition = None;
    for malformed in [
        request([numbered("t", 0, 0, &record)]),
        by(producer, [batch("t", &record)]),
        by(producer, [without_partition]),
        by(
            producer,
            [numbered("t", 0, 0, &record), numbered("t", 1, 0, &[])],
        ),
    ] {
        let status = refused(&broker, malformed).await;
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::InvalidArgument, "MALFORMED_REQUEST"),
            "{status}"
        );
    }
    assert_eq!(records(&broker).await, 0);
}

#[tokio::test]
async fn a_repeated_batch_is_answered_although_its_condition_does_not_hold_any_more() {
    let broker = started().await;
    let producer = open(&broker, "").await;
    let mut conditional = of(producer, 0);
    conditional.conditions = vec![of_key("t", KEYS[0].as_bytes(), State::Absent(true))];
    let answer = log(&broker)
        .append(conditional.clone())
        .await
        .expect("it is stored")
        .into_inner();
    assert_eq!(
        log(&broker)
            .append(conditional.clone())
            .await
            .expect("it is answered")
            .into_inner(),
        answer
    );

    conditional.batches = of(producer, 1).batches;
    let status = refused(&broker, conditional).await;
    assert_eq!(reason(&status), "CONFLICT");
    log(&broker)
        .append(of(producer, 1))
        .await
        .expect("a conflict uses up no number");
    assert_eq!(records(&broker).await, 6);
}
