//! Appends with conditions.

use taffrail::{
    client::{Actual, Append, Batch, Client, Error, FailedCondition, NewTopic, Record},
    proto::{Condition, KeyCondition, condition::About, key_condition::State},
    testing::TestBroker,
    types::{Offset, PartitionId, Position, Version, partition_of_key},
};
use tonic::Code;

use crate::raw;

type Outcome = Result<(), Error>;

/// A broker with topics `accounts` and `transfers` of three partitions, and `plain` without
/// versions.
async fn started() -> Result<(TestBroker, Client), Error> {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client
        .topics()
        .create(&NewTopic::new("accounts").partitions(3))
        .await?;
    client
        .topics()
        .create(&NewTopic::new("transfers").partitions(3))
        .await?;
    client
        .topics()
        .create(&NewTopic::new("plain").setting("keys", "plain"))
        .await?;
    Ok((broker, client))
}

fn one(topic: &str, key: &str) -> Append {
    Append::from(Batch::of(topic, [Record::new().key(key).value("v")]))
}

async fn records_in(client: &Client, topic: &str) -> Result<u64, Error> {
    let ends = client.list_offsets(topic, Position::Latest).await?;
    Ok(ends.iter().map(|end| end.high_watermark.0).sum())
}

/// The conditions that failed.
fn failed<T: std::fmt::Debug>(answer: Result<T, Error>) -> Vec<FailedCondition> {
    match answer {
        Err(Error::Conflict { failed, .. }) => failed,
        answer => panic!("not a conflict: {answer:?}"),
    }
}

fn at_version(index: usize, version: u64) -> FailedCondition {
    FailedCondition {
        index,
        actual: Actual::Version(Version(version)),
    }
}

fn at_offset(index: usize, next: u64) -> FailedCondition {
    FailedCondition {
        index,
        actual: Actual::NextOffset(Offset(next)),
    }
}

#[tokio::test]
async fn an_append_whose_conditions_hold_happens() -> Outcome {
    let (_broker, client) = started().await?;
    let partition = partition_of_key(b"alice", 3);
    client
        .append(one("accounts", "alice").expect_absent("accounts", "alice"))
        .await?;
    client
        .append(one("accounts", "alice").expect_version("accounts", "alice", Version(1)))
        .await?;
    client
        .append(one("accounts", "alice").expect_exists("accounts", "alice"))
        .await?;
    client
        .append(one("accounts", "alice").expect_next_offset("accounts", partition, Offset(3)))
        .await?;
    client
        .append(one("accounts", "bob").expect_version("accounts", "bob", Version::NONE))
        .await?;
    let all = one("accounts", "alice")
        .expect_version("accounts", "alice", Version(4))
        .expect_exists("accounts", "alice")
        .expect_absent("accounts", "carol")
        .expect_next_offset("transfers", PartitionId(1), Offset(0));
    client.append(all).await?;
    assert_eq!(records_in(&client, "accounts").await?, 6);
    Ok(())
}

#[tokio::test]
async fn all_conditions_that_do_not_hold_are_reported_together_and_nothing_is_written() -> Outcome {
    let (_broker, client) = started().await?;
    let partition = partition_of_key(b"alice", 3);
    for _ in 0..3 {
        client.append(one("accounts", "alice")).await?;
    }
    let answer = client
        .append(
            one("accounts", "alice")
                .expect_version("accounts", "alice", Version(2))
                .expect_version("accounts", "alice", Version(3))
                .expect_absent("accounts", "alice")
                .expect_exists("accounts", "bob")
                .expect_next_offset("accounts", partition, Offset(2))
                .expect_next_offset("accounts", partition, Offset(3))
                .expect_version("accounts", "bob", Version(7))
                .expect_version("accounts", "alice", Version(u64::MAX)),
        )
        .await;
    let message = answer.as_ref().unwrap_err().to_string();
    for says in ["accounts", "alice", "version 2", "version 3"] {
        assert!(message.contains(says), "{message:?} does not say {says:?}");
    }
    let expected = [
        at_version(0, 3),
        at_version(2, 3),
        at_version(3, 0),
        at_offset(4, 3),
        at_version(6, 0),
        at_version(7, 3),
    ];
    assert_eq!(failed(answer), expected);
    assert_eq!(records_in(&client, "accounts").await?, 3);
    Ok(())
}

