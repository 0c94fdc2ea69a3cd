//! Syncs and writes that fail: nothing is acknowledged, nothing is retried, and the next start
//! recovers.

use std::io::ErrorKind;

use super::{append, ask, create, fill, ids, now, open_with, opened};
use crate::{
    broker::{Broker, Error},
    env::sim::{CrashMode, Fault, OpKind, SimDisk},
    types::{Offset, PartitionId},
};

/// A broker with five records, and with one more in a log that was trimmed. All of them are
/// acknowledged, and none is in a segment.
fn with_five_records(disk: &SimDisk) -> Broker {
    five_records_on(opened(disk, 1))
}

fn five_records_on(broker: Broker) -> Broker {
    create(&broker, "t", 1);
    fill(&broker, 0, 5);
    broker
}

/// What must hold of a broker whose storage has failed.
fn assert_failed(broker: &Broker, disk: &SimDisk, context: &str) {
    assert!(
        now(broker.failed()).is_some(),
        "{context}: it is known that storage has failed"
    );
    let operations = disk.operations();
    assert_eq!(
        append(broker, 0, 100).err(),
        Some(Error::ShuttingDown),
        "{context}"
    );
    assert_eq!(
        broker.create_topic("u", 1, &[].into()).err(),
        Some(Error::ShuttingDown),
        "{context}"
    );
    assert_eq!(
        broker.trim("t", PartitionId(0), Offset(1)).err(),
        Some(Error::ShuttingDown),
        "{context}"
    );
    assert_eq!(
        broker.delete_topic("t").err(),
        Some(Error::ShuttingDown),
        "{context}"
    );
    assert_eq!(broker.close(), Err(Error::OutcomeUnknown), "{context}");
    assert_eq!(
        disk.operations(),
        operations,
        "{context}: nothing is written or synced after a failure"
    );
}

/// Opens the disks that power cuts leave. Acknowledged records are there, each unacknowledged
/// record is there at most once, and the broker works.
///
/// After a failed sync of names the process does not come back on the same mount: a file system
/// that cannot write its own journal takes no more changes until it is mounted again, and then
/// shows what is on the disk.
fn assert_recovers(disk: &SimDisk, acknowledged: u64, unknown: u64, context: &str) {
    let names_lost = disk.stats().faults.contains_key(&OpKind::SyncDir);
    for mode in CrashMode::ALL
        .into_iter()
        .filter(|mode| !names_lost || *mode != CrashMode::KeepAll)
    {
        println!("{context}, {mode:?}");
        let survived = disk.power_cut(3, mode);
        let broker = opened(&survived, 2);
        let found = ids(&broker, 0);
        let end = found.len() as u64;
        assert_eq!(found, (0..end).collect::<Vec<_>>(), "{context}, {mode:?}");
        assert!(
            (acknowledged..=acknowledged + unknown).contains(&end),
            "{context}, {mode:?}: {end} records"
        );
        fill(&broker, end, end + 3);
        drop(broker);
        let broker = opened(&survived.power_cut(4, CrashMode::LoseUnsynced), 3);
        assert_eq!(
            ids(&broker, 0).len() as u64,
            end + 3,
            "{context}, {mode:?}: after another power cut"
        );
    }
}

#[test]
fn a_sync_or_write_of_the_journal_that_fails_is_final_and_what_waits_for_it_is_not_acknowledged() {
    let failures = [
        ("sync: EIO", Fault::on(OpKind::SyncData)),
        (
            "sync: ENOSPC",
            Fault::on(OpKind::SyncData).error(ErrorKind::StorageFull),
        ),
        (
            "sync: EDQUOT",
            Fault::on(OpKind::SyncData).error(ErrorKind::QuotaExceeded),
        ),
        ("write: EIO", Fault::on(OpKind::Write)),
        ("write: EIO in the middle", Fault::on(OpKind::Write).short()),
        (
            "write: ENOSPC in the middle",
            Fault::on(OpKind::Write)
                .error(ErrorKind::StorageFull)
                .short(),
        ),
    ];
    for (context, fault) in failures {
        let disk = SimDisk::new(7);
        let broker = with_five_records(&disk);
        let waiting = [
            ask(&broker, 0, 5).expect("it is queued"),
            ask(&broker, 0, 6).expect("it is queued"),
        ];
        // The fault happens once: a second attempt would succeed.
        disk.inject(fault.in_path("journal/"));
        broker.commit_all();
        for pending in waiting {
            assert_eq!(
                now(pending).expect("an answer"),
                Err(Error::OutcomeUnknown),
                "{context}"
            );
        }
        assert_eq!(
            ids(&broker, 0),
            [0, 1, 2, 3, 4],
            "{context}: nothing of it is visible"
        );
        assert_failed(&broker, &disk, context);
        drop(broker);
        assert_recovers(&disk, 5, 2, context);
    }
}

