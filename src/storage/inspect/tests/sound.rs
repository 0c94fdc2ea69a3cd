//! Sound directories.

use super::*;

#[test]
fn a_directory_is_told_as_it_was_written() {
    let dir = Directory::filled();
    for verify in [false, true] {
        let report = dir.inspect(verify);
        assert_eq!(report.damage, []);
        assert_eq!((report.version, report.id.is_some()), (VERSION, true));
        assert_eq!(
            report.checkpoint.copies,
            [CopyState::Whole { applied: 21 }; 2]
        );
        assert_eq!(
            (report.checkpoint.applied, report.checkpoint.journal_file),
            (Some(21), Some(2))
        );
        assert_eq!(report.leftovers, [] as [PathBuf; 0]);

        let [topic] = &report.topics[..] else {
            panic!("one topic")
        };
        assert_eq!(
            (topic.id, &topic.name, topic.partitions.len()),
            (TOPIC, &name(), 2)
        );
        let first = &topic.partitions[0];
        assert_eq!(
            (first.start, first.end, first.journal_records),
            (Offset(0), Offset(46), 6)
        );
        let segments = first
            .segments
            .iter()
            .map(|segment| (segment.base.0, segment.end.0, segment.records));
        assert_eq!(
            segments.collect::<Vec<_>>(),
            [(0, 8, 8), (8, 16, 8), (16, 24, 8), (24, 32, 8), (32, 40, 8)]
        );
        let states = first
            .segments
            .iter()
            .map(|segment| (segment.state, segment.index));
        let mut expected = vec![(SegmentState::Sealed, IndexState::Sound); 4];
        expected.push((SegmentState::Active, IndexState::NotYet));
        assert_eq!(states.collect::<Vec<_>>(), expected);
        assert!(
            first
                .segments
                .iter()
                .all(|segment| segment.bytes == dir.settings.segment_bytes)
        );
        let second = &topic.partitions[1];
        assert_eq!(
            (second.start, second.end, second.segments.len()),
            (Offset(0), Offset(0), 0)
        );
    }
}

#[test]
fn the_journal_is_told_file_by_file() {
    let dir = Directory::filled();
    let journal = dir.inspect(false).journal;
    assert_eq!((journal.end, journal.torn), (24, None));
    let files = journal.files.iter().map(|file| {
        (
            file.number,
            file.needed,
            file.entries,
            file.sequences.clone(),
        )
    });
    // A file of this size takes fifteen entries, and the checkpoint has released the first file.
    assert_eq!(
        files.collect::<Vec<_>>(),
        [(Some(1), false, 0, 0..0), (Some(2), true, 9, 16..25)]
    );
    assert!(journal.files.iter().all(|file| file.salt.is_some()));
}

#[test]
fn nothing_is_written_and_nothing_is_locked() {
    let dir = Directory::filled();
    dir.env
        .files
        .remove_file(&dir.segment(8).with_extension("index"))
        .expect("there is one");
    dir.flip(&dir.segment(16), 200);
    let before = dir.content();
    for verify in [false, true] {
        // `dir.data` holds the directory's lock all the while.
        dir.inspect(verify);
        assert!(dir.content() == before);
    }
}

#[test]
fn what_segments_hold_behind_the_checkpoint_is_not_counted_twice() {
    let mut dir = Directory::filled();
    dir.append(0, 5);
    dir.write_out();
    let report = dir.inspect(true);
    assert_eq!(report.damage, []);
    let partition = &report.topics[0].partitions[0];
    assert_eq!((partition.end, partition.journal_records), (Offset(56), 16));
    let behind = partition
        .segments
        .iter()
        .filter(|segment| segment.state == SegmentState::BehindCheckpoint);
    assert_eq!(
        behind.map(|segment| segment.base.0).collect::<Vec<_>>(),
        [40, 48]
    );
}

#[test]
fn changes_behind_the_checkpoint_are_seen() {
    let mut dir = Directory::filled();
    dir.trim(11);
    let altered = TopicSettings {
        segment_ms: 77_000,
        ..TopicSettings::default()
    };
    dir.commit(vec![Item::Change(Change::Alter {
        topic: TOPIC,
        settings: altered.clone(),
    })]);
    let (topic, name) = (TopicId(9), TopicName::new("another").expect("a valid name"));
    dir.commit(vec![Item::Change(Change::Create {
        topic,
        seed: 0,
        name,
        partitions: 1,
        settings: TopicSettings::default(),
    })]);
    let report = dir.inspect(true);
    assert_eq!(report.damage, []);
    let names: Vec<&str> = report
        .topics
        .iter()
        .map(|topic| topic.name.as_str())
        .collect();
    assert_eq!(names, ["another", "flights"]);
    assert_eq!(report.topics[1].settings, altered);
    assert_eq!(report.topics[1].partitions[0].start, Offset(11));

    dir.commit(vec![Item::Change(Change::Delete { topic: TOPIC })]);
    let report = dir.inspect(true);
    assert_eq!(report.topics.len(), 1);
    assert_eq!(report.leftovers, [dir.data.topic(TOPIC)]);
    dir.env
        .files
        .rename(&dir.data.topic(TOPIC), &dir.data.deleted_topic(TOPIC))
        .expect("it can be renamed");
    assert_eq!(dir.inspect(true).leftovers, [dir.data.deleted_topic(TOPIC)]);
}

#[test]
fn a_torn_end_is_not_damage() {
    let dir = Directory::filled();
    let journal = dir.data.journal().join("2.journal");
    dir.flip(&journal, 9 * 4096 + 100);
    let report = dir.inspect(true);
    assert_eq!(report.damage, []);
    let torn = report.journal.torn.expect("the last entry is cut off");
    assert_eq!((torn.path, torn.bytes.start), (journal, 9 * 4096));
    assert_eq!(
        (report.journal.end, report.topics[0].partitions[0].end),
        (23, Offset(44))
    );
}

#[test]
fn a_directory_of_a_broker_that_did_nothing_is_sound() {
    let report = Directory::new().inspect(true);
    assert_eq!(
        (report.damage, report.topics.len(), report.journal.end),
        (vec![], 0, 0)
    );
    assert_eq!(report.checkpoint.copies, [CopyState::Missing; 2]);
}
