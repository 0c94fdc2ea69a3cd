//! Sending a backup: which parts, how fast, and what happens if the client does not take it.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;

use crate::{
    broker::{BackupRefused, Broker, Error, Options},
    budget::Name,
    env::{
        Env,
        sim::{SimClock, SimDisk, SimRandom},
    },
    metrics::{Format, Page},
    proto::{BackupFile, BackupRequest, BackupResponse, backup_response::Message},
    server::{
        answers::Source,
        backup::{self, BackupAnswers, Had, Limits},
        turns::Lanes,
    },
};

fn broker() -> Arc<Broker> {
    let env = Env {
        files: Arc::new(SimDisk::new(1)),
        clock: Arc::new(SimClock::new(1_700_000_000_000)),
        random: Arc::new(SimRandom::new(1)),
    };
    Broker::open(env, Options::new("/data".into())).expect("the disk is empty")
}

fn had(files: &[BackupFile]) -> Had {
    let request = BackupRequest {
        have: files.to_vec(),
    };
    let mut had = Had::default();
    had.insert(request);
    had
}

fn answers(broker: &Arc<Broker>, had: Had) -> BackupAnswers {
    limited(broker, had, Limits::at_rate(0))
}

fn limited(broker: &Arc<Broker>, had: Had, limits: Limits) -> BackupAnswers {
    let backup = broker.begin_backup().expect("nothing fails");
    let never = Box::pin(std::future::pending());
    BackupAnswers::new(backup, had, Arc::clone(broker), limits, never)
}

/// The next message; `None` after the last. Waits for it.
async fn next(answers: &mut BackupAnswers) -> Option<Message> {
    let polled = poll_fn(|cx| {
        answers.take_requests(cx);
        answers.poll_next(cx)
    });
    let slices: Vec<Bytes> = polled.await.expect("nothing fails")?;
    let again = answers.again().expect("nothing has changed");
    assert_eq!(again.concat(), slices.concat());
    let response = BackupResponse::decode(&slices.concat()[..]).expect("it is an answer");
    response.message
}

/// All files: their paths, the positions from which they are sent, and the bytes.
async fn all(answers: &mut BackupAnswers) -> Vec<(String, u64, Vec<u8>)> {
    let mut files: Vec<(String, u64, Vec<u8>)> = Vec::new();
    loop {
        match next(answers).await.expect("it has an end") {
            Message::Begun(_) => assert!(files.is_empty()),
            Message::Part(part) => {
                if !part.path.is_empty() {
                    files.push((part.path, part.position, Vec::new()));
                }
                files.last_mut().expect("it begins").2.extend(part.data);
            }
            Message::Done(_) => break,
        }
    }
    assert_eq!(next(answers).await, None);
    files
}

#[tokio::test]
async fn a_file_is_sent_from_where_its_client_has_it_and_not_at_all_where_it_has_all() {
    let broker = broker();
    let files = all(&mut answers(&broker, had(&[]))).await;
    assert!(
        files
            .iter()
            .all(|(_, from, bytes)| *from == 0 && !bytes.is_empty())
    );
    let (path, _, bytes) = files
        .iter()
        .find(|(path, ..)| path == "taffrail")
        .expect("it is there");
    let bytes = &bytes[..];
    let ends = |bytes: &[u8]| crate::storage::format::crc32(&[bytes, bytes]);
    let file = |len: usize, ends| BackupFile {
        path: path.clone(),
        length: len as u64,
        ends_checksum: ends,
    };
    let longer = [bytes, &b"more"[..]].concat();
    for (had_file, lacks) in [
        (file(bytes.len(), ends(bytes)), &[][..]),
        (file(8, ends(&bytes[..8])), &bytes[8..]),
        (file(8, ends(b"somewhat")), bytes),
        (file(bytes.len(), ends(&longer)), bytes),
        (file(longer.len(), ends(&longer)), bytes),
    ] {
        let sent = all(&mut answers(&broker, had(std::slice::from_ref(&had_file)))).await;
        let sent = sent
            .iter()
            .find(|(sent, ..)| sent == path)
            .expect("it is listed");
        assert_eq!(sent.2, lacks, "{had_file:?}");
        assert_eq!(sent.1, (bytes.len() - lacks.len()) as u64, "{had_file:?}");
    }
    broker.close().expect("nothing fails");
}

