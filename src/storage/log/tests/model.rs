//! Any sequence of operations on a log, compared with a list of frames.

use proptest::{prelude::*, sample::Index};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// Applies frames, each with this number of records of this size.
    Apply(Vec<(usize, usize)>),
    WriteOut,
    Trim(Index),
    SealOld,
    /// Compresses a segment that a checkpoint covers, or undoes its compression.
    Compress(Index, Option<Method>),
    /// Writes a checkpoint, and removes the files that it no longer needs.
    Checkpoint,
    /// The broker is killed and starts again.
    Restart,
    /// As `Restart`, with the checkpoint lost.
    Scan,
    Read {
        from: Index,
        max_bytes: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => prop::collection::vec((1usize..4, 0usize..400), 1..6).prop_map(Step::Apply),
        4 => Just(Step::WriteOut),
        1 => any::<Index>().prop_map(Step::Trim),
        1 => Just(Step::SealOld),
        2 => (any::<Index>(), prop::sample::select(vec![None, Some(LZ4), Some(ZSTD)]))
            .prop_map(|(which, method)| Step::Compress(which, method)),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => Just(Step::Scan),
        4 => (any::<Index>(), 0usize..3_000).prop_map(|(from, max_bytes)| Step::Read { from, max_bytes }),
    ]
}

struct Model {
    bench: Bench,
    checkpoint: checkpoint::Partition,
    /// Where the log starts, as replay of the journal would set it.
    start: Offset,
    time: i64,
    /// A reader that continues where it stopped.
    cursor: Cursor,
}

impl Model {
    fn run(&mut self, step: &Step) {
        match step {
            Step::Apply(frames) => {
                for (records, bytes) in frames {
                    self.time += 10;
                    let records = vec![record(vec![9; *bytes], self.time); *records];
                    let frame = frame_of(PartitionId(0), self.bench.end(), self.time, &records);
                    self.bench.apply(frame);
                }
            }
            Step::WriteOut => self.bench.write_out(),
            Step::Trim(to) => {
                let to = to.index(usize::try_from(self.bench.end().0 + 1).expect("small"));
                self.start = self.start.max(Offset(to as u64));
                self.bench.log.lock().trim(Offset(to as u64));
            }
            Step::SealOld => {
                let bench = &mut self.bench;
                bench
                    .writer
                    .seal_if_due(&bench.log, &bench.segments, &bench.settings, self.time)
                    .expect("room");
            }
            Step::Compress(which, method) => self.compress(*which, *method),
            Step::Checkpoint => {
                self.checkpoint = self.bench.checkpoint();
                assert!(self.bench.remove_trimmed(), "nobody reads");
            }
            Step::Restart => {
                self.bench.reopen(self.checkpoint);
                self.replay();
            }
            Step::Scan => {
                self.bench.scan(self.checkpoint.start);
                self.bench.log.lock().apply_loss(self.checkpoint.end);
                self.replay();
            }
            Step::Read { from, max_bytes } => self.read(*from, *max_bytes),
        }
    }

    fn compress(&self, which: Index, method: Option<Method>) {
        let known = self.checkpoint.active.map(|active| active.base);
        let known = known.unwrap_or(self.checkpoint.end);
        let mut ranges = self.bench.log.lock().sealed_ranges();
        ranges.retain(|range| range.end <= known);
        if !ranges.is_empty() {
            let base = ranges[which.index(ranges.len())].start;
            compress(&self.bench.log, &self.bench.segments, base, method).expect("room");
        }
    }

    /// Applies the frames again that the journal has behind the checkpoint.
    fn replay(&mut self) {
        let behind = self
            .bench
            .frames
            .iter()
            .filter(|frame| frame.header().base >= self.checkpoint.end);
        behind.for_each(|frame| self.bench.log.lock().apply(frame.clone(), None));
        self.bench.log.lock().trim(self.start);
    }

    fn read(&mut self, from: Index, max_bytes: usize) {
        let (start, end) = (self.start.0, self.bench.end().0);
        let from = start + from.index(usize::try_from(end - start + 1).expect("small")) as u64;
        let expected: Vec<&Frame> = self
            .bench
            .frames
            .iter()
            .filter(|frame| frame.header().end().0 > from)
            .collect();
        let found = self
            .bench
            .read_at(from, max_bytes)
            .expect("nothing is damaged");
        assert!(found.iter().eq(expected[..found.len()].iter().copied()));
        assert_eq!(found.is_empty(), from == end);

        self.cursor.next = self.cursor.next.max(self.start);
        let next = self.cursor.next;
        let found = self
            .bench
            .reader()
            .read(&mut self.cursor, max_bytes)
            .expect("nothing is damaged");
        let expected = self
            .bench
            .frames
            .iter()
            .filter(|frame| frame.header().end() > next);
        assert!(found.iter().eq(expected.take(found.len())));
    }

    fn check(&self) {
        assert_eq!(self.bench.start(), self.start);
        let end = self
            .bench
            .frames
            .last()
            .map_or(Offset::ZERO, |frame| frame.header().end());
        assert_eq!(self.bench.end(), end);
        let expected = self
            .bench
            .frames
            .iter()
            .filter(|frame| frame.header().end() > self.start)
            .cloned();
        assert_eq!(
            self.bench.read_through(self.start.0, 700),
            (expected.collect(), vec![])
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_log_is_the_list_of_its_frames(
        steps in prop::collection::vec(step(), 1..50),
        segment_bytes in 200u64..5_000,
        segment_ms in prop_oneof![Just(u64::MAX), 20u64..200],
    ) {
        let mut bench = Bench::new(segment_bytes);
        bench.settings.segment_ms = segment_ms;
        let checkpoint = checkpoint::Partition::EMPTY;
        let mut model =
            Model { bench, checkpoint, start: Offset::ZERO, time: 0, cursor: Cursor::new(Offset::ZERO) };
        for step in &steps {
            model.run(step);
            model.check();
        }
    }
}
