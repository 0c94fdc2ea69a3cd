//! The batch frame: the unit of append and of checksum in a segment.
//!
//! ```text
//!  0  u32  length            of the whole frame, header included
//!  4  u32  checksum          over everything behind it
//!  8  u64  topic             identity: a frame in the wrong place is found out
//! 16  u32  partition
//! 20  u32  count             records in the frame
//! 24  u64  base offset       of the first record
//! 32  i64  append time       milliseconds since 1970, of all records
//! 40  i64  latest timestamp  of the records, milliseconds since 1970
//! 48  u64  producer id       0: none
//! 56  u64  sequence          of the batch among the producer's for the partition
//! 64  u32  producer epoch
//! 68  u32  flags             0, or 1: its tombstones have been compacted; 2 is a block (`block.rs`); others
//!                            are refused
//! 72  u32  span              how many offsets the frame covers, from the base offset on
//! 76       records           each: tag, varint length, encoded `Record` (the wire form of a repeated field)
//! ```
//!
//! Compaction leaves fewer records than offsets, down to none. A frame with flag 1 has no producer;
//! in its place, at 48, it has an i64: when the frame's tombstones were first compacted, in
//! milliseconds since 1970.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    checksum::RunningCrc32,
    crc32,
    entry::{BLOCK_BYTES, LEAD_BYTES},
    fields::Fields,
};
use crate::types::{Offset, PartitionId, ProducerId, TopicId};

/// The size of the header in bytes.
pub(crate) const HEADER_BYTES: usize = 76;

/// A frame that claims to be larger is not believed. It must fit a request's records with the
/// fields that the broker adds.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;

/// What a frame says about its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) count: u32,
    pub(crate) base: Offset,
    pub(crate) append_time_ms: i64,
    pub(crate) latest_timestamp_ms: i64,
    /// The producer's batch that this is, if it is to be stored exactly once.
    pub(crate) batch: Option<Batch>,
    pub(crate) span: u32,
    /// When its tombstones were first compacted, if they were. `batch` is `None` then.
    pub(crate) tombstones_since_ms: Option<i64>,
}

/// The flag of a frame whose tombstones have been compacted.
const COMPACTED_TOMBSTONES: u32 = 1;

/// A producer's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Never 0.
    pub(crate) producer: ProducerId,
    pub(crate) epoch: u32,
    pub(crate) sequence: u64,
}

impl Header {
    /// The offset behind the frame's last.
    pub(crate) fn end(&self) -> Offset {
        self.base.plus(u64::from(self.span))
    }

    /// Writes all fields but the checksum.
    pub(super) fn encode(&self, length: u32, out: &mut [u8; HEADER_BYTES]) {
        out[0..4].copy_from_slice(&length.to_le_bytes());
        out[8..16].copy_from_slice(&self.topic.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.partition.0.to_le_bytes());
        out[20..24].copy_from_slice(&self.count.to_le_bytes());
        out[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.append_time_ms.to_le_bytes());
        out[40..48].copy_from_slice(&self.latest_timestamp_ms.to_le_bytes());
        let (producer, epoch, sequence) = self.batch.map_or((0, 0, 0), |batch| {
            (batch.producer.0, batch.epoch, batch.sequence)
        });
        out[48..56].copy_from_slice(&producer.to_le_bytes());
        out[56..64].copy_from_slice(&sequence.to_le_bytes());
        out[64..68].copy_from_slice(&epoch.to_le_bytes());
        out[68..72].fill(0);
        if let Some(since_ms) = self.tombstones_since_ms {
            out[48..68].fill(0);
            out[48..56].copy_from_slice(&since_ms.to_le_bytes());
            out[68..72].copy_from_slice(&COMPACTED_TOMBSTONES.to_le_bytes());
        }
        out[72..76].copy_from_slice(&self.span.to_le_bytes());
    }

    /// Writes the header to the front of a frame, with its length and checksum.
    /// `records` is the checksum of the records, if they have been summed.
    fn complete(&self, frame: &mut [u8], records: Option<&RunningCrc32>) {
        let length =
            u32::try_from(frame.len()).expect("a request's records are bounded far below 4 GiB");
        let (head, rest) = frame
            .split_first_chunk_mut()
            .expect("room for the header was left");
        self.encode(length, head);
        let mut sum = RunningCrc32::default();
        sum.update(&head[8..]);
        match records {
            Some(records) => sum.update_summed(records),
            None => sum.update(rest),
        }
        head[4..8].copy_from_slice(&sum.value().to_le_bytes());
    }

