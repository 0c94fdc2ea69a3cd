//! Damaged tables of last versions that are rewritten without their damaged parts.

use super::*;
use crate::storage::keys::salvage::salvage;

fn last(nth: u64) -> LastVersion {
    let key = format!("{nth} {}", "k".repeat(60));
    entity(drawn(nth), 1 + nth, key)
}

/// Last versions that take several pages of filter, rows and names.
fn sample() -> Vec<LastVersion> {
    let mut lasts: Vec<LastVersion> = (0..6_000).map(last).collect();
    lasts.sort_by_key(LastVersion::order);
    lasts
}

#[test]
fn what_can_be_read_is_kept_and_what_cannot_is_never_taken_for_unknown() {
    let written = sample();
    let disk = disk();
    let whole = store(&disk, 1..2, &written);
    let (path, bytes) = (whole.path().to_owned(), whole.bytes());
    let names = whole.header().names.expect("it has names").page;
    let rows = whole.header().first_row_page()..whole.header().behind_rows();
    drop(whole);
    let (mut kept, mut nameless, mut lost) = (0, 0, 0);
    for page in 1..bytes / PAGE_BYTES as u64 {
        let disk = disk.fork();
        disk.flip_bit(&path, page * PAGE_BYTES as u64 + 100, 2)
            .expect("it is that long");
        let old = open(&disk, &path).expect("its header is sound");
        let new = salvage(&disk, &dir(), &old, |last| last).expect("the disk takes it");
        assert_eq!(new.path(), path);
        let reopened = open(&disk, &path).expect("it was just written");
        for last in written.iter().step_by(7) {
            match (lasts_of(&old, last.hash), lasts_of(&reopened, last.hash)) {
                (before, Ok(found)) if found == [unreadable(last.hash.0, last.version.0)] => {
                    assert!(before.is_err() && page >= names, "page {page}");
                    nameless += 1;
                }
                (_, Ok(found)) => {
                    assert_eq!(found, std::slice::from_ref(last), "page {page}");
                    kept += 1;
                }
                (Err(_), Err(_)) => {
                    assert!(rows.contains(&page), "page {page}: its rows can be read");
                    lost += 1;
                }
                (Ok(_), Err(damaged)) => panic!("page {page}: {damaged}, and it was not"),
            }
        }
        let others = (10_000..12_000).filter(|nth| {
            !lasts_of(&reopened, KeyHash(drawn(*nth))).is_ok_and(|lasts| lasts.is_empty())
        });
        assert!(
            others.count() < 80,
            "page {page}: what was never there is said to be lost"
        );
        // A salvaged table can be salvaged again.
        let again = salvage(&disk, &dir(), &reopened, |last| last).expect("the disk takes it");
        assert!(again.rows() >= written.len() as u64 - 170 && again.rows() <= 6_400);
    }
    assert!(
        kept > 20 * (lost + nameless) && lost > 100 && nameless > 100,
        "{kept} {nameless} {lost}"
    );
}

#[test]
fn a_table_of_which_no_row_can_be_read_says_so() {
    let written = sample();
    let disk = disk();
    let whole = store(&disk, 1..2, &written);
    let (path, header) = (whole.path().to_owned(), *whole.header());
    let rows = header.first_row_page() * PAGE_BYTES as u64;
    let behind = header.behind_rows() * PAGE_BYTES as u64;
    disk.zero(&path, rows..behind).expect("it is that long");
    let old = open(&disk, &path).expect("its header is sound");
    salvage(&disk, &dir(), &old, |last| last).expect("the disk takes it");
    let new = open(&disk, &path).expect("it was just written");
    for last in &written {
        assert!(lasts_of(&new, last.hash).is_err());
    }
    let absent = (10_000..12_000)
        .filter(|nth| lasts_of(&new, KeyHash(drawn(*nth))).is_ok_and(|lasts| lasts.is_empty()));
    assert!(absent.count() > 1_900);
}

#[test]
fn nothing_is_left_of_what_cannot_be_read() {
    let written = sample();
    let Name::Entity { key } = &written[3_000].name else {
        panic!("all are entities");
    };
    for damage_rows in [false, true] {
        let disk = disk();
        let whole = store(&disk, 1..2, &written);
        let (path, first_row_page) = (whole.path().to_owned(), whole.header().first_row_page());
        drop(whole);
        let at = |disk: &SimDisk| {
            let content = disk.content(&path).expect("it is there");
            content.windows(key.len()).position(|window| window == key)
        };
        let position = at(&disk).expect("it is in the file") as u64;
        let page = first_row_page + 3_000 / 170;
        let damaged = if damage_rows {
            page * PAGE_BYTES as u64 + 5
        } else {
            position - 1
        };
        disk.flip_bit(&path, damaged, 0).expect("it is that long");
        let old = open(&disk, &path).expect("its header is sound");
        let new = salvage(&disk, &dir(), &old, |last| last).expect("the disk takes it");
        assert_eq!(at(&disk), None);
        let found = lasts_of(&new, written[3_000].hash);
        assert_eq!(found.is_err(), damage_rows);
    }
}
