//! Values that say which record they are, and the check that every one has come back.

use super::plan::Plan;
use crate::types::PartitionId;

/// The stamp at the start of a value: the producer in 4 bytes, the number of its record in 8.
const STAMP: usize = 12;

/// Values start at any byte of the pool but the last ones.
const STARTS: usize = 1 << 20;

/// Makes values and knows them again. A value is its stamp and then a part of a pool of random bytes, which the stamp
/// determines, so that the check compares every byte. A value too short for its stamp has the end of it.
#[derive(Debug)]
pub(super) struct Payload {
    pool: Vec<u8>,
    record_bytes: usize,
    records: u64,
    partitions: u64,
    producers: u32,
    records_of_producer: u64,
}

impl Payload {
    pub(super) fn new(plan: &Plan, seed: u64) -> Self {
        Self {
            pool: random_bytes(STARTS + plan.record_bytes, seed),
            record_bytes: plan.record_bytes,
            records: plan.records.into(),
            partitions: plan.partitions.into(),
            producers: plan.producers,
            records_of_producer: plan.records_of_producer(),
        }
    }

    /// Puts the value of a producer's record into a buffer.
    pub(super) fn write(&self, value: &mut Vec<u8>, producer: u32, number: u64) {
        let stamp = stamp(producer, number);
        value.clear();
        value.extend_from_slice(&stamp[STAMP - self.record_bytes.min(STAMP)..]);
        value.extend_from_slice(self.filling(producer, number));
    }

    /// The partition of a producer's record: request after request goes to the next one.
    pub(super) fn partition(&self, number: u64) -> PartitionId {
        let partition = number / self.records % self.partitions;
        PartitionId(u32::try_from(partition).expect("there are at most 2^32 partitions"))
    }

    fn filling(&self, producer: u32, number: u64) -> &[u8] {
        let mixed = (number.wrapping_mul(2_654_435_761) ^ u64::from(producer).wrapping_mul(40_503)) % STARTS as u64;
        let start = usize::try_from(mixed).expect("it is below 2^20");
        &self.pool[start..start + self.record_bytes.saturating_sub(STAMP)]
    }

    /// Starts a check of all that was appended.
    pub(super) fn check(&self) -> Check<'_> {
        let lanes = usize::try_from(u64::from(self.producers) * self.partitions).expect("it fits memory");
        Check { payload: self, next: vec![None; lanes], seen: 0 }
    }
}

/// Follows each producer's records through each partition: none is missing, doubled, out of order or changed.
#[derive(Debug)]
pub(super) struct Check<'a> {
    payload: &'a Payload,
    /// The number of the record that comes next, by producer and partition; none before the first.
    next: Vec<Option<u64>>,
    seen: u64,
}

impl Check<'_> {
    /// Looks at the next record of a partition; says what is wrong with it.
    pub(super) fn record(&mut self, partition: PartitionId, value: &[u8]) -> Result<(), String> {
        let payload = self.payload;
        self.seen += 1;
        if value.len() != payload.record_bytes {
            return Err(format!("a value has {} bytes instead of {}", value.len(), payload.record_bytes));
        }
        if value.len() < STAMP {
            // It is too short to say which one it is; then only their number is compared.
            return Ok(());
        }
        let (stamp, filling) = value.split_at(STAMP);
        let (producer, number) = read_stamp(stamp);
        if producer >= payload.producers || number >= payload.records_of_producer {
            return Err(format!("record {number} of producer {producer} was never appended"));
        }
        let expected = self.expect_next(producer, partition);
        if number != expected {
            return Err(format!("record {number} of producer {producer} comes where record {expected} should"));
        }
        if filling != payload.filling(producer, number) {
            return Err(format!("record {number} of producer {producer} has other bytes than were appended"));
        }
        Ok(())
    }

    fn expect_next(&mut self, producer: u32, partition: PartitionId) -> u64 {
        let payload = self.payload;
        let lane = u64::from(producer) * payload.partitions + u64::from(partition.0);
        let lane = usize::try_from(lane).expect("there are as many lanes as fit memory");
        let first = u64::from(partition.0) * payload.records;
        let expected = self.next[lane].unwrap_or(first);
        let ends_request = (expected + 1).is_multiple_of(payload.records);
        let gap = if ends_request { (payload.partitions - 1) * payload.records } else { 0 };
        self.next[lane] = Some(expected + 1 + gap);
        expected
    }

    /// Whether everything has been seen; each record on its own being right, the number says so.
    pub(super) fn finish(&self) -> Result<(), String> {
        let expected = u64::from(self.payload.producers) * self.payload.records_of_producer;
        if self.seen == expected { Ok(()) } else { Err(format!("{} records came back of {expected}", self.seen)) }
    }
}

fn stamp(producer: u32, number: u64) -> [u8; STAMP] {
    let mut stamp = [0; STAMP];
    stamp[..4].copy_from_slice(&producer.to_be_bytes());
    stamp[4..].copy_from_slice(&number.to_be_bytes());
    stamp
}

fn read_stamp(stamp: &[u8]) -> (u32, u64) {
    let (producer, number) = stamp.split_at(4);
    let producer = u32::from_be_bytes(producer.try_into().expect("it has 4 bytes"));
    (producer, u64::from_be_bytes(number.try_into().expect("it has 8 bytes")))
}

/// Bytes that do not compress, by Marsaglia's xorshift.
fn random_bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
