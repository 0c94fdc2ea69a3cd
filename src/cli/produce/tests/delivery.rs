//! Lines are delivered to a real broker, which goes away meanwhile.

use std::{io::Cursor, time::Duration};

use indicatif::ProgressBar;
use tokio::sync::{mpsc, watch};

use crate::{
    cli::{
        produce::{
            delivery::{Stopped, deliver},
            fields::Fields,
            fixed::Fixed,
            lines::Lines,
            summary::Summary,
        },
        signals::{Stop, StopSignal, Told},
    },
    client::{Client, NewTopic},
    env::Env,
    testing::TestBroker,
    types::PartitionId,
};

/// No fields that all records have.
static NOTHING: Fixed = Fixed {
    key: None,
    event_type: None,
    headers: Vec::new(),
};

/// A stop signal that never comes.
fn never() -> Stop {
    Stop::told_by(watch::channel(Told::default()).1)
}

async fn values(client: &Client, topic: &str) -> Vec<String> {
    let mut reading = client.read(topic).open().await.unwrap();
    let mut values = Vec::new();
    while let Some(record) = reading.next_record().await.unwrap() {
        values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
    }
    values
}

/// Starts to deliver lines to topic `orders`. Tells when each chunk was taken.
#[expect(clippy::type_complexity, reason = "taken apart at once")]
fn start(
    client: &Client,
    input: String,
) -> (
    tokio::task::JoinHandle<(Summary, Result<(), Stopped>)>,
    mpsc::Receiver<()>,
) {
    let (sender, source) = mpsc::channel(1);
    let (tell, taken) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut lines = Lines::new(Cursor::new(input), "input", Fields::default(), 0);
        while let Some(chunk) = lines.next().transpose() {
            if sender.send(chunk).await.is_err() || tell.send(()).await.is_err() {
                break;
            }
        }
    });
    let client = client.clone();
    let delivering = tokio::spawn(async move {
        let producer = client
            .producer("orders")
            .give_up_after(Duration::from_secs(60))
            .open()
            .await
            .unwrap();
        deliver(
            producer,
            &NOTHING,
            source,
            Summary::new(Env::system().clock, 0),
            ProgressBar::hidden(),
            never(),
        )
        .await
    });
    (delivering, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_is_stored_once_and_in_order_while_the_broker_crashes() {
    let mut broker = TestBroker::start().await;
    broker
        .client()
        .topics()
        .create(&NewTopic::new("orders"))
        .await
        .unwrap();
    let expected: Vec<String> = (0..60_000).map(|number| number.to_string()).collect();
    let (delivering, mut taken) = start(&broker.client(), expected.join("\n"));

    let mut chunks = 0;
    while taken.recv().await.is_some() {
        chunks += 1;
        if chunks % 20 == 10 {
            broker.crash().await;
            broker.restart().await;
        }
    }
    let (summary, outcome) = delivering.await.unwrap();

    outcome.unwrap();
    assert_eq!(summary.stored(), "lines 1 to 60000 are stored");
    assert!(
        values(&broker.client(), "orders").await == expected,
        "a line is missing, doubled or out of order"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_refused_ends_the_delivery_behind_what_came_before() {
    let broker = TestBroker::start().await;
    let small = NewTopic::new("orders").setting("max.record.bytes", "1KiB");
    broker.client().topics().create(&small).await.unwrap();

    let lines = [
        "fine\n".repeat(1500),
        "x".repeat(2000),
        "\nfine\n".to_owned(),
    ]
    .concat();
    let (delivering, mut taken) = start(&broker.client(), lines);
    while taken.recv().await.is_some() {}
    let (summary, outcome) = delivering.await.unwrap();

    let Stopped::Refused { lines, error } = outcome.unwrap_err() else {
        panic!("it was not refused")
    };
    assert_eq!(
        (lines, error.reason()),
        ((1501, 1501), Some("RECORD_TOO_LARGE"))
    );
    assert_eq!(summary.stored(), "lines 1 to 1500 are stored");
    assert_eq!(values(&broker.client(), "orders").await.len(), 1500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_refuses_ends_the_delivery_although_more_input_could_come() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client
        .topics()
        .create(&NewTopic::new("orders"))
        .await
        .unwrap();
    let producer = client
        .producer("orders")
        .partition(PartitionId(7))
        .open()
        .await
        .unwrap();
    let (sender, source) = mpsc::channel(1);
    let mut lines = Lines::new(&b"one\n"[..], "input", Fields::default(), 0);
    sender
        .send(Ok(lines.next().unwrap().unwrap()))
        .await
        .unwrap();

    let summary = Summary::new(Env::system().clock, 0);
    let (summary, outcome) = deliver(
        producer,
        &NOTHING,
        source,
        summary,
        ProgressBar::hidden(),
        never(),
    )
    .await;

    let Stopped::Refused { lines, error } = outcome.unwrap_err() else {
        panic!("it was not refused")
    };
    assert_eq!((lines, error.reason()), ((1, 1), Some("UNKNOWN_PARTITION")));
    assert_eq!(summary.stored(), "nothing was stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tells_it_to_stop_gets_all_that_was_sent_and_who_tells_it_twice_need_not_wait() {
    let mut broker = TestBroker::start().await;
    let client = broker.client();
    client
        .topics()
        .create(&NewTopic::new("orders"))
        .await
        .unwrap();
    for is_lost in [false, true] {
        let producer = client.producer("orders").open().await.unwrap();
        let (sender, source) = mpsc::channel(1);
        let (tell, told) = watch::channel(Told::default());
        let summary = Summary::new(Env::system().clock, 0);
        let delivering = tokio::spawn(deliver(
            producer,
            &NOTHING,
            source,
            summary,
            ProgressBar::hidden(),
            Stop::told_by(told),
        ));
        if is_lost {
            broker.crash().await;
        }
        let mut lines = Lines::new(&b"one\ntwo\n"[..], "input", Fields::default(), 0);
        sender
            .send(Ok(lines.next().unwrap().unwrap()))
            .await
            .unwrap();
        // The channel has room for one chunk: if it has room, the first was taken.
        drop(sender.reserve().await.unwrap());
        tell.send_modify(|told| *told = told.again(StopSignal::Terminate));
        if is_lost {
            tell.send_modify(|told| *told = told.again(StopSignal::Interrupt));
        }
        let (summary, outcome) = delivering.await.unwrap();
        match outcome.unwrap_err() {
            Stopped::Told(signal) => {
                assert_eq!(signal, StopSignal::Terminate);
                if !is_lost {
                    let stored = values(&broker.client(), "orders").await.len() as u64;
                    assert_eq!(stored, summary.last_line(), "what is said to be stored is");
                }
            }
            Stopped::ToldAgain { lines, signal } => {
                assert_eq!(signal, StopSignal::Terminate);
                assert!(is_lost, "it was told once");
                assert!(
                    lines.0 == summary.last_line() + 1 && lines.1 <= 2,
                    "{lines:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
