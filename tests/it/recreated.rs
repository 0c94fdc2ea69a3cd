//! A topic is deleted and created again under its name: clients with a position in the first topic
//! get an error, and never continue in the second.

use std::time::Duration;

use taffrail::{
    client::{Append, Batch, Client, Error, NewTopic, Reading, Record},
    proto::{
        ListOffsetsRequest, OpenProducerRequest, TrimRequest, topics_client::TopicsClient,
        wire::AppendBatch,
    },
    testing::TestBroker,
    types::{Offset, PartitionId, Position, TopicId, Version},
};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::raw::{batch, by, info, keyless, log, numbered, request};

type Outcome = Result<(), Error>;

/// Longer than anything takes in these tests.
const PATIENCE: Duration = Duration::from_secs(30);

async fn started() -> Result<(TestBroker, Client), Error> {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("t")).await?;
    Ok((broker, client))
}

async fn append(client: &Client, count: usize) -> Outcome {
    let record = || Record::new().key("k").value("v");
    let records = (0..count).map(|_| record());
    client.append(Batch::of("t", records)).await.map(drop)
}

/// Deletes the topic and creates it again. Returns its ids before and after.
async fn recreate(client: &Client) -> Result<(TopicId, TopicId), Error> {
    let id = async || -> Result<_, Error> {
        let id = client.topics().describe("t").await?.0.id;
        Ok(TopicId::parse(&id).expect("an id"))
    };
    let before = id().await?;
    client.topics().delete("t").await?;
    client.topics().create(&NewTopic::new("t")).await?;
    Ok((before, id().await?))
}

/// Reads until the position is `end`.
async fn read_to(reading: &mut Reading, end: u64) -> Outcome {
    while reading.positions().get(&PartitionId(0)) != Some(&Offset(end)) {
        reading.next_batch().await?.expect("it follows");
    }
    Ok(())
}

fn assert_recreated(error: &Error, (before, now): (TopicId, TopicId)) {
    let Error::Refused(refusal) = error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (&*refusal.code, &*refusal.reason),
        ("FailedPrecondition", "TOPIC_RECREATED"),
        "{refusal:?}"
    );
    let told = ["topic", "expected_id", "actual_id"].map(|name| refusal.metadata[name].clone());
    assert_eq!(told, ["t".to_owned(), before.to_string(), now.to_string()]);
    assert!(refusal.message.contains("created anew"), "{refusal:?}");
}

