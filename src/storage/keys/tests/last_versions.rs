//! Tables of last versions: written, merged, looked up, found at a start.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    env::sim::{
        CrashMode, Fault, OpKind,
        fault::{EAGAIN, ENODEV},
    },
    storage::keys::{
        last_versions::LastVersions,
        merge::{Error, merge_last_versions},
        set,
        sorted_table::table_path,
    },
};

/// Last versions of a few hashes that several entities share, and of many other hashes, with names
/// of all lengths.
fn sample() -> Vec<LastVersion> {
    let mut lasts: Vec<LastVersion> = (0..400)
        .map(|at| entity(drawn(at), 1 + at, vec![at as u8; at as usize % 60]))
        .collect();
    lasts.extend([
        entity(1 << 63, 5, "a"),
        erased(1 << 63, 5, 1),
        entity(1 << 63, 5, "b"),
        unreadable(1 << 63, 7),
        entity(0, 1, vec![7; 30_000]),
        erased(0, 2, 2),
        entity(u64::MAX, 1, ""),
        unreadable(u64::MAX, 2),
    ]);
    lasts.sort_by_key(LastVersion::order);
    lasts
}

fn any_last() -> impl Strategy<Value = LastVersion> {
    let hash = prop_oneof![
        Just(0),
        Just(1 << 60),
        Just(u64::MAX),
        (0u64..6).prop_map(drawn)
    ];
    (hash, 1u64..9, 0u8..3, 0u8..3).prop_map(|(hash, version, which, kind)| match kind {
        0 => entity(hash, version, vec![which]),
        1 => erased(hash, version, which),
        _ => unreadable(hash, version),
    })
}

/// The last versions in order, each once.
fn sorted(mut lasts: Vec<LastVersion>) -> Vec<LastVersion> {
    lasts.sort_by_key(|last| (last.order(), format!("{:?}", last.name)));
    lasts.dedup();
    lasts
}

fn is(key: &'static [u8]) -> impl Fn(&Name) -> bool {
    move |name| matches!(name, Name::Entity { key: of } if of == key)
}

/// The last versions found on a disk. All table numbers up to `through` must be there.
fn found(disk: &SimDisk, through: u64) -> LastVersions {
    set::list(owner(disk), Offset(0)..Offset(0), through)
        .expect("the disk is sound")
        .last_versions
}

fn numbers(of: &LastVersions) -> Vec<(u64, u64)> {
    let numbers = of.tables.iter().map(|table| table.numbers());
    numbers
        .map(|numbers| (numbers.start, numbers.end))
        .collect()
}

fn lost(of: &LastVersions) -> Vec<(u64, u64)> {
    let numbers = of.lost().iter().map(|lost| lost.numbers.clone());
    numbers
        .map(|numbers| (numbers.start, numbers.end))
        .collect()
}

#[test]
fn what_is_written_is_found_by_hash() {
    let disk = disk();
    let written = sample();
    let table = store(&disk, 4..5, &written);
    for table in [&table, &open(&disk, table.path()).expect("it is sound")] {
        assert_eq!(
            (table.numbers(), table.rows()),
            (4..5, written.len() as u64)
        );
        let len = disk.content(table.path()).expect("it is there").len();
        assert_eq!(table.bytes(), len as u64);
        assert_eq!(lasts(table), written);
        for last in &written {
            let mut expected = written.clone();
            expected.retain(|other| other.hash == last.hash);
            assert_eq!(lasts_of(table, last.hash).expect("it is sound"), expected);
            let absent = KeyHash(last.hash.0 ^ 2);
            assert_eq!(lasts_of(table, absent).expect("it is sound"), []);
        }
    }
}

