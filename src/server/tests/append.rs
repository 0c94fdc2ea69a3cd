//! Appends that need a file do not hold up other calls.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use crate::{
    broker::{Broker, Error, Flow, Options},
    budget::{Name, Sizes},
    env::{
        Env,
        sim::{OpKind, SimClock, SimDisk, SimRandom},
    },
    proto::{GroupOffset, GroupOffsets, Record, wire},
    server::{
        auth::tests::access_of_everybody,
        log::append::{Refused, answer, take},
    },
};

const KEYS: u64 = 500;

/// A runtime that works on one call at a time.
fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("there are threads")
}

/// A broker that writes its key tables soon.
fn open(disk: &SimDisk, seed: u64) -> Arc<Broker> {
    let env = Env {
        files: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(1_700_000_000_000)),
        random: Arc::new(SimRandom::new(seed)),
    };
    let small = Options {
        journal_file_bytes: 96 << 10,
        journal_files: 3,
        memory: Sizes::default()
            .with(Name::Appends, 512 << 10)
            .with(Name::KeyIndex, 8 << 10),
        disk_reserve_bytes: 0,
        ..Options::new(PathBuf::from("/data"))
    };
    Broker::open(env, small).expect("nothing fails")
}

fn request(number: u64) -> wire::AppendRequest {
    let record = Record {
        key: Some(format!("key {number}").into()),
        ..Record::default()
    };
    let batch = wire::AppendBatch {
        topic: "t".into(),
        partition: None,
        sequence: None,
        topic_id: String::new(),
        records: vec![prost::Message::encode_to_vec(&record).into()],
    };
    let batches = vec![Bytes::from(prost::Message::encode_to_vec(&batch))];
    wire::AppendRequest {
        batches,
        return_versions: true,
        group_offsets: Vec::new(),
        ..wire::AppendRequest::default()
    }
}

/// Appends a record to an entity; returns its version.
async fn append(broker: &Arc<Broker>, number: u64) -> u64 {
    let access = access_of_everybody();
    let pending = take(broker, &Flow::default(), None, &access, request(number))
        .await
        .expect("it is queued");
    answer(pending).await.expect("nothing fails").batches[0].ranges[0].versions[0]
}

/// A broker that has just started: the first of this many keys is in no table in memory any more,
/// so that its record must be read.
pub(super) fn cold(runtime: &Runtime) -> (SimDisk, Arc<Broker>) {
    let disk = SimDisk::new(1);
    let broker = open(&disk, 1);
    runtime.block_on(async {
        broker
            .create_topic("t", 1, &BTreeMap::new())
            .expect("a good name")
            .await
            .expect("nothing fails");
        for number in 0..KEYS {
            assert_eq!(append(&broker, number).await, 1);
        }
    });
    broker.close().expect("nothing fails");
    let broker = open(&disk, 2);
    (disk, broker)
}

#[test]
fn other_calls_go_on_while_an_append_waits_for_a_file() {
    let runtime = runtime();
    let (disk, broker) = cold(&runtime);
    let hold = disk.hold(OpKind::Read);
    let (sender, others) = mpsc::sync_channel(2);
    let (beside, cold) = (sender.clone(), Arc::clone(&broker));
    // Calls of one connection share a task.
    let appended = runtime.spawn(async move {
        let beside = async move { beside.send(()).expect("somebody waits") };
        tokio::join!(append(&cold, 0), beside).0
    });
    while hold.waiting() == 0 {
        assert!(!appended.is_finished(), "it needs no file");
        std::thread::yield_now();
    }
    runtime.spawn(async move { sender.send(()).expect("somebody waits") });
    for _ in 0..2 {
        others
            .recv_timeout(Duration::from_secs(60))
            .expect("another call does not go on");
    }
    drop(hold);
    assert_eq!(runtime.block_on(appended).expect("it does not panic"), 2);
    broker.close().expect("nothing fails");
}

#[test]
fn an_append_commits_no_offset_without_the_member_that_has_read_up_to_it() {
    let runtime = runtime();
    let disk = SimDisk::new(1);
    let broker = open(&disk, 1);
    let commits = GroupOffsets {
        group: "g".to_owned(),
        offsets: vec![GroupOffset {
            topic: "t".to_owned(),
            generation: 1,
            ..GroupOffset::default()
        }],
        member_id: String::new(),
    };
    let append = wire::AppendRequest {
        group_offsets: vec![prost::Message::encode_to_vec(&commits).into()],
        ..request(0)
    };
    let access = access_of_everybody();
    let taken = runtime.block_on(take(&broker, &Flow::default(), None, &access, append));
    match taken {
        Err(Refused::ByBroker(Error::MalformedRequest { reason })) => {
            assert!(reason.contains("member_id"), "{reason}");
        }
        Err(refused) => panic!("{refused:?}"),
        Ok(_) => panic!("it is taken"),
    }
}
