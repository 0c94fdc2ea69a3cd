//! The last write, cut off by a crash.

use super::*;

/// The bytes of a torn write that recovery has kept aside.
fn kept(dir: &Dir, replay: &Replay) -> Option<Vec<u8>> {
    let aside = dir.path().join("aside");
    let path = replay.keep_torn(&aside).expect("room for a few blocks")?;
    read_file(&*dir.env.files, &path).expect("the file can be read")
}

#[test]
fn an_empty_directory_is_an_empty_journal() {
    assert_eq!(Dir::new().found(), sound(&[]));
}

#[test]
fn every_entry_comes_back_and_twice_the_same() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=5, 100);
    assert_eq!(dir.found(), sound(&written));
    assert_eq!(dir.found(), sound(&written));
    assert_eq!(kept(&dir, &dir.replay(0, None)), None);
}

#[test]
fn entries_of_one_write_come_back_one_by_one() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let mut all: Vec<(u64, Vec<Item>)> = (1..=7)
        .map(|number| (number, items(number, 3_000)))
        .collect();
    let mut group: Vec<&mut [Item]> = all.iter_mut().map(|(_, items)| &mut items[..]).collect();
    journal
        .write(&mut group, true)
        .expect("the journal has room");
    assert_eq!(dir.found(), sound(&all));
}

#[test]
fn a_last_write_that_is_cut_anywhere_is_left_out_and_kept_aside() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=3, 10_000);
    let whole = dir.bytes(1);
    // Each of these entries takes three blocks.
    for sector in 0..20 {
        let from = block(7) + sector * 512;
        let at = usize::try_from(from).expect("small");
        dir.overwrite(1, from, &vec![0; whole.len() - at]);
        let replay = dir.replay(0, None);
        assert_eq!(
            found(&replay).entries,
            sound(&written[..2]).entries,
            "cut at sector {sector}"
        );
        assert_eq!((found(&replay).tip, replay.is_damaged()), (2, false));
        // If no sector of the write is there, nothing counts as torn.
        assert_eq!(found(&replay).torn, sector > 0, "cut at sector {sector}");
        if let Some(kept) = kept(&dir, &replay) {
            let torn = &whole[usize::try_from(block(7)).expect("small")..at];
            assert_eq!(
                kept[..kept.len().min(torn.len())],
                torn[..kept.len().min(torn.len())]
            );
            assert!(!kept.is_empty());
        }
        dir.overwrite(1, 0, &whole);
    }
    assert_eq!(dir.found(), sound(&written));
}

#[test]
fn a_write_of_many_entries_is_cut_at_its_first_damaged_one() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=1, 100);
    let mut group: Vec<Vec<Item>> = (2..=5).map(|number| items(number, 3_000)).collect();
    let mut group: Vec<&mut [Item]> = group.iter_mut().map(|items| &mut items[..]).collect();
    journal
        .write(&mut group, true)
        .expect("the journal has room");
    // In the body of the write's second entry.
    dir.flip(1, block(2) + 5_000);
    let found = dir.found();
    let expected: Vec<(u64, Vec<Item>)> =
        written.into_iter().chain([(2, items(2, 3_000))]).collect();
    assert_eq!(
        found,
        Found {
            torn: true,
            ..sound(&expected)
        }
    );
}

/// The sequences of a write that was cut off are used again. The old entries must not be taken for
/// the new ones.
#[test]
fn what_is_written_behind_a_cut_is_found_again_from_the_file_of_the_cut() {
    for (before, at_byte) in [(2, 100), (2, 6_000), (0, 100), (0, 6_000)] {
        let dir = Dir::with_files(3);
        let (_, mut journal) = dir.journal(Tip::default());
        let mut written = write(&mut journal, 1..=before, 100);
        write(&mut journal, before + 1..=before + 1, 10_000);
        dir.flip(1, block(before + 1) + at_byte);

        let cut = dir.replay(1, Some(0));
        assert_eq!(
            found(&cut),
            Found {
                torn: true,
                ..sound(&written)
            },
            "{before} before, byte {at_byte}"
        );
        let (_, mut journal) = dir.journal(cut.tip());
        written.extend(write(&mut journal, before + 1..=before + 4, 200));

        // A checkpoint may name the first file, although the last entry in that file was cut off.
        for applied in 0..=before {
            let found = found(&dir.replay(1, Some(applied)));
            let needed: Vec<_> = written
                .iter()
                .filter(|(number, _)| *number > applied)
                .cloned()
                .collect();
            assert_eq!(
                found,
                sound(&needed),
                "{before} before, byte {at_byte}, applied {applied}"
            );
        }
        assert_eq!(
            dir.found(),
            sound(&written),
            "{before} before, byte {at_byte}"
        );
    }
}

#[test]
fn a_write_that_was_not_synced_survives_whole_or_not_at_all() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=2, 100);
    journal
        .write(&mut [&mut items(3, 100)], false)
        .expect("the journal has room");
    journal
        .write(&mut [&mut items(4, 100)], false)
        .expect("the journal has room");
    let all: Vec<_> = written
        .iter()
        .cloned()
        .chain([(3, items(3, 100)), (4, items(4, 100))])
        .collect();
    assert_eq!(dir.found(), sound(&all));
    // The third is gone and the fourth is there: neither was synced, so neither counts.
    dir.overwrite(1, block(3), &[0; 4096]);
    assert_eq!(
        dir.found(),
        Found {
            torn: true,
            ..sound(&written)
        }
    );
}
