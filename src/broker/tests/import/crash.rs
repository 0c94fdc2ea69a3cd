//! The power fails at any write of an import.

use super::*;

#[test]
fn a_power_cut_at_any_write_of_an_import_leaves_a_beginning_that_can_be_gone_on_with() {
    let from = source(&SimDisk::new(3), &[]);
    remove_some(&from);
    let exported = export(&from, "t");
    let first = SimDisk::new(30);
    let (broker, _) = open(&first, 30);
    create(&broker, "t", PARTITIONS, &[]);
    broker.close().expect("nothing fails");
    drop(broker);
    let whole = first.fork();
    let (broker, _) = open(&whole, 31);
    let opened = whole.operations();
    import(&broker, "t", &exported).expect("nothing fails");
    let operations = whole.operations();
    drop(broker);
    let (mut empty, mut begun, mut complete) = (0, 0, 0);
    for operation in opened + 1..=operations {
        let disk = first.fork();
        match operation.is_multiple_of(2) {
            true => disk.crash_at(operation),
            false => disk.crash_within(operation),
        }
        let (broker, _) = open(&disk, 31);
        import(&broker, "t", &exported).expect_err("the power fails");
        drop(broker);
        let mode = CrashMode::ALL[operation as usize % CrashMode::ALL.len()];
        let disk = disk.power_cut(operation, mode);
        let (broker, _) = open(&disk, 1_000 + operation);
        let settings = broker.describe_topic("t").expect("it is there").0.settings;
        let found = export(&broker, "t");
        let is_importing = settings.get("appends").as_deref() == Some("import");
        let record = encode_proto(&Record {
            value: Some("x".into()),
            ..Record::default()
        });
        if is_importing {
            begun += 1;
            let refused = send(&broker, append_of("t", Some(0), &[record]));
            let is_refused = matches!(refused, Err(Error::Import(ImportRefused::Importing { .. })));
            assert!(is_refused, "{operation}, {mode:?}: {refused:?}");
            for (found, exported) in found.iter().zip(&exported) {
                assert_eq!(found.start, exported.start, "{operation}, {mode:?}");
                let len = found.records.len();
                assert_eq!(
                    found.records,
                    exported.records[..len],
                    "{operation}, {mode:?}"
                );
            }
        } else if found == exported {
            complete += 1;
            continue;
        } else {
            empty += 1;
            assert!(
                found.iter().all(|of| of.end == Offset::ZERO),
                "{operation}, {mode:?}"
            );
        }
        import(&broker, "t", &exported)
            .unwrap_or_else(|error| panic!("{operation}, {mode:?}: {error}"));
        assert_eq!(export(&broker, "t"), exported, "{operation}, {mode:?}");
        let of_key = |broker: &Broker| versions(broker, "t", "c");
        assert_eq!(of_key(&broker), of_key(&from), "{operation}, {mode:?}");
    }
    println!("{operations} operations: {empty} empty, {begun} begun, {complete} complete");
    assert!(empty > 0 && begun > 20);
}
