//! Every fixed bound in one place. What can be configured has its default here too; nothing grows
//! without a line in this file.

/// Longest topic name, in bytes; Kafka's rule, so that topics can be moved over.
pub const MAX_TOPIC_NAME_BYTES: usize = 249;

/// Most partitions of one topic.
pub const MAX_PARTITIONS_PER_TOPIC: u32 = 10_000;

/// Most partitions of one broker, those of deleted topics included until they are gone: each costs
/// a few hundred bytes of memory and one open file while it is written to.
pub const MAX_PARTITIONS: usize = 20_000;

/// What a partition counts with in the catalog's memory: about 530 bytes while nothing was appended
/// to it, more with the places of its segments.
pub const PARTITION_BYTES: usize = 1 << 10;

/// What a producer counts with there, beside its name.
pub const PRODUCER_BYTES: usize = 200;

/// What a partition counts with there that a producer has appended to.
pub const PRODUCER_SEQUENCE_BYTES: usize = 160;

/// How long the creation of a topic waits for room that deleted ones are about to leave, in
/// milliseconds.
pub const PARTITIONS_WAIT_MS: u64 = 5_000;

/// When to come back if that was not enough, in milliseconds.
pub const PARTITIONS_RETRY_MS: u64 = 1_000;

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 65_535;

/// Longest event type and longest header name, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Longest event id, in bytes: a UUID as text has 36, a SHA-512 has 64.
pub const MAX_EVENT_ID_BYTES: usize = 64;

/// Most headers of one record.
pub const MAX_HEADERS: usize = 64;

/// Most batches in one append.
pub const MAX_BATCHES_PER_APPEND: usize = 1_000;

/// Most groups in one page of a list.
pub const MAX_GROUPS_PER_PAGE: usize = 1_000;

/// How long a member of a group may be away unless it says otherwise, in milliseconds.
pub const SESSION_MS: u64 = 10_000;

/// How long it may take to hand a partition over unless it says otherwise, in milliseconds.
pub const DRAIN_MS: u64 = 30_000;

/// Most conditions in one append.
pub const MAX_CONDITIONS_PER_APPEND: usize = 1_000;

/// Most keys in one `GetLatest`.
pub const MAX_LATEST_KEYS: usize = 1_000;

/// Longest name of a producer, in bytes.
pub const MAX_PRODUCER_NAME_BYTES: usize = 255;

/// Most producers that are known at a time; each costs about 150 bytes of memory, and its name.
pub const MAX_PRODUCERS: usize = 100_000;

/// Most bytes of all producers' names: 83 for each of as many as there may be.
pub const MAX_PRODUCER_NAMES_BYTES: usize = 8 << 20;

/// Most partitions that all producers together have appended to; each costs about 100 bytes of
/// memory.
pub const MAX_PRODUCER_SEQUENCES: usize = 500_000;

/// Most batches of a producer in a partition that it is told again where they are: as many as
/// requests of a stream of appends may wait for their answers.
pub const REMEMBERED_BATCHES: usize = 256;

/// Default for how many of all producers and partitions together, but for the last of each: 6 MiB
/// of memory.
pub const MOST_REMEMBERED_BATCHES: usize = 262_144;

/// Default for how long a producer that does nothing is remembered, in milliseconds: 7 days while
/// the broker runs.
pub const PRODUCER_IDLE_MS: u64 = 7 * 86_400_000;

/// Most erasures that wait for their bytes to be removed, and most that are remembered when they
/// are complete.
pub const MAX_ERASURES: usize = 10_000;

/// Most access tokens that have not expired.
pub const MAX_ACCESS_TOKENS: usize = 1_000;

/// Longest name of an access token.
pub const MAX_ACCESS_TOKEN_NAME_BYTES: usize = 100;

/// How long an access token counts at most, in milliseconds: 10 years.
pub const MAX_ACCESS_TOKEN_LIFE_MS: u64 = 10 * 365 * 86_400_000;

/// Most trims of entities that wait for their bytes to be removed. When there are half as many, the
/// bytes of all are removed at once.
pub const MAX_KEY_TRIMS: usize = 10_000;

/// Default for how long an erasure may take until the bytes are gone, in milliseconds: 1 h.
pub const ERASURE_DEADLINE_MS: u64 = 3_600_000;

/// Default for how many bytes of sealed segments are verified in a second at most.
pub const SCRUB_RATE: u64 = 8 << 20;

/// Most damaged places that are described of a partition.
pub const MAX_DAMAGED_RANGES: usize = 100;

