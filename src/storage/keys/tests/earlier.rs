//! Files of retired facts, as earlier versions have left them.

use bytes::Bytes;

use super::*;
use crate::{
    env::Open,
    storage::{
        format::{
            filter::{self, BLOCK_BYTES},
            page,
            retired::{
                BLOCK_HEAD_BYTES, FENCE_PER_PAGE, FenceRow, Header, Identity as Of, Retired,
            },
            tests::earlier::seal_block,
        },
        keys::{last_versions::LastVersions, set},
    },
    types::ProducerId,
};

/// Writes a file of retired facts as earlier versions did.
fn write_earlier(disk: &SimDisk, number: u64, facts: &[Retired]) -> PathBuf {
    let mut header = Header {
        topic: IDENTITY.topic,
        partition: IDENTITY.partition,
        number,
        facts: facts.len() as u64,
        filter_blocks: filter::blocks_for(facts.len() as u64),
        blocks: 0,
        fence_at: 0,
        fingerprint: FINGERPRINT,
    };
    let mut bytes = vec![0; header.first_block_at() as usize];
    for fact in facts {
        let (number, at) = filter::place_of(fact.hash.0, header.filter_blocks);
        let block = &mut page(&mut bytes, 1 + number as usize)[at..];
        let block = block.first_chunk_mut::<BLOCK_BYTES>();
        filter::add(block.expect("blocks lie within a page"), fact.hash.0);
    }
    for number in 1..header.behind_filter() {
        page::seal(page(&mut bytes, number as usize), header.salt(), number);
    }
    let mut fence = Vec::new();
    for facts in facts.chunks(100) {
        let position = bytes.len() as u64;
        let mut block = vec![0; BLOCK_HEAD_BYTES];
        facts.iter().for_each(|fact| fact.encode(&mut block));
        seal_block(&mut block, header.salt(), position);
        let (hash, version) = facts[0].order();
        fence.push(FenceRow {
            hash,
            version,
            position,
        });
        bytes.extend(block);
    }
    bytes.resize(bytes.len().next_multiple_of(PAGE_BYTES), 0);
    (header.blocks, header.fence_at) = (fence.len() as u64, bytes.len() as u64);
    for rows in fence.chunks(FENCE_PER_PAGE as usize) {
        let number = bytes.len() / PAGE_BYTES;
        bytes.resize(bytes.len() + PAGE_BYTES, 0);
        let page = page(&mut bytes, number);
        (0..).zip(rows).for_each(|(nth, row)| row.put(page, nth));
        page::seal(page, header.salt(), number as u64);
    }
    bytes[..PAGE_BYTES].copy_from_slice(&header.encode());
    let path = dir().join(format!("{number:020}.retired"));
    let file = disk.open(&path, Open::Create).expect("there is room");
    file.write_all_at(&[&bytes], 0).expect("there is room");
    file.sync_data().expect("nothing fails");
    disk.sync_dir(&dir()).expect("nothing fails");
    path
}

fn fact(hash: u64, version: u64, identity: Of) -> Retired {
    Retired {
        hash: KeyHash(hash),
        version: Version(version),
        identity,
    }
}

fn key(nth: u64) -> Bytes {
    format!("key {nth}").into()
}

/// Retired facts of 3,000 entities, of an erased entity, of an unreadable one, and of a producer's
/// batches.
fn sample() -> Vec<Retired> {
    let entity = |nth| fact(drawn(nth), 1 + nth, Of::Entity { key: key(nth) });
    let batch = |nth| {
        let identity = Of::Batch {
            producer: ProducerId(1),
            epoch: 1,
            base: Offset(nth),
            count: 1,
            append_time_ms: 0,
        };
        fact(1 << 62, 1 + nth, identity)
    };
    let mut facts: Vec<Retired> = (0..3_000).map(entity).collect();
    facts.extend((0..500).map(batch));
    facts.push(fact(1, 9, Of::Erased { token: [4; 32] }));
    facts.push(fact(2, 8, Of::Unreadable));
    facts.sort_by_key(Retired::order);
    facts
}

fn find(disk: &SimDisk, through: u64) -> (LastVersions, Vec<PathBuf>) {
    let found = set::list(owner(disk), Offset(0)..Offset(0), through).expect("it can be read");
    (found.last_versions, found.stale)
}

/// Converts all files of earlier versions to tables.
fn convert(disk: &SimDisk, all: &mut LastVersions) {
    while let Some(earlier) = all.next_earlier().cloned() {
        let table = earlier.convert(disk, &dir()).expect("the disk takes it");
        assert_eq!(table.numbers(), earlier.numbers());
        all.replace(Arc::new(table));
    }
}

