//! The client's producer, with a network and a broker that fail.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use taffrail::{
    client::{Client, Error, NewTopic, Producer, Record, Sent, SentRecord},
    testing::TestBroker,
    types::{Offset, PartitionId, Version, partition_of_key},
};
use tokio::sync::{mpsc, watch};

use crate::proxy::{Chance, Proxy};

type Outcome = Result<(), Error>;

/// Longer than anything takes here, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The place of each value, as the producer was told or as the log has it.
type Places = BTreeMap<String, (PartitionId, Offset)>;

#[tokio::test]
async fn records_are_answered_with_their_places_and_versions() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client
        .topics()
        .create(&NewTopic::new("t").partitions(3))
        .await?;
    let producer = client.producer("t").return_versions().open().await?;
    let mut sent = Vec::new();
    for at in 0..100 {
        sent.push(
            producer
                .send(Record::new().key("alice").value(&at.to_string()))
                .await?,
        );
    }
    let keyless = producer.send(Record::new().value("of no entity")).await?;
    for (sent, at) in sent.into_iter().zip(0..) {
        let SentRecord {
            partition,
            offset,
            version,
        } = sent.await?;
        assert_eq!(
            (partition, version),
            (partition_of_key(b"alice", 3), Some(Version(at + 1)))
        );
        assert!(offset >= Some(Offset(at)));
    }
    assert_eq!(keyless.await?.version, None);
    producer.finish().await
}

#[tokio::test]
async fn a_record_that_the_broker_refuses_ends_the_producer_with_its_words() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("t")).await?;
    let producer = client.producer("t").open().await?;
    producer.send(Record::new().value("stored")).await?.await?;
    client.topics().delete("t").await?;
    let sent = producer.send(Record::new().value("too late")).await?;
    assert_eq!(sent.await.unwrap_err().reason(), Some("UNKNOWN_TOPIC"));
    assert_eq!(
        producer.finish().await.unwrap_err().reason(),
        Some("UNKNOWN_TOPIC")
    );
    assert_eq!(
        client.producer("t").open().await.unwrap_err().reason(),
        Some("UNKNOWN_TOPIC")
    );
    Ok(())
}

#[tokio::test]
async fn a_producer_is_fenced_when_its_name_is_opened_again() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("t")).await?;
    let first = client.producer("t").name("importer").open().await?;
    first
        .send(Record::new().key("k").value("first"))
        .await?
        .await?;
    let second = client.producer("t").name("importer").open().await?;
    second
        .send(Record::new().key("k").value("second"))
        .await?
        .await?;
    let late = first.send(Record::new().key("k").value("late")).await?;
    assert_eq!(late.await.unwrap_err().reason(), Some("FENCED"));
    assert_eq!(first.finish().await.unwrap_err().reason(), Some("FENCED"));
    second.finish().await?;
    assert_eq!(stored(&client).await?.len(), 2);
    Ok(())
}

/// The places of all records in the log, by value; values must be unique.
async fn stored(client: &Client) -> Result<Places, Error> {
    let mut reading = client.read("t").open().await?;
    let mut stored = Places::new();
    while let Some(record) = reading.next_record().await? {
        let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("UTF-8");
        let twice = stored.insert(value.clone(), (record.partition, record.offset));
        assert_eq!(
            twice,
            None,
            "{value} is stored twice, also at {:?}",
            (record.partition, record.offset)
        );
    }
    Ok(stored)
}

/// The values of each key, in the order of the log.
async fn order(client: &Client) -> Result<BTreeMap<Vec<u8>, Vec<u64>>, Error> {
    let mut reading = client.read("t").open().await?;
    let mut order: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    while let Some(record) = reading.next_record().await? {
        let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("UTF-8");
        let number = value
            .rsplit('-')
            .next()
            .and_then(|number| number.parse().ok())
            .expect("a number");
        if let Some(key) = record.key {
            order.entry(key.to_vec()).or_default().push(number);
        }
    }
    Ok(order)
}

const PRODUCERS: u64 = 3;
const RECORDS: u64 = 800;

