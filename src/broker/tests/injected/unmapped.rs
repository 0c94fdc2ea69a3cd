//! A file system without maps, and a process that has reached its limit of maps: files are read by
//! position.

use super::{
    book::Tolerance,
    work::{PHASES, begin, start},
    *,
};
use crate::env::{FileSystem, Open};

#[test]
fn all_is_read_and_kept_without_any_map() {
    for errno in [fault::ENODEV, fault::ENOMEM, fault::EACCES] {
        for phase in PHASES {
            let mut begun = begin(2);
            let disk = begun.disk.fork();
            let no_maps = Fault::on(OpKind::Map).errno(errno).for_ever();
            disk.inject(no_maps);
            let running = start(&disk, 900).expect("maps are not needed");
            begun.book.check_all(&running.broker, Tolerance::Nothing);
            running.work(phase, &mut begun.book, Tolerance::Nothing);
            assert!(
                !running.broker.shared.health.has_failed(),
                "{phase:?} {errno}"
            );
            let maps = disk.stats().faults.get(&OpKind::Map).copied();
            assert!(maps.is_some_and(|maps| maps > 0), "maps were asked for");
            let disk = disk.fork();
            let running = start(&disk, 901).expect("nothing fails");
            begun.book.check_all(&running.broker, Tolerance::Nothing);
        }
    }
}

#[test]
fn damage_is_found_where_nothing_is_mapped() {
    let (disk, broker) = filled();
    broker.close().expect("nothing fails");
    let segment = disk
        .files()
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "log"))
        .expect("there are segments");
    disk.flip_bit(&segment, 1_500, 3).expect("it is that long");
    let no_maps = Fault::on(OpKind::Map).errno(fault::ENODEV).for_ever();
    let disk = disk.fork();
    disk.inject(no_maps);
    let broker = open(&disk, 3).expect("damage is no reason not to start");
    let damaged = read_at(&broker, 1).err();
    assert!(
        matches!(damaged, Some(Error::DamagedRecords { from, to, .. }) if (from.0, to.0) == (1, 2)),
        "{damaged:?}"
    );
    assert!(read_at(&broker, 2).is_ok());
}

#[test]
fn where_there_are_no_more_maps_others_are_given_up_for_the_next() {
    let (disk, broker) = filled();
    append(&broker, RECORDS..2 * RECORDS);
    broker.keep_house(true);
    let mut segments = disk.files().into_iter();
    let first = segments.find(|path| path.ends_with("00000000000000000000.log"));
    broker.shared.partitions.segments.let_go();
    read_at(&broker, 0).expect("it is mapped");
    disk.inject(Fault::on(OpKind::Map).in_path(".log").errno(fault::ENOMEM));
    read_at(&broker, RECORDS).expect("it is mapped too");
    assert_eq!(disk.stats().faults.get(&OpKind::Map), Some(&1));
    // The simulated disk panics if a mapped file is written to.
    let file = disk
        .open(&first.expect("it is there"), Open::Write)
        .expect("it is there");
    file.write_all_at(&[b"x"], 0).expect("nothing fails");
}
