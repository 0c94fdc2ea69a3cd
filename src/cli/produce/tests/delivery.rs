//! Requests into the log of a real broker, which goes away in between.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::ProgressBar;
use tokio::sync::mpsc;

use crate::{
    cli::connection::Server,
    cli::flags::ConnectionFlags,
    cli::produce::{
        delivery::{Delivery, Stopped},
        fields::Fields,
        marker::Marker,
        recovery::{self, Found},
        requests::{BadLine, Request, Requests, Target},
        summary::Summary,
    },
    client::{Client, Error, NewTopic, Topic},
    env::Env,
    testing::TestBroker,
    types::{Offset, PartitionId},
};

/// Three requests, the second of which has lines with and without a key.
fn requests(topic: &Topic) -> Vec<Request> {
    let mut lines = vec!["{\"k\":\"a\"}\n"; 1000];
    lines.extend(["{}\n"; 500]);
    lines.extend(["{\"k\":\"b\"}\n"; 500]);
    lines.push("{\"k\":\"c\"}");
    let input = std::io::Cursor::new(lines.concat());
    let target = Target { topic: topic.name.clone(), partitions: topic.partitions, partition: None };
    let fields = Fields { key: Some("k".to_owned()), ..Fields::default() };
    let mut requests = Requests::new(input, "input", fields, target, Marker::before_first(7));
    std::iter::from_fn(|| requests.next().unwrap()).collect()
}

async fn find(client: &Client, topic: &Topic, requests: &[Request]) -> Result<Found, Error> {
    let wanted: BTreeSet<Marker> = requests.iter().map(|request| request.marker).collect();
    recovery::find(client, topic, &BTreeMap::new(), wanted).await
}

#[tokio::test]
async fn after_a_crash_the_log_says_which_requests_are_stored_and_where() {
    let mut broker = TestBroker::start().await;
    let client = broker.client();
    let topic = client.topics().create(&NewTopic::new("orders").partitions(3)).await.unwrap();
    let requests = requests(&topic);
    assert_eq!(requests.len(), 3);
    assert_eq!(find(&client, &topic, &requests).await.unwrap(), Found::default());

    client.append(requests[0].append.clone()).await.unwrap();
    let second = client.append(requests[1].append.clone()).await.unwrap();
    broker.crash().await;
    broker.restart().await;
    let found = find(&client, &topic, &requests).await.unwrap();

    let stored: Vec<Marker> = found.stored.keys().copied().collect();
    assert_eq!(stored, [requests[0].marker, requests[1].marker]);
    assert_eq!(found.stored[&requests[0].marker], None);
    let keyless_in = found.stored[&requests[1].marker].unwrap();
    assert!(second.ranges().any(|range| range.partition == keyless_in && range.count >= 500));
    let total: u64 = found.behind.values().map(|offset| offset.0).sum();
    assert_eq!(total, 2000);
}

#[tokio::test]
async fn what_lies_before_the_known_place_is_not_read_again() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let topic = client.topics().create(&NewTopic::new("orders")).await.unwrap();
    let requests = requests(&topic);
    for request in &requests[..2] {
        client.append(request.append.clone()).await.unwrap();
    }
    let behind = BTreeMap::from([(PartitionId(0), Offset(1000))]);
    let wanted = requests.iter().map(|request| request.marker).collect();
    let found = recovery::find(&client, &topic, &behind, wanted).await.unwrap();
    assert_eq!(found.stored.into_keys().collect::<Vec<_>>(), [requests[1].marker]);
}

#[tokio::test]
async fn a_topic_that_was_created_again_is_not_taken_for_the_old_one() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let topic = client.topics().create(&NewTopic::new("orders")).await.unwrap();
    client.topics().delete("orders").await.unwrap();
    client.topics().create(&NewTopic::new("orders")).await.unwrap();
    let error = find(&client, &topic, &requests(&topic)).await.unwrap_err();
    assert_eq!(error.reason(), Some("UNKNOWN_TOPIC"));
}

async fn start(broker: &TestBroker, topic: &Topic) -> Delivery {
    let flags = ConnectionFlags { server: Some(broker.url()), json: false };
    let server = Server::new(&flags).retrying("60s").unwrap();
    let client = server.connect().await.unwrap();
    let summary = Summary::new(Env::system().clock);
    Delivery::start(server, client, topic.clone(), ProgressBar::hidden(), summary).await.unwrap()
}

fn numbered(topic: &Topic) -> impl Iterator<Item = Result<Request, BadLine>> {
    let lines: String = (0..60_000).map(|number| format!("{number}\n")).collect();
    let target = Target { topic: topic.name.clone(), partitions: topic.partitions, partition: None };
    let marker = Marker::before_first(7);
    let mut requests = Requests::new(std::io::Cursor::new(lines), "input", Fields::default(), target, marker);
    std::iter::from_fn(move || requests.next().transpose())
}

async fn values(client: &Client, topic: &str) -> Vec<String> {
    let mut reading = client.read(topic).open().await.unwrap();
    let mut values = Vec::new();
    while let Some(record) = reading.next_record().await.unwrap() {
        values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
    }
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_stored_once_and_in_order_while_the_broker_crashes() {
    let mut broker = TestBroker::builder().tcp().start().await;
    let topic = broker.client().topics().create(&NewTopic::new("orders")).await.unwrap();
    let mut delivery = start(&broker, &topic).await;
    let (sender, source) = mpsc::channel(4);
    let delivered = tokio::spawn(async move {
        let outcome = delivery.deliver(source).await;
        (outcome, delivery)
    });

    for (number, request) in numbered(&topic).enumerate() {
        sender.send(request).await.unwrap();
        if number % 20 == 10 {
            broker.crash().await;
            broker.restart().await;
        }
    }
    drop(sender);
    let (outcome, delivery) = delivered.await.unwrap();

    outcome.unwrap();
    assert_eq!(delivery.summary().stored(), "lines 1 to 60000 are stored");
    let expected: Vec<String> = (0..60_000).map(|number| number.to_string()).collect();
    assert!(values(&broker.client(), "orders").await == expected, "a line is missing, doubled or out of order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_refused_ends_the_delivery_behind_what_came_before() {
    let broker = TestBroker::builder().tcp().start().await;
    let small = NewTopic::new("orders").setting("max.record.bytes", "1KiB");
    let topic = broker.client().topics().create(&small).await.unwrap();
    let mut delivery = start(&broker, &topic).await;

    let lines = ["fine\n".repeat(1000), "x".repeat(2000), "\nfine\n".to_owned()].concat();
    let target = Target { topic: "orders".to_owned(), partitions: 1, partition: None };
    let marker = Marker::before_first(7);
    let mut requests = Requests::new(std::io::Cursor::new(lines), "input", Fields::default(), target, marker);
    let (sender, source) = mpsc::channel(4);
    while let Some(request) = requests.next().unwrap() {
        sender.send(Ok(request)).await.unwrap();
    }
    drop(sender);

    let stopped = delivery.deliver(source).await.unwrap_err();
    let Stopped::Refused { lines, error } = stopped else { panic!("{stopped:?}") };
    assert_eq!((lines, error.reason()), ((1001, 1002), Some("RECORD_TOO_LARGE")));
    assert_eq!(delivery.summary().stored(), "lines 1 to 1000 are stored");
    assert_eq!(values(&broker.client(), "orders").await.len(), 1000);
}
