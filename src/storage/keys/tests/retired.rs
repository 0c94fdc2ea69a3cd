//! Retired files.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    env::sim::CrashMode,
    storage::keys::{
        merge::Error,
        retired::{self, Content, Found, Identity as Of, Retired, RetiredFile},
    },
    types::ProducerId,
};

fn of(number: u64, facts: usize) -> Content {
    Content {
        identity: IDENTITY,
        fingerprint: FINGERPRINT,
        number,
        expected_facts: facts as u64,
    }
}

fn store(disk: &SimDisk, number: u64, facts: &[Retired]) -> RetiredFile {
    RetiredFile::write(disk, &dir(), &of(number, facts.len()), facts).expect("the disk takes it")
}

fn reopen(disk: &SimDisk, path: &Path) -> Result<RetiredFile, Unusable> {
    RetiredFile::open(disk, path, IDENTITY, FINGERPRINT)
}

fn entity(hash: u64, version: u64, key: impl Into<Bytes>) -> Retired {
    Retired {
        hash: KeyHash(hash),
        version: Version(version),
        identity: Of::Entity { key: key.into() },
    }
}

fn erased(hash: u64, version: u64, token: u8) -> Retired {
    Retired {
        hash: KeyHash(hash),
        version: Version(version),
        identity: Of::Erased { token: [token; 32] },
    }
}

fn batch(hash: u64, version: u64, producer: u64) -> Retired {
    let producer = ProducerId(producer);
    let identity = Of::Batch {
        producer,
        epoch: 3,
        base: Offset(version * 10),
        count: 10,
        append_time_ms: -5,
    };
    Retired {
        hash: KeyHash(hash),
        version: Version(version),
        identity,
    }
}

fn all(file: &RetiredFile) -> Vec<Retired> {
    file.scan()
        .collect::<Result<_, Unread>>()
        .expect("it is sound")
}

fn facts(file: &RetiredFile, hash: KeyHash, from: u64) -> Result<Vec<Retired>, Unread> {
    file.facts(hash, Version(from))?.collect()
}

/// Facts of a few hashes, which entities and a producer with many batches share, and of many
/// others.
fn sample() -> Vec<Retired> {
    let mut facts: Vec<Retired> = (0..300)
        .map(|at| entity(drawn(at), 1 + at, drawn(at).to_be_bytes().to_vec()))
        .collect();
    facts.extend((0..700).map(|at| batch(1 << 63, 1 + at, 9)));
    facts.extend([
        entity(1 << 63, 5, "a"),
        erased(1 << 63, 5, 1),
        entity(1 << 63, 5, "b"),
        entity(0, 1, vec![7; 30_000]),
    ]);
    facts.extend([
        erased(0, 2, 2),
        batch(u64::MAX, 1, 1),
        entity(u64::MAX, 1, ""),
    ]);
    facts.sort_by_key(Retired::order);
    facts
}

fn any_fact() -> impl Strategy<Value = Retired> {
    let hash = prop_oneof![
        Just(0),
        Just(1 << 60),
        Just(u64::MAX),
        (0u64..6).prop_map(drawn)
    ];
    (hash, 1u64..5, 0u8..3, 0u8..3).prop_map(|(hash, version, which, kind)| match kind {
        0 => entity(hash, version, vec![which]),
        1 => erased(hash, version, which),
        _ => batch(hash, version, which.into()),
    })
}

/// In order, and each once.
fn sorted(mut facts: Vec<Retired>) -> Vec<Retired> {
    facts.sort_by_key(|fact| (fact.order(), format!("{:?}", fact.identity)));
    facts.dedup();
    facts
}

#[test]
fn facts_are_found_by_hash_and_version() {
    let disk = disk();
    let written = sample();
    let file = store(&disk, 4, &written);
    for file in [&file, &reopen(&disk, file.path()).expect("it is sound")] {
        assert_eq!((file.number(), file.len()), (4, written.len() as u64));
        assert_eq!(
            file.bytes(),
            disk.content(file.path()).expect("it is there").len() as u64
        );
        assert_eq!(all(file), written);
        for fact in &written {
            for from in [0, fact.version.0, fact.version.0 + 1] {
                let mut expected = written.clone();
                expected.retain(|other| other.hash == fact.hash && other.version.0 >= from);
                assert_eq!(facts(file, fact.hash, from).expect("it is sound"), expected);
            }
            let absent = KeyHash(fact.hash.0 ^ 2);
            assert_eq!(facts(file, absent, 0).expect("it is sound"), []);
        }
    }
}

