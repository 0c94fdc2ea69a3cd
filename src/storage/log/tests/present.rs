//! Which offsets may have records: all offsets that have one, and not many others.

use super::*;
use crate::storage::{
    format::pack::{Kept, Packer, Tombstones},
    log::Edit,
};

/// Keeps the first record of each frame of two records.
#[derive(Default)]
struct FirstOfEach(Packer);

impl Edit for FirstOfEach {
    const TAKES_DAMAGE: bool = false;

    fn take(&mut self, frame: Frame, out: &mut Vec<Frame>) {
        let records = frame.records();
        let first = Records::new(&records).next().expect("there are two");
        let kept = Kept {
            parts: vec![first.expect("sound").0],
            count: 1,
            latest_timestamp_ms: frame.header().latest_timestamp_ms,
            tombstones: Tombstones::None,
        };
        self.0.take(&frame, &kept, out);
    }

    fn finish(&mut self, out: &mut Vec<Frame>) {
        self.0.finish(out);
    }
}

/// Rewrites the segment that begins here with half of its records.
fn halve(bench: &Bench, base: u64) {
    let rewrite = Rewrite::of(&bench.log, &bench.segments, Offset(base));
    let rewrite = rewrite.expect("it can be read").expect("it is there");
    let rewritten = rewrite.write_edited(&mut FirstOfEach::default());
    let rewritten = rewritten.expect("there is room").expect("it is sound");
    rewritten.install(&bench.log).expect("there is room");
}

fn present(bench: &Bench, most: u64) -> Option<Vec<u64>> {
    let all = Offset(0)..bench.end();
    let present = bench.reader().present(&all, most, 1 << 20);
    let present = present.expect("it can be read")?;
    let offsets = 0..bench.end().0;
    let may_have = offsets.filter(|offset| present.may_have(Offset(*offset)));
    Some(may_have.collect())
}

#[test]
fn offsets_whose_records_went_are_told_from_those_that_have_some() {
    let bench = Bench::filled();
    assert_eq!(present(&bench, 40), Some((0..40).collect()));
    halve(&bench, 8);
    let left: Vec<u64> = (0..40)
        .filter(|offset| !(8..16).contains(offset) || offset % 2 == 0)
        .collect();
    assert_eq!(present(&bench, 36), Some(left));
    assert_eq!(present(&bench, 35), None, "there are more than these");
}

#[test]
fn what_cannot_be_read_counts_as_there() {
    let mut bench = Bench::filled();
    for base in [8, 16, 24] {
        halve(&bench, base);
    }
    let at = bench.checkpoint();
    let names = bench.names();
    let anew = |base: u64| {
        let begins = format!("{base:020}-");
        let mut of_base = names.iter();
        let name = of_base.find(|name| name.starts_with(&begins) && name.ends_with(".log"));
        bench.dir.join(name.expect("it was written anew"))
    };
    let (damaged, missing) = (anew(8), anew(16));
    bench.flip(&damaged, 64 + 100);
    bench.remove(&missing);
    bench.reopen(at);
    let found = present(&bench, 40).expect("they are not more");
    let left = (0..24).chain((24..32).step_by(2)).chain(32..40);
    assert_eq!(found, left.collect::<Vec<u64>>());
}
