//! Tests of the whole broker on the simulated disk, taken step by step from one thread.
//!
//! `world.rs` is a broker with its disk, clock and chance; `ledger.rs` knows what must be found;
//! `workload.rs` does things at random; `crash.rs` cuts the power at every write and every sync of
//! that. `atomic.rs` does so with appends to several topics, which are whole or absent, `erased`
//! with erasures, and `exactly_once` with producers. `key_index.rs` damages what is derived of
//! keys, `clock.rs` lets clocks jump and `clock_readings.rs` counts who reads them, `counts.rs`
//! is about what is counted for metrics, `key_memory.rs`
//! lets its memory run out; `repeated.rs` sends again what has an event id; `responses.rs` measures
//! what readers get, `latest.rs` what they get of many entities, and `reading.rs` counts which
//! appends read files; `deadlines.rs` lets time pass with threads and without; `deleted.rs` deletes
//! what is being read, and `partition_count.rs` where there is no room for more; `checkpoint.rs`
//! counts what a checkpoint does, and `journal_room.rs` is about who waits for one. `histories`
//! judges what concurrent clients were told about versions; `groups` has members of groups, and
//! `group_calls.rs` asks for what is asked of groups from outside, and cuts the power under appends
//! that commit offsets. `retention` lets records become old, or too many, and
//! `compaction` keeps the last of each key; `idle.rs` appends nothing any more. `seldom.rs` is
//! about what is logged. `injected` fails every open, map and read with every error.

mod access_tokens;
mod admission;
mod atomic;
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
mod injected;
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
mod workload;
mod world;
