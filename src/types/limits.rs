//! Every fixed bound in one place. What can be configured has its default here too; nothing grows
//! without a line in this file.

/// Longest topic name, in bytes; Kafka's rule, so that topics can be moved over.
pub const MAX_TOPIC_NAME_BYTES: usize = 249;

/// A backup whose client takes nothing for so long is ended, in milliseconds: it keeps files from
/// being removed.
pub const BACKUP_STALLED_MS: u64 = 60_000;

/// Most files that the client of a backup may say to have.
pub const MAX_BACKUP_FILES: usize = 1_000_000;

/// How many bytes of a backup are sent in a second at most while others append.
pub const BACKUP_RATE: u64 = 64 << 20;

/// Most partitions of one topic.
pub const MAX_PARTITIONS_PER_TOPIC: u32 = 10_000;

/// Most partitions of one broker, those of deleted topics included until they are gone: each costs
/// a few hundred bytes of memory and one open file while it is written to.
pub const MAX_PARTITIONS: usize = 20_000;

/// What the catalog's memory is charged for a partition: about 530 bytes while nothing was appended
/// to it, more with the positions of its segments.
pub const PARTITION_BYTES: usize = 1 << 10;

/// What the catalog's memory is charged for a producer, beside its name.
pub const PRODUCER_BYTES: usize = 200;

/// What the catalog's memory is charged for each partition that a producer has appended to.
pub const PRODUCER_SEQUENCE_BYTES: usize = 160;

/// How long creating a topic waits, in milliseconds, for deleted partitions that are about to be
/// gone.
pub const PARTITIONS_WAIT_MS: u64 = 5_000;

/// When a client should try again if they were not gone by then, in milliseconds.
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

/// Most committed offsets in a page.
pub const MAX_OFFSETS_PER_PAGE: usize = 1_000;

/// Most partitions in a page of a group's description: with the longest names and errors about a
/// MiB, and members are as much again at most.
pub const MAX_GROUP_PARTITIONS_PER_PAGE: usize = 1_000;

/// A page of committed offsets ends with the one that makes it as large as this, with metadata.
pub const FETCHED_BYTES_PER_PAGE: usize = 1 << 20;

/// How long a member of a group may send no heartbeat unless it says otherwise, in milliseconds.
pub const SESSION_MS: u64 = 10_000;

/// How long a member may take to hand a partition over unless it says otherwise, in milliseconds.
pub const DRAIN_MS: u64 = 30_000;

/// Most conditions in one append.
pub const MAX_CONDITIONS_PER_APPEND: usize = 1_000;

/// Most keys in one `GetLatest`.
pub const MAX_LATEST_KEYS: usize = 1_000;

/// Longest name of a producer, in bytes.
pub const MAX_PRODUCER_NAME_BYTES: usize = 255;

/// Most producers that are known at a time; each costs about 150 bytes of memory, and its name.
pub const MAX_PRODUCERS: usize = 100_000;

/// Most bytes of all producers' names together: 83 for each of [`MAX_PRODUCERS`].
pub const MAX_PRODUCER_NAMES_BYTES: usize = 8 << 20;

/// Most partitions that all producers together have appended to; each costs about 100 bytes of
/// memory.
pub const MAX_PRODUCER_SEQUENCES: usize = 500_000;

/// How many of a producer's last batches in a partition the broker remembers, to answer repeated
/// ones with their offsets: as many as a stream of appends may have unanswered.
pub const REMEMBERED_BATCHES: usize = 256;

/// Default for how many batches are remembered for all producers and partitions together: 6 MiB of
/// memory. The last batch of each is remembered beyond that.
pub const MOST_REMEMBERED_BATCHES: usize = 262_144;

/// Default for how long a producer that does nothing is remembered, in milliseconds: 7 days while
/// the broker runs.
pub const PRODUCER_IDLE_MS: u64 = 7 * 86_400_000;

/// Most erasures whose bytes are still to be removed, and most completed ones that are remembered.
pub const MAX_ERASURES: usize = 10_000;

