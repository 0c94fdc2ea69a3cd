//! A read continues by itself after its broker was lost.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use taffrail::{
    client::{Batch, Client, Error, NewTopic, Outage, Reading, Record},
    testing::TestBroker,
    types::{Offset, PartitionId, Position},
};
use tokio::time::timeout;

type Outcome = Result<(), Error>;

/// Longer than anything takes in these tests.
const PATIENCE: Duration = Duration::from_secs(60);

async fn started() -> Result<(TestBroker, Client), Error> {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("t")).await?;
    Ok((broker, client))
}

async fn append(client: &Client, values: &[&str]) -> Outcome {
    let records = values.iter().map(|value| Record::new().value(value));
    client.append(Batch::of("t", records)).await.map(drop)
}

/// Crashes and restarts the broker, and appends over a connection of its own.
async fn crash_and_append(broker: &mut TestBroker, values: &[&str]) -> Outcome {
    broker.crash().await;
    broker.restart().await;
    append(&broker.client(), values).await
}

/// Asserts that these are the next records.
async fn assert_next(reading: &mut Reading, values: &[&str]) {
    for expected in values {
        let next = timeout(PATIENCE, reading.next_record()).await;
        let record = next.expect("it comes").expect("the read goes on");
        let value = record.expect("there is one more").value;
        assert_eq!(value.as_deref(), Some(expected.as_bytes()));
    }
}

#[tokio::test]
async fn a_follow_goes_on_across_crashes_with_each_record_once() -> Outcome {
    let (mut broker, client) = started().await?;
    let outages = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&outages);
    let read = client
        .read("t")
        .follow()
        .on_outage(move |outage| told.lock().expect("nobody panics").push(outage));
    let mut reading = read.open().await?;
    append(&client, &["0", "1"]).await?;
    assert_next(&mut reading, &["0", "1"]).await;
    crash_and_append(&mut broker, &["2"]).await?;
    assert_next(&mut reading, &["2"]).await;
    crash_and_append(&mut broker, &["3", "4"]).await?;
    assert_next(&mut reading, &["3", "4"]).await;
    assert_eq!(reading.positions()[&PartitionId(0)], Offset(5));
    let outages = outages.lock().expect("nobody panics");
    let began = |outage: &Outage| matches!(outage, Outage::Began { .. });
    let kinds: Vec<bool> = outages.iter().map(began).collect();
    assert_eq!(kinds, [true, false, true, false], "{outages:?}");
    Ok(())
}

#[tokio::test]
async fn a_follow_from_the_end_misses_nothing_though_it_broke_off_before_it_heard_anything()
-> Outcome {
    let (mut broker, client) = started().await?;
    append(&client, &["before"]).await?;
    let read = client.read("t").from(Position::Latest).follow();
    let mut reading = read.open().await?;
    assert_eq!(reading.positions()[&PartitionId(0)], Offset(1));
    crash_and_append(&mut broker, &["0", "1"]).await?;
    assert_next(&mut reading, &["0", "1"]).await;
    Ok(())
}

#[tokio::test]
async fn a_read_of_so_many_records_has_no_more_though_it_broke_off() -> Outcome {
    let (mut broker, client) = started().await?;
    append(&client, &["0", "1"]).await?;
    let mut reading = client.read("t").follow().max_records(3).open().await?;
    assert_next(&mut reading, &["0", "1"]).await;
    crash_and_append(&mut broker, &["2", "3"]).await?;
    assert_next(&mut reading, &["2"]).await;
    broker.crash().await;
    assert_eq!(reading.next_record().await?, None);
    Ok(())
}

#[tokio::test]
async fn a_read_whose_broker_is_away_for_too_long_says_so_and_goes_on_when_it_is_asked_again()
-> Outcome {
    let (mut broker, client) = started().await?;
    append(&client, &["0"]).await?;
    let read = client.read("t").follow().retry_for(Duration::ZERO);
    let mut reading = read.open().await?;
    assert_next(&mut reading, &["0"]).await;
    broker.crash().await;
    for _ in 0..2 {
        let lost = timeout(PATIENCE, reading.next_record()).await;
        let error = lost.expect("it gives up").expect_err("nobody is there");
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    }
    broker.restart().await;
    append(&broker.client(), &["1"]).await?;
    assert_next(&mut reading, &["1"]).await;
    Ok(())
}

#[tokio::test]
async fn a_program_may_stop_waiting_at_any_moment_and_wait_again() -> Outcome {
    let (mut broker, client) = started().await?;
    append(&client, &["0"]).await?;
    let mut reading = client.read("t").follow().open().await?;
    assert_next(&mut reading, &["0"]).await;
    crash_and_append(&mut broker, &["1"]).await?;
    let found = timeout(PATIENCE, async {
        loop {
            // Shorter than the pause before the next attempt.
            if let Ok(next) = timeout(Duration::from_millis(1), reading.next_record()).await {
                return next;
            }
        }
    });
    let record = found.await.expect("it comes")?.expect("the read goes on");
    assert_eq!(record.value.as_deref(), Some(&b"1"[..]));
    Ok(())
}

#[tokio::test]
async fn what_was_trimmed_while_the_broker_was_away_is_told() -> Outcome {
    let (mut broker, client) = started().await?;
    append(&client, &["0"]).await?;
    let mut reading = client.read("t").follow().open().await?;
    assert_next(&mut reading, &["0"]).await;
    crash_and_append(&mut broker, &["1", "2", "3"]).await?;
    let topics = broker.client().topics();
    topics.trim("t", PartitionId(0), Offset(3)).await?;
    let error = timeout(PATIENCE, reading.next_record()).await;
    let error = error.expect("it ends").expect_err("it is trimmed");
    let Error::OffsetOutOfRange { earliest, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(earliest, Offset(3));
    Ok(())
}

#[tokio::test]
async fn a_read_from_offsets_asks_for_nothing_before_and_goes_on_in_the_same_topic_only() -> Outcome
{
    let (mut broker, client) = started().await?;
    append(&client, &["0", "1"]).await?;
    let read = client.read("t").follow();
    let read = read.partition_from(PartitionId(0), Position::Offset(Offset(1)));
    let mut reading = read.open().await?;
    assert_eq!(reading.positions()[&PartitionId(0)], Offset(1));
    // The broker has not been asked, and has said nothing yet.
    assert_eq!(reading.topic_id(), None);
    assert_next(&mut reading, &["1"]).await;
    let id = reading.topic_id().expect("the broker has said it");
    broker.crash().await;
    broker.restart().await;
    let other = broker.client();
    other.topics().delete("t").await?;
    other.topics().create(&NewTopic::new("t")).await?;
    append(&other, &["0", "1", "another"]).await?;
    let error = timeout(PATIENCE, reading.next_record()).await;
    let error = error.expect("it ends").expect_err("it is another topic");
    assert_eq!(error.reason(), Some("TOPIC_RECREATED"), "{error}");
    assert!(error.to_string().contains(&id.to_string()), "{error}");
    Ok(())
}