#[tokio::test]
async fn a_backup_whose_client_takes_nothing_is_ended_and_keeps_no_file() {
    let broker = broker();
    let limits = Limits {
        patience: Duration::from_millis(200),
        ..Limits::at_rate(0)
    };
    let mut answers = limited(&broker, had(&[]), limits);
    next(&mut answers).await.expect("it begins");
    assert!(broker.begin_backup().is_err(), "it is under way");
    // No further message is asked for; only the client's state is checked while it takes nothing.
    poll_fn(|cx| {
        answers.take_requests(cx);
        match broker.begin_backup() {
            Ok(_) => Poll::Ready(()),
            Err(_) => Poll::Pending,
        }
    })
    .await;
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Err(status)) = answers.poll_next(&mut cx) else {
        panic!("it goes on");
    };
    assert!(status.message().contains("took nothing"), "{status}");
    broker.close().expect("nothing fails");
}

#[tokio::test]
async fn a_backup_goes_on_at_its_rate_while_others_append_and_without_one_where_nobody_does() {
    let broker = broker();
    let slow = |rate| {
        limited(
            &broker,
            had(&[]),
            Limits {
                rate,
                ..Limits::at_rate(0)
            },
        )
    };
    // At this rate the backup would take for ever.
    let sent = all(&mut slow(1)).await;
    let bytes: usize = sent.iter().map(|(.., bytes)| bytes.len()).sum();

    // Everything before the last part takes half a second.
    let last = sent.last().expect("there are files").2.len();
    let mut beside_appends = slow(2 * (bytes - last) as u64);
    broker.counts().appends.stored.add(1);
    let clock = Env::system().clock;
    let began = clock.elapsed();
    all(&mut beside_appends).await;
    let took = clock.elapsed().saturating_sub(began);
    assert!(took >= Duration::from_millis(499), "{took:?}");
    drop(beside_appends);
    broker.close().expect("nothing fails");
}

#[tokio::test]
async fn a_backup_waits_for_a_moment_for_the_end_of_the_one_before() {
    let broker = broker();
    let long = Lanes::new().long(broker.budget().part(Name::Reads).holder());
    let first = broker.begin_backup().expect("nothing fails");
    let refused = backup::begin(&broker, &long, Duration::from_millis(20)).await;
    assert!(matches!(
        refused.err(),
        Some(Error::Backup(BackupRefused::UnderWay))
    ));
    let second = backup::begin(&broker, &long, Duration::from_secs(600));
    let mut second = Box::pin(second);
    let polled = poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await;
    assert!(polled, "the first is under way");
    drop(first);
    drop(second.await.expect("the first has ended"));
    broker.close().expect("nothing fails");
}

#[tokio::test]
async fn what_is_shown_of_backups_is_of_the_last_that_was_sent_to_its_end() {
    let broker = broker();
    let shown = |name: &str| {
        let mut page = Page::new();
        broker.counts().show(&mut page);
        let text = page.text(Format::Prometheus);
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.map(|line| line[name.len() + 1..].parse::<f64>().expect("a number"))
    };
    let mut cut_off = answers(&broker, had(&[]));
    next(&mut cut_off).await.expect("it begins");
    drop(cut_off);
    assert_eq!(shown("taffrail_backups_total"), Some(0.0));
    assert_eq!(shown("taffrail_backup_last_bytes"), None);
    let files = all(&mut answers(&broker, had(&[]))).await;
    let bytes: usize = files.iter().map(|(.., bytes)| bytes.len()).sum();
    assert_eq!(shown("taffrail_backups_total"), Some(1.0));
    assert_eq!(shown("taffrail_backup_last_bytes"), Some(bytes as f64));
    assert_eq!(shown("taffrail_backup_last_sent_bytes"), Some(bytes as f64));
    // What is appended from now on, in the same millisecond, is not in it.
    assert_eq!(
        shown("taffrail_backup_last_timestamp_seconds"),
        Some(1_699_999_999.999)
    );
    broker.close().expect("nothing fails");
}
