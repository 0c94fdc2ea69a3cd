//! Files of retired facts in the format of earlier versions. Only tests write these.

use bytes::Bytes;

use super::samples::{TOPIC, golden};
use crate::{
    storage::format::{
        VERSION, crc32,
        fields::put_count,
        page::{PAGE_BYTES, Page},
        retired::{BLOCK_HEAD_BYTES, FenceRow, Header, Identity, Retired, block_checksum},
        sorted_table::KeyHash,
    },
    types::{Offset, PartitionId, Version},
};

const ENTITY: u8 = 0;
const ERASED: u8 = 1;
const BATCH: u8 = 2;
const UNREADABLE: u8 = 3;

const MAGIC: [u8; 8] = *b"TFRLRETD";
const HEADER_BYTES: usize = 80;
const FENCE_ROW_BYTES: usize = 24;

impl Retired {
    /// The order of facts in a file.
    pub(crate) fn order(&self) -> (KeyHash, Version) {
        (self.hash, self.version)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.0.to_le_bytes());
        out.extend_from_slice(&self.version.0.to_le_bytes());
        match &self.identity {
            Identity::Entity { key } => {
                out.push(ENTITY);
                put_count(out, key.len());
                out.extend_from_slice(key);
            }
            Identity::Erased { token } => {
                out.push(ERASED);
                out.extend_from_slice(token);
            }
            Identity::Batch {
                producer,
                epoch,
                base,
                count,
                append_time_ms,
            } => {
                out.push(BATCH);
                out.extend_from_slice(&producer.0.to_le_bytes());
                out.extend_from_slice(&epoch.to_le_bytes());
                out.extend_from_slice(&base.0.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                out.extend_from_slice(&append_time_ms.to_le_bytes());
            }
            Identity::Unreadable => out.push(UNREADABLE),
        }
    }
}

/// Fills in a block's header, in the room that is left for it in front of the facts.
pub(crate) fn seal_block(block: &mut [u8], salt: u32, position: u64) {
    let len = u32::try_from(block.len() - BLOCK_HEAD_BYTES).expect("a block ends long before");
    block[0..4].copy_from_slice(&len.to_le_bytes());
    let checksum = block_checksum(block, salt, position);
    block[4..BLOCK_HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

impl FenceRow {
    /// Puts the row at the `nth` place of a page.
    pub(crate) fn put(&self, page: &mut Page, nth: usize) {
        let out = &mut page[nth * FENCE_ROW_BYTES..][..FENCE_ROW_BYTES];
        out[0..8].copy_from_slice(&self.hash.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.version.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.position.to_le_bytes());
    }
}

impl Header {
    pub(crate) fn encode(&self) -> Page {
        let mut out = [0; PAGE_BYTES];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.topic.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.partition.0.to_le_bytes());
        let fields = [
            self.number,
            self.facts,
            self.filter_blocks,
            self.blocks,
            self.fence_at,
            self.fingerprint,
        ];
        for (at, field) in (32..HEADER_BYTES).step_by(8).zip(fields) {
            out[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32(&[&out[16..HEADER_BYTES]]);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }
}

pub(crate) fn retired_header() -> Header {
    Header {
        topic: TOPIC,
        partition: PartitionId(3),
        number: 4,
        facts: 3,
        filter_blocks: 1,
        blocks: 1,
        fence_at: 3 * PAGE_BYTES as u64,
        fingerprint: 0xf1f1_f1f1_f1f1_f1f1,
    }
}

/// One fact of each kind.
pub(crate) fn retired_facts() -> [Retired; 3] {
    let fact = |hash, version, identity| Retired {
        hash: KeyHash(hash),
        version: Version(version),
        identity,
    };
    let (base, count, append_time_ms) = (Offset(800), 2, 1_357_034_000_000);
    [
        fact(
            0x0bad_cafe_0bad_cafe,
            5,
            Identity::Erased {
                token: golden::erasure().token.0,
            },
        ),
        fact(
            0x0bad_cafe_0bad_cafe,
            9,
            Identity::Entity {
                key: "N24211".into(),
            },
        ),
        fact(
            3 << 60,
            17,
            Identity::Batch {
                producer: golden::PRODUCER,
                epoch: 5,
                base,
                count,
                append_time_ms,
            },
        ),
    ]
}

/// The only block of the facts.
pub(crate) fn retired_block() -> Bytes {
    let mut block = vec![0; BLOCK_HEAD_BYTES];
    retired_facts()
        .iter()
        .for_each(|fact| fact.encode(&mut block));
    seal_block(
        &mut block,
        retired_header().salt(),
        retired_header().first_block_at(),
    );
    block.into()
}

pub(crate) fn retired_fence() -> FenceRow {
    let (hash, version) = retired_facts()[0].order();
    FenceRow {
        hash,
        version,
        position: retired_header().first_block_at(),
    }
}

pub(crate) fn retired_fence_page() -> Page {
    let mut page = [0; PAGE_BYTES];
    retired_fence().put(&mut page, 0);
    page
}
