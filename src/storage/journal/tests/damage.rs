//! Damage among the acknowledged entries: it is reported, and the entries behind it are not given
//! up.

use super::*;

#[test]
fn a_damaged_entry_with_a_later_witness_is_reported_lost_and_the_replay_goes_on() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=5, 100);
    dir.flip(1, block(3) + 20);
    let rest: Vec<_> = written
        .iter()
        .filter(|(number, _)| *number != 3)
        .cloned()
        .collect();
    let found = dir.found();
    assert_eq!(
        found,
        Found {
            lost: vec![(3, 4)],
            damaged: true,
            ..sound(&rest)
        }
    );
    assert_eq!(dir.found(), found);
}

#[test]
fn several_damaged_entries_are_each_reported() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=9, 100);
    for number in [1, 4, 5] {
        dir.overwrite(1, block(number), &[0; 512]);
    }
    let rest: Vec<_> = written
        .iter()
        .filter(|(number, _)| ![1, 4, 5].contains(number))
        .cloned()
        .collect();
    let found = found(&dir.replay(1, Some(0)));
    assert_eq!(
        found,
        Found {
            lost: vec![(1, 2), (4, 6)],
            damaged: true,
            ..sound(&rest)
        }
    );
}

#[test]
fn entries_of_a_write_behind_a_damaged_one_of_the_same_write_are_found() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let group: Vec<Vec<Item>> = (1..=6).map(|number| items(number, 300)).collect();
    let mut entries = group.clone();
    let mut entries: Vec<&mut [Item]> = entries.iter_mut().map(|items| &mut items[..]).collect();
    journal
        .write(&mut entries, true)
        .expect("the journal has room");
    let mut rest: Vec<_> = (1..).zip(group).collect();
    rest.extend(write(&mut journal, 7..=8, 100));
    let second = crate::storage::format::entry::encoded_len(&rest[0].1) as u64;
    dir.flip(1, block(1) + second + 30);
    rest.remove(1);
    assert_eq!(
        dir.found(),
        Found {
            lost: vec![(2, 3)],
            damaged: true,
            ..sound(&rest)
        }
    );
}

#[test]
fn damage_to_the_last_write_of_a_file_costs_no_more_when_the_witness_is_in_the_next() {
    let group: Vec<Vec<Item>> = (1..=6).map(|number| items(number, 300)).collect();
    let starts = group.iter().scan(block(1), |at, items| {
        let start = *at;
        *at += crate::storage::format::entry::encoded_len(items) as u64;
        Some(start)
    });
    for (damaged, start) in (1..).zip(starts.collect::<Vec<_>>()) {
        let dir = Dir::new();
        let (_, mut journal) = dir.journal(Tip::default());
        let mut entries = group.clone();
        let mut entries: Vec<&mut [Item]> =
            entries.iter_mut().map(|items| &mut items[..]).collect();
        journal
            .write(&mut entries, true)
            .expect("the journal has room");
        journal.leave_file().expect("there is another");
        let mut rest: Vec<_> = (1..).zip(group.clone()).collect();
        rest.extend(write(&mut journal, 7..=8, 100));
        // The bytes that say that the entry belongs to this use of the file.
        dir.flip(1, start + 10);
        rest.remove(damaged - 1);
        let lost = damaged as u64;
        let replay = dir.replay(1, Some(0));
        assert_eq!(
            found(&replay),
            Found {
                lost: vec![(lost, lost + 1)],
                damaged: true,
                ..sound(&rest)
            }
        );
        let offsets: Vec<_> = replay.lost()[0]
            .frames
            .iter()
            .map(|frame| frame.base)
            .collect();
        let Item::Frame(frame) = &group[damaged - 1][0] else {
            panic!("they are frames")
        };
        assert!(
            offsets.contains(&frame.header().base),
            "entry {damaged}: its records are known to be lost"
        );
    }
}

#[test]
fn a_damaged_entry_that_a_checkpoint_covers_is_not_reported() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=6, 100);
    for number in [1, 2, 3] {
        dir.flip(1, block(number) + 20);
        for applied in 3..=6 {
            let found = found(&dir.replay(1, Some(applied)));
            let needed: Vec<_> = written
                .iter()
                .filter(|(number, _)| *number > applied)
                .cloned()
                .collect();
            assert_eq!(
                found,
                Found {
                    tip: 6,
                    ..sound(&needed)
                },
                "entry {number} damaged, applied {applied}"
            );
        }
    }
}

#[test]
fn a_damaged_item_leaves_the_other_items_of_its_entry_readable() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let mut items: Vec<Item> = (1..=3).flat_map(|number| items(number, 2_000)).collect();
    journal
        .write(&mut [&mut items], true)
        .expect("the journal has room");
    let written = write(&mut journal, 2..=2, 100);
    dir.flip(1, block(1) + 3_500);

    let replay = dir.replay(0, None);
    let found = found(&replay);
    assert_eq!(
        found.entries[0],
        (1, vec![Some(sum(&items[0])), None, Some(sum(&items[2]))])
    );
    assert_eq!(found.entries[1..], sound(&written).entries);
    assert!(found.damaged && found.lost.is_empty() && !found.torn);
    let entry = replay
        .entries()
        .next()
        .expect("two entries")
        .expect("the file can be read");
    let damaged = entry.items[1].as_ref().expect_err("it is damaged");
    assert_eq!(damaged.frame.map(|header| header.base), Some(Offset(2)));
}

#[test]
fn a_damaged_item_in_the_last_entry_is_a_torn_tail_unless_a_checkpoint_covers_it() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=3, 100);
    dir.flip(1, block(3) + 140);
    assert_eq!(
        dir.found(),
        Found {
            torn: true,
            ..sound(&written[..2])
        }
    );
    let covered = found(&dir.replay(1, Some(3)));
    assert_eq!(
        (covered.tip, covered.damaged, covered.torn),
        (3, false, false)
    );
}

#[test]
fn one_damaged_copy_of_a_file_header_does_not_matter() {
    for copy in [0, 2048] {
        let dir = Dir::new();
        let (_, mut journal) = dir.journal(Tip::default());
        let written = write(&mut journal, 1..=3, 100);
        dir.overwrite(1, copy, &[0; 512]);
        assert_eq!(dir.found(), sound(&written));
    }
}

/// Without `journal/ring` the number of files is not known.
#[test]
fn a_missing_file_is_reported_by_the_entries_behind_it() {
    let dir = Dir::with_files(4);
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=40, 100);
    for file in [dir.file(2), dir.path().join("ring")] {
        dir.env.files.remove_file(&file).expect("there is one");
    }
    let rest: Vec<_> = written
        .iter()
        .filter(|(number, _)| !(16..=30).contains(number))
        .cloned()
        .collect();
    assert_eq!(
        found(&dir.replay(1, Some(0))),
        Found {
            lost: vec![(16, 31)],
            damaged: true,
            ..sound(&rest)
        }
    );
}

#[test]
fn foreign_files_in_the_directory_are_left_alone() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=3, 100);
    for name in ["notes.txt", "x.journal", "1.journal.bak", "-1.journal"] {
        let file = dir
            .env
            .files
            .open(&dir.path().join(name), Open::Create)
            .expect("a new file");
        file.write_all_at(&[b"not ours"], 0).expect("room");
    }
    assert_eq!(dir.found(), sound(&written));
    assert_eq!(dir.ring().fill(), (1, 2));
}
