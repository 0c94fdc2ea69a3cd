//! Histories that must be rejected, each with a correct twin that differs in one thing.

use std::collections::BTreeMap;

use super::{
    entity::{Answer, Expected, Key, Op},
    history::{History, Outcome},
    random::{Shape, correct_history},
    recorder::{CallId, Recorder},
};

const A: Key = Key(0);
const B: Key = Key(1);

/// A history under construction.
#[derive(Clone, Default)]
struct Story(Recorder);

impl Story {
    fn begin(&mut self, op: Op) -> CallId {
        self.0.invoke(0, op)
    }

    fn end(&mut self, call: CallId, answer: Answer) {
        self.0.answered(call, answer);
    }

    /// Adds a call that overlaps no other call.
    fn call(&mut self, op: Op, answer: Answer) {
        let call = self.begin(op);
        self.end(call, answer);
    }

    /// A history in which calls that do not overlap append these records to A.
    fn with(ids: &[u64]) -> Self {
        let mut story = Self::default();
        for (version, id) in (1..).zip(ids) {
            story.call(Op::append(A, None, &[*id]), appended(version));
        }
        story
    }

    fn history(&self, a: &[u64], b: &[u64]) -> History {
        self.0
            .clone()
            .finish(BTreeMap::from([(A, a.to_vec()), (B, b.to_vec())]))
    }

    #[track_caller]
    fn accepted(&self, a: &[u64], b: &[u64]) {
        self.history(a, b)
            .check()
            .unwrap_or_else(|fault| panic!("{fault}"));
    }

    #[track_caller]
    fn rejected(&self, a: &[u64], b: &[u64]) {
        let fault = self
            .history(a, b)
            .check()
            .expect_err("this must not be accepted")
            .to_string();
        assert!(fault.contains("not linearizable"), "{fault}");
    }
}

fn appended(version: u64) -> Answer {
    Answer::Appended {
        first_versions: vec![version],
    }
}

/// The answer that the first condition failed, because the entity is at this version.
fn conflict(actual: u64) -> Answer {
    Answer::Conflict {
        failed: vec![(0, actual)],
    }
}

/// The answer to a read of a whole entity.
fn records(ids: &[u64]) -> Answer {
    Answer::Records {
        latest: ids.len() as u64,
        records: (1..).zip(ids.iter().copied()).collect(),
    }
}

fn at(version: u64, id: u64) -> Op {
    Op::append(A, Some(Expected::At(version)), &[id])
}

#[test]
fn two_winners_for_one_version_are_rejected() {
    let race = |one: Answer, other: Answer| {
        let mut story = Story::with(&[1]);
        let (first, second) = (story.begin(at(1, 2)), story.begin(at(1, 3)));
        story.end(first, one);
        story.end(second, other);
        story
    };
    race(appended(2), conflict(2)).accepted(&[1, 2], &[]);
    race(appended(2), appended(2)).rejected(&[1, 2], &[]);
    race(appended(2), appended(2)).rejected(&[1, 2, 3], &[]);
    // The second append happened, but at the wrong version.
    race(appended(2), appended(3)).rejected(&[1, 2, 3], &[]);
}

#[test]
fn two_winners_are_rejected_also_if_one_of_them_was_never_answered() {
    let mut story = Story::with(&[1]);
    story.begin(at(1, 2));
    story.call(at(1, 3), appended(2));
    story.accepted(&[1, 3], &[]);
    story.rejected(&[1, 3, 2], &[]);
}

#[test]
fn a_lost_update_is_rejected() {
    let mut story = Story::with(&[1, 2]);
    story.accepted(&[1, 2], &[]);
    story.rejected(&[1], &[]);
    story.call(Op::read(A), records(&[1]));
    story.rejected(&[1, 2], &[]);
}

#[test]
fn a_lost_update_whose_version_was_given_out_again_is_rejected() {
    let mut story = Story::with(&[1, 2]);
    story.call(at(2, 3), appended(3));
    story.accepted(&[1, 2, 3], &[]);
    let mut story = Story::with(&[1, 2]);
    story.call(at(1, 3), appended(2));
    story.rejected(&[1, 3], &[]);
    story.rejected(&[1, 2, 3], &[]);
}

