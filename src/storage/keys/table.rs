//! The newest rows of a partition, in memory.
//!
//! Every append with a key comes through here, so no record costs an allocation of its own: all
//! keys lie in one buffer, all entries in one vector, and a hash table has the entries' indexes. An
//! entry has its key's first row; further rows are in a vector of their own, for the few keys that
//! have many.

use hashbrown::HashTable;

use super::hash::KeyHash;
use crate::{
    storage::format::sorted_table::Row,
    types::{Offset, Version},
};

/// A key's entry in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId(u32);

/// Stands for the offset of a lost record.
const LOST: u32 = u32::MAX;

/// Stands for the index of a vector of rows where there is none.
const NONE: u32 = u32::MAX;

/// How far the keys' bytes may grow between two calls of [`Table::has_room`]: far more than one
/// request has.
const KEY_BYTES_AHEAD: usize = 1 << 30;

/// As [`KEY_BYTES_AHEAD`], for the number of entries.
const ENTRIES_AHEAD: usize = 1 << 30;

/// From this size on, the buffer of keys grows by an eighth rather than to double its size.
const LARGE_BYTES: usize = 64 << 10;

/// A key with at least this many rows is hot.
const HOT_ROWS: u32 = 8;

/// Most hot keys that a table passes on to its successor, and most bytes of these: some megabytes
/// in all.
const MOST_HOT: usize = 1 << 16;
const MOST_HOT_BYTES: usize = 4 << 20;

/// The longest hot key that is passed on; versions of longer ones are looked up in files.
const MOST_HOT_KEY_BYTES: u32 = 1 << 10;

/// A key with its rows. Offsets are relative to the table's start.
#[derive(Debug)]
struct Entry {
    hash: KeyHash,
    /// The version before that of the first row.
    base: Version,
    /// Where the key's bytes begin.
    bytes_at: u32,
    /// How many bytes the key has.
    bytes_len: u32,
    /// How many rows it has, lost ones included.
    rows: u32,
    first: u32,
    /// Which vector of [`Table::more`] has the other rows.
    more: u32,
}

const _: () = assert!(
    size_of::<Entry>() == 40,
    "an entry is to stay within a cache line"
);

/// The rows of a partition from some offset on.
#[derive(Debug)]
pub(crate) struct Table {
    from: Offset,
    numbers: HashTable<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    more: Vec<Vec<u32>>,
    /// The capacity of all vectors of `more` together.
    more_capacity: usize,
    rows: usize,
}

impl Table {
    /// An empty table for rows from this offset on.
    pub(crate) fn new(from: Offset) -> Self {
        Self {
            from,
            numbers: HashTable::new(),
            entries: Vec::new(),
            bytes: Vec::new(),
            more: Vec::new(),
            more_capacity: 0,
            rows: 0,
        }
    }

    /// An empty table for rows from this offset on, which follow this table's. It knows the
    /// versions of this table's hot keys already: these come again at once, and would have to be
    /// looked up in files.
    pub(crate) fn successor(&self, from: Offset) -> Self {
        let mut next = Self::new(from);
        for entry in self
            .entries
            .iter()
            .filter(|entry| entry.rows >= HOT_ROWS && entry.bytes_len <= MOST_HOT_KEY_BYTES)
            .take(MOST_HOT)
        {
            if next.bytes.len() >= MOST_HOT_BYTES {
                break;
            }
            let number = u32::try_from(next.entries.len()).expect(NO_ROOM);
            let bytes_at = u32::try_from(next.bytes.len()).expect(NO_ROOM);
            next.bytes.extend_from_slice(self.bytes_of(entry));
            let (hash, bytes_len) = (entry.hash, entry.bytes_len);
            let base = entry.version();
            next.entries.push(Entry {
                hash,
                base,
                bytes_at,
                bytes_len,
                rows: 0,
                first: LOST,
                more: NONE,
            });
            let entries = &next.entries;
            next.numbers
                .insert_unique(hash.0, number, |&number| entries[number as usize].hash.0);
        }
        next
    }

    /// The first offset that the table can have rows of.
    pub(crate) fn from(&self) -> Offset {
        self.from
    }

    /// The entry of a key, if it has one.
    #[inline]
    pub(crate) fn find(&self, hash: KeyHash, key: &[u8]) -> Option<EntryId> {
        let is_key = |&number: &u32| {
            let entry = &self.entries[number as usize];
            entry.hash == hash && self.bytes_of(entry) == key
        };
        self.numbers
            .find(hash.0, is_key)
            .map(|&number| EntryId(number))
    }