/// Opens a producer through the proxy. The proxy may cut the connection meanwhile, so this is
/// repeated: opening is not retried by the client.
async fn open_through(url: &str, number: u64) -> Result<Producer, Error> {
    loop {
        let Ok(client) = Client::connect(url).await else {
            continue;
        };
        let new = client
            .producer("t")
            .request_records(20)
            .in_flight(4)
            .window_bytes(20_000)
            .give_up_after(PATIENCE);
        match (if number == 0 {
            new.name("the first")
        } else {
            new
        })
        .open()
        .await
        {
            Err(Error::Unavailable { .. }) => {}
            opened => return opened,
        }
    }
}

/// Sends records and collects their places; reports each record that is stored.
async fn produce(url: String, number: u64, stored: watch::Sender<u64>) -> Result<Places, Error> {
    let producer = open_through(&url, number).await?;
    let (send, mut sent) = mpsc::channel::<(String, Sent)>(1_000);
    let answers = tokio::spawn(async move {
        let mut places = Places::new();
        while let Some((value, sent)) = sent.recv().await {
            let SentRecord {
                partition, offset, ..
            } = sent.await?;
            let offset = offset.expect("it is remembered");
            places.insert(value, (partition, offset));
            stored.send_modify(|stored| *stored += 1);
        }
        Ok::<_, Error>(places)
    });
    for at in 0..RECORDS {
        let (key, value) = (format!("key-{number}-{}", at % 5), format!("{number}-{at}"));
        let record = Record::new().value(&value);
        let sent = producer
            .send(if at % 10 == 9 {
                record
            } else {
                record.key(&key)
            })
            .await?;
        send.send((value, sent)).await.expect("it is received");
    }
    drop(send);
    let places = answers.await.expect("no panic")?;
    producer.finish().await?;
    Ok(places)
}

async fn survive(seed: u64) -> Outcome {
    let [own, proxys] = [211, 212].map(|last| IpAddr::from([127, 0, 0, last]));
    let mut broker = TestBroker::builder()
        .simulated(seed)
        .listen(own)
        .start()
        .await;
    broker
        .client()
        .topics()
        .create(&NewTopic::new("t").partitions(4))
        .await?;
    let proxy = Proxy::start(proxys, broker.address(), seed, 60).await;

    let (stored_now, mut progress) = watch::channel(0);
    let producing: Vec<_> = (0..PRODUCERS)
        .map(|number| tokio::spawn(produce(proxy.url(), number, stored_now.clone())))
        .collect();
    let chance = Chance::new(seed);
    for restart in 1..=5 {
        let upto = restart * PRODUCERS * RECORDS / 6;
        progress
            .wait_for(|stored| *stored >= upto)
            .await
            .expect("it is not given up");
        if chance.below(3) == 0 {
            broker.stop().await;
        } else {
            broker.crash().await;
        }
        broker.restart().await;
    }
    let mut told = Places::new();
    for producing in producing {
        told.extend(producing.await.expect("no panic")?);
    }
    assert!(
        proxy.cut() >= 10,
        "only {} connections were cut",
        proxy.cut()
    );

    let client = broker.client();
    let stored = stored(&client).await?;
    let sent: BTreeSet<String> = (0..PRODUCERS)
        .flat_map(|number| (0..RECORDS).map(move |at| format!("{number}-{at}")))
        .collect();
    assert_eq!(
        stored.keys().cloned().collect::<BTreeSet<_>>(),
        sent,
        "something is missing, or was never sent"
    );
    assert_eq!(told, stored, "an answer was about another record");
    for (key, numbers) in order(&client).await? {
        assert!(
            numbers.is_sorted(),
            "records of {} are out of order: {numbers:?}",
            key.escape_ascii()
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_stored_once_and_in_order_through_cut_connections_lost_answers_and_restarts()
-> Outcome {
    for seed in 0..3 {
        let survived = tokio::time::timeout(PATIENCE, survive(seed)).await;
        survived.unwrap_or_else(|_| panic!("seed {seed}: it takes too long"))?;
    }
    Ok(())
}