fn assert_status_recreated(status: &Status) {
    assert_eq!(
        (status.code(), &*info(status).reason),
        (Code::FailedPrecondition, "TOPIC_RECREATED"),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_follower_that_comes_back_is_told_that_the_topic_is_another() -> Outcome {
    let (_broker, client) = started().await?;
    append(&client, 3).await?;
    let mut reading = client.read("t").follow().open().await?;
    read_to(&mut reading, 3).await?;
    let (place, id) = (
        reading.positions()[&PartitionId(0)],
        reading.topic_id().expect("the broker has said"),
    );
    drop(reading);
    let again = || {
        let read = client.read("t").topic_id(id).follow();
        read.partition_from(PartitionId(0), Position::Offset(place))
    };
    let mut reading = again().open().await?;
    append(&client, 1).await?;
    read_to(&mut reading, 4).await?;
    drop(reading);

    let ids = recreate(&client).await?;
    // So that the old offset also exists in the new topic.
    append(&client, 5).await?;
    let error = match again().open().await {
        Ok(mut reading) => reading.next_batch().await.expect_err("it is another topic"),
        Err(error) => error,
    };
    assert_eq!(ids.0, id);
    assert_recreated(&error, ids);
    Ok(())
}

#[tokio::test]
async fn a_read_under_way_ends_when_its_topic_is_deleted_though_another_has_its_name() -> Outcome {
    let (_broker, client) = started().await?;
    append(&client, 3).await?;
    // More than is sent ahead to a client, many times over.
    for _ in 0..40 {
        let value = vec![b'x'; 1_000_000];
        client
            .append(Batch::of("t", [Record::new().value(&value)]))
            .await?;
    }
    let mut following = client
        .read("t")
        .from(Position::Latest)
        .follow()
        .open()
        .await?;
    read_to(&mut following, 43).await?;
    let mut slow = client.read("t").open().await?;
    slow.next_batch().await?.expect("the first records");

    recreate(&client).await?;
    append(&client, 1).await?;
    for (reading, which) in [(&mut following, "following"), (&mut slow, "slow")] {
        let ended = timeout(PATIENCE, async {
            loop {
                match reading.next_batch().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the {which} read ended as if it were complete"),
                    Err(error) => return error,
                }
            }
        });
        let error = ended.await.expect("it ends");
        assert_eq!(error.reason(), Some("UNKNOWN_TOPIC"), "{which}: {error}");
        assert!(
            end_of(reading) <= Offset(43),
            "the {which} read was let into the other topic"
        );
    }
    Ok(())
}

fn end_of(reading: &Reading) -> Offset {
    reading.positions()[&PartitionId(0)]
}

#[tokio::test]
async fn offsets_that_are_listed_come_with_the_topic_they_are_of() -> Outcome {
    let (broker, client) = started().await?;
    let listed = client.list_offsets("t", Position::Latest).await?[0];
    let (before, now) = recreate(&client).await?;
    assert_eq!(listed.topic_id, Some(before));
    let listed = client.list_offsets("t", Position::Latest).await?[0];
    assert_eq!(listed.topic_id, Some(now));

    let request = |topic_id: &str| ListOffsetsRequest {
        topic: "t".to_owned(),
        topic_id: topic_id.to_owned(),
        ..ListOffsetsRequest::default()
    };
    let mut log = log(&broker);
    log.list_offsets(request(&now.to_string())).await.unwrap();
    let status = log.list_offsets(request(&before.to_string())).await;
    assert_status_recreated(&status.unwrap_err());
    for malformed in [
        "1",
        "0123456789abcdef0",
        "xyzxyzxyzxyzxyzx",
        "+123456789abcdef",
    ] {
        let status = log.list_offsets(request(malformed)).await.unwrap_err();
        assert_eq!(&*info(&status).reason, "MALFORMED_REQUEST", "{malformed}");
    }
    Ok(())
}

#[tokio::test]
async fn conditions_hold_in_the_topic_that_they_are_about() -> Outcome {
    let (_broker, client) = started().await?;
    append(&client, 2).await?;
    let ids = recreate(&client).await?;
    append(&client, 2).await?;
    let appended = async |id, of_key: bool| {
        let append = Append::from(Batch::of("t", [Record::new().key("k").value("v")]));
        let append = if of_key {
            append.expect_version("t", "k", Version(2))
        } else {
            append.expect_next_offset("t", PartitionId(0), Offset(2))
        };
        client.append(append.of_topic_id("t", id)).await
    };
    for of_key in [true, false] {
        let error = appended(ids.0, of_key)
            .await
            .expect_err("it is another topic");
        assert_recreated(&error, ids);
    }
    let latest = client.list_offsets("t", Position::Latest).await?[0];
    assert_eq!(latest.offset, Offset(2), "nothing was appended");
    appended(ids.1, false).await?;
    Ok(())
}

#[tokio::test]
async fn a_trim_at_an_offset_of_the_first_topic_leaves_the_second_alone() -> Outcome {
    let (broker, client) = started().await?;
    let (before, now) = recreate(&client).await?;
    append(&client, 2).await?;
    let request = |id: TopicId| TrimRequest {
        topic: "t".to_owned(),
        before_offset: 1,
        topic_id: id.to_string(),
        ..TrimRequest::default()
    };
    let mut topics = TopicsClient::new(broker.channel());
    assert_status_recreated(&topics.trim(request(before)).await.unwrap_err());
    let earliest = client.list_offsets("t", Position::Earliest).await?[0];
    assert_eq!(earliest.offset, Offset(0));
    let trimmed = topics.trim(request(now)).await.unwrap().into_inner();
    assert_eq!(trimmed.earliest, 1);
    Ok(())
}

#[tokio::test]
async fn a_batch_for_the_first_topic_is_not_stored_in_the_second() -> Outcome {
    let (broker, client) = started().await?;
    let mut log = log(&broker);
    let opened = log.open_producer(OpenProducerRequest::default()).await;
    let producer = opened.unwrap().into_inner().producer.expect("a producer");
    let meaning = |id: TopicId, batch: AppendBatch| AppendBatch {
        topic_id: id.to_string(),
        ..batch
    };
    let (before, now) = recreate(&client).await?;
    let records = [keyless("x")];
    for (id, is_meant) in [(before, false), (now, true)] {
        let plain = request([meaning(id, batch("t", &records))]);
        let counted = by(producer, [meaning(id, numbered("t", 0, 0, &records))]);
        for request in [plain, counted] {
            match log.append(request).await {
                Ok(_) => assert!(is_meant, "it is stored in another topic"),
                Err(status) if is_meant => panic!("{status:?}"),
                Err(status) => {
                    assert_status_recreated(&status);
                    let told = &info(&status).metadata;
                    assert_eq!(told["actual_id"], now.to_string());
                }
            }
        }
    }
    let malformed = AppendBatch {
        topic_id: "1".to_owned(),
        ..batch("t", &records)
    };
    let status = log.append(request([malformed])).await.unwrap_err();
    assert_eq!(&*info(&status).reason, "MALFORMED_REQUEST");
    let latest = client.list_offsets("t", Position::Latest).await?[0];
    assert_eq!(latest.offset, Offset(2));
    Ok(())
}

#[tokio::test]
async fn a_producer_does_not_go_on_in_another_topic() -> Outcome {
    let (_broker, client) = started().await?;
    for sent_before in [0, 2] {
        let producer = client.producer("t").open().await?;
        for _ in 0..sent_before {
            producer.send(Record::new().value("first")).await?.await?;
        }
        let ids = recreate(&client).await?;
        let sent = producer.send(Record::new().value("second")).await?;
        assert_recreated(&sent.await.expect_err("it is another topic"), ids);
        assert_recreated(&producer.finish().await.expect_err("it has ended"), ids);
        let latest = client.list_offsets("t", Position::Latest).await?[0];
        assert_eq!(latest.offset, Offset(0), "nothing was stored");
    }
    Ok(())
}
