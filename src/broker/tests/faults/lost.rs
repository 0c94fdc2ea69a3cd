//! Files that are missing, cut, renamed, damaged or not ours. The lost records are reported with
//! their offsets, everything else is served, and nothing is deleted.

use std::path::Path;

use super::{append, create, files, fill, ids, opened, put, read_around, stopped_cleanly, tree};
use crate::{
    broker::{Broker, Error},
    env::{
        FileSystem, Open,
        sim::{CrashMode, Fault, OpKind, SimDisk},
    },
    types::{Offset, PartitionId, Position},
};

/// The base offset in a segment's name.
fn base(segment: &Path) -> u64 {
    segment
        .file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(|stem| stem.parse().ok())
        .expect("a number")
}

/// Asserts at several starts that exactly these ranges of partition 0 are damaged, and that both
/// partitions take appends.
fn assert_lost(disk: &SimDisk, count: u64, expected: &[(u64, u64)], context: &str) {
    let good = |end: u64| -> Vec<u64> {
        (0..end)
            .filter(|offset| {
                !expected
                    .iter()
                    .any(|(from, to)| (from..to).contains(&offset))
            })
            .collect()
    };
    for start in 1..5 {
        let end = count + start - 1;
        let broker = opened(disk, start);
        assert_eq!(
            read_around(&broker, 0),
            (good(end), expected.to_vec()),
            "{context}, start {start}"
        );
        assert_eq!(
            ids(&broker, 1).len() as u64,
            end,
            "{context}: the other partition"
        );
        assert_eq!(
            append(&broker, 0, end),
            Ok(Offset(end)),
            "{context}: no offset is given out again"
        );
        append(&broker, 1, count).expect("the other partition is sound");
        match start {
            1 => broker
                .close()
                .expect("damage does not keep a broker from closing"),
            2 => broker
                .checkpoint_now()
                .expect("damage does not keep a broker from a checkpoint"),
            _ => {}
        }
    }
}

#[test]
fn a_flipped_bit_in_any_frame_is_reported_with_its_offset_alone() {
    let whole = stopped_cleanly(100);
    let segments = files(&whole, ".log");
    assert!(segments.len() > 1, "a segment was sealed");
    for segment in &segments {
        let len = whole.content(segment).expect("it is there").len() as u64;
        for position in (64..len).step_by(4_999) {
            let disk = whole.fork();
            disk.flip_bit(segment, position, (position % 8) as u8)
                .expect("it is that long");
            let (read, damaged) = read_around(&opened(&disk, 1), 0);
            let context = format!("{} at {position}", segment.display());
            let &[(from, to)] = &damaged[..] else {
                panic!("{context}: {damaged:?}")
            };
            assert_eq!((to - from, read.len()), (1, 99), "{context}");
            drop(read);
            assert_lost(&disk, 100, &damaged, &context);
        }
    }
}

#[test]
fn zeroed_sectors_and_misdirected_ones_are_reported_with_their_offsets() {
    let whole = stopped_cleanly(100);
    let segment = &files(&whole, ".log")[0];
    let stale = whole.content(segment).expect("it is there")[10 * 4096..11 * 4096].to_vec();
    for content in [vec![0; 4096], stale] {
        let disk = whole.fork();
        disk.overwrite(segment, 5 * 4096, &content)
            .expect("it is that long");
        let (read, damaged) = read_around(&opened(&disk, 1), 0);
        let lost: u64 = damaged.iter().map(|(from, to)| to - from).sum();
        assert!(
            (3..=6).contains(&lost),
            "4 KiB hold three records whole and touch two more: {damaged:?}"
        );
        assert_eq!(read.len() as u64 + lost, 100);
        assert_lost(&disk, 100, &damaged, "a block");
    }
}

