//! Adjacent segments that are rewritten as one, with power cuts at every change of the disk
//! meanwhile.

use std::ops::Range;

use super::*;
use crate::{
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
    storage::{files::Action, log::point::find_record},
};

fn files(bench: &Bench, ending: &str) -> usize {
    let names = bench.names();
    names.iter().filter(|name| name.ends_with(ending)).count()
}

/// Rewrites these offsets as one segment, with every value changed.
fn merge(bench: &Bench, offsets: Range<u64>) -> Result<bool, FileError> {
    let offsets = Offset(offsets.start)..Offset(offsets.end);
    let Some(rewrite) = Rewrite::of_several(&bench.log, &bench.segments, &offsets)? else {
        return Ok(false);
    };
    rewrite
        .write(|frame| Some(anew(frame)))?
        .install(&bench.log)?;
    Ok(true)
}

fn anew(frame: &Frame) -> Frame {
    let base = frame.header().base;
    let time = frame.header().append_time_ms;
    let value = |nth: u64| record(format!("anew {}", base.0 + nth).into_bytes(), time);
    frame_of(PartitionId(0), base, time, &[value(0), value(1)])
}

/// The frames that a log of [`Bench::filled`] has after these offsets were rewritten.
fn expected(bench: &Bench, anew_in: Range<u64>) -> Vec<Frame> {
    let is_anew = |frame: &Frame| anew_in.contains(&frame.header().base.0);
    let frames = bench.frames.iter();
    frames
        .map(|frame| {
            if is_anew(frame) {
                anew(frame)
            } else {
                frame.clone()
            }
        })
        .collect()
}

#[test]
fn adjacent_segments_become_one_and_a_later_start_finds_that() {
    let mut bench = Bench::filled();
    let at = bench.checkpoint();
    assert!(merge(&bench, 8..24).expect("there is room"));
    let log = |name: &str| name.ends_with(".log");
    let segments: Vec<String> = bench.names().into_iter().filter(|name| log(name)).collect();
    assert_eq!(
        segments,
        [
            "00000000000000000000.log",
            "00000000000000000008-00000000000000000024-0000000001.log",
            "00000000000000000024.log",
            "00000000000000000032.log",
        ]
    );
    let merged = expected(&bench, 8..24);
    for reopened in [false, true] {
        assert_eq!(bench.segment_count(), 4);
        assert_eq!(bench.read_through(0, 500), (merged.clone(), vec![]));
        for offset in 0..40 {
            let found = bench.reader().record_at(Offset(offset)).expect("sound");
            let frame = &merged[usize::try_from(offset / 2).expect("small")];
            let expected = find_record(frame, Offset(offset));
            assert_eq!(
                found.map(|found| found.element()),
                expected.map(|found| found.element())
            );
        }
        let times: Vec<Offset> = [1_000_007, 1_000_008, 1_000_023]
            .map(|time| bench.reader().find_time(time).expect("sound"))
            .to_vec();
        assert_eq!(times, [Offset(7), Offset(8), Offset(24)]);
        if !reopened {
            bench.reopen(at);
        }
    }
    // Rewrites the merged segment again, then together with its neighbour; then the checkpoint is
    // lost.
    assert!(merge(&bench, 0..24).expect("there is room"));
    assert!(merge(&bench, 0..32).expect("there is room"));
    assert!(
        bench
            .names()
            .contains(&"00000000000000000000-00000000000000000032-0000000002.log".to_owned())
    );
    bench.scan(Offset(0));
    assert_eq!(
        bench.read_through(0, 500).0[..16],
        expected(&bench, 0..32)[..16]
    );
}

#[test]
fn only_what_begins_and_ends_with_segments_and_is_not_trimmed_becomes_one() {
    let bench = Bench::filled();
    for (start, end) in [(0, 17), (1, 16), (16, 16), (24, 40), (40, 48), (16, 8)] {
        assert!(
            !merge(&bench, start..end).expect("nothing fails"),
            "{start} to {end}"
        );
    }
    bench.log.lock().trim(Offset(9));
    assert!(!merge(&bench, 0..16).expect("nothing fails"));
    assert!(merge(&bench, 8..24).expect("there is room"));
    assert_eq!(bench.read_through(9, 500).0, expected(&bench, 8..24)[4..]);
}

#[test]
fn segments_that_are_trimmed_while_they_become_one_are_not_replaced() {
    let bench = Bench::filled();
    let before = files(&bench, ".log");
    let offsets = Offset(0)..Offset(24);
    let rewrite = Rewrite::of_several(&bench.log, &bench.segments, &offsets)
        .expect("they can be read")
        .expect("they are there");
    let rewritten = rewrite.write(|frame| Some(anew(frame))).expect("room");
    bench.log.lock().trim(Offset(10));
    rewritten.install(&bench.log).expect("nothing fails");
    assert_eq!((files(&bench, ".log"), files(&bench, ".new")), (before, 0));
    assert_eq!(bench.read_through(10, 500).0, bench.frames[5..]);
}

