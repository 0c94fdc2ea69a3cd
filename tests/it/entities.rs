//! Entities are read by version, looked up many at a time, and erased.

use taffrail::{
    client::{Batch, Client, Error, NewTopic, ReadEntity, Record, StoredRecord},
    proto::{GetLatestRequest, ReadKeyRequest, entities_client::EntitiesClient},
    testing::TestBroker,
    types::{Offset, PartitionId, Position, Version, partition_of_key},
};
use tonic::Code;

use crate::raw::reason;

type Outcome = Result<(), Error>;

/// A broker with topic `accounts` of three partitions, and `plain` without versions.
async fn started() -> Result<(TestBroker, Client), Error> {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client
        .topics()
        .create(&NewTopic::new("accounts").partitions(3))
        .await?;
    client
        .topics()
        .create(&NewTopic::new("plain").setting("keys", "plain"))
        .await?;
    Ok((broker, client))
}

/// Appends `count` records of each of these keys, one after the other; the values are the versions.
async fn fill(client: &Client, keys: &[&str], count: u64) -> Outcome {
    for version in 1..=count {
        let value = version.to_string();
        let records = keys
            .iter()
            .map(|key| Record::new().key(*key).value(&value).event_type("counted"));
        client.append(Batch::of("accounts", records)).await?;
    }
    Ok(())
}

async fn read(read: ReadEntity) -> Result<Vec<StoredRecord>, Error> {
    let mut reading = read.open().await?;
    let mut records = Vec::new();
    while let Some(record) = reading.next_record().await? {
        records.push(record);
    }
    Ok(records)
}

async fn versions(entity: ReadEntity) -> Result<Vec<u64>, Error> {
    let records = read(entity).await?;
    Ok(records
        .iter()
        .map(|record| record.version.expect("it has a key").0)
        .collect())
}