#[test]
fn a_segment_that_is_missing_is_reported_as_the_range_it_held() {
    let whole = stopped_cleanly(200);
    let segments = files(&whole, ".log");
    assert!(
        segments.len() > 2,
        "there is a first, a middle and a last segment"
    );
    for (at, segment) in segments.iter().enumerate() {
        let range = (
            base(segment),
            segments.get(at + 1).map_or(200, |next| base(next)),
        );
        let missing = whole.fork();
        missing.remove_file(segment).expect("it is there");
        assert_lost(&missing, 200, &[range], &format!("segment {at} is missing"));

        let renamed = whole.fork();
        let other = segment.with_extension("log.old");
        renamed.rename(segment, &other).expect("it is there");
        assert_lost(&renamed, 200, &[range], &format!("segment {at} is renamed"));
        assert_eq!(
            renamed.content(&other).expect("it is not deleted"),
            whole.content(segment).expect("it is there")
        );
    }
}

#[test]
fn a_segment_under_the_name_of_another_is_not_taken_for_it() {
    let whole = stopped_cleanly(200);
    let segments = files(&whole, ".log");
    let disk = whole.fork();
    disk.rename(&segments[0], &segments[1])
        .expect("it is there");
    assert_lost(&disk, 200, &[(0, base(&segments[2]))], "a segment moved");

    let swapped = whole.fork();
    let other = segments[0].to_string_lossy().replace("/0/", "/1/");
    let content = whole
        .content(&other)
        .expect("both partitions have the same segments");
    swapped
        .overwrite(&segments[0], 0, &content)
        .expect("they are of one length");
    assert_lost(
        &swapped,
        200,
        &[(0, base(&segments[1]))],
        "another partition's segment",
    );
}

#[test]
fn a_segment_that_is_cut_short_is_reported_from_where_it_was_cut() {
    let whole = stopped_cleanly(200);
    let segments = files(&whole, ".log");
    for (at, segment) in segments.iter().enumerate() {
        let end = segments.get(at + 1).map_or(200, |next| base(next));
        let len = whole.content(segment).expect("it is there").len() as u64;
        for cut in [0, 20, len / 2, len - 1] {
            let disk = whole.fork();
            let file = disk.open(segment, Open::Write).expect("it is there");
            file.set_len(cut).expect("nothing fails");
            file.sync_data().expect("nothing fails");
            drop(file);
            let (read, damaged) = read_around(&opened(&disk, 1), 0);
            let context = format!("segment {at} cut to {cut}");
            let &[(from, to)] = &damaged[..] else {
                panic!("{context}: {damaged:?}")
            };
            assert_eq!(
                (to, read.len() as u64),
                (end, 200 - (to - from)),
                "{context}"
            );
            assert!(
                cut > 20 || from == base(segment),
                "{context}: nothing of it is left"
            );
            assert!(
                cut < len - 1 || from == end - 1,
                "{context}: one record is not whole"
            );
            assert_lost(&disk, 200, &damaged, &context);
        }
    }
}

#[test]
fn bytes_behind_what_the_checkpoint_covers_are_cut_off() {
    let disk = stopped_cleanly(100);
    let segments = files(&disk, ".log");
    let active = segments.last().expect("there are some");
    let whole = disk.content(active).expect("it is there");
    for more in [&b"a torn frame"[..], &[0; 5_000], &whole[64..]] {
        let disk = disk.fork();
        let file = disk.open(active, Open::Write).expect("it is there");
        file.write_all_at(&[more], whole.len() as u64)
            .expect("there is room");
        drop(file);
        let broker = opened(&disk, 1);
        assert_eq!(disk.content(active).expect("it is there"), whole);
        drop(broker);
        assert_lost(&disk, 100, &[], "more bytes");
    }
}