    /// The entries of all keys with a hash.
    pub(crate) fn find_all(&self, hash: KeyHash) -> impl Iterator<Item = EntryId> {
        let of_hash = move |number: &u32| self.entries[*number as usize].hash == hash;
        self.numbers
            .iter_hash(hash.0)
            .copied()
            .filter(of_hash)
            .map(EntryId)
    }

    /// Adds an entry for a key that has none, with the version of the key before this table's rows.
    pub(crate) fn insert(&mut self, hash: KeyHash, key: &[u8], version: Version) -> EntryId {
        debug_assert!(self.find(hash, key).is_none(), "a key has one entry");
        let number = u32::try_from(self.entries.len()).expect(NO_ROOM);
        let bytes_at = u32::try_from(self.bytes.len()).expect(NO_ROOM);
        let bytes_len = u32::try_from(key.len()).expect(NO_ROOM);
        self.make_room(key.len());
        self.bytes.extend_from_slice(key);
        self.entries.push(Entry {
            hash,
            base: version,
            bytes_at,
            bytes_len,
            rows: 0,
            first: LOST,
            more: NONE,
        });
        let entries = &self.entries;
        self.numbers
            .insert_unique(hash.0, number, |&number| entries[number as usize].hash.0);
        EntryId(number)
    }

    /// Grows a large buffer by an eighth, so that little unused memory is counted.
    fn make_room(&mut self, bytes: usize) {
        let len = self.bytes.len();
        if len >= LARGE_BYTES && self.bytes.capacity() - len < bytes {
            self.bytes.reserve_exact(bytes.max(len / 8));
        }
    }

    /// A key's latest version.
    #[inline]
    pub(crate) fn version(&self, id: EntryId) -> Version {
        self.entry(id).version()
    }

    /// The offset of a key's latest version; `None` if this table has no row of the key.
    pub(crate) fn newest(&self, id: EntryId) -> Option<Offset> {
        match self.entry(id).rows {
            0 => None,
            _ => Some(self.from.plus(u64::from(self.last(id)))),
        }
    }

    /// Adds a key's next row and returns its version. Offsets must grow from call to call.
    #[inline]
    pub(crate) fn push(&mut self, id: EntryId, offset: Offset) -> Version {
        let relative = self.relative(offset);
        self.push_relative(id, relative);
        self.rows += 1;
        self.version(id)
    }

    /// Adds a row with a known version, from a record that is read again. Versions that are skipped
    /// since the key's last row count as lost records. A version that the key has reached already
    /// changes nothing.
    ///
    /// Versions that are skipped before a key's first row do not count as lost: their records are
    /// older than this table, or were not known when the entry was added.
    pub(crate) fn push_at(&mut self, id: EntryId, offset: Offset, version: Version) {
        let latest = self.version(id);
        if version <= latest {
            return;
        }
        let missing = version.0 - latest.0 - 1;
        if missing > 0 {
            let room = match self.entry(id).rows {
                0 => 0,
                _ => self
                    .relative(offset)
                    .saturating_sub(self.last(id))
                    .saturating_sub(1),
            };
            if missing <= u64::from(room) {
                (0..missing).for_each(|_| self.push_relative(id, LOST));
            } else {
                self.restart(id, Version(version.0 - 1));
            }
        }
        self.push(id, offset);
    }

    /// The offset of a version's record; `None` if it is lost, or this table does not have its row.
    #[inline]
    pub(crate) fn offset_of(&self, id: EntryId, version: Version) -> Option<Offset> {
        let entry = self.entry(id);
        let nth = version.0.checked_sub(entry.base.0)?.checked_sub(1)?;
        let relative = match nth {
            0 if entry.rows > 0 => entry.first,
            _ => *self
                .more
                .get(entry.more as usize)?
                .get(usize::try_from(nth).ok()?.checked_sub(1)?)?,
        };
        (relative != LOST).then(|| self.from.plus(u64::from(relative)))
    }

    /// The versions of a key that this table has rows of: those after the first version returned,
    /// up to the second.
    pub(crate) fn versions(&self, id: EntryId) -> (Version, Version) {
        (self.entry(id).base, self.version(id))
    }