/// Most access tokens that have not expired.
pub const MAX_ACCESS_TOKENS: usize = 1_000;

/// Most roles that a JWT may give to its caller.
pub const MAX_CALLER_ROLES: usize = 100;

/// Longest name of an access token.
pub const MAX_ACCESS_TOKEN_NAME_BYTES: usize = 100;

/// Longest life of an access token, in milliseconds: 10 years.
pub const MAX_ACCESS_TOKEN_LIFE_MS: u64 = 10 * 365 * 86_400_000;

/// Most trims of entities whose bytes are still to be removed. At half as many, the bytes of all of
/// them are removed at once.
pub const MAX_KEY_TRIMS: usize = 10_000;

/// Default for how long an erasure may take until the bytes are gone, in milliseconds: 1 h.
pub const ERASURE_DEADLINE_MS: u64 = 3_600_000;

/// Default for how many bytes of sealed segments are verified in a second at most.
pub const SCRUB_RATE: u64 = 8 << 20;

/// Most damaged ranges that are listed for one partition.
pub const MAX_DAMAGED_RANGES: usize = 100;

/// Default for how long a partition of a group that has an owner and records to read may make no
/// progress until it counts as stalled, in milliseconds: 1 min.
pub const GROUP_STALLED_MS: u64 = 60_000;

/// When a client should try again if the broker cannot read its storage at the moment, in
/// milliseconds.
pub const STORAGE_RETRY_MS: u64 = 1_000;

/// Default for how far the machine's clock may be from the broker's time and still be followed at
/// once, in milliseconds: 10 min.
pub const CLOCK_JUMP_MS: u64 = 600_000;

/// Default for how long a machine's clock that is further away than that must stay so until it is
/// followed, in milliseconds: 1 h.
pub const CLOCK_SETTLE_MS: u64 = 3_600_000;

/// Longest name of a consumer group, in bytes.
pub const MAX_GROUP_NAME_BYTES: usize = 255;

/// Most bytes of metadata with all offsets of one commit.
pub const MAX_COMMIT_METADATA_BYTES: usize = 256 << 10;

/// Most offsets in one commit.
pub const MAX_OFFSETS_PER_COMMIT: usize = 10_000;

/// Most offsets in the response to a reset: with the longest names less than 4 MiB, which is what
/// clients of gRPC take by default.
pub const MAX_OFFSETS_PER_RESET: usize = 10_000;

/// Most groups whose offsets one append commits.
pub const MAX_GROUPS_PER_APPEND: usize = 16;

/// Longest name of a member of a group, and longest description that its client gives of itself, in
/// bytes.
pub const MAX_MEMBER_NAME_BYTES: usize = 255;

/// How long commits of members wait at most to be written together while appends are coming in, in
/// milliseconds.
pub const COMMIT_GATHER_MS: u64 = 5;

/// Shortest session of a member of a group, and shortest time after which a partition without
/// progress counts as stalled, in milliseconds.
pub const MIN_SESSION_MS: u64 = 1_000;

/// Longest of the times that a member of a group sets, in milliseconds: 1 h.
pub const MAX_GROUP_TIME_MS: u64 = 3_600_000;

/// Most consumer groups.
pub const MAX_GROUPS: usize = 10_000;

/// Most members of a group.
pub const MAX_GROUP_MEMBERS: usize = 1_000;

/// Most topics and topic prefixes that a member of a group subscribes to.
pub const MAX_GROUP_TOPICS: usize = 1_000;

/// Most offsets that all groups together have committed.
pub const MAX_GROUP_OFFSETS: usize = 500_000;

/// Most partitions that the members of all groups together own.
pub const MAX_OWNED_PARTITIONS: usize = 500_000;

/// What the catalog's memory is charged for a group: its planned and its applied state, with its
/// name.
pub const GROUP_BYTES: usize = 1 << 10;

/// What the catalog's memory is charged for a member, beside its names and subscriptions.
pub const GROUP_MEMBER_BYTES: usize = 512;

/// What the catalog's memory is charged for a topic or prefix that a member subscribes to, beside
/// its name.
pub const GROUP_TOPIC_BYTES: usize = 128;

