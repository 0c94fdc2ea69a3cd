//! Journal files that, at a start after a crash, cannot be read, have lost their first block, or
//! are cut short. Either all acknowledged records are there, or the broker does not start. No
//! offset is given out twice.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{append, ask, create, env, fill, ids, now, open_with, opened, options};
use crate::{
    broker::{Broker, Error},
    env::{
        FileSystem, Open,
        sim::{
            CrashMode, Fault, OpKind, SimClock, SimDisk, SimRandom,
            fault::{EACCES, EMFILE, ENOMEM},
        },
    },
    types::Offset,
};

const COUNT: u64 = 250;

/// A disk after a crash, with acknowledged records in several journal files, and the paths of these
/// files.
fn crashed() -> (SimDisk, Vec<PathBuf>) {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    for id in 0..COUNT {
        fill(&broker, id, id + 1);
        // The last records take more than one file, and no checkpoint covers them.
        if id % 20 == 0 && id < COUNT - 50 {
            broker.keep_house(true);
        }
    }
    drop(broker);
    let disk = disk.power_cut(1, CrashMode::LoseUnsynced);
    let mut journal = disk.files();
    journal.retain(|path| path.extension().is_some_and(|ending| ending == "journal"));
    assert!(journal.len() > 2, "the journal went round");
    (disk, journal)
}

fn cut(disk: &SimDisk, path: &Path, len: u64) {
    let file = disk.open(path, Open::Write).expect("it is there");
    file.set_len(len).expect("nothing fails");
    file.sync_data().expect("nothing fails");
}

/// Whether the broker starts. If it does, every record must be there, and the next offset must be
/// new.
fn starts_with_everything(disk: &SimDisk, seed: u64, context: &str) -> bool {
    let broker = match open_with(disk, seed, options()) {
        Ok(broker) => broker,
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("/data/journal"), "{context}: {said}");
            return false;
        }
    };
    assert_everything(&broker, context);
    true
}

fn assert_everything(broker: &Broker, context: &str) {
    assert_eq!(ids(broker, 0), (0..COUNT).collect::<Vec<_>>(), "{context}");
    assert_eq!(append(broker, 0, COUNT), Ok(Offset(COUNT)), "{context}");
}

#[test]
fn a_next_file_that_cannot_be_opened_for_a_moment_is_waited_for() {
    for kind in [OpKind::Open, OpKind::Create] {
        let disk = SimDisk::new(1);
        let broker = opened(&disk, 1);
        create(&broker, "t", 1);
        for id in 0..COUNT {
            disk.clear_faults();
            disk.inject(Fault::on(kind).in_path(".journal").errno(EMFILE));
            fill(&broker, id, id + 1);
            // Without housekeeping the journal would take the most files that it may have.
            if kind == OpKind::Open && id % 20 == 0 {
                broker.keep_house(true);
            }
        }
        let failed: u64 = disk.stats().faults.values().sum();
        assert!(failed > 0, "{kind:?}: the journal went on in other files");
        disk.clear_faults();
        drop(broker);
        let disk = disk.power_cut(1, CrashMode::LoseUnsynced);
        assert!(starts_with_everything(&disk, 2, "after a crash"));
    }
}