#[tokio::test]
async fn the_records_of_an_entity_are_read_by_version_in_either_direction() -> Outcome {
    let (mut broker, client) = started().await?;
    fill(&client, &["alice", "bob", "carol"], 10).await?;
    for restarted in [false, true] {
        if restarted {
            broker.crash().await;
            broker.restart().await;
        }
        let entities = client.entities();
        let alice = || entities.read("accounts", "alice");
        assert_eq!(versions(alice()).await?, (1..=10).collect::<Vec<_>>());
        assert_eq!(
            versions(alice().backward()).await?,
            (1..=10).rev().collect::<Vec<_>>()
        );
        assert_eq!(
            versions(alice().from_version(Version(8))).await?,
            [8, 9, 10]
        );
        assert_eq!(
            versions(alice().from_version(Version(3)).backward()).await?,
            [3, 2, 1]
        );
        assert_eq!(
            versions(alice().from_version(Version(4)).max_records(2)).await?,
            [4, 5]
        );
        assert_eq!(
            versions(alice().backward().max_records(3)).await?,
            [10, 9, 8]
        );
        assert_eq!(versions(alice().from_version(Version(11))).await?, [0; 0]);
        assert_eq!(
            versions(alice().from_version(Version(99)).backward().max_records(1)).await?,
            [10]
        );
        for record in read(entities.read("accounts", "bob")).await? {
            assert_eq!(record.key.as_deref(), Some(&b"bob"[..]));
            assert_eq!(
                record.value.as_deref(),
                record
                    .version
                    .map(|version| version.to_string())
                    .as_deref()
                    .map(str::as_bytes)
            );
            assert_eq!(
                (record.partition, &*record.event_type),
                (partition_of_key(b"bob", 3), "counted")
            );
            assert!(!record.erased);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_trimmed_entity_says_where_it_starts_and_its_versions_go_on() -> Outcome {
    let (_broker, client) = started().await?;
    fill(&client, &["alice"], 5).await?;
    let entities = client.entities();
    let found = entities
        .preview_trim("accounts", "alice", Version(4))
        .await?;
    assert_eq!((found.first, found.latest), (Version(1), Version(5)));
    let trimmed = entities.trim("accounts", "alice", Version(4)).await?;
    assert_eq!((trimmed.first, trimmed.latest), (Version(4), Version(5)));
    let reading = entities.read("accounts", "alice").open().await?;
    assert_eq!(reading.first_version(), Version(4));
    let left = read(entities.read("accounts", "alice")).await?;
    assert_eq!(left.len(), 2, "{left:?}");
    let backward = read(entities.read("accounts", "alice").backward()).await?;
    assert_eq!(backward.len(), 2, "{backward:?}");
    let latest = entities.latest("accounts", ["alice"]).await?;
    assert_eq!(latest[0].version, Version(5));
    let refused = entities.trim("accounts", "alice", Version(7)).await;
    let reason = refused.as_ref().err().and_then(|error| error.reason());
    assert_eq!(reason, Some("VERSION_OUT_OF_RANGE"), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn an_entity_that_never_had_a_record_has_version_0_and_is_no_error() -> Outcome {
    let (_broker, client) = started().await?;
    fill(&client, &["alice"], 2).await?;
    let reading = client.entities().read("accounts", "nobody").open().await?;
    assert_eq!(reading.latest_version(), Version::NONE);
    assert_eq!(
        read(client.entities().read("accounts", "nobody").backward()).await?,
        []
    );
    let reading = client
        .entities()
        .read("accounts", "alice")
        .from_version(Version(9))
        .open()
        .await?;
    assert_eq!(
        reading.latest_version(),
        Version(2),
        "told even if there is nothing to read"
    );
    Ok(())
}

#[tokio::test]
async fn a_long_entity_comes_in_several_responses_in_order() -> Outcome {
    let (_broker, client) = started().await?;
    let value = vec![7; 100_000];
    for _ in 0..35 {
        let others = ["bob", "carol"].map(|key| Record::new().key(key).value("small"));
        client.append(Batch::of("accounts", others)).await?;
        client
            .append(Batch::of(
                "accounts",
                [Record::new().key("alice").value(&value)],
            ))
            .await?;
    }
    for backward in [false, true] {
        let read = client.entities().read("accounts", "alice");
        let mut reading = if backward { read.backward() } else { read }.open().await?;
        let (mut batches, mut versions) = (0, Vec::new());
        while let Some(batch) = reading.next_batch().await? {
            assert!(
                batch.bytes() <= 1 << 20,
                "{} bytes in one response",
                batch.bytes()
            );
            batches += 1;
            for record in batch.records() {
                versions.push(record?.version.expect("it has a key"));
            }
        }
        if backward {
            versions.reverse();
        }
        assert_eq!(versions, (1..=35).collect::<Vec<_>>());
        assert!(batches > 3, "{batches} responses");
    }
    Ok(())
}

#[tokio::test]
async fn the_latest_of_many_entities_comes_in_the_order_asked_for() -> Outcome {
    let (mut broker, client) = started().await?;
    fill(&client, &["alice", "bob"], 3).await?;
    client
        .append(Batch::of("accounts", [Record::tombstone("bob")]))
        .await?;
    for restarted in [false, true] {
        if restarted {
            broker.stop().await;
            broker.restart().await;
        }
        let latest = client
            .entities()
            .latest("accounts", ["bob", "nobody", "alice", "bob"])
            .await?;
        let versions: Vec<u64> = latest.iter().map(|latest| latest.version.0).collect();
        assert_eq!(versions, [4, 0, 3, 4]);
        assert_eq!(latest[1].record, None);
        let alice = latest[2].record.as_ref().expect("a record");
        assert_eq!(
            (alice.value.as_deref(), alice.version),
            (Some(&b"3"[..]), Some(Version(3)))
        );
        assert_eq!(alice.partition, partition_of_key(b"alice", 3));
        let bob = latest[0].record.as_ref().expect("a tombstone is a record");
        assert_eq!((bob.value.as_deref(), bob.erased), (None, false));
        assert_eq!(latest[0], latest[3]);
    }
    assert_eq!(client.entities().latest("accounts", [""; 0]).await?, []);
    Ok(())
}

#[tokio::test]
async fn the_latest_of_as_many_entities_as_may_be_asked_for_come_in_several_responses() -> Outcome {
    let (_broker, client) = started().await?;
    let keys: Vec<String> = (0..1_000).map(|at| format!("entity-{at}")).collect();
    let value = vec![7; 3_000];
    for keys in keys.chunks(100) {
        client
            .append(Batch::of(
                "accounts",
                keys.iter().map(|key| Record::new().key(key).value(&value)),
            ))
            .await?;
    }
    let latest = client.entities().latest("accounts", &keys).await?;
    for (latest, key) in latest.iter().zip(&keys) {
        assert_eq!(
            latest
                .record
                .as_ref()
                .and_then(|record| record.key.as_deref()),
            Some(key.as_bytes())
        );
    }
    assert_eq!(latest.len(), 1_000);
    Ok(())
}

#[tokio::test]
async fn records_that_were_trimmed_are_left_out_and_the_version_stays() -> Outcome {
    let (mut broker, client) = started().await?;
    fill(&client, &["alice"], 6).await?;
    let partition = partition_of_key(b"alice", 3);
    for (before, left) in [(4, vec![5, 6]), (6, vec![])] {
        client
            .topics()
            .trim("accounts", partition, Offset(before))
            .await?;
        for restarted in [false, true] {
            if restarted {
                broker.crash().await;
                broker.restart().await;
            }
            let entities = client.entities();
            assert_eq!(versions(entities.read("accounts", "alice")).await?, left);
            assert_eq!(
                versions(entities.read("accounts", "alice").from_version(Version(2))).await?,
                left
            );
            let backward: Vec<u64> = left.iter().rev().copied().collect();
            assert_eq!(
                versions(entities.read("accounts", "alice").backward()).await?,
                backward
            );
            let latest = &entities.latest("accounts", ["alice"]).await?[0];
            assert_eq!(
                (latest.version, latest.record.is_some()),
                (Version(6), !left.is_empty())
            );
        }
    }
    fill(&client, &["alice"], 1).await?;
    assert_eq!(
        versions(client.entities().read("accounts", "alice")).await?,
        [7]
    );
    Ok(())
}

#[tokio::test]
async fn bad_input_is_refused_by_name() -> Outcome {
    let (broker, client) = started().await?;
    let entities = client.entities();
    let refused = |answer: Result<(), Error>, reason: &str| {
        let error = answer.expect_err("it is refused");
        assert_eq!(error.reason(), Some(reason), "{error}");
    };
    for (topic, key, why) in [
        ("nowhere", "k", "UNKNOWN_TOPIC"),
        ("no/where", "k", "INVALID_TOPIC_NAME"),
        ("plain", "k", "PLAIN_TOPIC"),
        ("accounts", "", "MALFORMED_REQUEST"),
        ("accounts", &"k".repeat(65_536), "MALFORMED_REQUEST"),
    ] {
        refused(entities.read(topic, key).open().await.map(drop), why);
        refused(entities.latest(topic, ["fine", key]).await.map(drop), why);
        refused(entities.erase(topic, key).await.map(drop), why);
    }
    refused(entities.erasure(77).await.map(drop), "UNKNOWN_ERASURE");
    refused(
        entities
            .latest("accounts", vec!["k"; 1_001])
            .await
            .map(drop),
        "REQUEST_TOO_LARGE",
    );

    let mut calls = EntitiesClient::new(broker.channel());
    let large = GetLatestRequest {
        topic: "accounts".to_owned(),
        keys: vec![vec![b'k'; 65_535].into(); 65],
        max_response_bytes: 0,
    };
    let status = calls.get_latest(large).await.unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
    );
    let status = calls.read_key(ReadKeyRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    Ok(())
}

/// All records of the topic, read from its earliest offset.
async fn all(client: &Client) -> Result<Vec<StoredRecord>, Error> {
    let mut reading = client.read("accounts").open().await?;
    let mut records = Vec::new();
    while let Some(record) = reading.next_record().await? {
        records.push(record);
    }
    Ok(records)
}

fn assert_erased(record: &StoredRecord) {
    assert!(record.erased, "{record:?}");
    assert_eq!(
        (
            &record.key,
            &record.value,
            record.headers.len(),
            record.event_id.len()
        ),
        (&None, &None, 0, 0)
    );
    assert_eq!(record.event_type, "counted");
}

#[tokio::test]
async fn an_erased_entity_is_gone_from_every_read_and_its_versions_go_on() -> Outcome {
    let (mut broker, client) = started().await?;
    fill(&client, &["alice", "bob"], 5).await?;
    let erasure = client.entities().erase("accounts", "alice").await?;
    assert_eq!(erasure.through, Version(5));
    assert!(erasure.deadline_ms >= erasure.requested_ms);
    assert_eq!(
        client.entities().erasure(erasure.id).await?.through,
        Version(5)
    );

    for restarted in [false, true] {
        if restarted {
            broker.crash().await;
            broker.restart().await;
        }
        let records = all(&client).await?;
        assert_eq!(records.len(), 10, "offsets stay");
        for record in &records {
            match record.key.as_deref() {
                Some(key) => assert_eq!(key, b"bob"),
                None => assert_erased(record),
            }
        }
        for record in read(client.entities().read("accounts", "alice")).await? {
            assert_erased(&record);
        }
        let latest = &client.entities().latest("accounts", ["alice"]).await?[0];
        assert_eq!(latest.version, Version(5));
        assert!(
            latest
                .record
                .as_ref()
                .is_none_or(|record| record.erased && record.value.is_none())
        );
        let mut by_key = client.read("accounts").key("alice").open().await?;
        assert_eq!(by_key.next_record().await?, None);
    }

    let again = client.entities().erase("accounts", "alice").await?;
    assert_eq!(again.through, Version(5), "erasing twice is harmless");
    fill(&client, &["alice"], 1).await?;
    let latest = &client.entities().latest("accounts", ["alice"]).await?[0];
    assert_eq!(latest.version, Version(6));
    assert_eq!(
        latest
            .record
            .as_ref()
            .and_then(|record| record.value.as_deref()),
        Some(&b"1"[..])
    );
    let nobody = client.entities().erase("accounts", "nobody").await?;
    assert_eq!(nobody.through, Version::NONE);
    Ok(())
}

#[tokio::test]
async fn a_reader_that_follows_is_told_of_an_erasure_and_one_that_comes_later_is_not() -> Outcome {
    let (_broker, client) = started().await?;
    fill(&client, &["alice", "bob"], 3).await?;
    let partition = partition_of_key(b"alice", 3);
    let mut following = client
        .read("accounts")
        .partition(partition)
        .from(Position::Latest)
        .follow()
        .open()
        .await?;
    following.next_batch().await?.expect("where it begins");
    client.entities().erase("accounts", "alice").await?;
    let notice = loop {
        let batch = following
            .next_batch()
            .await?
            .expect("a following read does not end");
        if let [notice] = batch.erased() {
            break *notice;
        }
    };
    assert_eq!(notice.through, Version(3));
    assert!(notice.end >= Offset(3));
    // SHA-256 of "alice".
    let hash = "2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90";
    let hex: String = notice
        .key_sha256
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(hex, hash);

    let mut later = client
        .read("accounts")
        .partition(PartitionId(partition.0))
        .follow()
        .open()
        .await?;
    loop {
        let batch = later
            .next_batch()
            .await?
            .expect("a following read does not end");
        assert!(batch.erased().is_empty());
        if batch.caught_up {
            return Ok(());
        }
    }
}
