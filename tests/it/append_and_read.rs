//! Records that were appended can be read, also after the broker has gone away and come back.

use taffrail::{
    client::{Batch, Client, NewTopic, Record},
    testing::TestBroker,
    types::Position,
};

type Outcome = Result<(), taffrail::client::Error>;

async fn values(client: &Client, topic: &str) -> Result<Vec<String>, taffrail::client::Error> {
    let mut reading = client.read(topic).open().await?;
    let mut values = Vec::new();
    while let Some(record) = reading.next_record().await? {
        let value = record.value.expect("a value");
        values.push(String::from_utf8(value.to_vec()).expect("UTF-8"));
    }
    Ok(values)
}

#[tokio::test]
async fn records_are_read_back_in_order_after_a_kill_and_after_a_clean_stop() -> Outcome {
    let mut broker = TestBroker::start().await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("t")).await?;
    client
        .append(Batch::of(
            "t",
            [Record::new().value("a"), Record::new().value("b")],
        ))
        .await?;

    broker.crash().await;
    broker.restart().await;
    assert_eq!(values(&client, "t").await?, ["a", "b"]);
    client
        .append(Batch::of("t", [Record::new().value("c")]))
        .await?;

    broker.stop().await;
    broker.restart().await;
    assert_eq!(values(&client, "t").await?, ["a", "b", "c"]);
    Ok(())
}

#[tokio::test]
async fn a_following_read_gets_what_is_appended_later() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client
        .topics()
        .create(&NewTopic::new("t").partitions(3))
        .await?;
    let mut reading = client
        .read("t")
        .from(Position::Latest)
        .follow()
        .open()
        .await?;
    for key in ["x", "y", "z"] {
        client
            .append(Batch::of("t", [Record::new().key(key).value("v")]))
            .await?;
        let record = reading
            .next_record()
            .await?
            .expect("a following read does not end");
        assert_eq!(record.key.as_deref(), Some(key.as_bytes()));
    }
    Ok(())
}

#[tokio::test]
async fn what_was_acknowledged_survives_power_cuts_on_a_simulated_disk() -> Outcome {
    for seed in 0..8 {
        let mut broker = TestBroker::builder().simulated(seed).start().await;
        let client = broker.client();
        client.topics().create(&NewTopic::new("t")).await?;
        let mut expected = Vec::new();
        for round in 0..4 {
            for at in 0..5 {
                let value = format!("{round}-{at}");
                client
                    .append(Batch::of("t", [Record::new().key("k").value(&value)]))
                    .await?;
                expected.push(value);
            }
            broker.crash().await;
            broker.restart().await;
            assert_eq!(values(&client, "t").await?, expected, "seed {seed}");
        }
    }
    Ok(())
}
