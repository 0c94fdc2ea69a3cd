//! The values of the golden files.

use super::*;
use crate::{
    proto::Header,
    storage::format::{
        delta,
        erasure::{Left, edit},
        filter::{self, BLOCK_BYTES},
        page::{self, PAGE_BYTES, Page},
        ring,
        sorted_table::{self, KeyHash, Name, Row},
    },
    types::{Durability, Keys, TopicSettings},
};

const SEED: u64 = 0x5eed_5eed_5eed_5eed;
pub(in super::super) const PRODUCER: ProducerId = ProducerId(0x9e0d_0ce5_9e0d_0ce5);

pub(in super::super) fn settings() -> TopicSettings {
    TopicSettings {
        keys: Keys::Plain,
        durability: Durability::Os,
        max_record_bytes: 2 << 20,
        segment_bytes: 64 << 20,
        segment_ms: 3_600_000,
        ..TopicSettings::default()
    }
}

pub(in super::super) fn name() -> TopicName {
    TopicName::new("flights.2013-01").expect("a valid name")
}

pub(in super::super) fn frame() -> Frame {
    let full = Record {
        key: Some("N14228".into()),
        value: Some(r#"{"dep":"EWR"}"#.into()),
        r#type: "departed".into(),
        headers: vec![Header {
            name: "source".into(),
            value: "gate".into(),
        }],
        timestamp_ms: Some(1_357_034_220_000),
        event_id: vec![1, 2, 3].into(),
        version: Some(7),
        ..Record::default()
    };
    let tombstone = Record {
        key: Some("N24211".into()),
        timestamp_ms: Some(1_357_034_100_000),
        ..Record::default()
    };
    let batch = Batch {
        producer: PRODUCER,
        epoch: 5,
        sequence: 17,
    };
    frame_of_batch(
        TOPIC,
        PartitionId(3),
        Offset(1000),
        1_357_034_225_000,
        Some(batch),
        &[full, tombstone],
    )
}

/// The frame of [`frame`] after the entity of its first record was erased.
pub(in super::super) fn erased_frame() -> Frame {
    let token = erasure().token;
    edit(&frame(), |record| match record.key {
        Some(key) if token.is_of(key) => Left::Erased(token),
        _ => Left::All,
    })
    .expect("it has one")
}

pub(in super::super) fn erasure() -> Erasure {
    Erasure {
        id: 0xe5a5_ed00_e5a5_ed00,
        partition: PartitionId(3),
        token: Token::new(0x0bad_cafe_0bad_cafe, 0x5a17_5a17_5a17_5a17, b"N14228"),
        end: Offset(1002),
        through: Version(7),
        requested_ms: 1_357_040_000_000,
    }
}

pub(in super::super) fn changes() -> [Change; 8] {
    [
        Change::Create {
            topic: TOPIC,
            seed: SEED,
            name: name(),
            partitions: 6,
            settings: settings(),
        },
        Change::Delete { topic: TOPIC },
        Change::Alter {
            topic: TOPIC,
            settings: TopicSettings::default(),
        },
        Change::Trim {
            topic: TOPIC,
            partition: PartitionId(3),
            before: Offset(900),
        },
        Change::OpenProducer {
            producer: PRODUCER,
            epoch: 5,
            name: "gate".to_owned(),
        },
        Change::ForgetProducer { producer: PRODUCER },
        Change::Erase {
            topic: TOPIC,
            erasure: erasure(),
        },
        Change::ErasureComplete { id: erasure().id },
    ]
}

pub(in super::super) fn link() -> Link {
    Link {
        salt: 0xfeed_beef_0bad_cafe,
        sequence: 42,
        durable: 40,
        previous: 0x1234_5678,
    }
}

pub(in super::super) fn items() -> Vec<Item> {
    let changes = changes().into_iter().map(Item::Change);
    [Item::Frame(frame())].into_iter().chain(changes).collect()
}

pub(in super::super) fn file_header() -> FileHeader {
    FileHeader {
        number: 9,
        salt: link().salt,
    }
}

pub(in super::super) fn ring_use() -> ring::Use {
    ring::Use {
        header: file_header(),
        bytes: 64 << 20,
    }
}

pub(in super::super) fn segment_header() -> segment_file::Header {
    segment_file::Header {
        topic: TOPIC,
        partition: PartitionId(3),
        base: Offset(1000),
        first_append_time_ms: 1_357_034_225_000,
        directory: None,
        compressed: None,
    }
}

/// A header as it is since segments name their directory.
pub(in super::super) fn later_segment_header() -> segment_file::Header {
    segment_file::Header {
        directory: Some(identity()),
        ..segment_header()
    }
}

pub(in super::super) fn index_rows() -> [IndexRow; 3] {
    [
        IndexRow {
            relative: 500,
            position: 66_000,
            latest_before_ms: 1_357_034_220_000,
        },
        IndexRow {
            relative: 990,
            position: 131_700,
            latest_before_ms: 1_357_034_220_000,
        },
        IndexRow {
            relative: 1_200,
            position: 150_000,
            latest_before_ms: 1_357_040_000_000,
        },
    ]
}

/// A sequence of which no batch is remembered.
fn sequence(partition: u32, next: u64) -> Sequence {
    Sequence {
        topic: TOPIC,
        partition: PartitionId(partition),
        next,
        stored: vec![],
    }
}

pub(in super::super) fn checkpoint() -> Checkpoint {
    let written = Partition {
        start: Offset(900),
        end: Offset(1002),
        last_append_time_ms: 1_357_034_225_000,
        active: Some(Active {
            base: Offset(1000),
            len: 260,
        }),
        retired: 4,
    };
    let topics = vec![
        Topic {
            id: TOPIC,
            seed: SEED,
            name: name(),
            settings: settings(),
            partitions: vec![Partition::EMPTY, written],
        },
        Topic {
            id: TopicId(2),
            seed: 3,
            name: TopicName::new("empty").expect("a valid name"),
            settings: TopicSettings::default(),
            partitions: vec![],
        },
    ];
    let producers = vec![
        Producer {
            id: ProducerId(1),
            epoch: 1,
            idle_ms: 0,
            name: String::new(),
            sequences: vec![],
        },
        Producer {
            id: PRODUCER,
            epoch: 5,
            idle_ms: 86_400_000,
            name: "gate".to_owned(),
            sequences: vec![sequence(0, 1), sequence(3, 18)],
        },
    ];
    let complete = KnownErasure {
        topic: TopicId(2),
        complete: true,
        erasure: Erasure { id: 1, ..erasure() },
    };
    let erasures = vec![
        complete,
        KnownErasure {
            topic: TOPIC,
            complete: false,
            erasure: erasure(),
        },
    ];
    Checkpoint {
        applied: 41,
        journal_file: 9,
        topics,
        producers,
        erasures,
        clock: None,
        journal: JournalFiles::default(),
        directory: None,
        delta_files: 0,
        groups: groups::Snapshot::default(),
        key_trims: Vec::new(),
        access_tokens: Vec::new(),
    }
}

/// A checkpoint with all fields that were added since the first version 2 checkpoint.
pub(in super::super) fn later_checkpoint() -> Checkpoint {
    Checkpoint {
        clock: Some(Clock {
            now_ms: 1_357_034_225_001,
            boot: [7; 16],
            since_boot_ms: 86_400_000,
        }),
        journal: JournalFiles {
            newest: 12,
            made: 3,
            noted: 4,
        },
        directory: Some(identity()),
        ..checkpoint()
    }
}

/// A checkpoint with deltas behind it, and with remembered batches.
pub(in super::super) fn checkpoint_with_deltas() -> Checkpoint {
    let mut checkpoint = Checkpoint {
        delta_files: 7,
        ..later_checkpoint()
    };
    checkpoint.producers[1].sequences[1].stored = stored_batches();
    checkpoint
}

/// A checkpoint with a group that has a member, and with another group that was deleted before.
pub(in super::super) fn checkpoint_with_groups() -> Checkpoint {
    let mut checkpoint = checkpoint_with_deltas();
    checkpoint.groups.ended = Generation(12);
    let mut whole = group_change();
    whole.left.clear();
    whole.owned.pop();
    checkpoint.groups.apply(&group(), &whole);
    checkpoint
}

/// A checkpoint with access tokens, and without groups or trims of entities.
pub(in super::super) fn checkpoint_with_tokens() -> Checkpoint {
    Checkpoint {
        access_tokens: vec![access_tokens::golden()],
        ..checkpoint_with_deltas()
    }
}

pub(in super::super) fn delta_with_tokens() -> Delta {
    Delta {
        access_tokens: Some(vec![access_tokens::golden()]),
        ..delta()
    }
}

/// The changes in the life of an access token.
pub(in super::super) fn changes_of_tokens() -> [Change; 2] {
    let token = access_tokens::golden();
    let id = token.id;
    [Change::CreateToken { token }, Change::RevokeToken { id }]
}

pub(in super::super) fn more_partitions() -> Change {
    Change::AddPartitions {
        topic: TOPIC,
        partitions: 12,
    }
}

pub(in super::super) fn start_at() -> Change {
    Change::StartAt {
        topic: TOPIC,
        partition: PartitionId(3),
        offset: Offset(900),
    }
}

pub(in super::super) fn group() -> GroupName {
    GroupName::new("invoices").expect("a valid name")
}

/// A group change with one item of each kind.
pub(in super::super) fn group_change() -> GroupChange {
    let member = Member {
        id: MemberId(0x0e0b_0e0b_0e0b_0e0b),
        instance: Instance(0x0e0b_0e0b_0e0b_0e0b),
        name: "worker-1".into(),
        topics: [name()].into(),
        prefixes: ["flights.".into()].into(),
        session: Duration::from_secs(10),
        drain: Duration::from_secs(30),
        client: "invoicing 1.2".into(),
    };
    let owned = |partition, since, is_draining| {
        let owned = Owned {
            owner: member.id,
            since: Generation(since),
            is_draining,
        };
        ((TOPIC, PartitionId(partition)), Some(owned))
    };
    let committed = Committed {
        next: Offset(1001),
        at_ms: 1_357_034_225_000,
        metadata: Bytes::from_static(b"N14228"),
    };
    GroupChange {
        generation: Generation(17),
        is_ephemeral: true,
        owned: vec![
            owned(0, 16, false),
            owned(1, 15, true),
            ((TOPIC, PartitionId(2)), None),
        ],
        joined: vec![member],
        left: vec![MemberId(3)],
        offsets: vec![((TOPIC, PartitionId(0)), committed)],
        replay_until: vec![((TOPIC, PartitionId(1)), Offset(900))],
        began_ms: None,
        is_deleted: false,
    }
}

/// A group change by which another client instance takes the member.
pub(in super::super) fn group_change_with_instance() -> GroupChange {
    let mut change = group_change();
    change.joined[0].instance = Instance(0x1d1d_1d1d_1d1d_1d1d);
    change
}

/// A group change that says when the group was made.
pub(in super::super) fn group_change_with_beginning() -> GroupChange {
    GroupChange {
        began_ms: Some(1_357_034_220_000),
        ..group_change_with_instance()
    }
}

pub(in super::super) fn delta_with_groups() -> Delta {
    let deleted = GroupChange {
        generation: Generation(18),
        is_deleted: true,
        ..GroupChange::default()
    };
    Delta {
        groups: vec![(group(), group_change()), (group(), deleted)],
        ..delta()
    }
}

fn stored_batches() -> Vec<StoredBatch> {
    let batch = |base, count| StoredBatch {
        base: Offset(base),
        count,
        append_time_ms: 1_357_034_225_000,
    };
    vec![batch(999, 1), batch(1000, 2)]
}

pub(in super::super) fn delta_head() -> delta::Head {
    delta::Head {
        number: 7,
        directory: Some(identity()),
    }
}

pub(in super::super) fn delta() -> Delta {
    let later = later_checkpoint();
    let described = ChangedTopic {
        id: TopicId(3),
        description: Some(Description {
            seed: 4,
            name: TopicName::new("new").expect("a valid name"),
            settings: settings(),
            partitions: 2,
        }),
        partitions: vec![],
    };
    let known = ChangedTopic {
        id: TOPIC,
        description: None,
        partitions: vec![(PartitionId(1), later.topics[0].partitions[1])],
    };
    let changed = vec![
        ChangedProducer {
            id: PRODUCER,
            idle_ms: 0,
            anew: None,
            sequences: vec![Sequence {
                stored: stored_batches(),
                ..sequence(3, 20)
            }],
        },
        ChangedProducer {
            id: ProducerId(2),
            idle_ms: 5,
            anew: Some((6, "gate 2".to_owned())),
            sequences: vec![],
        },
    ];
    Delta {
        applied: 42,
        journal_file: 10,
        clock: later.clock.expect("it has one"),
        journal: later.journal,
        topics_gone: vec![TopicId(2)],
        topics: vec![known, described],
        producers: ChangedProducers {
            passed_ms: 10_000,
            gone: vec![ProducerId(1)],
            changed,
        },
        erasures_gone: vec![1],
        erasures: later.erasures,
        groups: Vec::new(),
        key_trims_gone: Vec::new(),
        key_trims: Vec::new(),
        access_tokens: None,
    }
}

pub(in super::super) fn topic_file() -> TopicFile {
    TopicFile {
        id: TOPIC,
        seed: SEED,
        name: name(),
        settings: settings(),
        starts: vec![Offset(0), Offset(900)],
        erasures: vec![erasure()],
        key_trims: Vec::new(),
    }
}

pub(in super::super) fn identity() -> Identity {
    Identity {
        id: 0x00c0_ffee_00c0_ffee,
    }
}

pub(in super::super) fn key_rows() -> [Row; 3] {
    let row =
        |hash, version, offset| Row::of_record(KeyHash(hash), Version(version), Offset(offset));
    [
        row(0x0bad_cafe_0bad_cafe, 6, 990),
        row(0x0bad_cafe_0bad_cafe, 7, 1000),
        row(u64::MAX - 1, 18, 1000),
    ]
}

pub(in super::super) fn records_header() -> sorted_table::Header {
    sorted_table::Header {
        topic: TOPIC,
        partition: PartitionId(3),
        from: 900,
        to: 1002,
        rows: 3,
        hashes: 2,
        fence_bits: 2,
        filter_blocks: 1,
        fingerprint: 0xf1f1_f1f1_f1f1_f1f1,
        names: None,
    }
}

/// The header of a table of last versions with the names in [`names`].
pub(in super::super) fn last_versions_header() -> sorted_table::Header {
    sorted_table::Header {
        from: 4,
        to: 6,
        names: Some(sorted_table::Names { page: 4, bytes: 45 }),
        ..records_header()
    }
}

/// One name of each kind, stored one behind the other.
pub(in super::super) fn names() -> [Name; 3] {
    [
        Name::Erased {
            token: erasure().token.0,
        },
        Name::Entity {
            key: "N24211".into(),
        },
        Name::Unreadable,
    ]
}

pub(in super::super) fn encoded_names() -> Vec<u8> {
    let mut encoded = Vec::new();
    names().iter().for_each(|name| name.encode(&mut encoded));
    encoded
}

/// The first page of rows of the table of records.
pub(in super::super) fn key_page() -> Page {
    let mut page = [0; PAGE_BYTES];
    key_rows()
        .iter()
        .enumerate()
        .for_each(|(nth, row)| row.put(&mut page, nth));
    let header = records_header();
    page::seal(&mut page, header.salt(), header.first_row_page());
    page
}

/// The only block of that table's filter.
pub(in super::super) fn filter_block() -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    key_rows()
        .iter()
        .for_each(|row| filter::add(&mut block, row.hash.0));
    block
}