#[test]
fn a_file_may_be_empty() {
    let disk = disk();
    let file = store(&disk, 0, &[]);
    let file = reopen(&disk, file.path()).expect("it is sound");
    assert!(file.len() == 0 && all(&file).is_empty());
    assert_eq!(facts(&file, KeyHash(5), 0).expect("it is sound"), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn merged_files_keep_the_last_of_each_entity_and_the_batches_that_are_wanted(
        files in vec(vec(any_fact(), 0..12), 0..5),
        dropped in 0u64..4,
    ) {
        let disk = disk();
        let stored: Vec<Arc<RetiredFile>> =
            (0..).zip(&files).map(|(number, facts)| Arc::new(store(&disk, number, &sorted(facts.clone())))).collect();
        let wanted = |fact: &Retired| !matches!(fact.identity, Of::Batch { producer, .. } if producer.0 == dropped);
        let merged = retired::merge(&disk, &dir(), &of(99, 0), &stored, |fact| wanted(&fact).then_some(fact));
        let merged = all(&merged.expect("all is sound"));

        let every: Vec<Retired> = files.into_iter().flatten().collect();
        let mut expected = every.clone();
        expected.retain(|fact| {
            let is_same = |other: &Retired| other.hash == fact.hash && other.identity == fact.identity;
            let is_last = || every.iter().all(|other| !is_same(other) || other.version <= fact.version);
            wanted(fact) && (matches!(fact.identity, Of::Batch { .. }) || is_last())
        });
        prop_assert!(merged.is_sorted_by_key(Retired::order));
        // A batch that is in several files may be there more than once if others have its hash and
        // version.
        prop_assert_eq!(sorted(merged), sorted(expected));
    }
}

#[test]
fn an_erased_key_is_in_no_byte_of_the_merged_file() {
    let disk = disk();
    let stored = [
        store(
            &disk,
            0,
            &[entity(1, 4, "a secret key"), entity(1, 5, "another key")],
        ),
        store(&disk, 1, &[entity(1, 9, "a secret key")]),
    ];
    let has_secret = |path: &Path| {
        disk.content(path)
            .expect("it is there")
            .windows(12)
            .any(|window| window == b"a secret key")
    };
    assert!(has_secret(stored[0].path()) && has_secret(stored[1].path()));
    let stored = stored.map(Arc::new);
    let merged = retired::merge(&disk, &dir(), &of(2, 3), &stored, |fact| {
        match &fact.identity {
            Of::Entity { key } if key == "a secret key" => {
                Some(erased(fact.hash.0, fact.version.0, 1))
            }
            _ => Some(fact),
        }
    });
    let merged = merged.expect("all is sound");
    assert_eq!(all(&merged), [entity(1, 5, "another key"), erased(1, 9, 1)]);
    assert!(!has_secret(merged.path()));
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let disk = disk();
    let written = sample();
    let path = store(&disk, 4, &written).path().to_owned();
    let len = disk.content(&path).expect("it is there").len();
    let (mut answers, mut damaged, mut unusable) = (0, 0, 0);
    for bit in (0..100 * 8).chain((PAGE_BYTES * 8..len * 8).step_by(211)) {
        disk.flip_bit(&path, (bit / 8) as u64, (bit % 8) as u8)
            .expect("it is there");
        if let Ok(file) = reopen(&disk, &path) {
            let scanned: Vec<_> = file.scan().filter_map(Result::ok).collect();
            assert!(written.starts_with(&scanned), "bit {bit}");
            let whole = scanned.len() == written.len();
            for fact in written.iter().step_by(31) {
                let mut expected = written.clone();
                expected.retain(|other| other.hash == fact.hash && other.version >= fact.version);
                match facts(&file, fact.hash, fact.version.0) {
                    Ok(found) => assert_eq!(found, expected, "bit {bit}"),
                    Err(_) => damaged += 1,
                }
                answers += 1;
            }
            damaged += u32::from(!whole);
        } else {
            unusable += 1;
        }
        disk.flip_bit(&path, (bit / 8) as u64, (bit % 8) as u8)
            .expect("it is there");
    }
    println!("{answers} answers, {damaged} damaged, {unusable} unusable");
    assert!(answers > 10_000 && damaged > 1_000 && unusable >= 72 * 8);
}

#[test]
fn damage_ends_a_merge_and_leaves_nothing_of_it() {
    let disk = disk();
    let path = store(&disk, 4, &sample()).path().to_owned();
    disk.flip_bit(&path, 9_000, 1).expect("it is there");
    let file = reopen(&disk, &path).expect("the header is sound");
    let merged = retired::merge(&disk, &dir(), &of(5, 0), &[Arc::new(file)], Some).map(|_| ());
    assert!(matches!(merged, Err(Error::Damaged(_))), "{merged:?}");
    assert_eq!(disk.files(), [path]);
}

#[test]
fn a_file_of_another_partition_hasher_number_or_length_is_not_used() {
    let disk = disk();
    let path = store(&disk, 4, &sample()).path().to_owned();
    let other = Identity {
        partition: PartitionId(4),
        ..IDENTITY
    };
    assert!(matches!(
        RetiredFile::open(&disk, &path, other, FINGERPRINT),
        Err(Unusable::Misplaced { .. })
    ));
    assert!(matches!(
        RetiredFile::open(&disk, &path, IDENTITY, 1),
        Err(Unusable::Hasher { .. })
    ));
    let len = disk.content(&path).expect("it is there").len() as u64;
    for cut in [0, 10, 4096, len - 4096, len - 1, len + 1] {
        let fork = disk.fork();
        let file = fork
            .open(&path, crate::env::Open::Write)
            .expect("it is there");
        file.set_len(cut).expect("there is room");
        assert!(reopen(&fork, &path).is_err(), "of {cut} bytes");
    }
    let elsewhere = dir().join("00000000000000000005.retired");
    disk.rename(&path, &elsewhere).expect("it can be renamed");
    assert!(matches!(
        reopen(&disk, &elsewhere),
        Err(Unusable::Misplaced { .. })
    ));
}

#[test]
fn whenever_the_power_fails_a_file_is_whole_or_not_there() {
    let written = sample();
    let counted = disk();
    let before = counted.operations();
    store(&counted, 7, &written);
    let (mut whole, mut absent, mut unfinished) = (0, 0, 0);
    for operation in before + 1..=counted.operations() + 1 {
        let disk = disk();
        disk.crash_within(operation);
        let stored = RetiredFile::write(&disk, &dir(), &of(7, written.len()), &written);
        for mode in CrashMode::ALL {
            let survived = disk.power_cut(operation, mode);
            let found = retired::list(&survived, &dir()).expect("the disk is sound");
            unfinished += found.unfinished.len();
            let again = retired::list(
                &survived.fork().power_cut(1, CrashMode::LoseUnsynced),
                &dir(),
            );
            assert_eq!(
                again.expect("the disk is sound"),
                found,
                "{mode:?}: it does not stay"
            );
            match &found.files[..] {
                [] => {
                    assert!(stored.is_err(), "{mode:?}: it was there");
                    absent += 1;
                }
                [(7, path)] => {
                    assert_eq!(all(&reopen(&survived, path).expect("it is whole")), written);
                    whole += 1;
                }
                _ => panic!("{found:?}"),
            }
        }
    }
    assert!(
        whole > 8 && absent > 50 && unfinished > 10,
        "{whole} {absent} {unfinished}"
    );
}

#[test]
fn files_are_listed_by_number_and_others_are_left_alone() {
    let disk = disk();
    assert_eq!(
        retired::list(&disk, Path::new("/nowhere")).expect("no error"),
        Found::default()
    );
    let paths = [3, 12, 100].map(|number| store(&disk, number, &[]).path().to_owned());
    for name in [
        "5.retired",
        "00000000000000000005.log",
        "00000000000000000001-00000000000000000002.new",
    ] {
        disk.open(&dir().join(name), crate::env::Open::Create)
            .expect("there is room");
    }
    let unfinished = dir().join("00000000000000000006.new");
    disk.open(&unfinished, crate::env::Open::Create)
        .expect("there is room");
    let files = [3, 12, 100].into_iter().zip(paths).collect();
    assert_eq!(
        retired::list(&disk, &dir()).expect("no error"),
        Found {
            files,
            unfinished: vec![unfinished]
        }
    );
}
