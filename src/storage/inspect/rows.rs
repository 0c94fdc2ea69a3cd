//! Checks that the tables of records have a row for every record that they cover.
//!
//! If a table lacks a row, look-ups believe that the entity has no such record. The broker writes
//! no such table, but if there were one, nothing else would notice, because its checksums would be
//! right.

use std::collections::BTreeSet;

use super::{
    Damage, DamageKind, KeyFileState, KeyRun,
    partition::{Place, next_frame},
};
use crate::{
    env::{Env, Open},
    storage::{
        format::frame::Frame,
        keys::{
            hash::{KeyHash, KeyHasher},
            sorted_table::SortedTable,
        },
        log::{Name, Source, Walk},
    },
    types::{Offset, RecordView, Records, Version},
};

/// Checks that there is a row for each record from `start` on in these segments; each is given with
/// the number of bytes that count.
pub(super) fn check(
    env: &Env,
    place: &Place<'_>,
    segments: &[(Name, u64)],
    start: Offset,
    runs: &mut [KeyRun],
    damage: &mut Vec<Damage>,
) {
    let open = |run: &KeyRun| {
        let opened = SortedTable::open(&*env.files, &run.path, place.identity, place.fingerprint);
        opened.ok().filter(|_| run.state == KeyFileState::Sound)
    };
    let opened: Vec<Option<SortedTable>> = runs.iter().map(open).collect();
    let mut lacking = BTreeSet::new();
    for (name, counted) in segments {
        // A segment that cannot be read is listed already.
        let path = name.path(&place.dir);
        let Ok(file) = env.files.open(&path, Open::Read) else {
            continue;
        };
        let source = Source::File(file);
        let mut walk = Walk::new(source, *counted, place.identity, name.base(), 0);
        while let Ok(Some((_, frame))) = next_frame(&mut walk) {
            for_each_row(&frame, place.hasher, |hash, version, offset| {
                let covers = |run: &&SortedTable| run.from() <= offset && offset < run.to();
                let run = opened.iter().flatten().find(covers);
                if let Some(run) = run.filter(|_| offset >= start)
                    && !has_row(run, hash, version, offset)
                {
                    lacking.insert(run.path().to_owned());
                }
            });
        }
    }
    for run in runs.iter_mut().filter(|run| lacking.contains(&run.path)) {
        run.state = KeyFileState::Damaged;
        damage.push(place.damage(run.path.clone(), None, DamageKind::IncompleteRun));
    }
}

/// Calls `each` for every row that the records of a frame have in an index.
fn for_each_row(frame: &Frame, hasher: &KeyHasher, mut each: impl FnMut(KeyHash, Version, Offset)) {
    let records = frame.records();
    for element in Records::new(&records).map_while(Result::ok) {
        let Ok(record) = RecordView::parse(element.1) else {
            continue;
        };
        if let (Some(key), Some(version), Some(offset)) =
            (record.key, record.version, record.offset)
        {
            each(hasher.key(key), Version(version), Offset(offset));
        }
    }
}

/// Whether a table has this row; true if the table is damaged, which is listed already.
fn has_row(run: &SortedTable, hash: KeyHash, version: Version, offset: Offset) -> bool {
    let Ok(group) = run.group(hash) else {
        return true;
    };
    let Ok(first) = group.lower_bound(version) else {
        return true;
    };
    let rows = (first..group.len()).map_while(|at| group.row(at).ok());
    let mut of_version = rows.take_while(|row| row.version == version);
    of_version.any(|row| row.offset() == offset)
}