/// What the catalog's memory is charged for a committed offset, beside its metadata: about 100
/// bytes in each of the planned and the applied state, and a note that it has changed.
pub const GROUP_OFFSET_BYTES: usize = 256;

/// What the catalog's memory is charged for a partition that a member owns: about 80 bytes in each
/// of the planned and the applied state, as much in each for the time of its last progress, and
/// 400 bytes in the session that reads it, with what the heap adds. 200,000 of them took 864 bytes
/// each.
pub const OWNED_PARTITION_BYTES: usize = 896;

/// Groups may use the catalog's memory divided by this.
pub const GROUPS_SHARE_OF_CATALOG: usize = 2;

/// Most bytes of metadata with one committed offset.
pub const MAX_OFFSET_METADATA_BYTES: usize = 4 << 10;

/// Most bytes of metadata with all committed offsets together.
pub const MAX_ALL_METADATA_BYTES: usize = 16 << 20;

/// Most records in one append. The broker adds up to 37 bytes of fields to each record, and small
/// appends of others wait while all of them are written to the journal: what the broker adds is
/// then about one write of the journal at most.
pub const MAX_RECORDS_PER_APPEND: usize = 65_536;

/// An append of more records than this is prepared on a thread that no other call waits for, and
/// one at a time: hashing its keys and looking them up takes longer than a sync.
pub const MANY_RECORDS: usize = 8_192;

/// Largest encoded append request. Its journal entry must fit one journal file.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;

/// Offsets of an import are below this: far from where their arithmetic ends.
pub const MAX_IMPORTED_OFFSET: u64 = 1 << 62;

/// Most versions that may lack between records of the same keys which are imported together. Each
/// takes four bytes in a key table; between two records of a key that compaction has left none
/// lacks, unless it was damaged.
pub const MAX_VERSIONS_MISSING: u64 = 1 << 20;

/// How far an append time that is imported may be ahead of the broker's clock, in milliseconds: the
/// clocks of two machines differ by less.
pub const IMPORT_AHEAD_MS: i64 = 86_400_000;

/// Most bytes of records in one read response, unless a single record is larger.
pub const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// Largest encoded response of a read whose client does not say what it takes: what generated
/// clients accept by default.
pub const RESPONSE_LIMIT_BYTES: usize = 4 << 20;

/// The least that a client may say: a record of 64,512 bytes fits.
pub const MIN_RESPONSE_LIMIT_BYTES: usize = 64 << 10;

/// What the Rust client and the command line take: any record fits, beside anything.
pub const CLIENT_RESPONSE_BYTES: u32 = 16 << 20;

/// Most keys, and most types, in one filter.
pub const MAX_FILTER_VALUES: usize = 1_000;

/// Most strings, byte strings and messages in one request, not counting those inside batches. An
/// append with 10,000 offsets and 1,000 conditions has at most two thirds of this.
pub const MAX_ELEMENTS: usize = 65_536;

/// Most topics in one page of a listing.
pub const MAX_TOPICS_PER_PAGE: usize = 1_000;

/// Most producers in one page of a listing.
pub const MAX_PRODUCERS_PER_PAGE: usize = 1_000;

/// Bounds and default of a topic's `max.record.bytes`. Records above 4 MiB go only to clients that
/// say they take them.
pub const RECORD_BYTES: (u64, u64, u64) = (1 << 10, 1 << 20, 8 << 20);

/// Bounds and default of a topic's `segment.bytes`. The index holds positions as 32-bit numbers.
pub const SEGMENT_BYTES: (u64, u64, u64) = (64 << 10, 256 << 20, 1 << 30);

/// Bounds and default of a topic's `segment.ms`: 1 s, 7 days, 100 years.
pub const SEGMENT_MS: (u64, u64, u64) = (1_000, 7 * 86_400_000, 36_525 * 86_400_000);

/// Bounds of a topic's `retention.ms`: 1 s, 100 years.
pub const RETENTION_MS: (u64, Option<u64>, u64) = (1_000, None, 36_525 * 86_400_000);

