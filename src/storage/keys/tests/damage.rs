//! Damaged tables of records: the damage is detected or has no effect, but never causes a wrong
//! answer or a panic.

use super::*;
use crate::storage::format::page;

/// What the look-ups in a table returned that may be damaged.
#[derive(Debug, Default)]
struct Seen {
    answers: u64,
    damaged: u64,
    unusable: u64,
}

/// Looks up everything in the table at `path`. Every answer must be right.
fn ask(disk: &SimDisk, path: &Path, rows: &[Row], seen: &mut Seen) {
    let Ok(run) = open(disk, path) else {
        seen.unusable += 1;
        return;
    };
    let mut count = |ok: bool| {
        if ok {
            seen.answers += 1;
        } else {
            seen.damaged += 1;
        }
    };
    let mut scanned = Vec::new();
    for row in run.scan() {
        count(row.is_ok());
        scanned.extend(row);
    }
    assert!(rows.starts_with(&scanned), "a scan gives what is not there");
    for same_hash in rows.chunk_by(|a, b| a.hash == b.hash).step_by(3) {
        let hash = same_hash[0].hash;
        let may_have = run.may_have(hash);
        assert!(!matches!(may_have, Ok(false)), "what is there is denied");
        count(may_have.is_ok());
        let found = group(&run, hash);
        count(found.is_ok());
        assert!(
            found.as_ref().map_or(true, |found| &found[..] == same_hash),
            "{found:?} in place of {same_hash:?}"
        );
        let absent = KeyHash(drawn(hash.0));
        let found = group(&run, absent);
        count(found.is_ok());
        assert!(
            found.as_ref().map_or(true, Vec::is_empty),
            "{found:?} in place of nothing"
        );
    }
}

/// A table with three pages of rows, one of the fence and one of the filter; and its rows.
fn sample(disk: &SimDisk) -> (PathBuf, Vec<Row>) {
    let mut rows = rows_of(0, 200, 60);
    // One hash's group of rows spans several pages.
    rows.extend((0..250).map(|at| row(u64::MAX / 2, 1 + at, 200 + at)));
    rows.sort_unstable();
    let run = write(disk, 0, 450, &rows);
    assert_eq!(run.bytes() as usize, 6 * PAGE_BYTES);
    (run.path().to_owned(), rows)
}

#[test]
fn a_flipped_bit_is_found_or_harmless() {
    let disk = disk();
    let (path, rows) = sample(&disk);
    let mut sound = Seen::default();
    ask(&disk, &path, &rows, &mut sound);
    assert_eq!((sound.damaged, sound.unusable), (0, 0));
    let header = 0..100 * 8;
    // 59 divides no size of the format, so every bit of a byte and every field of a row is hit.
    let behind = (PAGE_BYTES * 8..6 * PAGE_BYTES * 8).step_by(59);
    let mut seen = Seen::default();
    for bit in header.chain(behind) {
        let at = (bit / 8) as u64;
        disk.flip_bit(&path, at, (bit % 8) as u8)
            .expect("it is there");
        let before = seen.damaged + seen.unusable;
        ask(&disk, &path, &rows, &mut seen);
        let found = seen.damaged + seen.unusable > before;
        assert!(
            found || (80..4096).contains(&at),
            "bit {bit} flipped, and nobody saw"
        );
        disk.flip_bit(&path, at, (bit % 8) as u8)
            .expect("it is there");
    }
    println!("{seen:?}");
    assert!(seen.answers > 0 && seen.damaged > 0 && seen.unusable >= 80 * 8);
}

#[test]
fn pages_of_zeros_or_from_elsewhere_are_found() {
    let disk = disk();
    let (path, rows) = sample(&disk);
    let whole = disk.content(&path).expect("it is there");
    // Pages of a table with as many rows of the same hashes, at other offsets.
    let other: Vec<Row> = rows
        .iter()
        .map(|row| Row {
            place: row.place + 450,
            ..*row
        })
        .collect();
    let other = disk
        .content(write(&disk, 450, 900, &other).path())
        .expect("it is there");
    for number in 1..6 {
        let at = number * PAGE_BYTES;
        let neighbour = if number == 1 { 2 } else { number - 1 } * PAGE_BYTES;
        for content in [
            vec![0; PAGE_BYTES],
            other[at..][..PAGE_BYTES].into(),
            whole[neighbour..][..PAGE_BYTES].into(),
        ] {
            let mut seen = Seen::default();
            disk.overwrite(&path, at as u64, &content)
                .expect("it is there");
            ask(&disk, &path, &rows, &mut seen);
            assert!(seen.damaged > 0, "page {number}");
            disk.overwrite(&path, at as u64, &whole[at..][..PAGE_BYTES])
                .expect("it is there");
        }
    }
}

#[test]
fn a_file_that_is_cut_longer_or_foreign_is_unusable() {
    let disk = disk();
    let (path, _) = sample(&disk);
    let file = disk
        .open(&path, crate::env::Open::Write)
        .expect("it is there");
    let len = file.len().expect("it is there");
    for cut in [0, 1, 79, 80, 4096, len - 4096, len - 1, len + 1, len + 4096] {
        let fork = disk.fork();
        let file = fork
            .open(&path, crate::env::Open::Write)
            .expect("it is there");
        file.set_len(cut).expect("there is room");
        assert!(open(&fork, &path).is_err(), "of {cut} bytes");
    }
    disk.overwrite(
        &path,
        0,
        b"something else entirely, and longer than a header would be or any of its fields",
    )
    .expect("it is there");
    assert!(matches!(open(&disk, &path), Err(Unusable::Header { .. })));
}

#[test]
fn forged_pages_with_right_checksums_make_nobody_panic() {
    let disk = disk();
    let (path, rows) = sample(&disk);
    let salt = open(&disk, &path).expect("it is sound").header().salt();
    let whole = disk.content(&path).expect("it is there");
    for (number, seed) in (1..6).flat_map(|number| (0..40).map(move |seed| (number, seed))) {
        let mut bytes = whole.clone();
        let forged = page(&mut bytes, number);
        for (at, word) in forged.chunks_exact_mut(8).enumerate() {
            let drawn = drawn(seed * 1_000 + at as u64);
            // Huge and small numbers, some of which are valid.
            match seed % 4 {
                0 => word.copy_from_slice(&drawn.to_le_bytes()),
                1 => word.copy_from_slice(&(drawn % 5).to_le_bytes()),
                2 if drawn.is_multiple_of(2) => word.fill(0xff),
                _ if drawn.is_multiple_of(3) => word.fill(0),
                _ => {}
            }
        }
        page::seal(forged, salt, number as u64);
        disk.overwrite(&path, 0, &bytes).expect("it is there");
        let run = open(&disk, &path).expect("the header is sound");
        for hash in rows
            .iter()
            .map(|row| row.hash)
            .chain((0..200).map(|at| KeyHash(drawn(at))))
        {
            run.may_have(hash).expect("checksums are right");
            let found = run.group(hash).expect("checksums are right");
            found
                .lower_bound(Version(100))
                .expect("checksums are right");
            assert!(
                (0..found.len()).all(|at| found.row(at).is_ok()),
                "checksums are right"
            );
        }
        assert_eq!(run.scan().count(), rows.len());
        // A merge does not trust the order of its input.
        let _ = crate::storage::keys::merge::merge(&disk, &dir(), &arcs([run]), None, |offset| {
            offset >= Offset::ZERO
        });
    }
}