    /// The table's size in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.numbers.allocation_size()
            + self.entries.capacity() * size_of::<Entry>()
            + self.bytes.capacity()
            + self.more.capacity() * size_of::<Vec<u32>>()
            + self.more_capacity * size_of::<u32>()
    }

    /// How many rows there are.
    pub(crate) fn len_rows(&self) -> usize {
        self.rows
    }

    /// How many keys there are, with rows or without.
    pub(crate) fn len_keys(&self) -> usize {
        self.entries.len()
    }

    /// Whether the records of any request at offsets below `until` fit. If not, the table must be
    /// written out first.
    pub(crate) fn has_room(&self, until: Offset) -> bool {
        until.0.saturating_sub(self.from.0) <= u64::from(LOST)
            && self.bytes.len() <= u32::MAX as usize - KEY_BYTES_AHEAD
            && self.entries.len() <= u32::MAX as usize - ENTRIES_AHEAD
    }

    /// All rows in the order of a sorted table: by hash, then version, then offset. They are built
    /// one key at a time, because the table holds them in a sixth of their memory.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let mut order: Vec<u32> = (0..).take(self.entries.len()).collect();
        order.sort_unstable_by_key(|&number| self.entries[number as usize].hash);
        let hash = move |number: u32| self.entries[number as usize].hash;
        let mut at = 0;
        let groups = std::iter::from_fn(move || {
            let first = *order.get(at)?;
            let same = order[at..]
                .iter()
                .take_while(|&&number| hash(number) == hash(first));
            let group = at..at + same.count();
            at = group.end;
            let others = match group.len() {
                1 => Vec::new(),
                _ => order[group].to_vec(),
            };
            Some((first, others))
        });
        groups.flat_map(|(first, same_hash)| {
            let alone = same_hash.is_empty().then(|| self.rows_of(first));
            let mut rows: Vec<Row> = same_hash
                .iter()
                .flat_map(|&number| self.rows_of(number))
                .collect();
            rows.sort_unstable();
            alone.into_iter().flatten().chain(rows)
        })
    }

    fn rows_of(&self, number: u32) -> impl Iterator<Item = Row> + '_ {
        let entry = &self.entries[number as usize];
        let more = self
            .more
            .get(entry.more as usize)
            .map_or(&[][..], Vec::as_slice);
        let relatives = [entry.first]
            .into_iter()
            .take(entry.rows as usize)
            .chain(more.iter().copied());
        let kept = (1..)
            .zip(relatives)
            .filter(|(_, relative)| *relative != LOST);
        kept.map(|(nth, relative)| {
            let offset = self.from.plus(u64::from(relative));
            Row::of_record(entry.hash, entry.base.plus(nth), offset)
        })
    }

    fn bytes_of(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.bytes_at as usize..][..entry.bytes_len as usize]
    }

    fn entry(&self, id: EntryId) -> &Entry {
        &self.entries[id.0 as usize]
    }

    fn relative(&self, offset: Offset) -> u32 {
        let relative = offset
            .0
            .checked_sub(self.from.0)
            .expect("a table has no rows from before its start");
        u32::try_from(relative)
            .ok()
            .filter(|relative| *relative != LOST)
            .expect(NO_ROOM)
    }

    #[inline]
    fn push_relative(&mut self, id: EntryId, relative: u32) {
        let entry = &mut self.entries[id.0 as usize];
        entry.rows += 1;
        if entry.rows == 1 {
            entry.first = relative;
            return;
        }
        if entry.more == NONE {
            entry.more = u32::try_from(self.more.len()).expect("fewer than entries");
            self.more.push(Vec::new());
        }
        let more = &mut self.more[entry.more as usize];
        let before = more.capacity();
        more.push(relative);
        self.more_capacity += more.capacity() - before;
    }

    /// The offset of a key's last row. It is never a lost one, because a lost row is always
    /// followed by another. The key must have a row.
    fn last(&self, id: EntryId) -> u32 {
        let entry = self.entry(id);
        self.more
            .get(entry.more as usize)
            .and_then(|more| more.last())
            .copied()
            .unwrap_or(entry.first)
    }

    /// Drops a key's rows and lets the next row have the version after `version`. Used when more
    /// versions are missing than there are offsets for their records, so the rows before belong to
    /// another history.
    fn restart(&mut self, id: EntryId, version: Version) {
        let entry = &mut self.entries[id.0 as usize];
        let more = self.more.get_mut(entry.more as usize);
        let others = more.map_or(0, |more| {
            more.drain(..).filter(|relative| *relative != LOST).count()
        });
        self.rows -= others + usize::from(entry.rows > 0);
        (entry.base, entry.rows, entry.first) = (version, 0, LOST);
    }
}

const NO_ROOM: &str = "whoever adds to a table has asked whether it has room";

impl Entry {
    fn version(&self) -> Version {
        self.base.plus(u64::from(self.rows))
    }
}