#[tokio::test]
async fn conditions_may_be_about_keys_and_topics_that_are_not_written() -> Outcome {
    let (_broker, client) = started().await?;
    client.append(one("accounts", "alice")).await?;
    let transfer = || one("transfers", "t1").expect_version("accounts", "alice", Version(1));
    client.append(transfer()).await?;
    client.append(one("accounts", "alice")).await?;
    assert_eq!(failed(client.append(transfer()).await), [at_version(0, 2)]);
    let of_plain = one("transfers", "t2").expect_next_offset("plain", PartitionId(0), Offset(1));
    assert_eq!(failed(client.append(of_plain).await), [at_offset(0, 0)]);
    assert_eq!(records_in(&client, "transfers").await?, 1);
    Ok(())
}

#[tokio::test]
async fn of_many_clients_that_expect_the_same_version_one_wins() -> Outcome {
    let (broker, client) = started().await?;
    for version in 0..10 {
        let racing: Vec<_> = (0..16)
            .map(|_| {
                let client = broker.client();
                let append =
                    one("accounts", "alice").expect_version("accounts", "alice", Version(version));
                tokio::spawn(async move { client.append(append).await })
            })
            .collect();
        let mut won = 0;
        for answer in racing {
            match answer.await.expect("no panic") {
                Ok(_) => won += 1,
                answer => assert_eq!(failed(answer), [at_version(0, version + 1)]),
            }
        }
        assert_eq!(won, 1);
    }
    assert_eq!(records_in(&client, "accounts").await?, 10);
    Ok(())
}

#[tokio::test]
async fn versions_go_on_after_restarts_trims_and_tombstones() -> Outcome {
    let (mut broker, client) = started().await?;
    let partition = partition_of_key(b"alice", 3);
    client.append(one("accounts", "alice")).await?;
    broker.crash().await;
    broker.restart().await;
    client
        .append(one("accounts", "alice").expect_version("accounts", "alice", Version(1)))
        .await?;
    client
        .topics()
        .trim("accounts", partition, Offset(2))
        .await?;
    client
        .append(Batch::of("accounts", [Record::tombstone("alice")]))
        .await?;
    broker.stop().await;
    broker.restart().await;
    assert_eq!(
        failed(
            client
                .append(one("accounts", "alice").expect_absent("accounts", "alice"))
                .await
        ),
        [at_version(0, 3)]
    );
    client
        .append(one("accounts", "alice").expect_version("accounts", "alice", Version(3)))
        .await?;
    Ok(())
}

#[tokio::test]
async fn an_append_is_answered_with_the_versions_that_its_records_have_when_they_are_read()
-> Outcome {
    let (_broker, client) = started().await?;
    let mut batch = Batch::new("accounts");
    for key in ["alice", "bob", "alice", "carol", "alice", "bob"] {
        batch.push(&Record::new().key(key).value("v"));
    }
    batch.push(&Record::new().value("of no entity"));
    let of_plain = Batch::of("plain", [Record::new().key("alice").value("v")]);
    let appended = client
        .append(Append::from([batch.clone(), of_plain]).return_versions())
        .await?;
    let told = appended.batches[0].iter().flat_map(|range| {
        let offsets = (range.first_offset.0..).zip(&range.versions);
        offsets
            .map(|(offset, version)| (range.partition, offset, *version))
            .collect::<Vec<_>>()
    });
    let told: std::collections::BTreeSet<_> = told.collect();
    assert_eq!(appended.batches[1][0].versions, [Version::NONE]);

    let mut reading = client.read("accounts").open().await?;
    let mut read = std::collections::BTreeSet::new();
    let mut versions = std::collections::BTreeMap::<_, Vec<u64>>::new();
    while let Some(record) = reading.next_record().await? {
        assert_eq!(record.key.is_some(), record.version.is_some());
        read.insert((
            record.partition,
            record.offset.0,
            record.version.unwrap_or_default(),
        ));
        versions
            .entry(record.key)
            .or_default()
            .extend(record.version.map(|version| version.0));
    }
    assert_eq!(read, told);
    assert_eq!(versions[&Some("alice".into())], [1, 2, 3]);
    assert_eq!(versions[&Some("bob".into())], [1, 2]);
    let plain = client
        .read("plain")
        .open()
        .await?
        .next_record()
        .await?
        .expect("a record");
    assert_eq!(plain.version, None);

    let unasked = client.append(batch).await?;
    assert!(unasked.ranges().all(|range| range.versions.is_empty()));
    Ok(())
}

