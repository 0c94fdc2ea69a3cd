//! Retired files that are damaged, written anew.

use super::*;
use crate::storage::keys::{
    retired::{self, Identity as Of, Retired, RetiredFile},
    salvage::salvage,
};

fn content(number: u64, facts: u64) -> retired::Content {
    retired::Content {
        identity: IDENTITY,
        fingerprint: FINGERPRINT,
        number,
        expected_facts: facts,
    }
}

fn fact(nth: u64) -> Retired {
    let key = format!("{nth} {}", "k".repeat(60)).into();
    Retired {
        hash: KeyHash(drawn(nth)),
        version: Version(1 + nth),
        identity: Of::Entity { key },
    }
}

/// Several pages of filter, fence and blocks.
fn sample() -> Vec<Retired> {
    let mut facts: Vec<Retired> = (0..6_000).map(fact).collect();
    facts.sort_by_key(Retired::order);
    facts
}

fn look_up(file: &RetiredFile, hash: KeyHash) -> Result<Vec<Retired>, Unread> {
    file.facts(hash, Version::NONE)?.collect()
}

#[test]
fn what_can_be_read_is_kept_and_what_cannot_is_never_taken_for_unknown() {
    let facts = sample();
    let disk = disk();
    let whole =
        RetiredFile::write(&disk, &dir(), &content(1, 6_000), &facts).expect("the disk takes it");
    let (path, bytes) = (whole.path().to_owned(), whole.bytes());
    drop(whole);
    let (mut kept, mut lost) = (0, 0);
    for page in 1..bytes / PAGE_BYTES as u64 {
        let disk = disk.fork();
        disk.flip_bit(&path, page * PAGE_BYTES as u64 + 100, 2)
            .expect("it is that long");
        let old =
            RetiredFile::open(&disk, &path, IDENTITY, FINGERPRINT).expect("its header is sound");
        let new =
            salvage(&disk, &dir(), &content(2, old.len()), &old, Some).expect("the disk takes it");
        let reopened = RetiredFile::open(&disk, new.path(), IDENTITY, FINGERPRINT)
            .expect("it was just written");
        for fact in facts.iter().step_by(7) {
            match (look_up(&old, fact.hash), look_up(&reopened, fact.hash)) {
                (_, Ok(found)) => {
                    assert_eq!(found, std::slice::from_ref(fact), "page {page}");
                    kept += 1;
                }
                (Err(_), Err(_)) => lost += 1,
                (Ok(_), Err(damaged)) => panic!("page {page}: {damaged}, and it was not"),
            }
        }
        let others = (10_000..12_000).filter(|nth| {
            !look_up(&reopened, KeyHash(drawn(*nth))).is_ok_and(|facts| facts.is_empty())
        });
        assert!(
            others.count() < 80,
            "page {page}: what was never there is said to be lost"
        );
    }
    assert!(kept > 20 * lost && lost > 100, "{kept} {lost}");
}

#[test]
fn nothing_is_left_of_what_cannot_be_read() {
    let facts = sample();
    let disk = disk();
    let whole =
        RetiredFile::write(&disk, &dir(), &content(1, 6_000), &facts).expect("the disk takes it");
    let path = whole.path().to_owned();
    let text = match &facts[3_000].identity {
        Of::Entity { key } => key.clone(),
        _ => unreachable!("all are entities"),
    };
    let at = |disk: &SimDisk, path: &Path| {
        let content = disk.content(path).expect("it is there");
        content
            .windows(text.len())
            .position(|window| window == text)
    };
    let position = at(&disk, &path).expect("it is in the file");
    disk.flip_bit(&path, position as u64 - 1, 0)
        .expect("it is that long");
    let old = RetiredFile::open(&disk, &path, IDENTITY, FINGERPRINT).expect("its header is sound");
    let new =
        salvage(&disk, &dir(), &content(2, old.len()), &old, Some).expect("the disk takes it");
    assert!(at(&disk, &path).is_some() && at(&disk, new.path()).is_none());
    assert!(look_up(&new, facts[3_000].hash).is_err());
}
