//! Examines a partition's key index: tables of records, and tables of last versions.
//!
//! Tables of records are derived, so damage in them only costs the work to rebuild them. Last
//! versions are not derived; the checkpoint says up to which number there must be tables. A start
//! without a checkpoint relies on the tables that it finds.

use std::{
    cmp::Reverse,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{Damage, DamageKind, KeyFileState, KeyRun, LastVersions, partition::Place};
use crate::{
    env::{Env, File, Open},
    storage::{
        format::{
            page::{self, CONTENT_BYTES, PAGE_BYTES, Page},
            retired::{self, BLOCK_HEAD_BYTES, FenceRow, open_block},
            sorted_table::{self, NAME_HEAD_BYTES, Name},
        },
        keys::{
            earlier::number_of,
            sorted_table::{Kind, named, table_path},
        },
    },
    types::Offset,
};

/// How many pages are read at once.
const PAGES_PER_READ: u64 = 64;

/// Examines the key index of a partition that ends at `end`. There must be tables of last versions
/// for all numbers up to `through`; 0 for none.
pub(super) fn look(
    env: &Env,
    place: &Place<'_>,
    through: u64,
    end: Offset,
    damage: &mut Vec<Damage>,
) -> (Vec<KeyRun>, Vec<LastVersions>) {
    let (mut runs, mut tables, mut earlier) = (Vec::new(), Vec::new(), Vec::new());
    for path in list(env, &place.dir) {
        match named(&path) {
            Some((Kind::Records, covers)) => {
                runs.push((Offset(covers.start)..Offset(covers.end), path));
            }
            Some((Kind::LastVersions, numbers)) => tables.push((numbers, path)),
            None => earlier.extend(number_of(&path).map(|number| (number, path))),
        }
    }
    let mut looked = look_at_last_versions(env, place, tables, damage);
    look_at_earlier(env, place, earlier, through, &mut looked, damage);
    report_missing(place, &looked, through, damage);
    (look_at_runs(env, place, runs, end, damage), looked)
}

/// The files in a directory; none if it cannot be read, which is reported with the segments.
fn list(env: &Env, dir: &Path) -> Vec<PathBuf> {
    let entries = env.files.read_dir(dir).unwrap_or_default();
    entries
        .into_iter()
        .filter(|entry| !entry.is_dir)
        .map(|entry| dir.join(entry.name))
        .collect()
}

fn look_at_runs(
    env: &Env,
    place: &Place<'_>,
    mut named: Vec<(Range<Offset>, PathBuf)>,
    end: Offset,
    damage: &mut Vec<Damage>,
) -> Vec<KeyRun> {
    // Of tables that overlap, a start uses those that reach further.
    named.sort_by_key(|(offsets, _)| (offsets.start, Reverse(offsets.end)));
    let (mut runs, mut covered) = (Vec::new(), Offset::ZERO);
    for (offsets, path) in named {
        let mut run = KeyRun {
            path,
            offsets,
            rows: 0,
            bytes: 0,
            state: KeyFileState::LeftOver,
        };
        if run.offsets.start >= covered && run.offsets.end <= end {
            run.state = match check_run(env, place, &mut run) {
                Ok(true) => KeyFileState::Sound,
                Ok(false) | Err(_) => KeyFileState::Damaged,
            };
        }
        match run.state {
            KeyFileState::Sound => covered = run.offsets.end,
            KeyFileState::Damaged => {
                damage.push(place.damage(run.path.clone(), None, DamageKind::KeyRun));
            }
            KeyFileState::LeftOver => {}
        }
        runs.push(run);
    }
    runs
}

/// Whether a table of records is sound, as far as it is to be checked.
fn check_run(env: &Env, place: &Place<'_>, run: &mut KeyRun) -> io::Result<bool> {
    let covers = run.offsets.start.0..run.offsets.end.0;
    let checked = check_table(env, place, &run.path, (Kind::Records, covers))?;
    (run.rows, run.bytes) = (checked.rows, checked.bytes);
    Ok(checked.is_sound)
}

/// What was found of a table.
struct Checked {
    /// The number of rows in its header.
    rows: u64,
    bytes: u64,
    is_sound: bool,
}

/// Checks whether a table is sound, as far as it is to be checked.
fn check_table(
    env: &Env,
    place: &Place<'_>,
    path: &Path,
    named: (Kind, Range<u64>),
) -> io::Result<Checked> {
    let file = env.files.open(path, Open::Read)?;
    let bytes = file.len()?;
    let header = read_first_page(&*file, bytes)?;
    let Some(header) = header.and_then(|page| sorted_table::Header::decode(&page)) else {
        return Ok(Checked {
            rows: 0,
            bytes,
            is_sound: false,
        });
    };
    let belongs = (header.topic, header.partition)
        == (place.identity.topic, place.identity.partition)
        && (header.kind(), header.from..header.to) == named
        && header.fingerprint == place.fingerprint
        && header.file_bytes() == bytes;
    Ok(Checked {
        rows: header.rows,
        bytes,
        is_sound: belongs && (!place.verify || are_pages_sound(&*file, &header)?),
    })
}

/// Checks all pages of a table, and that it has a name for each row.
fn are_pages_sound(file: &dyn File, header: &sorted_table::Header) -> io::Result<bool> {
    let salt = header.salt();
    if !are_sound(file, salt, 1..header.behind_rows(), |_, _| true)? {
        return Ok(false);
    }
    let Some(names) = header.names else {
        return Ok(true);
    };
    let (mut rest, mut count) = (Vec::new(), 0);
    let mut left = names.bytes;
    let sound = are_sound(file, salt, names.page..header.pages(), |_, page| {
        let content = left.min(CONTENT_BYTES as u64);
        left -= content;
        rest.extend_from_slice(&page[..content as usize]);
        count_names(&mut rest, left == 0, &mut count)
    })?;
    Ok(sound && rest.is_empty() && count == header.rows)
}

/// Takes the complete names off the front of `bytes` and counts them; false if one is malformed.
/// The last name may be shorter than the head that tells a name's length.
fn count_names(bytes: &mut Vec<u8>, is_end: bool, count: &mut u64) -> bool {
    let mut at = 0;
    while at < bytes.len() && (is_end || bytes.len() - at >= NAME_HEAD_BYTES as usize) {
        let Some(len) = Name::encoded_len(&bytes[at..]) else {
            return false;
        };
        let behind = usize::try_from(len)
            .ok()
            .and_then(|len| at.checked_add(len));
        let Some(name) = behind.and_then(|behind| bytes.get(at..behind)) else {
            // The name continues in the next page.
            break;
        };
        if Name::decode(name).is_none() {
            return false;
        }
        at += name.len();
        *count += 1;
    }
    bytes.drain(..at);
    true
}

fn look_at_last_versions(
    env: &Env,
    place: &Place<'_>,
    mut tables: Vec<(Range<u64>, PathBuf)>,
    damage: &mut Vec<Damage>,
) -> Vec<LastVersions> {
    // Of tables that overlap, a start uses those that reach further.
    tables.sort_by_key(|(numbers, _)| (numbers.start, Reverse(numbers.end)));
    let (mut looked, mut covered) = (Vec::new(), 1);
    for (numbers, path) in tables {
        let mut table = LastVersions::new(path, numbers.clone());
        if numbers.start >= covered {
            let named = (Kind::LastVersions, numbers.clone());
            let checked = check_table(env, place, &table.path, named);
            table.state = match &checked {
                Ok(checked) if checked.is_sound => KeyFileState::Sound,
                Ok(_) | Err(_) => KeyFileState::Damaged,
            };
            if let Ok(checked) = checked {
                (table.rows, table.bytes) = (checked.rows, checked.bytes);
            }
            covered = numbers.end;
        }
        if table.state == KeyFileState::Damaged {
            damage.push(place.damage(table.path.clone(), None, DamageKind::LastVersions));
        }
        looked.push(table);
    }
    looked
}

/// Examines files of earlier versions, of which a start makes tables for the numbers that no table
/// covers.
fn look_at_earlier(
    env: &Env,
    place: &Place<'_>,
    mut earlier: Vec<(u64, PathBuf)>,
    through: u64,
    looked: &mut Vec<LastVersions>,
    damage: &mut Vec<Damage>,
) {
    earlier.sort_unstable();
    let mut covered = 1;
    for (number, path) in earlier {
        let is_covered = is_covered(looked, number);
        let mut file = LastVersions::new(path, covered.min(number)..number.saturating_add(1));
        if !is_covered && (number <= through || !place.whole) {
            file.state = match check_earlier(env, place, number, &mut file) {
                Ok(true) => KeyFileState::Sound,
                Ok(false) | Err(_) => KeyFileState::Damaged,
            };
            covered = file.numbers.end;
        }
        if file.state == KeyFileState::Damaged {
            damage.push(place.damage(file.path.clone(), None, DamageKind::LastVersions));
        }
        looked.push(file);
    }
}

fn is_covered(looked: &[LastVersions], number: u64) -> bool {
    let mut in_use = looked
        .iter()
        .filter(|table| table.state != KeyFileState::LeftOver);
    in_use.any(|table| table.numbers.contains(&number))
}

/// Reports the numbers up to `through` that no file covers.
fn report_missing(
    place: &Place<'_>,
    looked: &[LastVersions],
    through: u64,
    damage: &mut Vec<Damage>,
) {
    let in_use = looked
        .iter()
        .filter(|table| table.state != KeyFileState::LeftOver);
    let mut ranges: Vec<Range<u64>> = in_use.map(|table| table.numbers.clone()).collect();
    ranges.sort_unstable_by_key(|numbers| numbers.start);
    ranges.push(through.saturating_add(1)..through.saturating_add(1));
    let mut covered = 1;
    for numbers in ranges {
        if covered < numbers.start {
            let missing = covered..numbers.start;
            let path = table_path(&place.dir, Kind::LastVersions, missing);
            damage.push(place.damage(path, None, DamageKind::LastVersions));
        }
        covered = covered.max(numbers.end);
    }
}

/// Whether a file of an earlier version is sound, as far as it is to be checked.
fn check_earlier(
    env: &Env,
    place: &Place<'_>,
    number: u64,
    looked: &mut LastVersions,
) -> io::Result<bool> {
    let file = env.files.open(&looked.path, Open::Read)?;
    looked.bytes = file.len()?;
    let Some(header) =
        read_first_page(&*file, looked.bytes)?.and_then(|page| retired::Header::decode(&page))
    else {
        return Ok(false);
    };
    looked.rows = header.facts;
    let belongs = (header.topic, header.partition)
        == (place.identity.topic, place.identity.partition)
        && header.number == number
        && header.fingerprint == place.fingerprint
        && header.file_bytes() == looked.bytes;
    Ok(belongs && (!place.verify || are_facts_sound(&*file, &header)?))
}

/// Checks filter, fence and every block, and counts the facts.
fn are_facts_sound(file: &dyn File, header: &retired::Header) -> io::Result<bool> {
    let mut blocks: Vec<u64> = Vec::new();
    let fence_from = header.fence_at / PAGE_BYTES as u64;
    let fence = fence_from..header.file_bytes() / PAGE_BYTES as u64;
    let sound = are_sound(file, header.salt(), 1..header.behind_filter(), |_, _| true)?
        && are_sound(file, header.salt(), fence, |number, page| {
            let first = (number - fence_from) * retired::FENCE_PER_PAGE;
            let rows = header
                .blocks
                .saturating_sub(first)
                .min(retired::FENCE_PER_PAGE);
            blocks.extend((0..rows as usize).map(|nth| FenceRow::at(page, nth).position));
            true
        })?;
    let mut facts = 0;
    for (nth, from) in blocks.iter().enumerate() {
        let to = blocks.get(nth + 1).copied().unwrap_or(header.fence_at);
        let Some(count) = count_facts(file, header, *from..to)? else {
            return Ok(false);
        };
        facts += count;
    }
    Ok(sound && facts == header.facts)
}

/// How many facts the block at the front of `bytes` has; `None` if it is damaged.
fn count_facts(
    file: &dyn File,
    header: &retired::Header,
    bytes: Range<u64>,
) -> io::Result<Option<u64>> {
    let within = header.first_block_at() <= bytes.start && bytes.end <= header.fence_at;
    let len = bytes
        .end
        .checked_sub(bytes.start)
        .filter(|len| within && *len > BLOCK_HEAD_BYTES as u64);
    let Some(len) = len.and_then(|len| usize::try_from(len).ok()) else {
        return Ok(None);
    };
    let mut block = vec![0; len];
    file.read_exact_at(&mut block, bytes.start)?;
    let Some(mut facts) = open_block(&Bytes::from(block), header.salt(), bytes.start) else {
        return Ok(None);
    };
    let mut count = 0;
    while !facts.is_empty() {
        if retired::Retired::take(&mut facts).is_none() {
            return Ok(None);
        }
        count += 1;
    }
    Ok(Some(count))
}

fn read_first_page(file: &dyn File, len: u64) -> io::Result<Option<Page>> {
    let mut page = [0; PAGE_BYTES];
    if len < PAGE_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut page, 0)?;
    Ok(Some(page))
}

/// Whether these pages of a file are sound, and `check` accepts each.
fn are_sound(
    file: &dyn File,
    salt: u32,
    pages: Range<u64>,
    mut check: impl FnMut(u64, &Page) -> bool,
) -> io::Result<bool> {
    let mut number = pages.start;
    while number < pages.end {
        let count = (pages.end - number).min(PAGES_PER_READ);
        let mut bytes = vec![0; count as usize * PAGE_BYTES];
        file.read_exact_at(&mut bytes, number * PAGE_BYTES as u64)?;
        for page in bytes.chunks_exact(PAGE_BYTES) {
            let page: &Page = page.try_into().expect("chunks of a page");
            if !page::is_sound(page, salt, number) || !check(number, page) {
                return Ok(false);
            }
            number += 1;
        }
    }
    Ok(true)
}
