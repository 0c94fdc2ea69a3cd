//! `producer`: producers are listed and forgotten.

use serde_json::Value;
use taffrail::{
    client::{Client, NewTopic},
    proto::{
        AppendedBatch, ForgetProducerRequest, ListProducersRequest, OpenProducerRequest, Producer,
        broker_client::BrokerClient, log_client::LogClient, wire::AppendRequest,
    },
};
use tonic::{Code, Status, transport::Channel};

use super::{Serve, assert_fails, started, text};
use crate::raw::{by, keyless, numbered, reason};

async fn open(log: &mut LogClient<Channel>, name: &str) -> Producer {
    let request = OpenProducerRequest {
        name: name.to_owned(),
    };
    let opened = log.open_producer(request).await.expect("there is room");
    opened.into_inner().producer.expect("it is opened")
}

async fn append(
    log: &mut LogClient<Channel>,
    producer: Producer,
) -> Result<Vec<AppendedBatch>, Status> {
    let first: AppendRequest = by(producer, [numbered("t", 0, 0, &[keyless("x")])]);
    Ok(log.append(first).await?.into_inner().batches)
}

async fn channel(broker: &Serve) -> Channel {
    let endpoint = Channel::from_shared(broker.url.clone()).expect("it is a URL");
    endpoint.connect().await.expect("it listens")
}

fn known(broker: &Serve) -> Vec<Value> {
    let listed = broker.json(&["producer", "list"]);
    listed["producers"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_is_forgotten_is_refused_and_what_it_sends_again_is_not_stored_twice() {
    let (_dir, broker) = started();
    let client = Client::connect(&broker.url).await.expect("it listens");
    let topic = NewTopic::new("t");
    client.topics().create(&topic).await.expect("it is new");
    let mut log = LogClient::new(channel(&broker).await);
    let producer = open(&mut log, "orders").await;
    append(&mut log, producer).await.expect("it is the first");
    let unnamed = open(&mut log, "").await;
    let listed = known(&broker);
    assert_eq!(listed.len(), 2);
    let id = format!("{:016x}", producer.id);
    let named = listed.iter().find(|one| one["name"] == "orders");
    let named = named.expect("it is listed");
    assert_eq!(named["id"], id);
    assert_eq!(
        (&named["epoch"], &named["partitions"]),
        (&1.into(), &1.into())
    );
    let shown = text(&broker.succeed(&["producer", "list"], b""));
    assert!(shown.contains(&id) && shown.contains("orders"), "{shown}");

    let forgotten = broker.json(&["producer", "forget", "orders"]);
    assert_eq!(forgotten["forgotten"]["id"], id);
    let refused = append(&mut log, producer)
        .await
        .expect_err("it is not known");
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::NotFound, "UNKNOWN_PRODUCER")
    );
    assert_eq!(
        text(&broker.succeed(&["consume", "t"], b"")),
        "x\n",
        "stored once"
    );
    let again = open(&mut log, "orders").await;
    assert_ne!(again.id, producer.id);
    assert_eq!(again.epoch, 1);

    let unnamed = format!("{:016x}", unnamed.id);
    let said = text(&broker.succeed(&["producer", "forget", &unnamed], b""));
    assert_eq!(said, format!("forgot producer {unnamed}\n"));
    assert_eq!(known(&broker).len(), 1);
    let empty = broker.run(&["producer", "forget", ""]);
    assert_fails(&empty, 2, &["by its id, not by an empty name"]);
    for missing in [&*unnamed, "nobody"] {
        let failed = broker.run(&["producer", "forget", missing]);
        assert_fails(&failed, 4, &[missing, "taffrail producer list"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_are_listed_a_page_at_a_time_and_forgotten_by_name_or_id() {
    let (_dir, broker) = started();
    let mut log = LogClient::new(channel(&broker).await);
    let mut opened = Vec::new();
    for name in ["a", "b", "c", "", ""] {
        opened.push(open(&mut log, name).await.id);
    }
    opened.sort_unstable();
    let mut calls = BrokerClient::new(channel(&broker).await);
    let (mut listed, mut pages, mut after) = (Vec::new(), 0, 0);
    loop {
        let request = ListProducersRequest {
            page_size: 2,
            after,
            ..ListProducersRequest::default()
        };
        let page = calls.list_producers(request).await.expect("it is answered");
        let page = page.into_inner();
        assert!(page.producers.len() <= 2);
        listed.extend(page.producers.iter().map(|one| one.id));
        pages += 1;
        if !page.more {
            break;
        }
        after = *listed.last().expect("a page that is not the last has some");
    }
    assert_eq!((listed, pages), (opened, 3));

    let empty = ForgetProducerRequest::default();
    let refused = calls.forget_producer(empty).await.expect_err("of whom?");
    assert_eq!(
        (refused.code(), &*reason(&refused)),
        (Code::InvalidArgument, "MALFORMED_REQUEST")
    );
    for expected in [None, Some("UNKNOWN_PRODUCER")] {
        let by_name = ForgetProducerRequest {
            producer: Some(taffrail::proto::forget_producer_request::Producer::Name(
                "b".to_owned(),
            )),
        };
        let forgotten = calls.forget_producer(by_name).await;
        assert_eq!(
            forgotten.err().map(|status| reason(&status)).as_deref(),
            expected
        );
    }
}
