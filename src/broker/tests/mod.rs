//! Tests of the whole broker on the simulated disk, stepped from one thread.
//!
//! `world.rs` is a broker with its disk, clock and random numbers; `ledger.rs` knows what must be
//! found; `workload.rs` does things at random; `crash.rs` cuts the power at every write and every
//! sync of that. `atomic.rs` does the same with appends to several topics, which must be whole or
//! absent; `erased` with erasures; `exactly_once` with producers.
//!
//! `key_index.rs` damages the key index, and `key_memory.rs` uses up its memory. `clock.rs` lets
//! clocks jump, and `clock_readings.rs` counts readings of the clock. `counts.rs` tests the counts
//! for metrics, `repeated.rs` repeated appends with event ids, `responses.rs` the sizes of
//! responses, `latest.rs` reads of many entities; `reading.rs` counts which appends read files.
//! `deadlines.rs` lets time pass with threads and without; `deleted.rs` deletes topics that are
//! being read; `partition_count.rs` reaches the limit of partitions. `checkpoint.rs` counts the
//! operations of a checkpoint, `journal_room.rs` tests which appends wait for one, and `backup.rs`
//! takes backups and restores them; `import` imports topics; `inspected.rs` compares what `inspect`
//! says with what a start finds.
//!
//! `histories` checks what concurrent clients were told about versions. `groups` has members of
//! groups; `group_calls.rs` makes the other calls on groups, and cuts the power during appends that
//! commit offsets. `retention` lets records become too old or too many; `compaction` keeps the last
//! records of each key; `idle.rs` has no more appends. `seldom.rs` tests messages that are logged
//! seldom. `injected` makes every open, map and read fail with every error.

mod access_tokens;
mod admission;
mod atomic;
mod backup;
mod checkpoint;
mod clock;
mod clock_readings;
mod compaction;
mod counts;
mod crash;
mod damage;
mod deadlines;
mod deleted;
mod deltas;
mod erased;
mod exactly_once;
mod faults;
mod gathering;
mod group_calls;
mod groups;
mod histories;
mod idle;
mod import;
mod injected;
mod inspected;
mod journal_room;
mod key_index;
mod key_memory;
mod latest;
mod ledger;
mod more_partitions;
mod partition_count;
mod parts;
mod read_memory;
mod reading;
mod repeated;
mod responses;
mod retention;
mod scrub;
mod seldom;
mod trim_cost;
mod until;
mod until_erased;
mod until_kept;
mod workload;
mod world;