#[test]
fn a_segment_that_cannot_be_read_is_reported_and_comes_back_when_it_can() {
    let disk = stopped_cleanly(200);
    let segments = files(&disk, ".log");
    let broker = opened(&disk, 1);
    let name = segments[0].to_string_lossy().into_owned();
    for kind in [OpKind::Map, OpKind::Read] {
        disk.inject(Fault::on(kind).in_path(&name).for_ever());
    }
    assert_eq!(read_around(&broker, 0).1, [(0, base(&segments[1]))]);
    assert_eq!(ids(&broker, 1).len(), 200, "the other partition");
    disk.clear_faults();
    assert_eq!(ids(&broker, 0).len(), 200);
}

#[test]
fn files_that_are_none_of_ours_are_passed_over_and_stay() {
    let disk = stopped_cleanly(100);
    let dir = files(&disk, ".log")[0]
        .parent()
        .expect("a directory")
        .to_owned();
    let topic = dir.parent().expect("a directory").to_owned();
    let foreign = [
        dir.join("notes.txt"),
        dir.join("5.log"),
        dir.join("00000000000000000050.log.bak"),
        dir.join("0000000000000000000x.log"),
        topic.join("7"),
        topic.join("topic.bak"),
        "/data/topics/0123456789abcdef".into(),
        "/data/topics/notes.deleted".into(),
        "/data/journal/notes.txt".into(),
        "/data/journal/one.journal".into(),
        "/data/notes.txt".into(),
        "/data/checkpoint.bak".into(),
    ];
    for path in &foreign {
        put(&disk, path, b"mine");
    }
    assert_lost(&disk, 100, &[], "foreign files");
    let after = tree(&disk);
    for path in foreign {
        assert_eq!(
            after.get(&path).map(Vec::as_slice),
            Some(&b"mine"[..]),
            "{}",
            path.display()
        );
    }
}

#[test]
fn an_index_that_is_damaged_zeroed_cut_or_missing_is_rebuilt_and_changes_nothing() {
    for damage in [
        "flip",
        "zero",
        "overwrite",
        "cut",
        "empty",
        "remove",
        "swap",
    ] {
        let disk = stopped_cleanly(200);
        let indexes = files(&disk, ".index");
        for index in &indexes {
            let len = disk.content(index).expect("it is there").len() as u64;
            let set_len = |len| {
                let file = disk.open(index, Open::Write).expect("it is there");
                file.set_len(len).expect("nothing fails");
                file.sync_data().expect("nothing fails");
            };
            match damage {
                "flip" => (0..len)
                    .step_by(7)
                    .for_each(|at| disk.flip_bit(index, at, 2).expect("it is that long")),
                "zero" => disk.zero(index, 0..len).expect("it is that long"),
                "overwrite" => disk
                    .overwrite(index, 0, &vec![0xff; len as usize])
                    .expect("it is that long"),
                "cut" => set_len(len - 1),
                "empty" => set_len(0),
                "remove" => disk.remove_file(index).expect("it is there"),
                _ => {
                    let other = disk.content(&indexes[0]).expect("it is there");
                    disk.overwrite(index, 0, &other[..other.len().min(len as usize)])
                        .expect("it is that long");
                }
            }
        }
        assert_lost(&disk, 200, &[], damage);
        let broker = opened(&disk, 9);
        let wanted = [(PartitionId(0), Some(Position::Timestamp(0)))];
        let (_, found) = broker
            .list_offsets("t", Position::Earliest, &wanted)
            .expect("it can be looked for");
        assert_eq!(found[0].offset, Offset::ZERO, "{damage}");
    }
}

/// A disk with a topic of 150 records, of which the first 10 are trimmed, and of which 50 are only
/// in the journal.
fn killed() -> SimDisk {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    fill(&broker, 0, 100);
    broker.checkpoint_now().expect("nothing fails");
    let trimmed = broker
        .trim("t", PartitionId(0), Offset(10))
        .expect("it is in the log");
    broker.commit_all();
    assert_eq!(super::now(trimmed).expect("an answer"), Ok(Offset(10)));
    fill(&broker, 100, 150);
    drop(broker);
    disk.power_cut(1, CrashMode::LoseUnsynced)
}