/// Default for how long a partition of a group that has an owner and records to read may make no
/// progress until it counts as stalled, in milliseconds: 1 min.
pub const GROUP_STALLED_MS: u64 = 60_000;

/// When to come back to a broker that cannot read its storage at the moment, in milliseconds.
pub const STORAGE_RETRY_MS: u64 = 1_000;

/// Default for how far the machine's clock may be from the broker's time to be followed at once, in
/// milliseconds: 10 min.
pub const CLOCK_JUMP_MS: u64 = 600_000;

/// Default for how long the machine's clock has to stand further away than that to be followed, in
/// milliseconds: 1 h.
pub const CLOCK_SETTLE_MS: u64 = 3_600_000;

/// Longest name of a consumer group, in bytes.
pub const MAX_GROUP_NAME_BYTES: usize = 255;

/// Most bytes that clients keep with the offsets of one commit.
pub const MAX_COMMIT_METADATA_BYTES: usize = 256 << 10;

/// Most offsets in one commit.
pub const MAX_OFFSETS_PER_COMMIT: usize = 10_000;

/// Most groups whose offsets one append commits.
pub const MAX_GROUPS_PER_APPEND: usize = 16;

/// Longest name of a member of a group, and of what it says of itself, in bytes.
pub const MAX_MEMBER_NAME_BYTES: usize = 255;

/// How long commits of members wait at most to be written together, in milliseconds, where appends
/// come meanwhile.
pub const COMMIT_GATHER_MS: u64 = 5;

/// Shortest session of a member of a group, and shortest time in which a partition is to make
/// progress, in milliseconds.
pub const MIN_SESSION_MS: u64 = 1_000;

/// Longest of the times that a member of a group sets, in milliseconds: 1 h.
pub const MAX_GROUP_TIME_MS: u64 = 3_600_000;

/// Most consumer groups.
pub const MAX_GROUPS: usize = 10_000;

/// Most members of a group.
pub const MAX_GROUP_MEMBERS: usize = 1_000;

/// Most topics and prefixes of topics' names that a member of a group takes.
pub const MAX_GROUP_TOPICS: usize = 1_000;

/// Most offsets that all groups together have committed.
pub const MAX_GROUP_OFFSETS: usize = 500_000;

/// Most partitions that the members of all groups together have.
pub const MAX_OWNED_PARTITIONS: usize = 500_000;

/// What a group counts with in the catalog's memory: planned and applied, with its name.
pub const GROUP_BYTES: usize = 1 << 10;

/// What a member counts with there, beside its names and the topics that it takes.
pub const GROUP_MEMBER_BYTES: usize = 512;

/// What each of these topics and prefixes counts with, beside its name.
pub const GROUP_TOPIC_BYTES: usize = 128;

/// What a committed offset counts with there, beside its metadata: about 100 bytes in each of two
/// catalogs, and a note that it has changed.
pub const GROUP_OFFSET_BYTES: usize = 256;

/// What a partition that a member has counts with there: about 60 bytes in each of two catalogs, as
/// much for when it last made progress, and a note that it has changed.
pub const OWNED_PARTITION_BYTES: usize = 256;

/// Which part of the catalog's memory groups may take up.
pub const GROUPS_SHARE_OF_CATALOG: usize = 2;

/// Most bytes that a client keeps with a committed offset.
pub const MAX_OFFSET_METADATA_BYTES: usize = 4 << 10;

/// Most bytes that clients keep with all committed offsets.
pub const MAX_ALL_METADATA_BYTES: usize = 16 << 20;

/// Most records in one append. The broker adds up to 37 bytes of fields to each, and small appends
/// of others wait while all of it is written to the journal: what is added is then at most as much
/// as one commit.
pub const MAX_RECORDS_PER_APPEND: usize = 65_536;

/// An append of more records than this is prepared beside what others wait for, and one at a time:
/// to hash their keys and look them up takes longer than a disk takes to sync.
pub const MANY_RECORDS: usize = 8_192;

/// Largest encoded append request. Its journal entry must fit one journal file.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Most records bytes in one read response, unless a single record is larger. Below the 4 MiB that
/// generated clients accept by default.
pub const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Most keys, and most types, in one filter.
pub const MAX_FILTER_VALUES: usize = 1_000;

/// Most texts, byte strings and messages in one request, without those in batches: an append with
/// 10,000 offsets and 1,000 conditions has at most two thirds as many.
pub const MAX_ELEMENTS: usize = 65_536;

/// Most topics in one page of a listing.
pub const MAX_TOPICS_PER_PAGE: usize = 1_000;

/// Most producers in one page of a listing.
pub const MAX_PRODUCERS_PER_PAGE: usize = 1_000;