#[test]
fn a_table_may_have_fewer_rows_than_were_expected_and_none() {
    for (expected, count) in [(0, 0), (10, 0), (5_000, 0), (5_000, 3), (10_000, 408)] {
        let disk = disk();
        let written = &sample()[..count];
        let content = content_of_last(1..2, expected);
        let table = SortedTable::write_last_versions(&disk, &dir(), &content, written);
        let path = table.expect("the disk takes it").path().to_owned();
        let table = open(&disk, &path).expect("it is sound");
        assert_eq!(lasts(&table), written);
        assert_eq!(
            table.bytes(),
            disk.content(&path).expect("it is there").len() as u64
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn merged_tables_keep_the_last_of_each_entity(tables in vec(vec(any_last(), 0..12), 1..5)) {
        let disk = disk();
        let stored = (1..).zip(&tables);
        let stored = arcs(stored.map(|(number, lasts)| store(&disk, number..number + 1, &sorted(lasts.clone()))));
        let merged = merge_last_versions(&disk, &dir(), &stored, |last| last).expect("all is sound");
        prop_assert_eq!(merged.numbers(), 1..tables.len() as u64 + 1);
        let merged = lasts(&merged);

        let every: Vec<LastVersion> = tables.into_iter().flatten().collect();
        let mut expected = every.clone();
        expected.retain(|last| {
            let is_same = |other: &&LastVersion| other.hash == last.hash && other.name == last.name;
            every.iter().filter(is_same).all(|other| other.version <= last.version)
        });
        prop_assert!(merged.is_sorted_by_key(LastVersion::order));
        prop_assert_eq!(merged.len(), sorted(expected.clone()).len());
        prop_assert_eq!(sorted(merged), sorted(expected));
    }
}

#[test]
fn an_erased_key_is_in_no_byte_of_a_table_that_is_written_anew() {
    let disk = disk();
    let secret = "a secret key";
    let stored = arcs([
        store(
            &disk,
            1..2,
            &[entity(1, 4, secret), entity(1, 5, "another key")],
        ),
        store(&disk, 2..3, &[entity(1, 9, secret)]),
    ]);
    let has_secret = |path: &Path| {
        let content = disk.content(path).expect("it is there");
        content
            .windows(12)
            .any(|window| window == secret.as_bytes())
    };
    assert!(stored.iter().all(|table| has_secret(table.path())));
    let edit = |last: LastVersion| match &last.name {
        Name::Entity { key } if key == secret => erased(last.hash.0, last.version.0, 1),
        _ => last,
    };
    let edited = merge_last_versions(&disk, &dir(), &stored[1..], edit).expect("all is sound");
    assert_eq!(edited.path(), stored[1].path());
    assert_eq!(lasts(&edited), [erased(1, 9, 1)]);
    assert_eq!(
        lasts(&stored[1]),
        [entity(1, 9, secret)],
        "who has the old one goes on"
    );
    assert!(!has_secret(edited.path()));
    let merged = merge_last_versions(&disk, &dir(), &stored, edit).expect("all is sound");
    assert_eq!(
        lasts(&merged),
        [entity(1, 5, "another key"), erased(1, 9, 1)]
    );
    assert!(!has_secret(merged.path()));
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let disk = disk();
    let written = sample();
    let path = store(&disk, 4..5, &written).path().to_owned();
    let len = disk.content(&path).expect("it is there").len();
    let (mut answers, mut damaged, mut unusable) = (0, 0, 0);
    for bit in (0..100 * 8).chain((PAGE_BYTES * 8..len * 8).step_by(211)) {
        disk.flip_bit(&path, (bit / 8) as u64, (bit % 8) as u8)
            .expect("it is there");
        if let Ok(table) = open(&disk, &path) {
            for last in written.iter().step_by(31) {
                let mut expected = written.clone();
                expected.retain(|other| other.hash == last.hash);
                match lasts_of(&table, last.hash) {
                    Ok(found) => assert_eq!(found, expected, "bit {bit}"),
                    Err(_) => damaged += 1,
                }
                answers += 1;
            }
        } else {
            unusable += 1;
        }
        disk.flip_bit(&path, (bit / 8) as u64, (bit % 8) as u8)
            .expect("it is there");
    }
    println!("{answers} answers, {damaged} damaged, {unusable} unusable");
    assert!(answers > 10_000 && damaged > 1_000 && unusable >= 88 * 8);
}

#[test]
fn damage_ends_a_merge_and_leaves_nothing_of_it() {
    let disk = disk();
    let path = store(&disk, 4..5, &sample()).path().to_owned();
    // A page of rows, and a page of names.
    for position in [3 * PAGE_BYTES as u64 + 9, 9 * PAGE_BYTES as u64] {
        disk.flip_bit(&path, position, 1).expect("it is there");
        let table = open(&disk, &path).expect("the header is sound");
        let merged = merge_last_versions(&disk, &dir(), &arcs([table]), |last| last).map(|_| ());
        assert!(matches!(merged, Err(Error::Damaged(_))), "{merged:?}");
        assert_eq!(disk.files(), std::slice::from_ref(&path));
        disk.flip_bit(&path, position, 1).expect("it is there");
    }
}

#[test]
fn a_table_of_records_is_not_taken_for_one_of_last_versions() {
    let disk = disk();
    let records = write(&disk, 4, 5, &[row(1, 1, 4)]).path().to_owned();
    let lasts = table_path(&dir(), Kind::LastVersions, 4..5);
    disk.rename(&records, &lasts).expect("it can be renamed");
    assert!(matches!(
        open(&disk, &lasts),
        Err(Unusable::Misplaced { .. })
    ));
}

#[test]
fn a_look_up_finds_the_highest_version_that_any_table_has() {
    let disk = disk();
    store(
        &disk,
        1..2,
        &[entity(1, 4, "a"), entity(1, 6, "b"), entity(2, 1, "c")],
    );
    store(&disk, 2..3, &[entity(1, 7, "a"), erased(3, 2, 1)]);
    let all = found(&disk, 2);
    assert_eq!((all.through(), all.len(), all.is_whole()), (2, 2, true));
    let version = |hash, key| all.find(KeyHash(hash), is(key)).expect("it is sound");
    assert_eq!(version(1, b"a"), Some(Version(7)));
    assert_eq!(version(1, b"b"), Some(Version(6)));
    assert_eq!(version(2, b"c"), Some(Version(1)));
    assert_eq!((version(2, b"a"), version(9, b"a")), (None, None));
    let is_erased = |name: &Name| matches!(name, Name::Erased { token } if *token == [1; 32]);
    assert_eq!(
        all.find(KeyHash(3), is_erased).expect("it is sound"),
        Some(Version(2))
    );
    assert_eq!(all.highest_of_hash(KeyHash(1), Version(6)), Version(6));
    assert_eq!(all.highest_of_hash(KeyHash(1), Version(99)), Version(7));
    assert_eq!(all.highest_of_hash(KeyHash(9), Version(99)), Version::NONE);
}

#[test]
fn a_newer_table_with_a_lower_version_hides_nothing() {
    let disk = disk();
    store(&disk, 1..2, &[entity(1, 20, "a")]);
    store(&disk, 2..3, &[entity(1, 19, "a"), entity(2, 1, "b")]);
    let all = found(&disk, 2);
    let version = all.find(KeyHash(1), is(b"a")).expect("it is sound");
    assert_eq!(version, Some(Version(20)));
}

#[test]
fn an_older_table_that_cannot_be_read_for_now_is_not_passed_over() {
    let disk = disk();
    let older = store(&disk, 1..2, &[entity(1, 20, "a")]);
    store(&disk, 2..3, &[entity(1, 19, "a")]);
    // Where there are no maps, files are read when something is looked up.
    disk.inject(Fault::on(OpKind::Map).errno(ENODEV).for_ever());
    let all = found(&disk, 2);
    disk.inject(
        Fault::on(OpKind::Read)
            .at(older.path())
            .errno(EAGAIN)
            .for_ever(),
    );
    let unread = all.find(KeyHash(1), is(b"a"));
    assert!(matches!(unread, Err(Unread::Unavailable(_))), "{unread:?}");
    disk.clear_faults();
    let version = all.find(KeyHash(1), is(b"a")).expect("it is sound");
    assert_eq!(version, Some(Version(20)));
}

#[test]
fn where_a_name_is_not_known_versions_go_on_behind_all_of_the_hash() {
    let disk = disk();
    store(&disk, 1..2, &[entity(1, 4, "a"), entity(1, 9, "b")]);
    store(&disk, 2..3, &[unreadable(1, 6)]);
    let all = found(&disk, 2);
    let version = |key| all.find(KeyHash(1), is(key)).expect("it is sound");
    assert_eq!(version(b"a"), Some(Version(6)));
    assert_eq!(version(b"b"), Some(Version(9)));
    assert_eq!(version(b"c"), Some(Version(6)));
}

#[test]
fn numbers_that_no_table_has_are_lost_and_met_by_who_looks_that_far() {
    let disk = disk();
    for number in [1, 2, 4] {
        let key = vec![number as u8];
        store(&disk, number..number + 1, &[entity(number, number, key)]);
    }
    let all = found(&disk, 6);
    assert_eq!(
        (numbers(&all), lost(&all)),
        (vec![(1, 2), (2, 3), (4, 5)], vec![(3, 4), (5, 7)])
    );
    assert_eq!((all.through(), all.is_whole()), (6, false));
    assert!(all.find(KeyHash(4), is(&[4])).is_err());
    assert!(all.may_have(KeyHash(77)));
    let all = found(&disk, 0);
    assert_eq!((all.through(), lost(&all)), (4, vec![(3, 4)]));
    assert_eq!(
        all.find(KeyHash(4), is(&[4])).expect("it is behind"),
        Some(Version(4))
    );
    assert!(all.find(KeyHash(2), is(&[2])).is_err());
    assert_eq!(set::highest_number(&disk, &dir()).expect("no error"), 4);
}

#[test]
fn a_damaged_table_gives_way_to_those_it_was_made_from_and_is_lost_without_them() {
    let disk = disk();
    let parts =
        arcs((1..4).map(|number| store(&disk, number..number + 1, &[entity(number, 1, "a")])));
    let merged = merge_last_versions(&disk, &dir(), &parts, |last| last).expect("all is sound");
    assert_eq!(numbers(&found(&disk, 3)), [(1, 4)]);
    let stale = |disk: &SimDisk| {
        set::list(owner(disk), Offset(0)..Offset(0), 3)
            .expect("the disk is sound")
            .stale
    };
    assert_eq!(
        stale(&disk),
        parts
            .iter()
            .map(|part| part.path().to_owned())
            .collect::<Vec<_>>()
    );
    disk.flip_bit(merged.path(), 40, 1).expect("it is there");
    assert_eq!(numbers(&found(&disk, 3)), [(1, 2), (2, 3), (3, 4)]);
    assert_eq!(stale(&disk), [merged.path()]);
    set::remove_merged(&disk, &dir(), &parts, &merged, &Arc::default())
        .expect("they can be removed");
    let all = found(&disk, 3);
    assert_eq!((numbers(&all), lost(&all)), (vec![], vec![(1, 4)]));
    assert!(all.uses(merged.path()) && stale(&disk).is_empty());
}

#[test]
fn a_table_that_is_damaged_is_left_out_of_merges_and_others_are_merged_around_it() {
    let disk = disk();
    let mut all = LastVersions::default();
    for number in 1..10 {
        all.push(Arc::new(store(
            &disk,
            number..number + 1,
            &[entity(number, 1, "a")],
        )));
    }
    let fifth = table_path(&dir(), Kind::LastVersions, 5..6);
    all.leave_unmerged(&fifth);
    let planned = |all: &LastVersions| {
        all.plan_merge(false).map(|tables| {
            let last = tables.last().expect("some").numbers().end;
            (tables[0].numbers().start, last)
        })
    };
    assert_eq!(planned(&all), Some((1, 5)));
    let merged = merge_last_versions(
        &disk,
        &dir(),
        all.plan_merge(false).expect("some"),
        |last| last,
    );
    all.replace(Arc::new(merged.expect("all is sound")));
    assert_eq!(planned(&all), Some((6, 10)));
    assert_eq!(all.len(), 6);
}

/// Writes two tables, merges them, and removes the old ones, until the power fails.
fn live(disk: &SimDisk) -> Result<(), Error> {
    let mut tables = Vec::new();
    for number in 1..4 {
        let lasts = [entity(number, 3, "a"), entity(9, number, "b")];
        let content = content_of_last(number..number + 1, 2);
        let table = SortedTable::write_last_versions(disk, &dir(), &content, &lasts)?;
        tables.push(Arc::new(table));
    }
    let merged = merge_last_versions(disk, &dir(), &tables, |last| last)?;
    set::remove_merged(disk, &dir(), &tables, &merged, &Arc::default())?;
    Ok(())
}

#[test]
fn whenever_the_power_fails_all_numbers_that_were_written_are_there() {
    let whole = disk();
    let before = whole.operations();
    live(&whole).expect("nothing fails");
    let operations = whole.operations();
    let (mut states, mut merged) = (0, 0);
    for operation in before + 1..=operations + 1 {
        for within in [false, true] {
            let disk = disk();
            if within {
                disk.crash_within(operation);
            } else {
                disk.crash_at(operation);
            }
            assert_eq!(live(&disk).is_ok(), operation > operations);
            // The tables with durable names, from before the power failed for good.
            let written = (1..4u64)
                .take_while(|number| {
                    found(&disk.power_cut(operation, CrashMode::LoseUnsynced), 0).through()
                        >= *number
                })
                .count() as u64;
            for mode in CrashMode::ALL {
                let survived = disk.power_cut(operation, mode);
                let listed =
                    set::list(owner(&survived), Offset(0)..Offset(0), 0).expect("it is sound");
                let all = &listed.last_versions;
                assert!(
                    all.is_whole() && all.through() >= written,
                    "{mode:?}: {:?}",
                    numbers(all)
                );
                for number in 1..=all.through() {
                    let version = all.find(KeyHash(number), is(b"a")).expect("it is sound");
                    assert_eq!(version, Some(Version(3)), "{mode:?}");
                }
                let last = all.find(KeyHash(9), is(b"b")).expect("it is sound");
                assert_eq!(last, (all.through() > 0).then_some(Version(all.through())));
                set::remove(&survived, &dir(), &listed.stale).expect("the disk is sound");
                // Tables that a checkpoint relies on must stay.
                let again = found(
                    &survived.power_cut(operation, CrashMode::LoseUnsynced),
                    all.through(),
                );
                assert!(again.is_whole(), "{mode:?}: {:?}", lost(&again));
                states += 1;
                merged += u32::from(numbers(all) == [(1, 4)]);
            }
        }
    }
    println!("{states} states, {merged} merged");
    assert!(states > 300 && merged > 10);
}

#[test]
fn a_full_disk_fails_a_table_and_leaves_nothing_of_it() {
    use crate::env::sim::{Fault, OpKind};
    for kind in [
        OpKind::Create,
        OpKind::Write,
        OpKind::SyncData,
        OpKind::Rename,
    ] {
        let disk = disk();
        let fault = Fault::on(kind).error(std::io::ErrorKind::StorageFull);
        disk.inject(fault.short());
        let content = content_of_last(1..2, 408);
        let written = SortedTable::write_last_versions(&disk, &dir(), &content, &sample());
        assert!(written.is_err(), "{kind:?} did not fail");
        assert_eq!(disk.files(), [] as [PathBuf; 0], "{kind:?}");
    }
}

#[test]
fn a_key_of_any_length_is_kept() {
    let disk = disk();
    for len in [0, 1, 4_086, 4_087, 4_088, 4_092, 8_184, 1 << 20] {
        let key: Bytes = vec![9; len].into();
        let written = [
            entity(1, 1, key.clone()),
            entity(2, 1, key),
            entity(3, 1, "x"),
        ];
        let table = store(&disk, 1..2, &written);
        assert_eq!(lasts(&table), written, "{len}");
    }
}