#[test]
fn a_failed_sync_of_the_journals_next_file_is_final_too() {
    for (context, fault) in [
        ("data", Fault::on(OpKind::SyncData).in_path("2.journal")),
        ("name", Fault::on(OpKind::SyncDir).in_path("/data/journal")),
    ] {
        let disk = SimDisk::new(7);
        let broker = with_five_records(&disk);
        disk.inject(fault);
        let mut acknowledged = 5;
        let error = loop {
            match append(&broker, 0, acknowledged) {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error, Error::OutcomeUnknown, "{context}");
        assert_failed(&broker, &disk, context);
        drop(broker);
        assert_recovers(&disk, acknowledged, 1, context);
    }
}

#[test]
fn a_sync_or_write_behind_the_journal_that_fails_is_final_and_loses_nothing() {
    let failures = [
        (
            "a segment's data",
            Fault::on(OpKind::SyncData).in_path(".log"),
        ),
        (
            "a segment's data: ENOSPC",
            Fault::on(OpKind::SyncData)
                .in_path(".log")
                .error(ErrorKind::StorageFull),
        ),
        ("a segment's name", Fault::on(OpKind::SyncDir).in_path("/0")),
        (
            "a segment, written",
            Fault::on(OpKind::Write).in_path(".log").nth(2).short(),
        ),
        (
            "a topic's file",
            Fault::on(OpKind::SyncData).in_path("topic.new"),
        ),
        (
            "a topic's file, renamed",
            Fault::on(OpKind::Rename).in_path("topic.new"),
        ),
        (
            "the topics' names",
            Fault::on(OpKind::SyncDir).in_path("/data/topics"),
        ),
        (
            "the checkpoint",
            Fault::on(OpKind::SyncData).in_path("checkpoint.new"),
        ),
        (
            "the checkpoint: ENOSPC",
            Fault::on(OpKind::SyncData)
                .in_path("checkpoint")
                .error(ErrorKind::StorageFull),
        ),
        (
            "the checkpoint's copy",
            Fault::on(OpKind::SyncData).in_path("checkpoint.new").nth(2),
        ),
        (
            "the checkpoint, written",
            Fault::on(OpKind::Write).in_path("checkpoint.new").short(),
        ),
        (
            "the checkpoint, renamed",
            Fault::on(OpKind::Rename).in_path("checkpoint.new"),
        ),
    ];
    for (context, fault) in failures {
        let disk = SimDisk::new(7);
        let broker = with_five_records(&disk);
        let waiting = ask(&broker, 0, 5).expect("it is queued");
        disk.inject(fault);
        assert_eq!(
            broker.checkpoint_now(),
            Err(Error::OutcomeUnknown),
            "{context}"
        );
        assert_eq!(
            now(waiting).expect("an answer"),
            Err(Error::OutcomeUnknown),
            "{context}"
        );
        assert_failed(&broker, &disk, context);
        drop(broker);
        assert_recovers(&disk, 5, 0, context);
    }
}

#[test]
fn a_sync_or_write_of_a_delta_that_fails_is_final_and_loses_nothing() {
    let failures = [
        ("a delta", Fault::on(OpKind::SyncData).in_path(".delta")),
        (
            "a delta: ENOSPC",
            Fault::on(OpKind::SyncData)
                .in_path(".delta")
                .error(ErrorKind::StorageFull),
        ),
        (
            "its copy",
            Fault::on(OpKind::SyncData).in_path("checkpoint.1.copy"),
        ),
        (
            "a delta, written",
            Fault::on(OpKind::Write).in_path(".delta").short(),
        ),
    ];
    for (context, fault) in failures {
        let disk = SimDisk::new(7);
        let deltas = open_with(&disk, 1, crate::broker::tests::world::options());
        let broker = five_records_on(deltas.expect("it can be opened"));
        let waiting = ask(&broker, 0, 5).expect("it is queued");
        disk.inject(fault);
        let failed = broker.checkpoint_now();
        assert_eq!(failed, Err(Error::OutcomeUnknown), "{context}");
        let waited = now(waiting).expect("an answer");
        assert_eq!(waited, Err(Error::OutcomeUnknown), "{context}");
        assert_failed(&broker, &disk, context);
        drop(broker);
        assert_recovers(&disk, 5, 0, context);
    }
}

#[test]
fn an_index_that_cannot_be_written_or_read_changes_nothing() {
    for kind in [
        OpKind::Create,
        OpKind::Write,
        OpKind::Open,
        OpKind::Read,
        OpKind::RemoveFile,
    ] {
        let disk = SimDisk::new(7);
        disk.inject(Fault::on(kind).in_path(".index").for_ever());
        let broker = opened(&disk, 1);
        create(&broker, "t", 1);
        fill(&broker, 0, 150);
        broker.checkpoint_now().expect("an index is only derived");
        assert_eq!(ids(&broker, 0), (0..150).collect::<Vec<_>>(), "{kind:?}");
        drop(broker);
        let broker = opened(&disk, 2);
        assert_eq!(
            ids(&broker, 0),
            (0..150).collect::<Vec<_>>(),
            "{kind:?}, opened again"
        );
    }
}

#[test]
fn a_start_whose_syncs_fail_ends_and_the_next_one_recovers() {
    let disk = SimDisk::new(7);
    drop(with_five_records(&disk));
    let disk = disk.power_cut(1, CrashMode::KeepAll);
    for (context, fault) in [
        (
            "the journal",
            Fault::on(OpKind::SyncData).in_path(".journal"),
        ),
        ("a segment", Fault::on(OpKind::SyncData).in_path(".log")),
        (
            "the checkpoint",
            Fault::on(OpKind::SyncData).in_path("checkpoint"),
        ),
        (
            "the topics",
            Fault::on(OpKind::SyncDir).in_path("/data/topics"),
        ),
    ] {
        let failing = disk.fork();
        failing.inject(fault);
        let error = open_with(&failing, 2, super::options()).err();
        let error = error
            .unwrap_or_else(|| panic!("{context}: a start that cannot sync does not serve"))
            .to_string();
        assert!(error.contains("cannot sync /data"), "{context}: {error}");
        assert_recovers(&failing, 5, 0, context);
    }
}
