//! Large writes to segments, past the operating system's cache.

use super::*;
use crate::{
    env::{
        FileSystem,
        sim::{CrashMode, Fault, OpKind, SimDisk},
    },
    storage::log::past_cache::PastCache,
};

const PATH: &str = "/segment.log";

/// A file to append to, on a simulated disk.
struct Growing {
    disk: SimDisk,
    past_cache: PastCache,
    content: Vec<u8>,
}

impl Growing {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        disk.open(PATH.as_ref(), Open::Create).expect("room");
        Self {
            disk,
            past_cache: PastCache::default(),
            content: Vec::new(),
        }
    }

    /// Appends slices of these lengths; returns how many bytes went through the cache.
    fn append(&mut self, lengths: &[usize]) -> u64 {
        let begin = self.content.len();
        for length in lengths {
            let byte = |at: usize| u8::try_from((at * 7 + length) % 251).expect("small");
            let slice: Vec<u8> = (0..*length).map(byte).collect();
            self.content.extend(slice);
        }
        let mut slices = Vec::new();
        let mut rest = &self.content[begin..];
        for length in lengths {
            let (slice, behind) = rest.split_at(*length);
            slices.push(slice);
            rest = behind;
        }
        let file = self.disk.open(PATH.as_ref(), Open::Write);
        let file = file.expect("it is there");
        let position = begin as u64;
        let cached = self
            .past_cache
            .append(&self.disk, PATH.as_ref(), &*file, &slices, position);
        let cached = cached.expect("the disk takes it");
        assert_eq!(self.disk.content(PATH).expect("it is there"), self.content);
        cached
    }

    fn written_directly(&self) -> u64 {
        let stats = self.disk.stats();
        stats.written_directly.get("log").copied().unwrap_or(0)
    }

    fn opened(&self) -> u64 {
        self.disk.stats().operations[&OpKind::Open]
    }
}

#[test]
fn whole_blocks_go_past_the_cache_and_the_rest_through_it() {
    let mut growing = Growing::new();
    assert_eq!(growing.append(&[64]), 64, "too small");
    assert_eq!(growing.append(&[3_000, 2_000]), 5_000, "no whole block");
    assert_eq!(growing.written_directly(), 0);
    // From 5,064: 3,128 bytes up to the block boundary, two blocks, and 680 bytes.
    assert_eq!(growing.append(&[1_000, 9_000, 2_000]), 3_808);
    assert_eq!(growing.written_directly(), 8_192);
    // Up to a block boundary, several writes, and nothing behind them.
    assert_eq!(growing.append(&[3_416]), 3_416);
    assert_eq!(growing.append(&[1, 40_000, 959]), 0);
    assert_eq!(growing.written_directly(), 8_192 + 40_960);
}

#[test]
fn what_is_synced_survives_a_power_cut_whichever_way_it_was_written() {
    let mut growing = Growing::new();
    let lengths = [700, 9_000, 30_000, 4_096, 12, 5_000, 20_000];
    for lengths in lengths.windows(3) {
        growing.append(lengths);
        let file = growing.disk.open(PATH.as_ref(), Open::Write);
        file.expect("it is there").sync_data().expect("it can be");
        growing.disk.sync_dir("/".as_ref()).expect("it can be");
        let survived = growing.disk.fork().power_cut(1, CrashMode::LoseUnsynced);
        assert_eq!(survived.content(PATH).expect("its name"), growing.content);
    }
    assert!(growing.written_directly() > 0);
}

#[test]
fn a_file_system_without_direct_io_gets_everything_through_the_cache_and_is_asked_once() {
    let mut growing = Growing::new();
    growing.disk.refuse_direct();
    assert_eq!(growing.append(&[50_000]), 50_000);
    let opened = growing.opened();
    assert_eq!(growing.append(&[50_000, 10]), 50_010);
    assert_eq!(growing.opened(), opened + 1, "by the test itself");
    assert_eq!(growing.written_directly(), 0);
}

#[test]
fn a_file_that_cannot_be_opened_once_more_is_written_through_the_cache_for_the_moment() {
    let mut growing = Growing::new();
    growing.disk.inject(Fault::on(OpKind::Open).nth(2));
    assert_eq!(growing.append(&[50_000]), 50_000);
    assert_eq!(growing.written_directly(), 0);
    let (first, last) = (53_248, 98_304);
    assert_eq!(growing.append(&[50_000]), 50_000 - (last - first));
    assert_eq!(growing.written_directly(), last - first);
}

#[test]
fn a_segment_of_large_batches_is_read_back_and_goes_on_behind_a_restart() {
    let mut bench = Bench::new(100 << 10);
    let large = |base: u64| {
        let value = vec![u8::try_from(base % 251).expect("small"); 7_000];
        let time = i64::try_from(base).expect("small");
        frame_of(PartitionId(0), Offset(base), time, &[record(value, time)])
    };
    for base in 0..20 {
        bench.apply(large(base));
        bench.write_out();
    }
    let at = bench.checkpoint();
    for base in 20..40 {
        bench.apply(large(base));
    }
    bench.write_out();
    assert_eq!(bench.read_through(0, 1), (bench.frames.clone(), vec![]));
    assert!(bench.segment_count() > 2);

    // What was written behind the checkpoint is cut off, and written again.
    bench.reopen(at);
    let again = bench.frames.split_off(20);
    assert_eq!(bench.read_through(0, 1), (bench.frames.clone(), vec![]));
    for frame in again {
        bench.apply(frame);
    }
    bench.write_out();
    assert_eq!(bench.read_through(0, 1), (bench.frames.clone(), vec![]));
}