#[test]
fn a_conflict_with_a_version_that_was_never_current_during_the_call_is_rejected() {
    let told = |actual: u64| {
        let mut story = Story::with(&[1, 2]);
        let (append, conflicting) = (
            story.begin(Op::append(A, None, &[3])),
            story.begin(at(1, 4)),
        );
        story.end(append, appended(3));
        story.end(conflicting, conflict(actual));
        story.call(Op::append(A, None, &[5]), appended(4));
        story
    };
    // The read is before the append that it overlaps, or after it.
    told(2).accepted(&[1, 2, 3, 5], &[]);
    told(3).accepted(&[1, 2, 3, 5], &[]);
    // A conflict cannot report 1, the version that was expected; 0, which was over before the call;
    // 4, which came after it; or 5, which never was.
    for actual in [1, 0, 4, 5] {
        told(actual).rejected(&[1, 2, 3, 5], &[]);
    }
}

#[test]
fn a_conflict_that_was_none_is_rejected() {
    for (expected, holds, fails) in [
        (Expected::Absent, vec![], vec![1]),
        (Expected::Exists, vec![1], vec![]),
        (Expected::At(1), vec![1], vec![1, 2]),
    ] {
        let told = |ids: &[u64]| {
            let mut story = Story::with(ids);
            story.call(
                Op::append(A, Some(expected), &[9]),
                conflict(ids.len() as u64),
            );
            story
        };
        told(&fails).accepted(&fails, &[]);
        told(&holds).rejected(&holds, &[]);
    }
}

#[test]
fn a_conflict_that_does_not_name_all_conditions_that_fail_is_rejected() {
    let told = |failed: &[(usize, u64)]| {
        let mut story = Story::with(&[1]);
        let conditions = vec![
            (A, Expected::At(0)),
            (B, Expected::Absent),
            (B, Expected::At(7)),
        ];
        let op = Op::Append {
            conditions,
            records: vec![(A, vec![2])],
        };
        story.call(
            op,
            Answer::Conflict {
                failed: failed.to_vec(),
            },
        );
        story
    };
    told(&[(0, 1), (2, 0)]).accepted(&[1], &[]);
    for failed in [
        vec![],
        vec![(0, 1)],
        vec![(2, 0)],
        vec![(0, 1), (1, 0), (2, 0)],
        vec![(0, 1), (2, 1)],
    ] {
        told(&failed).rejected(&[1], &[]);
    }
}

#[test]
fn an_old_state_read_after_a_newer_one_is_rejected() {
    let told = |first: &[u64], second: &[u64]| {
        let mut story = Story::with(&[1]);
        let append = story.begin(Op::append(A, None, &[2]));
        story.call(Op::read(A), records(first));
        story.call(Op::read(A), records(second));
        story.end(append, appended(2));
        story
    };
    told(&[1], &[1]).accepted(&[1, 2], &[]);
    told(&[1], &[1, 2]).accepted(&[1, 2], &[]);
    told(&[1, 2], &[1, 2]).accepted(&[1, 2], &[]);
    told(&[1, 2], &[1]).rejected(&[1, 2], &[]);
}

#[test]
fn a_latest_version_that_is_old_is_rejected() {
    let told = |version: u64, id: Option<u64>| {
        let mut story = Story::with(&[1, 2]);
        story.call(
            Op::Latest { keys: vec![A] },
            Answer::Latest {
                latest: vec![(version, id)],
            },
        );
        story
    };
    told(2, Some(2)).accepted(&[1, 2], &[]);
    for (version, id) in [
        (1, Some(1)),
        (2, Some(1)),
        (2, None),
        (0, None),
        (3, Some(2)),
    ] {
        told(version, id).rejected(&[1, 2], &[]);
    }
}

#[test]
fn a_read_that_leaves_records_out_or_changes_their_place_is_rejected() {
    let told = |from: u64, backward: bool, max: u64, records: &[(u64, u64)]| {
        let mut story = Story::with(&[11, 12, 13]);
        let op = Op::Read {
            key: A,
            from,
            backward,
            max,
        };
        story.call(
            op,
            Answer::Records {
                latest: 3,
                records: records.to_vec(),
            },
        );
        story
    };
    let ends = [11, 12, 13];
    told(2, false, 0, &[(2, 12), (3, 13)]).accepted(&ends, &[]);
    told(2, true, 0, &[(2, 12), (1, 11)]).accepted(&ends, &[]);
    told(0, true, 1, &[(3, 13)]).accepted(&ends, &[]);
    told(9, false, 0, &[]).accepted(&ends, &[]);
    told(2, false, 0, &[(2, 12)]).rejected(&ends, &[]);
    told(2, false, 0, &[(3, 13)]).rejected(&ends, &[]);
    told(2, false, 0, &[(1, 12), (2, 13)]).rejected(&ends, &[]);
    told(2, false, 0, &[(2, 13), (3, 12)]).rejected(&ends, &[]);
    told(2, true, 0, &[(1, 11), (2, 12)]).rejected(&ends, &[]);
    told(2, false, 1, &[(2, 12), (3, 13)]).rejected(&ends, &[]);
}

