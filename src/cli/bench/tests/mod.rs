//! The check finds wrong records, and medians are computed correctly.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    Bench,
    made::Made,
    measure::{BrokerCpu, Run, Turn},
    payload::Payload,
    plan::{Keys, Load, Plan},
    report::Figures,
    turns::{Cost, Costs},
};
use crate::{
    cli::{
        connection::Server,
        signals::{Stop, Told},
    },
    client::NewTopic,
    env::{
        Env, FileSystem,
        sim::{SimClock, SimDisk, SimRandom},
    },
    testing::TestBroker,
    types::PartitionId,
};

fn plan(record_bytes: usize, keys: Keys) -> Plan {
    Plan {
        load: Load::Produce,
        record_bytes,
        records: 3,
        clients: 2,
        tasks: 1,
        requests: 4,
        keys,
        preload: 0,
        groups: 0,
        turn: None,
        interval: Duration::ZERO,
        partitions: 3,
        settings: Vec::new(),
        runs: 1,
        dir: PathBuf::new(),
    }
}

const KEYS: [Keys; 4] = [Keys::None, Keys::Hot, Keys::New, Keys::OfClient(2)];

#[derive(Clone)]
struct Appended {
    partition: PartitionId,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Everything that the plan appends, by partition; the clients take turns.
fn appended(payload: &Payload) -> Vec<Appended> {
    let mut all = Vec::new();
    for number in 0..12 {
        for client in 0..2 {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            payload.write_key(&mut key, client, number);
            payload.write(&mut value, client, number);
            all.push(Appended {
                partition: payload.partition(&key, number),
                key,
                value,
            });
        }
    }
    all
}

fn check(payload: &Payload, records: &[Appended]) -> Result<(), String> {
    let mut check = payload.check();
    for Appended {
        partition,
        key,
        value,
    } in records
    {
        let key = Some(&key[..]).filter(|key| !key.is_empty());
        check.record(*partition, key, value)?;
    }
    check.finish()
}

#[test]
fn what_was_appended_passes_the_check() {
    for (record_bytes, keys) in [1, 11, 12, 13, 1000]
        .into_iter()
        .flat_map(|bytes| KEYS.map(|keys| (bytes, keys)))
    {
        let payload = Payload::new(&plan(record_bytes, keys), 5);
        let records = appended(&payload);
        assert!(
            records
                .iter()
                .all(|record| record.value.len() == record_bytes)
        );
        assert!(
            records
                .iter()
                .all(|record| record.key.is_empty() == (keys == Keys::None))
        );
        assert_eq!(check(&payload, &records), Ok(()));
    }
}

#[test]
fn a_record_that_is_missing_doubled_moved_or_changed_is_found() {
    for keys in KEYS {
        let payload = Payload::new(&plan(100, keys), 5);
        let records = appended(&payload);
        for at in 0..records.len() {
            let mut missing = records.clone();
            missing.remove(at);
            assert!(check(&payload, &missing).is_err());

            let mut doubled = records.clone();
            doubled.insert(at, records[at].clone());
            assert!(check(&payload, &doubled).is_err());
            doubled.remove((at + 2) % doubled.len());
            assert!(
                check(&payload, &doubled).is_err(),
                "also where the number is right"
            );

            let mut moved = records.clone();
            moved[at].partition.0 = (moved[at].partition.0 + 1) % 3;
            assert!(check(&payload, &moved).is_err());

            let mut other_key = records.clone();
            other_key[at].key.push(b'x');
            assert!(check(&payload, &other_key).is_err());

            for byte in [0, 11, 12, 99] {
                let mut changed = records.clone();
                changed[at].value[byte] ^= 1;
                assert!(check(&payload, &changed).is_err());
            }
        }
    }
}

#[test]
fn records_of_one_client_and_partition_that_change_places_are_found() {
    for keys in KEYS {
        let payload = Payload::new(&plan(100, keys), 5);
        let records = appended(&payload);
        for at in 0..records.len() {
            let same_lane = |later: &usize| {
                *later % 2 == at % 2
                    && *later > at
                    && records[*later].partition == records[at].partition
            };
            let Some(later) = (0..records.len()).find(same_lane) else {
                continue;
            };
            let mut swapped = records.clone();
            swapped.swap(at, later);
            assert!(check(&payload, &swapped).is_err());
        }
    }
}

#[test]
fn every_record_of_a_request_is_about_the_same_entity_and_clients_share_none() {
    let payload = Payload::new(&plan(100, Keys::OfClient(2)), 5);
    let key = |client, number| {
        let mut key = Vec::new();
        payload.write_key(&mut key, client, number);
        key
    };
    for request in 0..4 {
        assert!(
            key(0, 3 * request) == key(0, 3 * request + 2),
            "three records make up a request"
        );
        assert!((0..12).all(|number| key(0, 3 * request) != key(1, number)));
    }
}

#[test]
fn the_median_is_taken_of_each_figure() {
    let figures = |speed: f64, p50: u64| Figures {
        requests_per_second: speed,
        records_per_second: speed,
        megabytes_per_second: speed,
        p50: Duration::from_millis(p50),
        p99: Duration::ZERO,
        p999: Duration::ZERO,
        max: Duration::ZERO,
        broker_cpu: None,
        journal_cpu: None,
        calls_cpu: None,
        commits_per_second: None,
    };
    let medians = Figures::medians(&[figures(3.0, 1), figures(1.0, 3), figures(2.0, 9)]);
    assert_eq!(
        (medians.records_per_second, medians.p50),
        (2.0, Duration::from_millis(3))
    );
}

/// Runs a plan against a broker in this process.
async fn carry_out(plan: Plan) -> (Run, TestBroker) {
    let broker = TestBroker::builder().tcp().start().await;
    let (server, env) = (Server::at(&broker.url()), Env::system());
    let bench = Bench::prepare(&plan, &server, "measured".to_owned(), None, &env);
    let run = bench.await.unwrap().run().await.unwrap();
    (run, broker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_and_as_many_plain_reads_see_every_record() {
    let load = Load::Members { members: 2 };
    let of_100_bytes = plan(100, Keys::None);
    let (run, broker) = carry_out(Plan {
        load,
        ..of_100_bytes
    })
    .await;
    let plain = run.beside.expect("it is compared");
    assert_eq!((run.records, plain.records), (24, 24));
    assert!(broker.client().topics().list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_commit_while_a_load_is_measured() {
    let (run, broker) = carry_out(Plan {
        groups: 12,
        requests: 400,
        ..plan(100, Keys::None)
    })
    .await;
    assert!(run.commits > Some(0), "{run:?}");
    assert!(broker.client().topics().list().await.unwrap().is_empty());
    assert!(broker.client().groups().list().await.unwrap().is_empty());
}

/// A stop signal that never comes.
fn never() -> Stop {
    Stop::told_by(watch::channel(Told::default()).1)
}

/// What is left in this directory and on this broker after everything was removed.
async fn left(dir: &Path, url: &str, topic: &str) -> Vec<String> {
    let mut made = Made::create(&Env::system(), dir).unwrap();
    made.expect_topic(&Server::at(url), topic);
    made.remove(&mut never()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_is_removed_from_the_disk_and_from_a_broker_that_goes_on() {
    let broker = TestBroker::builder().tcp().start().await;
    let topics = broker.client().topics();
    for topic in ["measured", "others"] {
        topics.create(&NewTopic::new(topic)).await.unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(left(dir.path(), &broker.url(), "measured").await.is_empty());
    // Removing also works for what was planned but never created.
    assert!(left(dir.path(), &broker.url(), "planned").await.is_empty());
    let names: Vec<String> = topics
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, ["others"]);
    assert_eq!(Env::system().files.read_dir(dir.path()).unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_removed_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.201:0").unwrap();
    let url = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let dir = tempfile::tempdir().unwrap();
    let left = left(dir.path(), &url, "measured").await;
    assert_eq!(left.len(), 1);
    assert!(
        left[0].contains("topic measured") && left[0].contains(&url),
        "{left:?}"
    );

    let disk = SimDisk::new(7);
    let env = Env {
        files: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(1_700_000_000_000)),
        random: Arc::new(SimRandom::new(1)),
    };
    disk.create_dir(Path::new("/here")).unwrap();
    let made = Made::create(&env, Path::new("/here")).unwrap();
    disk.set_read_only(true);
    let left = made.remove(&mut never()).await;
    assert_eq!(left.len(), 1);
    assert!(left[0].contains("/here/taffrail-bench-"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_within_a_run_need_a_broker_whose_processor_time_can_be_told() {
    let broker = TestBroker::builder().tcp().start().await;
    let (server, env) = (Server::at(&broker.url()), Env::system());
    let plan = Plan {
        turn: Some(Duration::from_millis(1)),
        requests: 40,
        interval: Duration::from_millis(100),
        ..plan(100, Keys::None)
    };
    let bench = Bench::prepare(&plan, &server, "measured".to_owned(), None, &env);
    let run = bench.await.unwrap().run().await;
    let refused = run.unwrap_err().to_string();
    assert!(refused.contains("--turn-ms"), "{refused}");
}

#[test]
fn what_commits_cost_is_the_difference_of_all_turns_with_them_and_without() {
    let of = |pairs: &[[(f64, f64); 2]]| Cost::of(pairs);
    let pair = |without: f64, with: f64| [(without, 1.0), (with, 1.0)];
    let cost = of(&[pair(100.0, 104.0), pair(90.0, 96.0), pair(110.0, 112.0)]).unwrap();
    assert_eq!((cost.without, cost.with), (100.0, 104.0));
    assert!((cost.more - 0.04).abs() < 1e-9 && (cost.median - 0.04).abs() < 1e-9);
    assert!((0.01..0.02).contains(&cost.error), "{cost:?}");

    // Turns in which next to nothing was appended, and whose figures are useless by themselves.
    let stood_still = [(100.0, 0.01), (1.0, 0.01)];
    let alike = of(&[pair(1000.0, 1000.0), stood_still, pair(1000.0, 1000.0)]).unwrap();
    assert!(alike.more.abs() < 0.06, "{alike:?}");
    assert_eq!(of(&[]), None);
}

#[test]
fn pairs_of_turns_are_in_either_order_and_one_that_is_left_does_not_count() {
    let turn = |with_commits: bool, cpu_ms: u64| Turn {
        with_commits,
        commits: if with_commits { 100 } else { 0 },
        bytes: 1_000_000_000,
        took: Duration::from_secs(1),
        broker_cpu: BrokerCpu {
            all: Duration::from_millis(cpu_ms),
            journal: Duration::from_millis(10),
            calls: Duration::from_millis(50),
        },
    };
    let turns = [
        turn(true, 102),
        turn(false, 98),
        turn(false, 98),
        turn(true, 102),
        turn(true, 999),
    ];
    let costs = Costs::of([&turns[..]].into_iter()).unwrap().json();
    assert_eq!(costs["pairs"], 2);
    assert_eq!(costs["commits_per_second"], 100.0);
    assert_eq!(costs["broker_cpu_ms_per_gigabyte"]["without"], 98.0);
    assert_eq!(costs["broker_cpu_ms_per_gigabyte"]["with"], 102.0);
    let of_commit = costs["cpu_us_per_commit"].as_f64().unwrap();
    assert!((of_commit - 40.0).abs() < 1e-6, "{of_commit}");
    assert!(Costs::of([&turns[..1]].into_iter()).is_none());
}
