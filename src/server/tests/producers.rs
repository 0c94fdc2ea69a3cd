//! Producers, whose memory is divided among connections.

use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use super::served::Served;
use crate::{
    broker::ProducerRoom,
    client::{Client, NewTopic, Producer, Record},
    proto::{self, OpenProducerRequest, log_client::LogClient, wire},
};

const ROOM: ProducerRoom = ProducerRoom {
    producers: 32,
    sequences: 64,
    name_bytes: 1 << 10,
};

async fn started() -> (Served, Client) {
    let served = Served::start(|options| options.producer_room = ROOM);
    let client = Client::connect(&served.address())
        .await
        .expect("it listens");
    let topic = NewTopic::new("t").partitions(100);
    client.topics().create(&topic).await.expect("it is new");
    (served, client)
}

/// Opens another connection.
async fn connect(served: &Served) -> LogClient<Channel> {
    let socket = format!("unix:{}", served.dir().join("admin.sock").display());
    let endpoint = Endpoint::from_shared(socket).expect("it is an address");
    LogClient::new(endpoint.connect().await.expect("it listens"))
}

async fn open(log: &mut LogClient<Channel>) -> Result<proto::Producer, Status> {
    let opened = log.open_producer(OpenProducerRequest::default()).await?;
    Ok(opened.into_inner().producer.expect("it is opened"))
}

/// Appends a producer's first batch to a partition.
async fn append(
    log: &mut LogClient<Channel>,
    producer: proto::Producer,
    partition: u32,
) -> Result<(), Status> {
    let batch = wire::AppendBatch {
        topic: "t".to_owned(),
        partition: Some(partition),
        sequence: Some(0),
        records: vec![Vec::new().into()],
        ..wire::AppendBatch::default()
    };
    let request = wire::AppendRequest {
        batches: vec![prost::Message::encode_to_vec(&batch).into()],
        producer: Some(producer),
        ..wire::AppendRequest::default()
    };
    log.append(request).await.map(drop)
}

/// Opens a producer as `taffrail produce` does, and appends.
async fn produce(client: &Client) -> Producer {
    let producer = client
        .producer("t")
        .open()
        .await
        .expect("there is room for one");
    send(&producer).await;
    producer
}

async fn send(producer: &Producer) {
    let sent = producer.send(Record::new().value("x")).await;
    producer.flush().await.expect("nothing is refused");
    sent.expect("nothing is refused")
        .await
        .expect("it is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opens_producers_without_end_keeps_nobody_from_producing() {
    let (served, client) = started().await;
    let before = produce(&client).await;
    let mut log = connect(&served).await;
    for _ in 0..300 {
        open(&mut log).await.expect("its own make room for it");
    }
    produce(&client).await;
    send(&before).await;
    for _ in 0..100 {
        let mut log = connect(&served).await;
        for _ in 0..3 {
            open(&mut log)
                .await
                .expect("those that stored nothing make room");
        }
    }
    produce(&client).await;
    send(&before).await;
    drop((log, client));
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_appends_to_many_partitions_leaves_as_many_as_it_takes() {
    let (served, client) = started().await;
    let mut log = connect(&served).await;
    let mut appended = 0;
    let refused = 'all: loop {
        let producer = open(&mut log).await.expect("there is room");
        for partition in 0..10 {
            if let Err(refused) = append(&mut log, producer, partition).await {
                break 'all refused;
            }
            appended += 1;
        }
    };
    assert!(
        refused
            .message()
            .contains("partitions that producers append to"),
        "{refused}"
    );
    assert_eq!(appended, 24, "half of three quarters of 64");
    let mut other = connect(&served).await;
    let producer = open(&mut other).await.expect("there is room");
    for partition in 0..12 {
        let stored = append(&mut other, producer, partition).await;
        stored.expect("it holds no more than it leaves");
    }
    produce(&client).await;
    drop((log, other, client));
    served.stop().await;
}