#[test]
fn a_record_that_was_seen_and_is_gone_after_a_crash_is_rejected() {
    let told = |seen: &[u64]| {
        let mut story = Story::with(&[1]);
        story.begin(Op::append(A, None, &[2]));
        story.call(Op::read(A), records(seen));
        story.0.crashed();
        story
    };
    told(&[1]).accepted(&[1], &[]);
    told(&[1]).accepted(&[1, 2], &[]);
    told(&[1, 2]).accepted(&[1, 2], &[]);
    told(&[1, 2]).rejected(&[1], &[]);
}

#[test]
fn a_conflict_with_an_append_that_a_crash_undid_is_rejected() {
    let mut story = Story::with(&[1]);
    story.begin(at(1, 2));
    story.call(at(1, 3), conflict(2));
    story.0.crashed();
    story.accepted(&[1, 2], &[]);
    story.rejected(&[1], &[]);
}

#[test]
fn a_record_that_appears_long_after_the_crash_of_its_append_is_rejected() {
    let told = |first: &[u64], crashes_between: bool| {
        let mut story = Story::with(&[1]);
        story.begin(Op::append(A, None, &[2]));
        story.0.crashed();
        story.call(Op::read(A), records(first));
        if crashes_between {
            story.0.crashed();
        }
        story.call(Op::read(A), records(&[1, 2]));
        story
    };
    told(&[1, 2], false).accepted(&[1, 2], &[]);
    told(&[1], false).rejected(&[1, 2], &[]);
    told(&[1], true).rejected(&[1, 2], &[]);
    // Without a crash the append may still have been under way.
    let mut story = Story::with(&[1]);
    story.begin(Op::append(A, None, &[2]));
    story.call(Op::read(A), records(&[1]));
    story.call(Op::read(A), records(&[1, 2]));
    story.accepted(&[1, 2], &[]);
}

#[test]
fn a_record_of_a_refused_append_or_of_none_is_rejected() {
    let mut story = Story::with(&[1]);
    let refused = story.begin(Op::append(A, None, &[2]));
    story.0.refused(refused);
    story.accepted(&[1], &[]);
    story.rejected(&[1, 2], &[]);
    story.rejected(&[1, 3], &[]);
    story.call(Op::read(A), records(&[1, 2]));
    story.rejected(&[1], &[]);
}

#[test]
fn a_record_of_an_append_that_conflicted_is_rejected() {
    let mut story = Story::with(&[1]);
    story.call(at(0, 2), conflict(1));
    story.accepted(&[1], &[]);
    story.rejected(&[1, 2], &[]);
}

#[test]
fn a_record_that_is_there_twice_is_rejected() {
    let mut story = Story::with(&[1]);
    story.begin(Op::append(A, None, &[2]));
    story.accepted(&[1, 2], &[]);
    story.rejected(&[1, 2, 2], &[]);
}

#[test]
fn a_part_of_an_append_is_rejected() {
    let mut story = Story::with(&[1]);
    story.begin(Op::append(A, None, &[2, 3]));
    story.accepted(&[1, 2, 3], &[]);
    story.rejected(&[1, 2], &[]);
    story.rejected(&[1, 3], &[]);
    story.rejected(&[1, 3, 2], &[]);
}

/// An append of one record to each of A and B.
fn both(a: u64, b: u64) -> Op {
    Op::Append {
        conditions: Vec::new(),
        records: vec![(A, vec![a]), (B, vec![b])],
    }
}

#[test]
fn half_of_an_append_to_two_entities_is_rejected() {
    let mut story = Story::default();
    story.begin(both(1, 2));
    story.0.crashed();
    story.accepted(&[], &[]);
    story.accepted(&[1], &[2]);
    story.rejected(&[1], &[]);
    story.rejected(&[], &[2]);
}