#[test]
fn derived_files_that_are_damaged_or_missing_are_no_reason_not_to_start() {
    let topic_file = |disk: &SimDisk| {
        disk.files()
            .into_iter()
            .filter(|path| path.ends_with("topic"))
            .collect()
    };
    let copies = |names: &[&str]| {
        names
            .iter()
            .map(|name| Path::new("/data").join(name))
            .collect::<Vec<_>>()
    };
    let cases = [
        ("one copy of the checkpoint", copies(&["checkpoint"])),
        ("the other copy", copies(&["checkpoint.copy"])),
        ("both copies", copies(&["checkpoint", "checkpoint.copy"])),
        ("the topic's file", topic_file(&killed())),
    ];
    for (what, paths) in cases {
        for damage in ["flip", "zero", "remove", "cut"] {
            let disk = killed();
            for path in &paths {
                let len = disk.content(path).expect("it is there").len() as u64;
                match damage {
                    "flip" => disk.flip_bit(path, len / 2, 1).expect("it is that long"),
                    "zero" => disk.zero(path, 0..len).expect("it is that long"),
                    "remove" => disk.remove_file(path).expect("it is there"),
                    _ => disk
                        .open(path, Open::Write)
                        .and_then(|file| file.set_len(len / 2))
                        .expect("it is there"),
                }
            }
            for start in 2..5 {
                let broker = opened(&disk, start);
                let found = ids(&broker, 0);
                let end = 150 + start - 2;
                assert_eq!(
                    found,
                    (10..end).collect::<Vec<_>>(),
                    "{what}: {damage}, start {start}"
                );
                fill(&broker, end, end + 1);
            }
        }
    }
}

#[test]
fn a_torn_tail_of_the_journal_is_cut_and_kept_aside() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    fill(&broker, 0, 5);
    let whole = tree(&disk);
    disk.inject(Fault::on(OpKind::SyncData).in_path("journal"));
    let unknown: Vec<_> = (5..12)
        .map(|id| super::ask(&broker, 0, id).expect("it is queued"))
        .collect();
    broker.commit_all();
    drop((unknown, broker));
    let disk = disk.power_cut(1, CrashMode::KeepAll);

    // The unacknowledged write is torn: only the beginning of its first entry is there.
    let journal = Path::new("/data/journal/1.journal");
    let (before, after) = (&whole[journal], disk.content(journal).expect("it is there"));
    let start = (0..after.len())
        .find(|&at| before[at] != after[at])
        .expect("something was written") as u64;
    disk.zero(journal, start + 600..start + 700)
        .expect("it is that long");
    let torn = disk.content(journal).expect("it is there");

    for start in 2..4 {
        let broker = opened(&disk, start);
        assert_eq!(
            ids(&broker, 0),
            [0, 1, 2, 3, 4],
            "nothing of the torn write is there"
        );
        let aside: Vec<_> = disk
            .files()
            .into_iter()
            .filter(|path| path.starts_with("/data/aside"))
            .collect();
        assert_eq!(aside.len(), 1, "the cut bytes are kept once");
        let kept = disk.content(&aside[0]).expect("it is there");
        assert!(
            torn.windows(kept.len()).any(|bytes| bytes == kept) && kept.len() > 600,
            "as they were"
        );
    }
    let broker = opened(&disk, 9);
    fill(&broker, 5, 8);
}

