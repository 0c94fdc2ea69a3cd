//! A partition's key index: its runs, and the file of what outlives records that are gone.
//!
//! Runs are derived, so damage in them costs nothing but the work of building them anew. The file
//! of retired facts is not: which one is in use says the checkpoint, and it must be there. A start
//! that does not go by a checkpoint makes one of all there are.

use std::{
    cmp::Reverse,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{Damage, DamageKind, KeyFileState, KeyRun, Retired, partition::Place};
use crate::{
    env::{Env, File, Open},
    storage::{
        format::{
            key_run,
            page::{self, PAGE_BYTES, Page},
            retired::{self, BLOCK_HEAD_BYTES, FenceRow, open_block},
        },
        keys::{
            retired::{number_of_file, retired_path},
            run::range_of,
        },
    },
    types::Offset,
};

/// How many pages are read at once.
const PAGES_PER_READ: u64 = 64;

/// Looks at the key index of a partition that ends at `end`. Of its files of retired facts the one
/// numbered `in_use` counts; 0 for none.
pub(super) fn look(
    env: &Env,
    place: &Place<'_>,
    in_use: u64,
    end: Offset,
    damage: &mut Vec<Damage>,
) -> (Vec<KeyRun>, Vec<Retired>) {
    let paths = list(env, &place.dir);
    let runs = paths
        .iter()
        .filter_map(|path| Some((range_of(path)?, path.clone())))
        .collect();
    let facts = paths
        .iter()
        .filter_map(|path| Some((number_of_file(path)?, path.clone())))
        .collect();
    (
        look_at_runs(env, place, runs, end, damage),
        look_at_retired(env, place, facts, in_use, damage),
    )
}

/// The files in a directory. One that is not there or cannot be read was listed with its segments.
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
    // Of runs that overlap, a start takes those that reach further.
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

/// Whether a run is what was written there, as far as it is to be checked.
fn check_run(env: &Env, place: &Place<'_>, run: &mut KeyRun) -> io::Result<bool> {
    let file = env.files.open(&run.path, Open::Read)?;
    run.bytes = file.len()?;
    let Some(header) =
        read_first_page(&*file, run.bytes)?.and_then(|page| key_run::Header::decode(&page))
    else {
        return Ok(false);
    };
    run.rows = header.rows;
    let belongs = (header.topic, header.partition)
        == (place.identity.topic, place.identity.partition)
        && (header.from..header.to) == run.offsets
        && header.fingerprint == place.fingerprint
        && header.file_bytes() == run.bytes;
    let pages = header.first_row_page() + header.row_pages();
    Ok(belongs && (!place.verify || are_sound(&*file, header.salt(), 1..pages, |_, _| true)?))
}

fn look_at_retired(
    env: &Env,
    place: &Place<'_>,
    mut named: Vec<(u64, PathBuf)>,
    in_use: u64,
    damage: &mut Vec<Damage>,
) -> Vec<Retired> {
    named.sort_unstable();
    let mut missing = in_use != 0;
    let mut files = Vec::new();
    for (number, path) in named {
        let mut file = Retired {
            path,
            number,
            facts: 0,
            bytes: 0,
            state: KeyFileState::LeftOver,
        };
        missing &= number != in_use;
        if number == in_use || !place.whole {
            file.state = match check_retired(env, place, &mut file) {
                Ok(true) => KeyFileState::Sound,
                Ok(false) | Err(_) => KeyFileState::Damaged,
            };
        }
        if file.state == KeyFileState::Damaged {
            damage.push(place.damage(file.path.clone(), None, DamageKind::Retired));
        }
        files.push(file);
    }
    if missing {
        damage.push(place.damage(retired_path(&place.dir, in_use), None, DamageKind::Retired));
    }
    files
}

/// Whether a file of retired facts is what was written there, as far as it is to be checked.
fn check_retired(env: &Env, place: &Place<'_>, retired: &mut Retired) -> io::Result<bool> {
    let file = env.files.open(&retired.path, Open::Read)?;
    retired.bytes = file.len()?;
    let Some(header) =
        read_first_page(&*file, retired.bytes)?.and_then(|page| retired::Header::decode(&page))
    else {
        return Ok(false);
    };
    retired.facts = header.facts;
    let belongs = (header.topic, header.partition)
        == (place.identity.topic, place.identity.partition)
        && header.number == retired.number
        && header.fingerprint == place.fingerprint
        && header.file_bytes() == retired.bytes;
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

/// How many facts are in the block at the front of some bytes of the file; none if it is not sound.
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

/// Whether these pages of a file are sound, and `check` is true of each.
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