/// Bounds of a topic's `retention.bytes`: four of the smallest segments, 1 PiB.
pub const RETENTION_BYTES: (u64, Option<u64>, u64) = (4 * SEGMENT_BYTES.0, None, 1 << 50);

/// Bounds and default of a topic's `compaction.keep`.
pub const COMPACTION_KEEP: (u64, u64, u64) = (1, 1, 1_000_000);

/// Bounds and default of a topic's `compression.level`: the levels of Zstandard that need little
/// memory.
pub const COMPRESSION_LEVEL: (u64, u64, u64) = (1, 3, 19);

/// Bounds and default of a topic's `delete.retention.ms`: 0, 1 day, 100 years.
pub const DELETE_RETENTION_MS: (u64, Option<u64>, u64) = (0, Some(86_400_000), 36_525 * 86_400_000);

/// Bounds and default of a topic's `min.compaction.lag.ms`: 0, 0, 100 years.
pub const MIN_COMPACTION_LAG_MS: (u64, u64, u64) = (0, 0, 36_525 * 86_400_000);

/// Bounds and default of a topic's `max.compaction.lag.ms`: 1 s, 1 day, 100 years.
pub const MAX_COMPACTION_LAG_MS: (u64, u64, u64) = (1_000, 86_400_000, 36_525 * 86_400_000);

/// Segments roll so early that retained records lie in at least this many segments, whatever
/// `segment.bytes` and `segment.ms` say: retention removes whole segments only.
pub const RETAINED_SEGMENTS: u64 = 4;

/// Default size of a journal file. The largest request, with the fields that the broker adds, takes
/// a third of it.
pub const JOURNAL_FILE_BYTES: u64 = 64 << 20;

/// Default for the most journal files: a start then replays at most 256 MiB.
pub const JOURNAL_FILES: u32 = 4;

/// Most bytes of appends on their way to the journal at a time; further appends wait for their
/// turn. One larger append, and appends of clients that have little under way, are let in beyond
/// it. A small append waits for about this much to be written: three writes, so that one is written
/// while the next two are put together.
pub const MAX_BYTES_UNDER_WAY: usize = 3 * COMMIT_BYTES;

/// What a request costs in memory beside its bytes: the headers of its frames, its place in queues,
/// its answer.
pub const PRICE_OF_REQUEST: usize = 1 << 10;

/// What each batch of a request costs in memory beside that: the batch itself, the name of its
/// topic, its place in the log and in the answer.
pub const PRICE_OF_BATCH: usize = 512;

/// What each record costs in memory beside its bytes: its destination while that is being settled,
/// then the fields that the broker adds.
pub const PRICE_OF_RECORD: usize = 64;

/// Default for the most segments open at a time. The kernel allows 65,530 maps by default.
pub const OPEN_SEGMENTS: usize = 1_024;

/// A frame of at least this size is kept in memory after a record was looked up in it. It is as
/// much as one read of a segment brings.
pub const LARGE_FRAME_BYTES: usize = 64 << 10;

/// Most bytes of kept frames: room for the largest frame, or for two of 16 MiB with the positions
/// of their records.
pub const KEPT_FRAMES_BYTES: usize = 34 << 20;

/// Default for the space that is left free on the disk: with less, appends are refused.
pub const DISK_RESERVE_BYTES: u64 = 256 << 20;

/// The largest reserve file: more than checkpoints, and what trims and deletions write, ever take.
pub const RESERVE_FILE_BYTES: u64 = 256 << 20;

/// Deltas behind a checkpoint may always grow to this size, in bytes: a start reads them in a
/// millisecond.
pub const DELTA_BYTES: u64 = 256 << 10;

/// Most bytes that one write and sync of the journal takes, unless one entry is larger. What
/// arrives meanwhile waits for all of it, so it is no more than a disk writes in a few
/// milliseconds.
pub const COMMIT_BYTES: usize = 2 << 20;

/// Most requests waiting for the journal.
pub const QUEUED_COMMITS: usize = 65_536;
