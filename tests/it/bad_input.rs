//! Invalid requests are refused as a whole, the error names what is wrong, and nothing is left
//! behind; unusual but valid ones work.

use taffrail::{
    client::{Append, Batch, Client, Error, NewTopic, Record, StoredRecord},
    testing::TestBroker,
    types::{Offset, PartitionId, Position},
};

type Outcome = Result<(), Error>;

/// A broker with an empty topic `t` of two partitions.
async fn started() -> Result<(TestBroker, Client), Error> {
    let broker = TestBroker::start().await;
    let client = broker.client();
    // Plain, so that a record with a key may be in any partition.
    client
        .topics()
        .create(&NewTopic::new("t").partitions(2).setting("keys", "plain"))
        .await?;
    Ok((broker, client))
}

async fn records(client: &Client, from: Position) -> Result<Vec<StoredRecord>, Error> {
    let mut reading = client
        .read("t")
        .partition(PartitionId(0))
        .from(from)
        .open()
        .await?;
    let mut records = Vec::new();
    while let Some(record) = reading.next_record().await? {
        records.push(record);
    }
    Ok(records)
}

/// Asserts that a call was refused for this reason, with a message that contains this.
fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Error>, reason: &str, names: &str) {
    let error = answer.expect_err("it is refused");
    assert_eq!(error.reason(), Some(reason), "{error}");
    assert!(
        error.to_string().contains(names),
        "{error} does not name {names}"
    );
}