/// Bounds and default of a topic's `max.record.bytes`. Above 3 MiB a generated client must raise
/// its own limit on received messages.
pub const RECORD_BYTES: (u64, u64, u64) = (1 << 10, 1 << 20, 8 << 20);

/// Bounds and default of a topic's `segment.bytes`. The index holds positions as 32-bit numbers.
pub const SEGMENT_BYTES: (u64, u64, u64) = (64 << 10, 256 << 20, 1 << 30);

/// Bounds and default of a topic's `segment.ms`: 1 s, 7 days, 100 years.
pub const SEGMENT_MS: (u64, u64, u64) = (1_000, 7 * 86_400_000, 36_525 * 86_400_000);

/// Bounds of a topic's `retention.ms`: 1 s, 100 years.
pub const RETENTION_MS: (u64, Option<u64>, u64) = (1_000, None, 36_525 * 86_400_000);

/// Bounds of a topic's `retention.bytes`: a quarter of the smallest is the smallest segment; 1 PiB.
pub const RETENTION_BYTES: (u64, Option<u64>, u64) = (4 * SEGMENT_BYTES.0, None, 1 << 50);

/// Bounds and default of a topic's `compaction.keep`.
pub const COMPACTION_KEEP: (u64, u64, u64) = (1, 1, 1_000_000);

/// Bounds and default of a topic's `compression.level`: those of Zstandard that need little memory.
pub const COMPRESSION_LEVEL: (u64, u64, u64) = (1, 3, 19);

/// Bounds and default of a topic's `delete.retention.ms`: 0, 1 day, 100 years.
pub const DELETE_RETENTION_MS: (u64, Option<u64>, u64) = (0, Some(86_400_000), 36_525 * 86_400_000);

/// Bounds and default of a topic's `min.compaction.lag.ms`: 0, 0, 100 years.
pub const MIN_COMPACTION_LAG_MS: (u64, u64, u64) = (0, 0, 36_525 * 86_400_000);

/// Bounds and default of a topic's `max.compaction.lag.ms`: 1 s, 1 day, 100 years.
pub const MAX_COMPACTION_LAG_MS: (u64, u64, u64) = (1_000, 86_400_000, 36_525 * 86_400_000);

/// What is retained is in so many segments at least, whatever `segment.bytes` and `segment.ms` are:
/// it is removed a segment at a time.
pub const RETAINED_SEGMENTS: u64 = 4;

/// Default size of a journal file. The largest request with what the broker adds takes a third of
/// it.
pub const JOURNAL_FILE_BYTES: u64 = 64 << 20;

/// Default for the most journal files: a start then replays at most 256 MiB.
pub const JOURNAL_FILES: u32 = 4;

/// Most bytes of appends on their way to the journal at a time, beside one that is larger and those
/// of clients that have little; those behind wait for their turn. A small append waits for about as
/// much to be written. Three writes: one is written while the next two are put together.
pub const MAX_BYTES_UNDER_WAY: usize = 3 * COMMIT_BYTES;

/// What a request costs in memory beside its bytes: its frames' headers, its place in queues, its
/// answer.
pub const PRICE_OF_REQUEST: usize = 1 << 10;

/// What each of its batches costs beside that: the batch itself, the name of its topic, its place
/// in the log and in the answer.
pub const PRICE_OF_BATCH: usize = 512;

/// What each record costs beside its bytes: where it goes, while that is settled, and then the
/// fields that the broker adds.
pub const PRICE_OF_RECORD: usize = 64;

/// Default for the most segments open at a time. The kernel allows 65,530 maps by default.
pub const OPEN_SEGMENTS: usize = 1_024;

/// Frames from this size on are kept when a record was looked up in them: what is read at once of a
/// segment.
pub const LARGE_FRAME_BYTES: usize = 64 << 10;

/// Most bytes of them: the largest frame fits, or two of 16 MiB with the places of their records.
pub const KEPT_FRAMES_BYTES: usize = 34 << 20;

/// Default for the room that is left free on the disk: appends are refused with less.
pub const DISK_RESERVE_BYTES: u64 = 256 << 20;

/// How long the deltas behind a checkpoint may always grow: a start reads them in a millisecond.
pub const DELTA_BYTES: u64 = 256 << 10;

/// Most bytes that one sync of the journal takes together, unless one entry is larger. What comes
/// meanwhile waits for all of it, so it is no more than a disk writes in a few milliseconds.
pub const COMMIT_BYTES: usize = 2 << 20;

/// Most requests waiting for the journal.
pub const QUEUED_COMMITS: usize = 65_536;