#[test]
fn a_trimmed_segment_is_written_anew_as_well_and_is_removed_all_the_same() {
    let bench = Bench::filled();
    {
        let mut log = bench.log.lock();
        log.trim(Offset(17));
        log.retire(Offset(8), 0);
        assert!(log.begin_leaving(), "a checkpoint is under way");
    }
    for base in [0, 8] {
        rewrite_segment(&bench.log, &bench.segments, Offset(base), |frame| {
            Some(anew(frame))
        })
        .expect("there is room");
    }
    assert_eq!(bench.log.lock().trimmed(), Some(Offset(8)..Offset(16)));
    assert!(remove_trimmed(&bench.log, &bench.segments).expect("they can be removed"));
    let names = bench.names();
    assert!(names[0].starts_with("00000000000000000008-00000000000000000016-0000000001."));
    assert!(bench.remove_trimmed(), "nobody reads");
    assert_eq!(bench.names()[0], "00000000000000000016.index");
}

#[test]
fn a_start_counts_what_was_written_anew_and_removes_what_it_came_for() {
    let mut bench = Bench::filled();
    let at = bench.checkpoint();
    let kept: Vec<(PathBuf, Vec<u8>)> = [8, 16]
        .map(|base| bench.segment(base))
        .into_iter()
        .map(|path| (path.clone(), bench.bytes(&path)))
        .collect();
    assert!(merge(&bench, 8..24).expect("there is room"));
    let names = bench.names();
    // A crash may have left any of the old segments.
    for left in [&kept[..], &kept[..1], &kept[1..]] {
        for scanned in [false, true] {
            for (path, bytes) in left {
                bench
                    .env
                    .files
                    .open(path, Open::Create)
                    .expect("a new file");
                bench.overwrite(path, 0, bytes);
            }
            let unfinished = bench
                .dir
                .join("00000000000000000024-00000000000000000032-0000000001.log.new");
            bench
                .env
                .files
                .open(&unfinished, Open::Create)
                .expect("a new file");
            match scanned {
                true => bench.scan(Offset(0)),
                false => bench.reopen(at),
            }
            assert_eq!(
                bench.read_through(0, 500),
                (expected(&bench, 8..24), vec![])
            );
            assert_eq!(bench.names(), names);
        }
    }
}

/// A log on a simulated disk to which everything happens, with what a start must find of it.
struct Life {
    bench: Bench,
    /// The last checkpoint that is durable.
    stored: checkpoint::Partition,
    /// The frames that the log has.
    frames: Vec<Frame>,
    /// The frames that the log will have once the current operation is done.
    becomes: Option<Vec<Frame>>,
    written_anew: u64,
}

fn on_disk(disk: &SimDisk) -> Bench {
    let env = Env {
        files: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(0)),
        random: Arc::new(SimRandom::new(1)),
    };
    let dir = PathBuf::from("/0");
    Bench {
        segments: OpenSegments::new(env.clone(), 3),
        log: LogLock::new(Log::new(IDENTITY, topic_dir(&dir))),
        env,
        dir,
        ..Bench::new(64 + 2 * frame(0).bytes().len() as u64)
    }
}

impl Life {
    fn begin(disk: &SimDisk) -> Self {
        let mut life = Self {
            bench: on_disk(disk),
            stored: checkpoint::Partition::EMPTY,
            frames: Vec::new(),
            becomes: None,
            written_anew: 0,
        };
        life.grow(9).expect("nothing fails");
        let root = Path::new("/");
        life.bench.env.files.sync_dir(root).expect("nothing fails");
        life
    }

    /// Does everything to segments that can be done to them.
    fn live(&mut self) -> Result<(), FileError> {
        self.write_anew(0..8)?;
        self.write_anew(8..12)?;
        self.grow(3)?;
        self.write_anew(0..12)?;
        self.trim(5)?;
        self.grow(2)?;
        self.trim(14)?;
        self.write_anew(12..20)?;
        self.write_anew(12..20)?;
        self.trim(21)
    }

    /// Appends frames, which roll segments, and takes a checkpoint.
    fn grow(&mut self, frames: usize) -> Result<(), FileError> {
        let bench = &mut self.bench;
        bench.apply_all(frames);
        let end = bench.end();
        let settings = &bench.settings;
        while bench
            .writer
            .write_some(&bench.log, &bench.segments, settings, end, u64::MAX)?
            > 0
        {}
        self.frames
            .extend_from_slice(&bench.frames[self.frames.len()..]);
        self.checkpoint()
    }

    fn checkpoint(&mut self) -> Result<(), FileError> {
        let bench = &mut self.bench;
        bench.writer.sync(&bench.log, &bench.segments)?;
        self.stored = bench.log.lock().checkpoint();
        Ok(())
    }

