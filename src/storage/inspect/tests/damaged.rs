//! Damaged directories: each damage is listed with the records that it costs.

use super::*;
use crate::storage::journal::Fault;

/// Where the `n`th frame of a segment begins.
fn position(n: u64) -> u64 {
    64 + n * frame(0, 0).bytes().len() as u64
}

#[test]
fn a_damaged_frame_is_listed_with_its_offsets_when_frames_are_checked() {
    let dir = Directory::filled();
    dir.flip(&dir.segment(8), position(1) + 90);
    dir.flip(&dir.segment(32), position(3) + 10);
    assert_eq!(
        dir.inspect(false).topics[0].partitions[0].segments[1].records,
        8
    );
    let report = dir.inspect(true);
    assert_eq!(
        names(&report.damage),
        [
            (
                "00000000000000000008.log".to_owned(),
                Some((10, 12)),
                DamageKind::Records
            ),
            (
                "00000000000000000032.log".to_owned(),
                Some((38, 40)),
                DamageKind::Records
            ),
        ]
    );
    assert!(report.damage.iter().all(Damage::loses_records));
    assert_eq!(report.damage[0].topic, Some(name()));
    assert_eq!(report.damage[0].partition, Some(PartitionId(0)));
    assert!(
        report.damage[0]
            .to_string()
            .contains("topic flights, partition 0, offsets 10 up to 12 cannot be read")
    );
    assert_eq!(report.topics[0].partitions[0].segments[1].records, 6);
}

#[test]
fn any_flipped_byte_of_a_segment_is_found() {
    let dir = Directory::filled();
    for at in 0..dir.settings.segment_bytes {
        dir.flip(&dir.segment(16), at);
        let found = dir.damage();
        // 8 bytes of the header have no meaning, but its checksum covers them.
        assert_eq!(found.len(), 1, "byte {at}: {found:?}");
        let expected = if at < 64 {
            DamageKind::SegmentHeader
        } else {
            DamageKind::Records
        };
        assert_eq!(found[0].2, expected, "byte {at}");
        dir.flip(&dir.segment(16), at);
    }
    assert_eq!(dir.damage(), []);
}

#[test]
fn missing_and_cut_segments_are_listed_also_without_checking_frames() {
    for (base, offsets) in [(0, (0, 8)), (16, (16, 24)), (32, (32, 40))] {
        let dir = Directory::filled();
        dir.env
            .files
            .remove_file(&dir.segment(base))
            .expect("there is one");
        for verify in [false, true] {
            let damage = dir.inspect(verify).damage;
            assert_eq!(damage.len(), 1, "{damage:?}");
            assert_eq!(
                names(&damage)[0].1,
                Some(offsets),
                "segment {base}, verify {verify}"
            );
            assert_eq!(damage[0].kind, DamageKind::MissingRecords);
        }
    }
    for base in [16, 32] {
        let dir = Directory::filled();
        let file = dir
            .env
            .files
            .open(&dir.segment(base), Open::Write)
            .expect("there is one");
        file.set_len(position(2) + 20).expect("it can be cut");
        for verify in [false, true] {
            let found = names(&dir.inspect(verify).damage);
            assert_eq!(
                found[0].1,
                Some((base + 4, base + 8)),
                "segment {base}, verify {verify}"
            );
        }
    }
}

#[test]
fn what_has_been_trimmed_need_not_be_there() {
    let mut dir = Directory::filled();
    dir.trim(19);
    dir.checkpoint();
    dir.env
        .files
        .remove_file(&dir.segment(0))
        .expect("there is one");
    dir.flip(&dir.segment(8), position(0) + 100);
    dir.flip(&dir.segment(16), position(0) + 100);
    assert_eq!(dir.damage(), []);
    dir.flip(&dir.segment(16), position(1) + 100);
    assert_eq!(dir.damage()[0].1, Some((19, 20)));
}

#[test]
fn indexes_are_checked_against_their_segments() {
    let dir = Directory::filled();
    let index = dir.segment(8).with_extension("index");
    dir.flip(&index, 3);
    let report = dir.inspect(false);
    assert_eq!(
        report.topics[0].partitions[0].segments[1].index,
        IndexState::Damaged
    );
    assert_eq!(
        report
            .damage
            .iter()
            .map(|damage| damage.kind.clone())
            .collect::<Vec<_>>(),
        [DamageKind::Index]
    );
    assert!(!report.damage[0].loses_records());
    dir.env.files.remove_file(&index).expect("there is one");
    assert_eq!(
        dir.inspect(true).topics[0].partitions[0].segments[1].index,
        IndexState::Missing
    );
    // A valid index row that belongs to another segment.
    let row = crate::storage::format::segment_file::IndexRow {
        relative: 7,
        position: u32::try_from(dir.settings.segment_bytes).expect("small"),
        latest_before_ms: 6,
    };
    replace_file(&*dir.env.files, &index, &row.encode()).expect("room");
    assert_eq!(
        dir.damage(),
        [(
            "00000000000000000008.index".to_owned(),
            None,
            DamageKind::Index
        )]
    );
}

#[test]
fn damage_in_the_journal_is_listed_and_the_segments_count_for_what_they_hold() {
    let mut dir = Directory::filled();
    let journal = dir.data.journal().join("2.journal");
    // The entries behind the checkpoint are 22 to 24: a later one proves that 23 was synced.
    dir.flip(&journal, 8 * 4096 + 10);
    let report = dir.inspect(true);
    let expected = DamageKind::JournalEntries { sequences: 23..24 };
    let missing = ("0".to_owned(), Some((42, 44)), DamageKind::MissingRecords);
    assert_eq!(
        names(&report.damage),
        [("journal".to_owned(), None, expected.clone()), missing]
    );
    assert_eq!(report.topics[0].partitions[0].end, Offset(46));
    // The frame that is lost with the entry had been written to a segment.
    dir.write_out();
    assert_eq!(dir.damage(), [("journal".to_owned(), None, expected)]);
}

