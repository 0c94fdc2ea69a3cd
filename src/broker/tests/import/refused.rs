//! What cannot be imported.

use super::*;

/// What the broker says of a record that cannot be imported; nothing else may have happened.
fn refusal(broker: &Broker, import: &Import, records: &[Vec<u8>]) -> String {
    let before = export(broker, "t");
    let partition = partition_of_key(b"a", PARTITIONS);
    let refused = take(broker, import, partition, records).expect_err("it cannot be");
    assert_eq!(refused.kind(), Kind::InvalidArgument, "{refused}");
    assert_eq!(export(broker, "t"), before);
    refused.to_string()
}

#[test]
fn records_that_cannot_have_been_stored_are_refused_by_their_number_and_nothing_is_stored() {
    let (broker, _) = open(&SimDisk::new(7), 7);
    create(&broker, "t", PARTITIONS, &[]);
    let import = begin(&broker, "t", &[]).expect("it is empty");
    let sound = |offset: u64, version: u64| Record {
        key: Some("a".into()),
        value: Some("v".into()),
        timestamp_ms: Some(1),
        offset: Some(offset),
        version: Some(version),
        append_time_ms: Some(START_MS),
        ..Record::default()
    };
    let partition = partition_of_key(b"a", PARTITIONS);
    let first = encode_proto(&sound(10, 4));
    take(&broker, &import, partition, std::slice::from_ref(&first)).expect("it is sound");
    let with = |change: fn(&mut Record)| vec![changed(&encode_proto(&sound(20, 5)), change)];
    let two = |second: Record| vec![encode_proto(&sound(20, 5)), encode_proto(&second)];
    let wrong: [(Vec<Vec<u8>>, &str); 17] = [
        (
            vec![first],
            "record 100, for partition 1 of topic \"t\", cannot be imported: its offset 10 is not behind",
        ),
        (two(sound(20, 6)), "record 101, for partition"),
        (
            two(sound(21, 5)),
            "it has version 5, and its key is at version 5 already",
        ),
        (two(sound(21, 9)), "not as many offsets between them"),
        (vec![encode_proto(&sound(20, 4))], "at version 4 already"),
        (
            vec![encode_proto(&sound(20, 22))],
            "not as many offsets before it",
        ),
        (
            with(|record| record.version = Some(0)),
            "versions begin at 1",
        ),
        (with(|record| record.version = None), "a key and no version"),
        (with(|record| record.offset = None), "no offset"),
        (with(|record| record.offset = Some(1 << 62)), "too large"),
        (
            with(|record| record.append_time_ms = None),
            "no append time",
        ),
        (with(|record| record.timestamp_ms = None), "no timestamp"),
        (
            with(|record| record.append_time_ms = Some(START_MS - 1)),
            "never decrease",
        ),
        (
            with(|record| record.append_time_ms = Some(START_MS * 2)),
            "a day ahead",
        ),
        (
            with(|record| record.key = Some("b".into())),
            "its key belongs in partition",
        ),
        (
            with(|record| record.erased = Some(vec![0; 32].into())),
            "it is erased, and has content",
        ),
        (
            with(|record| record.offset = Some(1 << 33)),
            "more than fit at once",
        ),
    ];
    for (records, expected) in wrong {
        let text = refusal(&broker, &import, &records);
        assert!(text.contains(expected), "{text}");
    }
    assert!(refusal(&broker, &import, &[]).contains("no records"));
    assert!(refusal(&broker, &import, &[vec![0x7a, 1, 0x7a]]).contains("record 100"));
    take(&broker, &import, partition, &two(sound(21, 6))).expect("they are sound");
    end(&broker, &import, &[]).expect("nothing fails");
    assert_eq!(versions(&broker, "t", "a"), [4, 5, 6]);
}

#[test]
fn an_import_takes_an_empty_topic_and_has_it_alone() {
    let (broker, _) = open(&SimDisk::new(8), 8);
    create(&broker, "t", 1, &[]);
    create(&broker, "used", 1, &[]);
    let record = || {
        vec![encode_proto(&Record {
            value: Some("x".into()),
            ..Record::default()
        })]
    };
    send(&broker, append_of("used", None, &record())).expect("there is room");
    let refused = |error: Error| match error {
        Error::Import(refused) => refused.reason(),
        other => panic!("{other}"),
    };
    let not_empty = begin(&broker, "used", &[]).err().expect("it has a record");
    assert_eq!(refused(not_empty), "TOPIC_NOT_EMPTY");
    let set = BTreeMap::from([("appends".to_owned(), "import".to_owned())]);
    let altered = broker
        .alter_topic("used", &set, &[])
        .expect_err("clients append");
    assert!(
        altered.to_string().contains("an import sets this itself"),
        "{altered}"
    );

    let one = begin(&broker, "t", &[]).expect("it is empty");
    let other = begin(&broker, "t", &[]).err().expect("there is one");
    assert_eq!(refused(other), "IMPORT_UNDER_WAY");
    let append = send(&broker, append_of("t", None, &record())).expect_err("it is importing");
    assert_eq!(refused(append), "TOPIC_IMPORTING");
    drop(one);
    let append = send(&broker, append_of("t", None, &record())).expect_err("it is not complete");
    assert!(
        append.to_string().contains("topic alter t --reset appends"),
        "{append}"
    );

    let one = begin(&broker, "t", &[]).expect("it goes on");
    let reset = broker.alter_topic("t", &BTreeMap::new(), &["appends".to_owned()]);
    let reset = reset.expect("that may be");
    // The next appender is let in before the reset is durable.
    let admission = now(broker.admit_alone(100))
        .expect("there is memory")
        .expect("it runs");
    let appended = broker.append(append_of("t", None, &record()), admission);
    broker.commit_all();
    now(reset).expect("an answer").expect("nothing fails");
    now(appended.expect("it is open"))
        .expect("an answer")
        .expect("it is stored");
    let ended = end(&broker, &one, &[]).expect_err("it was reset");
    assert_eq!(refused(ended), "IMPORT_ENDED");
    drop(one);
    let again = begin(&broker, "t", &[]).err().expect("it has a record");
    assert_eq!(refused(again), "TOPIC_NOT_EMPTY");
}

#[test]
fn an_import_of_something_else_does_not_go_on_with_what_is_there() {
    let (broker, _) = open(&SimDisk::new(9), 9);
    create(&broker, "t", 1, &[]);
    let starts_at = |start: u64| {
        vec![Exported {
            partition: PartitionId(0),
            start: Offset(start),
            end: Offset(start),
            records: Vec::new(),
        }]
    };
    drop(begin(&broker, "t", &starts_at(50)).expect("it is empty"));
    for other in [0, 49, 51] {
        let refused = begin(&broker, "t", &starts_at(other))
            .err()
            .expect("it starts elsewhere");
        assert_eq!(refused.reason(), "IMPORT_OF_OTHER", "{other}: {refused}");
    }
    import(&broker, "t", &starts_at(50)).expect("it is the same");
}