#[test]
fn a_stop_says_of_what_waits_for_the_next_file_that_it_is_not_stored() {
    for errno in [EMFILE, ENOMEM, EACCES] {
        let disk = SimDisk::new(1);
        let broker = opened(&disk, 1);
        create(&broker, "t", 1);
        fill(&broker, 0, 10);
        let left = broker.shared.committer.leave_journal_file();
        left.expect("nothing fails");
        let fault = Fault::on(OpKind::Open).in_path(".journal").errno(errno);
        disk.inject(fault.for_ever());
        let appended = ask(&broker, 0, 10).expect("it is queued");
        broker.close().expect("nothing fails but the next file");
        let answer = now(appended).expect("an answer");
        assert!(
            matches!(answer, Err(Error::StorageUnavailable { .. })),
            "{errno}: {answer:?}"
        );
        disk.clear_faults();
        drop(broker);
        let broker = opened(&disk, 2);
        assert_eq!(ids(&broker, 0), (0..10).collect::<Vec<_>>(), "{errno}");
        fill(&broker, 10, 11);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_thread_waits_for_a_next_file_for_as_long_as_it_cannot_be_opened() {
    let (disk, clock) = (SimDisk::new(1), SimClock::default());
    let environment = env(&disk, &clock, &SimRandom::new(1));
    let broker = Broker::open(environment, options()).expect("nothing fails");
    let created = broker.create_topic("t", 1, &[].into());
    created.expect("a good name").await.expect("nothing fails");
    let left = broker.shared.committer.leave_journal_file();
    left.expect("nothing fails");
    let fault = Fault::on(OpKind::Open).in_path(".journal").errno(EMFILE);
    disk.inject(fault.for_ever());
    let mut appended = ask(&broker, 0, 0).expect("it is queued");
    // More attempts than a stop makes.
    while disk.stats().faults.values().sum::<u64>() < 8 {
        assert!(now(&mut appended).is_none(), "answered: it is not stored");
        clock.advance(Duration::from_secs(1));
        std::thread::yield_now();
    }
    disk.clear_faults();
    let answer = loop {
        clock.advance(Duration::from_secs(1));
        std::thread::yield_now();
        if let Some(answer) = now(&mut appended) {
            break answer;
        }
    };
    answer.expect("the file can be opened");
    broker.close().expect("nothing fails");
    drop(broker);
    assert_eq!(ids(&opened(&disk, 2), 0), [0]);
}

#[test]
fn a_first_block_that_cannot_be_read_for_a_moment_loses_nothing() {
    let (whole, journal) = crashed();
    for path in &journal {
        for nth in 1..4 {
            let disk = whole.fork();
            let name = path.to_str().expect("UTF-8");
            let context = format!("read {nth} of {name}");
            disk.inject(Fault::on(OpKind::Read).in_path(name).nth(nth));
            let started = starts_with_everything(&disk, 2, &context);
            assert!(nth > 1 || !started, "{context}: nothing is known of it");
            disk.clear_faults();
            if !started {
                assert_everything(&opened(&disk, 3), &context);
            }
        }
    }
}

#[test]
fn a_lost_first_block_loses_nothing() {
    let (whole, journal) = crashed();
    for path in &journal {
        for bytes in [[0; 4096], [0xa5; 4096]] {
            let disk = whole.fork();
            disk.overwrite(path, 0, &bytes).expect("it is that long");
            let context = format!("{} begins with {:x}", path.display(), bytes[0]);
            assert!(starts_with_everything(&disk, 2, &context), "{context}");
        }
    }
}

#[test]
fn a_file_that_is_cut_short_or_gone_is_missed_if_the_checkpoint_does_not_cover_it() {
    let (whole, journal) = crashed();
    let mut refused = 0;
    for path in &journal {
        for len in [0, 4096, 48 << 10] {
            let disk = whole.fork();
            cut(&disk, path, len);
            let context = format!("{} cut to {len}", path.display());
            refused += u32::from(!starts_with_everything(&disk, 2, &context));
            let found = disk.content(path).expect("it is there").len() as u64;
            assert!(found >= len, "{context}: it is not touched");
        }
        let disk = whole.fork();
        disk.remove_file(path).expect("it is there");
        starts_with_everything(&disk, 2, &format!("{} is gone", path.display()));
    }
    assert!(refused >= 3, "one of them holds what no checkpoint covers");
}

/// The only files are the journal's first file, and the checkpoint from before its use.
#[test]
fn the_only_file_of_a_new_directory_is_missed() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    fill(&broker, 0, 5);
    drop(broker);
    let whole = disk.power_cut(1, CrashMode::LoseUnsynced);
    for len in [0, 4096, 8192] {
        for (notes, disk) in [("as they were", whole.fork())]
            .into_iter()
            .chain(lost_notes(&whole))
        {
            cut(&disk, "/data/journal/1.journal".as_ref(), len);
            let refused = open_with(&disk, 2, options()).err();
            let refused = refused.unwrap_or_else(|| panic!("ring {notes}: it is missed"));
            assert!(refused.to_string().contains("1.journal"), "{refused}");
        }
    }
}

fn ring() -> PathBuf {
    PathBuf::from("/data/journal/ring")
}

/// A change of the disk.
type Loss<'a> = &'a dyn Fn(&SimDisk);

/// Ways to lose the content of `journal/ring`.
fn lost_notes(whole: &SimDisk) -> Vec<(&'static str, SimDisk)> {
    let len = whole.content(ring()).expect("it is there").len();
    let ways: [(&str, Loss<'_>); 5] = [
        ("gone", &|disk| {
            disk.remove_file(&ring()).expect("it is there");
        }),
        ("empty", &|disk| cut(disk, &ring(), 0)),
        ("cut", &|disk| cut(disk, &ring(), 4095)),
        ("zeros", &|disk| {
            disk.overwrite(ring(), 0, &vec![0; len])
                .expect("it is that long");
        }),
        ("other bytes", &|disk| {
            disk.overwrite(ring(), 0, &vec![0xa5; len])
                .expect("it is that long");
        }),
    ];
    let lose = |(name, lose): (&'static str, Loss<'_>)| {
        let disk = whole.fork();
        lose(&disk);
        (name, disk)
    };
    ways.into_iter().map(lose).collect()
}

#[test]
fn a_start_that_was_refused_is_refused_again_and_has_written_nothing() {
    let (whole, journal) = crashed();
    let mut refused = 0;
    for path in &journal {
        for (notes, disk) in lost_notes(&whole) {
            let context = format!("{}, ring {notes}", path.display());
            disk.overwrite(path, 0, &[0; 4096])
                .expect("it is that long");
            let before = disk.content(ring()).ok();
            if starts_with_everything(&disk, 2, &context) {
                continue;
            }
            refused += 1;
            assert_eq!(disk.content(ring()).ok(), before, "{context}");
            assert!(!starts_with_everything(&disk, 3, &context), "{context}");
        }
    }
    assert!(refused >= 5, "one of them holds what no checkpoint covers");
}

#[test]
fn a_file_that_lost_its_first_entries_with_its_first_block_is_missed() {
    let (whole, journal) = crashed();
    let mut refused = 0;
    for path in &journal {
        for byte in [0, 0xa5, 0xff] {
            for len in [8192, 16 << 10, 32 << 10, 64 << 10] {
                let disk = whole.fork();
                disk.overwrite(path, 0, &vec![byte; len])
                    .expect("it is that long");
                let context = format!("{} has {len} bytes {byte:x}", path.display());
                refused += u32::from(!starts_with_everything(&disk, 2, &context));
            }
        }
    }
    assert!(refused >= 12, "one of them holds what no checkpoint covers");
}

#[test]
fn lost_notes_alone_cost_nothing() {
    let (whole, _) = crashed();
    for (notes, disk) in lost_notes(&whole) {
        assert!(starts_with_everything(&disk, 2, notes), "ring {notes}");
    }
}

#[test]
fn a_file_that_is_blank_or_gone_is_missed_without_its_note_too() {
    let (whole, journal) = crashed();
    let mut refused = 0;
    for path in &journal {
        let len = whole.content(path).expect("it is there").len();
        let ways: [(&str, Loss<'_>); 3] = [
            ("zeros", &|disk| {
                disk.overwrite(path, 0, &vec![0; len])
                    .expect("it is that long");
            }),
            ("empty", &|disk| cut(disk, path, 0)),
            ("gone", &|disk| {
                disk.remove_file(path).expect("it is there");
            }),
        ];
        for (way, lose) in ways {
            for (notes, disk) in lost_notes(&whole) {
                lose(&disk);
                let context = format!("{} {way}, ring {notes}", path.display());
                refused += u32::from(!starts_with_everything(&disk, 2, &context));
            }
        }
    }
    assert!(refused >= 15, "one of them holds what no checkpoint covers");
}

#[test]
fn a_file_that_is_gone_is_missed_without_a_checkpoint_too() {
    let (whole, journal) = crashed();
    for path in &journal {
        let disk = whole.fork();
        for lost in disk.files() {
            let name = lost.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with("checkpoint")) {
                disk.remove_file(&lost).expect("it is there");
            }
        }
        disk.remove_file(path).expect("it is there");
        let refused = open_with(&disk, 2, options()).err().expect("it is missed");
        assert!(refused.to_string().contains("is missing"), "{refused}");
    }
}

#[test]
fn a_file_that_cannot_be_found_for_a_moment_loses_nothing() {
    let (whole, journal) = crashed();
    for path in journal.iter().chain([&ring()]) {
        for nth in 1..5 {
            let disk = whole.fork();
            let name = path.to_str().expect("UTF-8");
            let context = format!("open {nth} of {name}");
            let missing = Fault::on(OpKind::Open).in_path(name).nth(nth);
            disk.inject(missing.error(std::io::ErrorKind::NotFound));
            let broker = open_with(&disk, 2, options());
            disk.clear_faults();
            assert_everything(&broker.unwrap_or_else(|_| opened(&disk, 3)), &context);
        }
    }
}