#[test]
fn a_flipped_bit_below_the_journals_tail_is_reported_with_its_offsets_alone() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 2);
    let mut ends = Vec::new();
    let journal = "/data/journal/1.journal";
    for id in 0..6 {
        let before = disk.content(journal).expect("it is there");
        append(&broker, 0, id).expect("nothing fails");
        append(&broker, 1, id).expect("nothing fails");
        let after = disk.content(journal).expect("it is there");
        ends.push(
            (0..after.len())
                .find(|&at| before[at] != after[at])
                .expect("something was written") as u64,
        );
    }
    drop(broker);
    let whole = disk.power_cut(1, CrashMode::LoseUnsynced);
    // The last entry may be torn, which is no damage.
    for (offset, start) in ends.iter().enumerate() {
        for position in [8, 100, 700, 1_000] {
            let disk = whole.fork();
            disk.flip_bit(journal, start + position, 3)
                .expect("it is that long");
            let offset = offset as u64;
            assert_lost(
                &disk,
                6,
                &[(offset, offset + 1)],
                &format!("entry of offset {offset} at {position}"),
            );
        }
    }
}

#[test]
fn damage_is_not_hidden_by_the_next_damage() {
    let disk = stopped_cleanly(200);
    let segments = files(&disk, ".log");
    disk.flip_bit(&segments[0], 5_000, 0)
        .expect("it is that long");
    disk.flip_bit(&segments[0], 30_000, 0)
        .expect("it is that long");
    disk.remove_file(&segments[1]).expect("it is there");
    disk.flip_bit(segments.last().expect("there are some"), 3_000, 0)
        .expect("it is that long");
    let (read, damaged) = read_around(&opened(&disk, 1), 0);
    let lost: u64 = damaged.iter().map(|(from, to)| to - from).sum();
    assert_eq!(read.len() as u64 + lost, 200);
    assert_eq!(damaged.len(), 4, "{damaged:?}");
    assert_lost(&disk, 200, &damaged, "many");
}

#[test]
fn a_topics_directory_that_is_missing_is_reported_as_all_it_held() {
    let disk = stopped_cleanly(100);
    for path in files(&disk, "") {
        disk.remove_file(&path).expect("it is there");
    }
    let broker: Broker = opened(&disk, 1);
    assert_eq!(read_around(&broker, 0), (vec![], vec![(0, 100)]));
    assert_eq!(ids(&broker, 1).len(), 100);
    assert_eq!(append(&broker, 0, 100), Ok(Offset(100)));
    let trimmed = broker
        .trim("t", PartitionId(0), Offset(100))
        .expect("it is in the log");
    broker.commit_all();
    assert_eq!(
        super::now(trimmed).expect("an answer"),
        Ok(Offset(100)),
        "what is lost can be trimmed"
    );
    assert_eq!(read_around(&broker, 0), (vec![100], vec![]));
    assert_eq!(broker.close(), Ok::<(), Error>(()));
}

#[test]
fn a_deleted_topic_does_not_return_when_every_checkpoint_is_lost() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "gone", 2);
    create(&broker, "t", 1);
    let record = [super::encode_record(0, 100)];
    let admission = super::now(broker.admit_alone(100))
        .expect("there is memory")
        .expect("there is room");
    drop(
        broker
            .append(super::append_of("gone", Some(0), &record), admission)
            .expect("it is there"),
    );
    broker.commit_all();
    broker.checkpoint_now().expect("nothing fails");
    let deleted = broker.delete_topic("gone").expect("it is there");
    broker.commit_all();
    assert_eq!(super::now(deleted).expect("an answer"), Ok(()));
    // Until the journal's files are used again and no entry tells of the deletion any more.
    fill(&broker, 0, 200);
    broker.checkpoint_now().expect("nothing fails");
    drop(broker);
    for mode in CrashMode::ALL {
        let survived = disk.power_cut(1, mode);
        for copy in ["/data/checkpoint", "/data/checkpoint.copy"] {
            survived.flip_bit(copy, 40, 1).expect("it is that long");
        }
        for start in 2..4 {
            let broker = opened(&survived, start);
            let (topics, _) = broker.list_topics("", "", 10, |_| true);
            let names: Vec<_> = topics.iter().map(|topic| topic.name.to_string()).collect();
            assert_eq!(names, ["t"], "{mode:?}");
            assert_eq!(ids(&broker, 0).len(), 200, "{mode:?}");
        }
    }
}
