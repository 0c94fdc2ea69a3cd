//! Writing a damaged retired file anew, without what cannot be read.
//!
//! What it had in blocks that are damaged is lost already: every look-up that might need it says
//! so. In the new file a block that nobody can read stands for them, so that look-ups go on saying
//! so, and the bytes are gone.

use std::path::Path;

use super::{
    Unread,
    hash::KeyHash,
    retired::{Content, Retired, RetiredFile, RetiredWriter},
};
use crate::{
    env::FileSystem,
    storage::{
        files::FileError,
        format::{filter, retired::FenceRow},
    },
    types::Version,
};

/// Writes the facts of `old` that can be read to another file in `dir`, as `edit` has them: it
/// leaves their hashes and versions as they are. When this returns, the new file is durable.
pub(crate) fn salvage(
    files: &dyn FileSystem,
    dir: &Path,
    content: &Content,
    old: &RetiredFile,
    mut edit: impl FnMut(Retired) -> Option<Retired>,
) -> Result<RetiredFile, FileError> {
    let content = Content {
        expected_facts: filter::hashes_for(old.filter_blocks()),
        ..*content
    };
    let mut writer = RetiredWriter::create(files, dir, &content)?;
    let mut last = (KeyHash(0), Version::NONE);
    // Where facts are missing that were before what comes next.
    let mut lost_from = None;
    for number in 0..old.blocks() {
        let fence = Unread::unless_damaged(old.fence(number))?;
        let first = fence.filter(|row| order(row) >= last);
        // Of rows of the fence that are lost, it is known only that they lie between the others.
        let from = first.as_ref().map_or(last, order);
        let facts = match first {
            Some(_) => facts_of(old, number, from)?,
            None => None,
        };
        match facts {
            Some(facts) => {
                if let Some(lost_from) = lost_from.take() {
                    writer.push_lost(lost_from, from.0, old)?;
                }
                last = facts.last().map_or(from, Retired::order);
                facts
                    .into_iter()
                    .filter_map(&mut edit)
                    .try_for_each(|fact| writer.push(&fact))?;
            }
            None => {
                lost_from.get_or_insert(from);
                last = from;
            }
        }
    }
    if let Some(lost_from) = lost_from {
        writer.push_lost(lost_from, KeyHash(u64::MAX), old)?;
    }
    writer.finish()
}

fn order(row: &FenceRow) -> (KeyHash, Version) {
    (row.hash, row.version)
}

/// The facts of a block, if all of it is as it was written.
fn facts_of(
    old: &RetiredFile,
    number: u64,
    first: (KeyHash, Version),
) -> Result<Option<Vec<Retired>>, FileError> {
    let Some((_, mut rest)) = Unread::unless_damaged(old.block(number))? else {
        return Ok(None);
    };
    let mut facts: Vec<Retired> = Vec::new();
    while !rest.is_empty() {
        let Some(fact) = Retired::take(&mut rest) else {
            return Ok(None);
        };
        facts.push(fact);
    }
    let orders: Vec<_> = facts.iter().map(Retired::order).collect();
    let is_sound = orders.is_sorted() && orders.first().is_none_or(|order| *order >= first);
    Ok(is_sound.then_some(facts))
}