#[test]
fn a_damaged_item_of_the_journal_is_listed_with_its_offsets() {
    let dir = Directory::filled();
    dir.flip(&dir.data.journal().join("2.journal"), 8 * 4096 + 200);
    let expected = (
        "journal".to_owned(),
        Some((42, 44)),
        DamageKind::JournalItem { sequence: 23 },
    );
    assert_eq!(dir.damage(), [expected]);
}

#[test]
fn one_damaged_copy_of_the_checkpoint_is_listed_and_costs_nothing() {
    for (path, at) in [("checkpoint", 0), ("checkpoint.copy", 1)] {
        let dir = Directory::filled();
        let whole = dir.inspect(true);
        dir.flip(&dir.root().join(path), 20);
        let report = dir.inspect(true);
        assert_eq!(
            names(&report.damage),
            [(path.to_owned(), None, DamageKind::CheckpointCopy)]
        );
        assert_eq!(report.checkpoint.copies[at], CopyState::Damaged);
        assert_eq!(report.topics, whole.topics);
    }
}

#[test]
fn without_a_checkpoint_topics_are_found_by_their_files_and_ends_by_their_segments() {
    let mut dir = Directory::filled();
    for path in ["checkpoint", "checkpoint.copy"] {
        dir.flip(&dir.root().join(path), 20);
    }
    let report = dir.inspect(true);
    assert_eq!(report.checkpoint.applied, None);
    let kinds: Vec<DamageKind> = report
        .damage
        .iter()
        .map(|damage| damage.kind.clone())
        .collect();
    assert_eq!(kinds, [DamageKind::Checkpoint, DamageKind::Checkpoint]);
    assert_eq!(report.topics[0].partitions[0].end, Offset(46));
    dir.write_out();
    let written = dir.inspect(true);
    assert_eq!(
        (written.topics[0].partitions[0].end, written.damage.len()),
        (Offset(46), 2)
    );
}

#[test]
fn identity_topic_file_and_journal_header_are_checked() {
    let dir = Directory::filled();
    dir.flip(&dir.root().join("taffrail"), 18);
    dir.flip(&dir.data.topic(TOPIC).join("topic"), 18);
    for at in [20, 2048 + 20] {
        dir.flip(&dir.data.journal().join("1.journal"), at);
    }
    let kinds: Vec<DamageKind> = dir
        .inspect(false)
        .damage
        .into_iter()
        .map(|damage| damage.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            DamageKind::Identity,
            DamageKind::JournalHeader,
            DamageKind::TopicFile
        ]
    );
}

#[test]
fn a_journal_file_that_no_broker_starts_without_is_listed() {
    let whole = Directory::filled();
    let len = whole.content()[&whole.data.journal().join("2.journal")]
        .as_ref()
        .expect("a file")
        .len() as u64;
    for (cut, fault) in [
        (0, Fault::Blank),
        (
            4096,
            Fault::CutShort {
                bytes: 4096,
                of: len,
            },
        ),
    ] {
        let dir = Directory::filled();
        let path = dir.data.journal().join("2.journal");
        let file = dir.env.files.open(&path, Open::Write).expect("it is there");
        file.set_len(cut).expect("the disk takes it");
        let found = dir.inspect(true).damage;
        let listed = found
            .iter()
            .find(|damage| damage.kind == DamageKind::JournalFile { fault });
        assert!(
            listed.is_some_and(|damage| damage.path == path && damage.loses_records()),
            "{found:?}"
        );
    }
    let dir = Directory::filled();
    dir.env
        .files
        .remove_file(&dir.data.journal().join("2.journal"))
        .expect("it is there");
    let missing = DamageKind::JournalFileMissing { number: 2 };
    let found = dir.inspect(true).damage;
    assert!(
        found.iter().any(|damage| damage.kind == missing),
        "{found:?}"
    );
}

#[test]
fn a_file_where_a_directory_should_be_is_listed() {
    let dir = Directory::filled();
    let partition = dir.data.topic(TOPIC).join("1");
    dir.env
        .files
        .open(&partition, Open::Create)
        .expect("a new file");
    let found = dir.inspect(true).damage;
    assert_eq!(found.len(), 1);
    assert!(
        matches!(found[0].kind, DamageKind::Unreadable { .. }),
        "{found:?}"
    );
}

#[test]
fn any_flipped_byte_of_the_directory_ends_no_look() {
    let dir = Directory::filled();
    let files = dir
        .content()
        .into_iter()
        .filter_map(|(path, content)| Some((path, content?)));
    for (path, content) in files {
        // Most of a journal file is empty, so only some of its bytes are tried.
        let step = if content.len() > 10_000 { 97 } else { 1 };
        for at in (0..content.len()).step_by(step) {
            dir.flip(&path, at as u64);
            match inspect(&dir.env, dir.root(), true) {
                Ok(report) => assert!(report.topics.len() <= 1),
                Err(error) => assert!(
                    path.ends_with("taffrail"),
                    "{}, byte {at}: {error}",
                    path.display()
                ),
            }
            dir.flip(&path, at as u64);
        }
    }
}
