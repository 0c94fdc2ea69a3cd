//! Which errors mean damage, and which are temporary.

use super::*;

/// Ways to reach the sealed segment and the active one: an offset in it, and the operation on its
/// files.
const WAYS: [(u64, OpKind); 3] = [
    (5, OpKind::Map),
    (RECORDS - 1, OpKind::Open),
    (RECORDS - 1, OpKind::Read),
];

/// Makes an operation on segments fail, and with it every other way to read the same segment.
fn fail(disk: &SimDisk, kind: OpKind, errno: i32, times: u64) {
    let kinds: &[OpKind] = match kind {
        OpKind::Map => &[OpKind::Map, OpKind::Open],
        _ => &[kind],
    };
    for kind in kinds {
        disk.inject(Fault::on(*kind).in_path(".log").errno(errno).times(times));
    }
}

#[test]
fn what_passes_is_refused_and_can_be_read_when_it_has_passed() {
    for errno in PASSING {
        for (offset, kind) in WAYS {
            let (disk, broker) = filled();
            broker.shared.partitions.segments.let_go();
            fail(&disk, kind, errno, u64::MAX);
            let refused = read_at(&broker, offset).err();
            assert!(
                matches!(refused, Some(Error::StorageUnavailable { .. })),
                "{kind:?} {errno}: {refused:?}"
            );
            let refused = find_time(&broker, 0).err();
            assert!(
                kind != OpKind::Map || matches!(refused, Some(Error::StorageUnavailable { .. })),
                "{kind:?} {errno}: {refused:?}"
            );
            disk.clear_faults();
            assert_eq!(find_time(&broker, 0), Ok(Offset::ZERO));
            let found = read_all(&broker, "t", PartitionId(0));
            assert_eq!(found.len() as u64, RECORDS, "{kind:?} {errno}");
        }
    }
}

#[test]
fn what_passes_at_once_is_not_noticed() {
    for errno in PASSING {
        let (disk, broker) = filled();
        for kind in [OpKind::Map, OpKind::Open] {
            disk.inject(Fault::on(kind).in_path(".log").errno(errno));
            broker.shared.partitions.segments.let_go();
            let found = read_all(&broker, "t", PartitionId(0));
            assert_eq!(found.len() as u64, RECORDS, "{kind:?} {errno}");
        }
    }
}

#[test]
fn a_disk_that_cannot_read_is_damage() {
    for (offset, kind) in WAYS {
        let (disk, broker) = filled();
        broker.shared.partitions.segments.let_go();
        fail(&disk, kind, fault::EIO, u64::MAX);
        let damaged = read_at(&broker, offset).err();
        let is_reported =
            matches!(damaged, Some(Error::DamagedRecords { from, .. }) if from.0 == offset);
        assert!(is_reported, "{kind:?}: {damaged:?}");
    }
}

#[test]
fn a_start_that_cannot_read_is_refused_and_changes_nothing() {
    let (disk, broker) = filled();
    broker.close().expect("nothing fails");
    let before = disk.files();
    let is_of = |path: &Path| path.to_string_lossy().contains("/0/");
    assert!(before.iter().any(|path| is_of(path)));
    for errno in PASSING {
        // Without maps, files are read by position.
        for kind in [OpKind::Open, OpKind::Read, OpKind::ReadDir] {
            let disk = disk.fork();
            disk.inject(Fault::on(kind).in_path("/0/").errno(errno).times(u64::MAX));
            let refused = open(&disk, 3).err();
            let had_effect = disk.stats().faults.contains_key(&kind);
            assert_eq!(
                refused.is_some(),
                had_effect,
                "{kind:?} {errno}: {refused:?}"
            );
            assert_eq!(disk.files(), before, "{kind:?} {errno}");
            disk.clear_faults();
            let broker = open(&disk, 4).expect("the error has passed");
            assert_eq!(read_all(&broker, "t", PartitionId(0)).len() as u64, RECORDS);
        }
    }
}

#[test]
fn a_segment_that_the_disk_cannot_read_at_a_start_is_damaged_and_all_else_is_served() {
    let (disk, broker) = filled();
    broker.close().expect("nothing fails");
    let mut segments = disk.files();
    segments.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    assert!(segments.len() > 1, "a sealed one and the active one");
    for path in &segments {
        let disk = disk.fork();
        for kind in [OpKind::Open, OpKind::Map] {
            disk.inject(Fault::on(kind).at(path).for_ever());
        }
        let broker = open(&disk, 3).expect("the others can be read");
        let mut damaged = 0;
        for offset in 0..RECORDS {
            match read_at(&broker, offset) {
                Ok(_) => {}
                Err(Error::DamagedRecords { .. }) => damaged += 1,
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
        assert!(
            0 < damaged && damaged < RECORDS,
            "{}: {damaged}",
            path.display()
        );
        drop(broker);
        disk.clear_faults();
        let broker = open(&disk.fork(), 4).expect("nothing fails");
        let found = read_all(&broker, "t", PartitionId(0));
        assert_eq!(found.len() as u64, RECORDS, "{}", path.display());
    }
}