    /// Reads the header's fields, and in front of them the frame's length, without checking the
    /// frame.
    pub(crate) fn peek(bytes: &[u8]) -> Option<(usize, Self)> {
        let mut fields = Fields(bytes.get(..HEADER_BYTES)?);
        let length = usize::try_from(fields.u32()?).ok()?;
        let _checksum = fields.u32()?;
        let (topic, partition) = (TopicId(fields.u64()?), PartitionId(fields.u32()?));
        let (count, base) = (fields.u32()?, Offset(fields.u64()?));
        let (append_time_ms, latest_timestamp_ms) = (fields.i64()?, fields.i64()?);
        let whose: [u8; 20] = fields.array()?;
        let (batch, tombstones_since_ms) = match fields.u32()? {
            0 => (Batch::decode(&whose)?, None),
            COMPACTED_TOMBSTONES if whose[8..].iter().all(|byte| *byte == 0) => {
                (None, Some(Fields(&whose).i64()?))
            }
            _ => return None,
        };
        let header = Self {
            topic,
            partition,
            count,
            base,
            append_time_ms,
            latest_timestamp_ms,
            batch,
            span: fields.u32()?,
            tombstones_since_ms,
        };
        let sound = (HEADER_BYTES..=MAX_FRAME_BYTES).contains(&length)
            && header.count <= header.span
            && header.base.0.checked_add(u64::from(header.span)).is_some();
        sound.then_some((length, header))
    }
}

/// Where a frame lies: the fields that a look-up needs of the frames that it passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) base: Offset,
    /// The offset behind the frame's last.
    pub(crate) end: Offset,
    /// The length of the whole frame, in bytes.
    pub(crate) length: usize,
}

impl Place {
    /// Reads only these fields of a header, without checking the frame: a look-up passes a hundred
    /// frames.
    #[inline]
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let u32_at = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        let (length, base) = (u32_at(0) as usize, u64_at(24));
        let end = base.checked_add(u64::from(u32_at(72)))?;
        (HEADER_BYTES..=MAX_FRAME_BYTES)
            .contains(&length)
            .then_some(Self {
                topic: TopicId(u64_at(8)),
                partition: PartitionId(u32_at(16)),
                base: Offset(base),
                end: Offset(end),
                length,
            })
    }
}

impl Batch {
    /// Reads the fields of a batch; the inner `None` is a batch without a producer.
    #[expect(
        clippy::option_option,
        reason = "the outer says whether there are such fields"
    )]
    fn decode(bytes: &[u8]) -> Option<Option<Self>> {
        let mut fields = Fields(bytes);
        let (producer, sequence) = (ProducerId(fields.u64()?), fields.u64()?);
        let epoch = fields.u32()?;
        Some((producer.0 != 0).then_some(Self {
            producer,
            epoch,
            sequence,
        }))
    }
}

/// A frame whose checksum was checked, or that was built here.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    header: Header,
    bytes: Bytes,
    /// The memory of a large frame that the journal has not written yet: see [`Draft`].
    entry: Option<Bytes>,
}

impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.header == other.header && self.bytes == other.bytes
    }
}

impl Eq for Frame {}

/// The memory in which a frame is put together.
///
/// A large frame gets the memory of a whole journal entry: room in front for all else that the
/// entry has, and zeros behind, up to the end of a block. It begins at an address that direct I/O
/// accepts. So the journal writes the entry from where the frame is, without a copy.
pub(crate) struct Draft {
    memory: BytesMut,
    /// Where the frame begins in it.
    lead: usize,
    /// The checksum of the first records, up to `summed` in the memory.
    sum: RunningCrc32,
    summed: usize,
}

/// Records are summed while the processor's cache still has them: when so many bytes have come.
const SUM_BYTES: usize = 8 << 10;

/// A frame of at least this many bytes gets the memory of an entry. Smaller in tests, whose frames
/// are small.
const ENTRY_FROM: usize = if cfg!(test) { 4 << 10 } else { 128 << 10 };