    fn trim(&mut self, before: u64) -> Result<(), FileError> {
        self.bench.log.lock().trim(Offset(before));
        self.checkpoint()?;
        let mut log = self.bench.log.lock();
        if let Some(trimmed) = log.trimmed() {
            log.retire(trimmed.end, 0);
        }
        log.begin_leaving();
        drop(log);
        let removed = remove_trimmed(&self.bench.log, &self.bench.segments)?;
        assert!(removed, "nobody reads");
        Ok(())
    }

    /// Rewrites segments as one, with other values.
    fn write_anew(&mut self, offsets: Range<u64>) -> Result<(), FileError> {
        self.written_anew += 1;
        let edit = |frame: &Frame| {
            let header = frame.header();
            let value = format!("{} times", self.written_anew).into_bytes();
            let records = [record(value.clone(), 1), record(value, 2)];
            frame_of(PartitionId(0), header.base, header.append_time_ms, &records)
        };
        let becomes = self.frames.iter().map(|frame| {
            if offsets.contains(&frame.header().base.0) {
                edit(frame)
            } else {
                frame.clone()
            }
        });
        self.becomes = Some(becomes.collect());
        let offsets = Offset(offsets.start)..Offset(offsets.end);
        Rewrite::of_several(&self.bench.log, &self.bench.segments, &offsets)?
            .expect("they are there")
            .write(|frame| Some(edit(frame)))?
            .install(&self.bench.log)?;
        self.frames = self.becomes.take().expect("it was just put there");
        self.check();
        Ok(())
    }

    fn check(&self) {
        let start = self.bench.start().0;
        assert_eq!(
            self.bench.read_through(start, 500),
            (self.kept(&self.frames, self.bench.end()), vec![])
        );
    }

    /// The part of these frames that a start must find.
    fn kept(&self, frames: &[Frame], end: Offset) -> Vec<Frame> {
        let start = self.stored.start;
        let is_kept = |frame: &&Frame| {
            let header = frame.header();
            header.end() > start && header.base < end
        };
        frames.iter().filter(is_kept).cloned().collect()
    }

    /// Opens the log as the next process does.
    fn open_on(&self, disk: &SimDisk) -> Result<Bench, FileError> {
        let mut bench = on_disk(disk);
        let topic_dir = topic_dir(&bench.dir);
        let log = Log::cut(IDENTITY, topic_dir, self.stored, &bench.segments)?;
        bench.log = LogLock::new(log);
        Ok(bench)
    }

    /// Checks what the next process finds, and returns whether the current operation is done.
    fn is_done_on(&self, disk: &SimDisk) -> bool {
        let bench = self.open_on(disk).expect("nothing fails");
        let (read, damaged) = bench.read_through(self.stored.start.0, 500);
        assert_eq!(damaged, []);
        let end = self.stored.end;
        let becomes = self.becomes.as_deref();
        let is_done = becomes.is_some_and(|becomes| read == self.kept(becomes, end));
        assert!(is_done || read == self.kept(&self.frames, end));
        assert_eq!(files(&bench, ".new"), 0);
        let segments = bench.log.view().sealed.len() + usize::from(self.stored.active.is_some());
        assert_eq!(files(&bench, ".log"), segments);
        is_done
    }
}

#[test]
fn a_power_cut_leaves_what_was_there_or_what_was_written_anew_and_never_both() {
    let whole = SimDisk::new(1);
    let mut life = Life::begin(&whole);
    let began = whole.operations();
    life.live().expect("nothing fails");
    let (mut states, mut done, mut undone) = (0, 0, 0);
    for operation in began + 1..=whole.operations() {
        let disk = SimDisk::new(1);
        let mut life = Life::begin(&disk);
        match operation.is_multiple_of(2) {
            true => disk.crash_within(operation),
            false => disk.crash_at(operation),
        }
        // The power may fail in one of the last operations, whose failure is ignored.
        let lived = life.live();
        let is_power = |error: &FileError| matches!(error.action, Action::Map) || !disk.is_on();
        assert!(lived.as_ref().err().is_none_or(is_power), "{lived:?}");
        for mode in CrashMode::ALL {
            let survived = disk.power_cut(operation, mode);
            let count = survived.fork();
            life.is_done_on(&count);
            // The power fails once more while the log is being opened.
            for again in 1..=count.operations() {
                let opening = disk.power_cut(operation, mode);
                opening.crash_at(again);
                drop(life.open_on(&opening));
                for mode in [CrashMode::LoseUnsynced, CrashMode::RandomSubset] {
                    let survived = opening.power_cut(again, mode);
                    life.is_done_on(&survived);
                    states += 1;
                }
            }
            let is_done = life.is_done_on(&survived);
            let again = survived.power_cut(operation, CrashMode::LoseUnsynced);
            let stays = life.is_done_on(&again) == is_done;
            assert!(stays, "what a start has found stays so");
            states += 2;
            if life.becomes.is_some() {
                done += u32::from(is_done);
                undone += u32::from(!is_done);
            }
        }
    }
    println!("{states} states, {done} done, {undone} undone");
    assert!(states > 500 && done > 20 && undone > 20);
}