#[tokio::test]
async fn an_append_that_is_wrong_anywhere_is_refused_whole_and_stores_nothing() -> Outcome {
    let (_broker, client) = started().await?;
    client
        .topics()
        .create(&NewTopic::new("small").setting("max.record.bytes", "1KiB"))
        .await?;
    let good = || Batch::of("t", [Record::new().key("k").value("v")]);
    let with = |bad: Batch| Append::from([good(), bad]);
    let large = vec![b'x'; 2_000];

    let unknown = Batch::of("nowhere", [Record::new().value("v")]);
    assert_refused(
        client.append(with(unknown)).await,
        "UNKNOWN_TOPIC",
        "nowhere",
    );
    let bad_name = Batch::of("no/where", [Record::new().value("v")]);
    assert_refused(
        client.append(with(bad_name)).await,
        "INVALID_TOPIC_NAME",
        "no/where",
    );
    let mut past = Batch::to_partition("t", PartitionId(2));
    past.push(&Record::new().value("v"));
    assert_refused(client.append(with(past)).await, "UNKNOWN_PARTITION", "2");
    let too_large = Batch::of(
        "small",
        [Record::new().value("fits"), Record::new().value(&large)],
    );
    assert_refused(
        client.append(with(too_large)).await,
        "RECORD_TOO_LARGE",
        "record 1",
    );
    let empty_key = Batch::of("t", [Record::new().key("").value("v")]);
    assert_refused(
        client.append(with(empty_key)).await,
        "MALFORMED_RECORD",
        "key",
    );
    let long_key = Batch::of("t", [Record::new().key(&vec![b'k'; 70_000]).value("v")]);
    assert_refused(
        client.append(with(long_key)).await,
        "MALFORMED_RECORD",
        "65535",
    );
    let nothing = Append::from(Batch::new("t"));
    assert_refused(client.append(nothing).await, "EMPTY_APPEND", "at least one");

    for topic in ["t", "small"] {
        for offset in client.list_offsets(topic, Position::Latest).await? {
            assert_eq!(
                offset.high_watermark,
                Offset(0),
                "something of a refused append was stored"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn topics_are_refused_for_names_settings_and_numbers_that_they_cannot_have() -> Outcome {
    let (_broker, client) = started().await?;
    let topics = client.topics();
    for name in ["", "a b", "ä", ".", "..", &"x".repeat(250)] {
        assert_refused(
            topics.create(&NewTopic::new(name)).await,
            "INVALID_TOPIC_NAME",
            "1 to 249",
        );
    }
    topics.create(&NewTopic::new(&"x".repeat(249))).await?;
    assert_refused(
        topics.create(&NewTopic::new("t")).await,
        "TOPIC_EXISTS",
        "\"t\"",
    );
    let many = NewTopic::new("many").partitions(10_001);
    assert_refused(
        topics.create(&many).await,
        "INVALID_PARTITION_COUNT",
        "10001",
    );
    for (name, value, named) in [
        ("retention", "1", "segment.bytes"),
        ("segment.bytes", "lots", "lots"),
        ("segment.bytes", "1", "64KiB and 1GiB"),
        ("durability", "maybe", "sync, os"),
    ] {
        let topic = NewTopic::new("set").setting(name, value);
        assert_refused(topics.create(&topic).await, "INVALID_SETTING", named);
        assert_refused(
            topics
                .alter("t", &[("segment.ms", "1d"), (name, value)], &[])
                .await,
            "INVALID_SETTING",
            named,
        );
    }
    let (topic, _) = topics.describe("t").await?;
    assert_eq!(
        topic.settings["segment.ms"].0, "604800000",
        "a refused change was made in part"
    );
    assert_refused(topics.describe("nowhere").await, "UNKNOWN_TOPIC", "nowhere");
    assert_refused(topics.delete("nowhere").await, "UNKNOWN_TOPIC", "nowhere");
    assert_refused(
        topics.trim("t", PartitionId(7), Offset(0)).await,
        "UNKNOWN_PARTITION",
        "7",
    );
    assert_refused(
        topics.trim("t", PartitionId(0), Offset(1)).await,
        "OFFSET_OUT_OF_RANGE",
        "offset 1",
    );
    Ok(())
}

#[tokio::test]
async fn an_offset_outside_of_the_log_is_refused_with_what_the_log_holds() -> Outcome {
    let (_broker, client) = started().await?;
    let mut batch = Batch::to_partition("t", PartitionId(0));
    (0..10).for_each(|_| batch.push(&Record::new().value("v")));
    client.append(batch).await?;
    client.topics().trim("t", PartitionId(0), Offset(4)).await?;

    for outside in [0, 3, 11] {
        match records(&client, Position::Offset(Offset(outside))).await {
            Err(Error::OffsetOutOfRange {
                earliest,
                high_watermark,
                ..
            }) => {
                assert_eq!((earliest, high_watermark), (Offset(4), Offset(10)));
            }
            answer => panic!("{answer:?}"),
        }
    }
    assert_eq!(
        records(&client, Position::Offset(Offset(7))).await?[0].offset,
        Offset(7),
        "from within a batch"
    );
    assert_eq!(records(&client, Position::Offset(Offset(10))).await?, []);
    assert_eq!(records(&client, Position::Earliest).await?.len(), 6);
    assert_refused(
        records_of(&client, "nowhere").await,
        "UNKNOWN_TOPIC",
        "nowhere",
    );
    Ok(())
}

async fn records_of(client: &Client, topic: &str) -> Result<(), Error> {
    client
        .read(topic)
        .open()
        .await?
        .next_batch()
        .await
        .map(drop)
}

#[tokio::test]
async fn unusual_records_come_back_as_they_were_sent() -> Outcome {
    let (_broker, client) = started().await?;
    let (key, value) = ([0xff, 0x00, 0xfe], vec![0x80; 1_000_000]);
    let mut batch = Batch::to_partition("t", PartitionId(0));
    batch.push(&Record::new().key(&key).value(&value).timestamp_ms(-1));
    batch.push(&Record::new().value(""));
    batch.push(&Record::tombstone("gone"));
    batch.push(
        &Record::new()
            .event_type("ereignis-ä")
            .header("h", &[0xff])
            .header("h", "")
            .value("v")
            .event_id("id"),
    );
    client.append(batch).await?;

    let found = records(&client, Position::Earliest).await?;
    assert_eq!(found.len(), 4);
    assert_eq!(
        (found[0].key.as_deref(), found[0].value.as_deref()),
        (Some(&key[..]), Some(&value[..]))
    );
    assert_eq!(found[0].timestamp_ms, -1);
    assert_eq!(found[1].value.as_deref(), Some(&b""[..]));
    assert_eq!(
        found[1].timestamp_ms, found[1].append_time_ms,
        "the broker's time stands in for the client's"
    );
    assert_eq!(
        (found[2].key.as_deref(), found[2].value.as_deref()),
        (Some(&b"gone"[..]), None)
    );
    assert_eq!(
        (
            &found[3].event_type[..],
            found[3].headers.len(),
            &found[3].event_id[..]
        ),
        ("ereignis-ä", 2, &b"id"[..])
    );
    Ok(())
}

#[tokio::test]
async fn a_read_returns_what_its_filter_its_limit_and_its_time_ask_for() -> Outcome {
    let (_broker, client) = started().await?;
    let mut batch = Batch::to_partition("t", PartitionId(0));
    for at in 0..100i64 {
        let (key, kind) = (
            format!("k{}", at % 10),
            if at % 2 == 0 { "even" } else { "odd" },
        );
        batch.push(
            &Record::new()
                .key(&key)
                .event_type(kind)
                .timestamp_ms(at * 1_000)
                .value("v"),
        );
    }
    client.append(batch).await?;

    let read = client.read("t").key("k4").key("k5").event_type("even");
    let mut reading = read.open().await?;
    let mut offsets = Vec::new();
    while let Some(record) = reading.next_record().await? {
        offsets.push(record.offset.0);
    }
    assert_eq!(
        offsets,
        (0..10).map(|tens| tens * 10 + 4).collect::<Vec<_>>()
    );

    let mut reading = client.read("t").max_records(7).open().await?;
    let mut count = 0;
    while reading.next_record().await?.is_some() {
        count += 1;
    }
    assert_eq!(count, 7);
    assert_eq!(
        records(&client, Position::Timestamp(41_500)).await?[0].offset,
        Offset(42)
    );
    assert_eq!(records(&client, Position::Timestamp(1_000_000)).await?, []);
    assert_eq!(
        client.list_offsets("t", Position::Timestamp(0)).await?[0].offset,
        Offset(0)
    );
    Ok(())
}