fn version(all: &LastVersions, nth: u64) -> Result<Option<Version>, Unread> {
    let key = key(nth);
    all.find(
        KeyHash(drawn(nth)),
        |name| matches!(name, Name::Entity { key: of } if *of == key),
    )
}

#[test]
fn a_file_of_retired_facts_becomes_a_table_of_all_that_entities_need() {
    let disk = disk();
    let path = write_earlier(&disk, 7, &sample());
    let (mut all, stale) = find(&disk, 7);
    assert_eq!((all.through(), all.is_whole(), stale.len()), (7, false, 0));
    convert(&disk, &mut all);
    assert!(all.is_whole() && all.len() == 1);
    assert_eq!(all.tables[0].numbers(), 1..8);
    for nth in 0..3_000 {
        let found = version(&all, nth).expect("it is sound");
        assert_eq!(found, Some(Version(1 + nth)));
    }
    assert_eq!(version(&all, 4_000).expect("it is sound"), None);
    let is_erased = |name: &Name| *name == Name::Erased { token: [4; 32] };
    assert_eq!(
        all.find(KeyHash(1), is_erased).expect("it is sound"),
        Some(Version(9))
    );
    assert_eq!(
        all.find(KeyHash(2), |_| false).expect("it is sound"),
        Some(Version(8))
    );
    assert_eq!(
        all.find(KeyHash(1 << 62), |_| true).expect("it is sound"),
        None
    );
    let (again, stale) = find(&disk, 7);
    assert_eq!(
        (again.len(), again.is_whole(), stale),
        (1, true, vec![path])
    );
}

#[test]
fn of_a_damaged_file_all_is_kept_that_can_be_read_and_the_rest_is_lost() {
    let whole = disk();
    let path = write_earlier(&whole, 3, &sample());
    let len = whole.content(&path).expect("it is there").len() as u64;
    let (mut known, mut lost) = (0, 0);
    for position in (PAGE_BYTES as u64..len).step_by(3_001) {
        let disk = whole.fork();
        disk.flip_bit(&path, position, 2).expect("it is that long");
        let (mut all, _) = find(&disk, 3);
        convert(&disk, &mut all);
        for nth in (0..3_000).step_by(7) {
            match version(&all, nth) {
                Ok(found) => {
                    assert_eq!(found, Some(Version(1 + nth)), "byte {position}");
                    known += 1;
                }
                Err(_) => lost += 1,
            }
        }
    }
    assert!(known > 10 * lost && lost > 100, "{known} {lost}");
}

#[test]
fn a_file_that_cannot_be_opened_or_is_missing_is_lost_and_no_reason_not_to_start() {
    let disk = disk();
    let path = write_earlier(&disk, 3, &sample());
    disk.flip_bit(&path, 40, 2).expect("it is that long");
    let (all, stale) = find(&disk, 3);
    assert_eq!((all.lost()[0].numbers.clone(), stale.len()), (1..4, 0));
    assert!(all.uses(&path) && version(&all, 1).is_err());
    disk.remove_file(&path).expect("it is there");
    assert_eq!(find(&disk, 3).0.lost()[0].numbers, 1..4);
}

#[test]
fn tables_with_later_numbers_count_beside_a_file_that_is_not_converted_yet() {
    let disk = disk();
    let path = write_earlier(&disk, 3, &sample());
    let of_5 = key(5);
    store(&disk, 4..5, &[entity(drawn(5), 20, of_5)]);
    let left_by_a_crash = write_earlier(&disk, 4, &sample()[..10]);
    let (mut all, stale) = find(&disk, 4);
    assert_eq!(stale, [left_by_a_crash]);
    assert!(all.uses(&path));
    convert(&disk, &mut all);
    assert_eq!(version(&all, 5).expect("it is sound"), Some(Version(20)));
    assert_eq!(version(&all, 6).expect("it is sound"), Some(Version(7)));
}

#[test]
fn without_a_checkpoint_all_files_count() {
    let disk = disk();
    for (number, facts) in [(3, &sample()[..1_000]), (4, &sample()[1_000..])] {
        write_earlier(&disk, number, facts);
    }
    let through = set::highest_number(&disk, &dir()).expect("it can be read");
    let (mut all, _) = find(&disk, through);
    convert(&disk, &mut all);
    assert_eq!((through, all.len()), (4, 2));
    for nth in 0..3_000 {
        let found = version(&all, nth).expect("it is sound");
        assert_eq!(found, Some(Version(1 + nth)));
    }
}
