//! Records that can be recognised, and the check that each has come back once.

use std::io::Write;

use super::plan::{Keys, Plan};
use crate::types::{PartitionId, partition_of_key};

/// The stamp at the start of a value: the client in 4 bytes, the number of its record in 8.
const STAMP: usize = 12;

/// How many positions of the pool a value may start at.
const STARTS: usize = 1 << 20;

/// How many keys are hot.
const HOT_KEYS: u64 = 1_000;

/// Makes values, and recognises them. A value is a stamp and then a part of a pool of random bytes.
/// The stamp decides which part, so that the check can compare every byte. A value shorter than a
/// stamp is the end of one. The key and the partition of a record depend on its client and number,
/// too.
#[derive(Debug)]
pub(super) struct Payload {
    pool: Vec<u8>,
    record_bytes: usize,
    records: u64,
    partitions: u32,
    clients: u32,
    records_of_client: u64,
    keys: Keys,
}

impl Payload {
    pub(super) fn new(plan: &Plan, seed: u64) -> Self {
        Self {
            pool: random_bytes(STARTS + plan.record_bytes, seed),
            record_bytes: plan.record_bytes,
            records: plan.records.into(),
            partitions: plan.partitions,
            clients: plan.appending(),
            records_of_client: plan.records_of_client(),
            keys: plan.keys,
        }
    }

    /// Writes the value of a client's record into a buffer.
    pub(super) fn write(&self, value: &mut Vec<u8>, client: u32, number: u64) {
        let stamp = stamp(client, number);
        value.clear();
        value.extend_from_slice(&stamp[STAMP - self.record_bytes.min(STAMP)..]);
        value.extend_from_slice(self.filling(client, number));
    }

    /// Whether records have keys.
    pub(super) fn is_keyed(&self) -> bool {
        self.keys != Keys::None
    }

    /// Writes the key of a client's record into a buffer; leaves it empty if records have no keys.
    pub(super) fn write_key(&self, key: &mut Vec<u8>, client: u32, number: u64) {
        key.clear();
        let written = match self.keys {
            Keys::None => Ok(()),
            Keys::Hot => write!(key, "hot-{:04}", mixed(stamped(client, number)) % HOT_KEYS),
            Keys::New => write!(key, "new-{client:04x}-{number:012x}"),
            Keys::OfClient(entities) => {
                let entity = self.entity_of_request(number / self.records, client, entities);
                write!(key, "entity-{client:04x}-{entity:08}")
            }
        };
        written.expect("a vector takes everything");
    }

    /// Which of the client's own entities a request is for.
    pub(super) fn entity_of_request(&self, request: u64, client: u32, entities: u64) -> u64 {
        mixed(stamped(client, request)) % entities
    }

    /// The partition of a client's record: by its key, or without keys by request, one after the
    /// other.
    pub(super) fn partition(&self, key: &[u8], number: u64) -> PartitionId {
        if self.is_keyed() {
            return partition_of_key(key, self.partitions);
        }
        let partition = number / self.records % u64::from(self.partitions);
        PartitionId(u32::try_from(partition).expect("there are at most 2^32 partitions"))
    }

    fn filling(&self, client: u32, number: u64) -> &[u8] {
        let mixed = (number.wrapping_mul(2_654_435_761) ^ u64::from(client).wrapping_mul(40_503))
            % STARTS as u64;
        let start = usize::try_from(mixed).expect("it is below 2^20");
        &self.pool[start..start + self.record_bytes.saturating_sub(STAMP)]
    }

    /// How many records are appended in all.
    pub(super) fn all_records(&self) -> u64 {
        u64::from(self.clients) * self.records_of_client
    }

    /// Starts a check of all that was appended.
    pub(super) fn check(&self) -> Check<'_> {
        let lanes = u64::from(self.clients) * u64::from(self.partitions);
        let lanes = usize::try_from(lanes).expect("it fits memory");
        Check {
            payload: self,
            next: vec![0; lanes],
            seen: 0,
            key: Vec::new(),
        }
    }
}

/// Follows each client's records through each partition: none is missing, doubled, out of order, in
/// another place or changed.
///
/// A record can be in one partition only, and comes behind those of its client with smaller numbers
/// there. So none comes twice, and if as many have come as were appended, none is missing.
#[derive(Debug)]
pub(super) struct Check<'a> {
    payload: &'a Payload,
    /// The least number that may come next, by client and partition.
    next: Vec<u64>,
    seen: u64,
    /// A buffer for keys.
    key: Vec<u8>,
}

impl Check<'_> {
    /// Checks the next record of a partition; fails with what is wrong with it.
    pub(super) fn record(
        &mut self,
        partition: PartitionId,
        key: Option<&[u8]>,
        value: &[u8],
    ) -> Result<(), String> {
        let payload = self.payload;
        self.seen += 1;
        if value.len() != payload.record_bytes {
            return Err(format!(
                "a value has {} bytes instead of {}",
                value.len(),
                payload.record_bytes
            ));
        }
        if value.len() < STAMP {
            // A value too short to recognise the record; only their number is checked.
            return Ok(());
        }
        let (stamp, filling) = value.split_at(STAMP);
        let (client, number) = read_stamp(stamp);
        if client >= payload.clients || number >= payload.records_of_client {
            return Err(format!(
                "record {number} of client {client} was never appended"
            ));
        }
        payload.write_key(&mut self.key, client, number);
        if key.unwrap_or_default() != self.key {
            return Err(format!(
                "record {number} of client {client} has another key than it was appended with"
            ));
        }
        if partition != payload.partition(&self.key, number) {
            return Err(format!(
                "record {number} of client {client} is in partition {partition}"
            ));
        }
        let next = &mut self.next[lane(payload, client, partition)];
        if number < *next {
            return Err(format!(
                "record {number} of client {client} comes again, or behind record {}",
                *next - 1
            ));
        }
        *next = number + 1;
        if filling != payload.filling(client, number) {
            return Err(format!(
                "record {number} of client {client} has other bytes than were appended"
            ));
        }
        Ok(())
    }

    /// Checks that all records were seen: since none comes twice, their number tells.
    pub(super) fn finish(&self) -> Result<(), String> {
        let expected = self.payload.all_records();
        if self.seen == expected {
            Ok(())
        } else {
            Err(format!("{} records came back of {expected}", self.seen))
        }
    }

    /// How many records were checked.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }
}

fn lane(payload: &Payload, client: u32, partition: PartitionId) -> usize {
    let lane = u64::from(client) * u64::from(payload.partitions) + u64::from(partition.0);
    usize::try_from(lane).expect("there are as many lanes as fit memory")
}

/// A number that no other pair of client and record has.
fn stamped(client: u32, number: u64) -> u64 {
    u64::from(client) << 40 ^ number
}

/// Mixes the bits of a number: the finalizer of splitmix64.
pub(super) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

fn stamp(client: u32, number: u64) -> [u8; STAMP] {
    let mut stamp = [0; STAMP];
    stamp[..4].copy_from_slice(&client.to_be_bytes());
    stamp[4..].copy_from_slice(&number.to_be_bytes());
    stamp
}

fn read_stamp(stamp: &[u8]) -> (u32, u64) {
    let (client, number) = stamp.split_at(4);
    let client = u32::from_be_bytes(client.try_into().expect("it has 4 bytes"));
    (
        client,
        u64::from_be_bytes(number.try_into().expect("it has 8 bytes")),
    )
}

/// Random bytes, which do not compress (Marsaglia's xorshift).
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