#[tokio::test]
async fn a_stream_goes_on_after_a_conflict_and_what_expects_what_was_not_stored_is_in_conflict_too()
-> Outcome {
    let (_broker, client) = started().await?;
    let stream = client.append_stream();
    let expecting =
        |version| one("accounts", "alice").expect_version("accounts", "alice", Version(version));
    let mut handles = Vec::new();
    for version in [0, 0, 5, 1] {
        handles.push(stream.append(expecting(version)).await?);
    }
    let other = stream.append(one("transfers", "t1")).await?;
    let mut outcomes = Vec::new();
    for handle in handles {
        outcomes.push(handle.await);
    }
    let [first, second, third, fourth] = <[_; 4]>::try_from(outcomes).expect("four");
    first?;
    assert_eq!(failed(second), [at_version(0, 1)]);
    assert_eq!(failed(third), [at_version(0, 1)]);
    fourth?;
    other.await?;
    stream.finish().await?;
    assert_eq!(records_in(&client, "accounts").await?, 2);
    assert_eq!(records_in(&client, "transfers").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_repeated_append_with_event_ids_is_answered_as_the_first_time() -> Outcome {
    let (mut broker, client) = started().await?;
    client.append(one("accounts", "bob")).await?;
    let with_ids = |alice: &str, bob: &str| {
        let records = [
            Record::new().key("alice").value("-42").event_id(alice),
            Record::new().key("bob").value("+42").event_id(bob),
        ];
        Append::from(Batch::of("accounts", records))
            .expect_absent("accounts", "alice")
            .expect_version("accounts", "bob", Version(1))
            .return_versions()
    };
    let first = client.append(with_ids("t1-a", "t1-b")).await?;
    assert_eq!(client.append(with_ids("t1-a", "t1-b")).await?, first);
    assert_eq!(
        failed(client.append(with_ids("t2-a", "t2-b")).await),
        [at_version(0, 1), at_version(1, 2)]
    );
    assert!(matches!(
        client.append(with_ids("t1-a", "t2-b")).await,
        Err(Error::Conflict { .. })
    ));
    assert!(matches!(
        client.append(with_ids("t1-a", "")).await,
        Err(Error::Conflict { .. })
    ));

    client.append(one("accounts", "alice")).await?;
    broker.crash().await;
    broker.restart().await;
    client.append(one("accounts", "alice")).await?;
    assert_eq!(client.append(with_ids("t1-a", "t1-b")).await?, first);
    assert_eq!(records_in(&client, "accounts").await?, 5);
    Ok(())
}

#[tokio::test]
async fn a_topic_without_versions_takes_no_conditions_on_keys_and_any_partition_for_a_key()
-> Outcome {
    let (_broker, client) = started().await?;
    client
        .topics()
        .create(
            &NewTopic::new("flood")
                .partitions(3)
                .setting("keys", "plain"),
        )
        .await?;
    for append in [
        one("accounts", "alice").expect_absent("plain", "alice"),
        one("accounts", "alice").expect_exists("plain", "alice"),
        one("plain", "alice").expect_version("plain", "alice", Version(1)),
    ] {
        let error = client.append(append).await.unwrap_err();
        assert_eq!(error.reason(), Some("PLAIN_TOPIC"), "{error}");
        assert!(error.to_string().contains("\"plain\""), "{error}");
    }
    for partition in 0..3 {
        let mut batch = Batch::to_partition("flood", PartitionId(partition));
        batch.push(&Record::new().key("alice").value("v"));
        client.append(batch).await?;
    }
    assert_eq!(
        records_in(&client, "accounts").await? + records_in(&client, "plain").await?,
        0
    );
    Ok(())
}

#[tokio::test]
async fn a_key_in_another_partition_than_its_own_is_refused_where_versions_are_counted() -> Outcome
{
    let (_broker, client) = started().await?;
    let belongs = partition_of_key(b"alice", 3);
    for partition in (0..3).map(PartitionId) {
        let mut batch = Batch::to_partition("accounts", partition);
        batch.push(&Record::new().value("without a key, it may be anywhere"));
        batch.push(&Record::new().key("alice").value("v"));
        let answer = client
            .append(Append::from([
                Batch::of("transfers", [Record::new().value("v")]),
                batch,
            ]))
            .await;
        if partition == belongs {
            answer?;
            continue;
        }
        let Err(Error::Refused(refusal)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(
            (&*refusal.code, &*refusal.reason),
            ("InvalidArgument", "WRONG_PARTITION")
        );
        assert_eq!(
            (&*refusal.metadata["topic"], &*refusal.metadata["index"]),
            ("accounts", "1")
        );
        assert_eq!(refusal.metadata["belongs"], belongs.to_string());
    }
    assert_eq!(
        (
            records_in(&client, "accounts").await?,
            records_in(&client, "transfers").await?
        ),
        (2, 1)
    );
    Ok(())
}

#[tokio::test]
async fn a_malformed_condition_is_refused_by_its_number() -> Outcome {
    let (broker, client) = started().await?;
    let about = |about| Condition {
        topic_id: String::new(),
        topic: "accounts".to_owned(),
        about,
    };
    let without_state = About::Key(KeyCondition {
        key: "alice".into(),
        state: None,
    });
    for malformed in [
        raw::of_key("accounts", b"", State::Exists(true)),
        raw::of_key("accounts", &vec![b'k'; 65_536], State::Exists(true)),
        raw::of_key("accounts", b"alice", State::Exists(false)),
        raw::of_key("accounts", b"alice", State::Absent(false)),
        about(None),
        about(Some(without_state)),
    ] {
        let holds = raw::of_partition("accounts", 0, 0);
        let batch = raw::batch("accounts", &[raw::keyed("alice", "v")]);
        let status = raw::log(&broker)
            .append(raw::only_if([holds, malformed], [batch]))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), &*raw::reason(&status)),
            (Code::InvalidArgument, "MALFORMED_CONDITION")
        );
        assert_eq!(raw::info(&status).metadata["index"], "1");
    }
    assert_eq!(records_in(&client, "accounts").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_condition_on_what_does_not_exist_is_refused_and_nothing_is_written() -> Outcome {
    let (_broker, client) = started().await?;
    for (append, reason) in [
        (
            one("accounts", "alice").expect_absent("nowhere", "alice"),
            "UNKNOWN_TOPIC",
        ),
        (
            one("accounts", "alice").expect_next_offset("nowhere", PartitionId(0), Offset(0)),
            "UNKNOWN_TOPIC",
        ),
        (
            one("accounts", "alice").expect_next_offset("accounts", PartitionId(3), Offset(0)),
            "UNKNOWN_PARTITION",
        ),
        (
            one("accounts", "alice").expect_absent("no/where", "alice"),
            "INVALID_TOPIC_NAME",
        ),
    ] {
        let error = client.append(append).await.unwrap_err();
        assert_eq!(error.reason(), Some(reason), "{error}");
    }
    let several = Append::from([
        Batch::of("accounts", [Record::new().key("alice").value("v")]),
        Batch::of("nowhere", [Record::new().key("alice").value("v")]),
    ]);
    assert_eq!(
        client.append(several).await.unwrap_err().reason(),
        Some("UNKNOWN_TOPIC")
    );
    assert_eq!(records_in(&client, "accounts").await?, 0);
    Ok(())
}

#[tokio::test]
async fn conditions_and_records_over_the_limits_are_refused_and_up_to_them_taken() -> Outcome {
    let (broker, client) = started().await?;
    let conditions = |count| {
        (0..count).map(|at| raw::of_key("accounts", &[b'k', at as u8], State::Absent(true)))
    };
    let batch = || raw::batch("accounts", &[raw::keyed("alice", "v")]);
    let mut log = raw::log(&broker);
    let status = log
        .append(raw::only_if(conditions(1_001), [batch()]))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), &*raw::reason(&status)),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
    );
    let metadata = raw::info(&status).metadata;
    assert_eq!(
        (&*metadata["what"], &*metadata["limit"]),
        ("conditions", "1000")
    );
    log.append(raw::only_if(conditions(1_000), [batch()]))
        .await
        .expect("it is taken");

    let records = vec![raw::keyless(""); 65_537];
    let status = log
        .append(raw::request([raw::batch("transfers", &records)]))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), &*raw::reason(&status)),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
    );
    log.append(raw::request([raw::batch("transfers", &records[1..])]))
        .await
        .expect("it is taken");
    assert_eq!(records_in(&client, "transfers").await?, 65_536);
    Ok(())
}