impl Draft {
    /// A draft without records, with room for so many bytes of them.
    pub(crate) fn with_capacity(records: usize) -> Self {
        let frame = HEADER_BYTES + records;
        let (mut memory, mut lead) = (BytesMut::new(), 0);
        if frame < ENTRY_FROM {
            memory.reserve(frame);
        } else {
            lead = LEAD_BYTES;
            let block = BLOCK_BYTES as usize;
            memory.reserve(block + (lead + frame).next_multiple_of(block));
            let unaligned = memory.as_ptr().align_offset(block);
            memory.put_bytes(0, unaligned);
            memory.advance(unaligned);
        }
        memory.put_bytes(0, lead + HEADER_BYTES);
        Self {
            summed: memory.len(),
            memory,
            lead,
            sum: RunningCrc32::default(),
        }
    }

    /// Adds a part of a record.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.memory.put_slice(bytes);
        if self.memory.len() - self.summed >= SUM_BYTES {
            self.sum_up();
        }
    }

    /// Whether any records have been summed.
    fn is_summed(&self) -> bool {
        self.summed > self.lead + HEADER_BYTES
    }

    fn sum_up(&mut self) {
        self.sum.update(&self.memory[self.summed..]);
        self.summed = self.memory.len();
    }

    /// Completes the frame. There must not have come more than there was room for.
    pub(crate) fn seal(self, header: Header) -> Frame {
        let mut draft = self;
        if draft.is_summed() {
            draft.sum_up();
        }
        let is_summed = draft.is_summed();
        let Self {
            mut memory,
            lead,
            sum,
            ..
        } = draft;
        // To put two checksums together takes as long as to sum some KiB.
        header.complete(&mut memory[lead..], is_summed.then_some(&sum));
        let frame = lead..memory.len();
        if lead == 0 {
            return Frame::of(header, memory.freeze());
        }
        let whole = memory.len().next_multiple_of(BLOCK_BYTES as usize);
        memory.resize(whole, 0);
        let entry = memory.freeze();
        Frame {
            header,
            bytes: entry.slice(frame),
            entry: Some(entry),
        }
    }
}

impl Frame {
    /// Completes a frame from `bytes`, which have room for the header at the front, then the
    /// records.
    pub(crate) fn seal(header: Header, mut bytes: BytesMut) -> Self {
        header.complete(&mut bytes, None);
        Self::of(header, bytes.freeze())
    }

    fn of(header: Header, bytes: Bytes) -> Self {
        Self {
            header,
            bytes,
            entry: None,
        }
    }

    /// Whether it is in the memory of a journal entry that nobody has written.
    pub(super) fn has_entry(&self) -> bool {
        self.entry.is_some()
    }

    /// Puts this in front of the frame, and returns the memory of its entry: whole blocks. `None`
    /// if there is none, or somebody else has the frame too.
    pub(super) fn fill_entry(&mut self, lead: &[u8; LEAD_BYTES]) -> Option<Bytes> {
        let entry = self.entry.take()?;
        let length = std::mem::take(&mut self.bytes).len();
        let (entry, is_filled) = match entry.try_into_mut() {
            Ok(mut entry) => {
                entry[..LEAD_BYTES].copy_from_slice(lead);
                (entry.freeze(), true)
            }
            Err(shared) => (shared, false),
        };
        self.bytes = entry.slice(LEAD_BYTES..LEAD_BYTES + length);
        let is_aligned = entry.as_ptr().align_offset(BLOCK_BYTES as usize) == 0;
        (is_filled && is_aligned).then_some(entry)
    }

    /// Reads the frame at the front of `bytes`; `None` if there is none, or its checksum is wrong.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let (length, header) = Header::peek(bytes)?;
        let frame = bytes.get(..length)?;
        (crc32(&[&frame[8..]]) == stored_checksum(frame))
            .then(|| Self::of(header, bytes.slice(..length)))
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The whole frame as stored.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The records as stored: tag, length and record, repeated.
    pub(crate) fn records(&self) -> Bytes {
        self.bytes.slice(HEADER_BYTES..)
    }

    /// This frame, copied if it is a small part of the `whole` bytes in one buffer: a slice would
    /// keep the whole buffer in memory.
    pub(crate) fn without_others(self, whole: usize) -> Self {
        if self.bytes.len() > whole / 2 {
            return self;
        }
        Self::of(self.header, Bytes::copy_from_slice(&self.bytes))
    }

    /// The checksum in the header.
    pub(crate) fn checksum(&self) -> u32 {
        stored_checksum(&self.bytes)
    }
}

/// The checksum that a frame carries.
fn stored_checksum(frame: &[u8]) -> u32 {
    u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]])
}
