//! Any sequence of writes, checkpoints, starts and damage, compared with a list of the writes.

use proptest::{prelude::*, sample::Index};

use super::*;

#[derive(Clone, Debug)]
enum Step {
    /// One write of entries of these sizes.
    Write(Vec<usize>),
    /// A checkpoint that covers everything.
    Checkpoint,
    /// The broker stops and starts again, with or without writing a checkpoint.
    Restart { checkpoint: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0usize..6_000, 1..5).prop_map(Step::Write),
        1 => Just(Step::Checkpoint),
        1 => any::<bool>().prop_map(|checkpoint| Step::Restart { checkpoint }),
    ]
}

/// The journal, and what it should contain.
struct Model {
    dir: Dir,
    ring: Arc<Ring>,
    journal: Journal,
    written: Vec<(u64, Vec<Item>)>,
    applied: u64,
    from_file: u64,
}

impl Model {
    fn new() -> Self {
        let dir = Dir::with_files(4);
        let (ring, journal) = dir.journal(Tip::default());
        Self {
            dir,
            ring,
            journal,
            written: Vec::new(),
            applied: 0,
            from_file: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Write(sizes) => self.write(sizes),
            Step::Checkpoint => self.checkpoint(),
            Step::Restart { checkpoint } => {
                let replay = self.dir.replay(self.from_file, Some(self.applied));
                (self.ring, self.journal) = self.dir.journal(replay.tip());
                if *checkpoint {
                    self.checkpoint();
                }
            }
        }
    }

    fn write(&mut self, sizes: &[usize]) {
        let next = self.journal.sequence() + 1;
        let mut group: Vec<(u64, Vec<Item>)> = (next..)
            .zip(sizes)
            .map(|(number, size)| (number, items(number, *size)))
            .collect();
        let mut entries: Vec<&mut [Item]> =
            group.iter_mut().map(|(_, items)| &mut items[..]).collect();
        match self.journal.write(&mut entries, true) {
            Ok(_) => {}
            Err(Error::Full) => {
                self.checkpoint();
                self.journal
                    .write(&mut entries, true)
                    .expect("a checkpoint has released a file");
            }
            Err(Error::Hindered(error) | Error::File(error)) => panic!("{error}"),
        }
        self.written.extend(group);
    }

    fn checkpoint(&mut self) {
        self.applied = self.journal.sequence();
        self.from_file = self.ring.file_of(self.applied + 1);
        self.ring.release_before(self.from_file);
    }

    fn needed(&self) -> Vec<(u64, Vec<Item>)> {
        self.written
            .iter()
            .filter(|(number, _)| *number > self.applied)
            .cloned()
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn what_was_written_since_the_checkpoint_is_found(steps in prop::collection::vec(step(), 1..40)) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
            let found = found(&model.dir.replay(model.from_file, Some(model.applied)));
            prop_assert_eq!(found, Found { tip: model.journal.sequence(), ..sound(&model.needed()) });
        }
    }

    /// Whichever byte is damaged: no entry changes; no entry is missing unless it is reported or
    /// was the last write; and no sound entry is missing besides the damaged one.
    #[test]
    fn a_damaged_byte_anywhere_costs_one_entry_at_most(
        steps in prop::collection::vec(step(), 1..12),
        file: Index,
        at: Index,
        bit in 0u32..8,
    ) {
        let mut model = Model::new();
        steps.iter().for_each(|step| model.run(step));
        let needed = model.needed();
        prop_assume!(!needed.is_empty());
        let files = model.ring.used();
        let (_, path) = &files[file.index(files.len())];
        let handle = model.dir.env.files.open(path, Open::Write).expect("there is one");
        let mut byte = [0];
        let position = at.index(usize::try_from(FILE_BYTES).expect("small")) as u64;
        handle.read_exact_at(&mut byte, position).expect("files have their full length");
        handle.write_all_at(&[&[byte[0] ^ (1 << bit)]], position).expect("room");

        let found = found(&model.dir.replay(model.from_file, Some(model.applied)));
        prop_assert!(found.lost.iter().map(|(from, to)| to - from).sum::<u64>() <= 1, "{:?}", found.lost);
        let sums = |items: &[Item]| items.iter().map(|item| Some(sum(item))).collect::<Vec<_>>();
        let mut expected = needed.iter();
        for (sequence, items) in &found.entries {
            let written = expected.find(|(expected, _)| expected == sequence).map(|(_, items)| sums(items));
            let written = written.expect("it was written, in this order");
            let damaged = items.iter().any(Option::is_none);
            prop_assert!(*items == written || (damaged && found.damaged));
        }
        let missing: Vec<u64> = needed
            .iter()
            .map(|(sequence, _)| *sequence)
            .filter(|sequence| found.entries.iter().all(|(found, _)| found != sequence))
            .filter(|sequence| !found.lost.iter().any(|(from, to)| (from..to).contains(&sequence)))
            .collect();
        // Only entries at the end may be missing without a report, as nothing proves that these
        // were synced.
        prop_assert!(missing.iter().all(|missing| *missing > found.tip), "{missing:?} behind {}", found.tip);
    }
}