#[tokio::test]
async fn a_conflict_of_a_thousand_conditions_names_the_first_hundred_however_long_the_keys_are()
-> Outcome {
    let (broker, client) = started().await?;
    let key = |at: usize| [&at.to_le_bytes()[..], &[0xff; 5_000]].concat();
    let conditions =
        (0..1_000).map(|at| raw::of_key("accounts", &key(at), State::Version(u64::MAX)));
    let request = raw::only_if(
        conditions,
        [raw::batch("accounts", &[raw::keyed("alice", "v")])],
    );
    let status = raw::log(&broker).append(request).await.unwrap_err();
    assert_eq!(
        (status.code(), &*raw::reason(&status)),
        (Code::Aborted, "CONFLICT")
    );
    assert_eq!(raw::info(&status).metadata["failed"], "1000");
    let conflict = raw::conflict(&status);
    let indexes: Vec<u32> = conflict.failed.iter().map(|failed| failed.index).collect();
    assert_eq!((conflict.count, indexes), (1_000, (0..100).collect()));

    let failing = (0..1_000).fold(one("accounts", "alice"), |append, at| {
        append.expect_version("accounts", key(at), Version(7))
    });
    assert_eq!(
        failed(client.append(failing).await),
        (0..100).map(|at| at_version(at, 0)).collect::<Vec<_>>()
    );
    Ok(())
}