#[test]
fn half_of_an_append_to_two_entities_seen_by_a_reader_is_rejected() {
    let told = |first: &[u64], second: &[u64]| {
        let mut story = Story::default();
        let append = story.begin(both(1, 2));
        story.call(Op::read(A), records(first));
        story.call(Op::read(B), records(second));
        story.end(
            append,
            Answer::Appended {
                first_versions: vec![1, 1],
            },
        );
        story
    };
    told(&[], &[]).accepted(&[1], &[2]);
    told(&[], &[2]).accepted(&[1], &[2]);
    told(&[1], &[2]).accepted(&[1], &[2]);
    // A had its record, but B, which was read later, did not.
    told(&[1], &[]).rejected(&[1], &[2]);
}

#[test]
fn half_of_an_append_to_two_entities_in_one_look_at_both_is_rejected() {
    let told = |a: (u64, Option<u64>), b: (u64, Option<u64>)| {
        let mut story = Story::default();
        let append = story.begin(both(1, 2));
        story.call(
            Op::Latest { keys: vec![A, B] },
            Answer::Latest { latest: vec![a, b] },
        );
        story.end(
            append,
            Answer::Appended {
                first_versions: vec![1, 1],
            },
        );
        story
    };
    told((0, None), (0, None)).accepted(&[1], &[2]);
    told((1, Some(1)), (1, Some(2))).accepted(&[1], &[2]);
    told((1, Some(1)), (0, None)).rejected(&[1], &[2]);
    told((0, None), (1, Some(2))).rejected(&[1], &[2]);
}

#[test]
fn appends_to_two_entities_in_different_orders_are_rejected() {
    let mut story = Story::default();
    let (one, other) = (story.begin(both(1, 11)), story.begin(both(2, 12)));
    let (first, second) = (vec![1, 1], vec![2, 2]);
    story.end(
        one,
        Answer::Appended {
            first_versions: first,
        },
    );
    let mut crossed = story.clone();
    story.end(
        other,
        Answer::Appended {
            first_versions: second,
        },
    );
    story.accepted(&[1, 2], &[11, 12]);
    story.rejected(&[1, 2], &[12, 11]);
    crossed.end(
        other,
        Answer::Appended {
            first_versions: vec![2, 1],
        },
    );
    crossed.rejected(&[1, 2], &[12, 11]);
}

#[test]
fn a_condition_on_an_entity_that_is_not_written_is_checked_at_the_same_moment() {
    let told = |first_version: u64| {
        let mut story = Story::default();
        story.call(Op::append(B, None, &[1]), appended(1));
        let op = Op::Append {
            conditions: vec![(B, Expected::At(first_version))],
            records: vec![(A, vec![2])],
        };
        story.call(op, appended(1));
        story
    };
    told(1).accepted(&[2], &[1]);
    told(0).rejected(&[2], &[1]);
}

/// Makes one answer of a correct history wrong and asserts that the checker finds it; once for
/// every `every`th call.
#[track_caller]
fn one_wrong_answer_is_found(seed: u64, shape: Shape, every: usize) {
    let history = correct_history(seed, shape);
    history.check().unwrap_or_else(|fault| panic!("{fault}"));
    for at in (0..history.calls.len()).step_by(every) {
        let mut wrong = history.clone();
        let Outcome::Answered { answer, .. } = &mut wrong.calls[at].outcome else {
            continue;
        };
        match answer {
            Answer::Appended { first_versions } => first_versions[0] += 1,
            Answer::Conflict { failed } => failed[0].1 += 10_000,
            Answer::Records { latest, .. } => *latest += 10_000,
            Answer::Latest { latest } => latest[0].0 += 10_000,
        }
        let fault = wrong.check().expect_err("one answer is wrong").to_string();
        assert!(fault.contains("not linearizable"), "{at}: {fault}");
    }
}

#[test]
fn one_wrong_answer_in_a_long_history_is_found() {
    let shape = Shape {
        clients: 64,
        calls: 2_000,
        keys: 1,
        several: false,
        crash_every: 1_000,
        give_up_every: 50,
    };
    one_wrong_answer_is_found(7, shape, 20);
}

#[test]
fn one_wrong_answer_in_a_history_of_several_entities_is_found() {
    let shape = Shape {
        clients: 16,
        calls: 300,
        keys: 3,
        several: true,
        crash_every: 300,
        give_up_every: 50,
    };
    one_wrong_answer_is_found(8, shape, 5);
}

#[test]
fn one_wrong_answer_of_64_clients_that_race_for_several_entities_is_found() {
    let shape = Shape {
        clients: 64,
        calls: 1_000,
        keys: 3,
        several: true,
        crash_every: 1_000,
        give_up_every: 50,
    };
    one_wrong_answer_is_found(9, shape, 50);
}
