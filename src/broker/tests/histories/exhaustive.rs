//! Compares the checker with the definition, by trying every order of small histories, both correct
//! ones and ones that were tampered with.

use super::{
    super::world::below,
    checker::{self, Rejection, Tick},
    entity::{Answer, Op},
    history::{Call, History, Outcome},
    plain::{Plain, PlainModel, assert_explains},
    random::{Shape, correct_history},
};
use crate::env::sim::SimRandom;

/// The most calls of a history whose orders are all tried.
const CALLS: usize = 7;

const SEEDS: u64 = 20_000;

/// Whether some order of a history's calls explains it; tries all of them.
fn some_order_explains(history: &History) -> bool {
    goes_on(history, &mut Vec::new(), &Plain::default())
}

fn goes_on(history: &History, order: &mut Vec<usize>, state: &Plain) -> bool {
    let is_left = |at: &usize| !order.contains(at);
    let left: Vec<usize> = (0..history.calls.len()).filter(is_left).collect();
    let may_be_left = |at: &usize| matches!(history.calls[*at].outcome, Outcome::Unknown { .. });
    if *state == Plain::of(&history.ends) && left.iter().all(may_be_left) {
        return true;
    }
    left.into_iter().any(|at| {
        let call = &history.calls[at];
        let was_over = |before: &usize| {
            call.end()
                .is_some_and(|end| end < history.calls[*before].invoked)
        };
        if order.iter().any(was_over) {
            return false;
        }
        let mut after = state.clone();
        let says = after.apply(&call.op);
        let is_told = match &call.outcome {
            Outcome::Answered { answer, .. } => *answer == says,
            Outcome::Happened { .. } | Outcome::Unknown { .. } => true,
        };
        if !is_told {
            return false;
        }
        order.push(at);
        let explains = goes_on(history, order, &after);
        order.pop();
        explains
    })
}

/// A change that may make a history wrong.
fn tamper(history: &mut History, chance: &SimRandom) {
    let below = |bound: usize| below(chance, bound as u64) as usize;
    if history.calls.is_empty() {
        return;
    }
    let at = below(history.calls.len());
    let other = below(history.calls.len());
    match below(9) {
        0 | 1 => tamper_with_answer(&mut history.calls[at], chance),
        2 => {
            history.calls.remove(at);
        }
        3 => {
            if let Some(end) = history.calls[at].end() {
                history.calls[at].outcome = Outcome::Unknown {
                    by: Some(end).filter(|_| below(2) == 0),
                };
            }
        }
        4 => {
            let call = &mut history.calls[at];
            let length = call.end().map_or(4, |end| end.0 - call.invoked.0);
            let earlier = Tick(call.invoked.0 + below(length as usize + 1) as u64);
            match &mut call.outcome {
                Outcome::Answered { at, .. } => *at = earlier,
                Outcome::Happened { by } | Outcome::Unknown { by } => *by = Some(earlier),
            }
        }
        5 => {
            let call = &mut history.calls[at];
            let length = call.end().map_or(4, |end| end.0 - call.invoked.0);
            call.invoked.0 += below(length as usize + 1) as u64;
            history.calls.sort_by_key(|call| call.invoked);
        }
        6 => {
            let outcome = history.calls[other].outcome.clone();
            if let (Outcome::Answered { answer, .. }, Outcome::Answered { answer: told, .. }) =
                (outcome, &mut history.calls[at].outcome)
            {
                *told = answer;
            }
        }
        7 => tamper_with_an_end(history, chance),
        _ => {
            let swapped = history.calls[other].op.clone();
            history.calls[other].op = std::mem::replace(&mut history.calls[at].op, swapped);
        }
    }
}

fn tamper_with_an_end(history: &mut History, chance: &SimRandom) {
    let key = below(chance, history.ends.len() as u64) as usize;
    let Some(end) = history.ends.values_mut().nth(key) else {
        return;
    };
    match below(chance, 4) {
        0 => {
            end.pop();
        }
        1 => end.push(1_000),
        2 => end.extend(
            history
                .calls
                .last()
                .and_then(|call| call.op.ids().first().copied()),
        ),
        _ if end.len() > 1 => end.swap(0, 1),
        _ => {}
    }
}

fn tamper_with_answer(call: &mut Call, chance: &SimRandom) {
    let Outcome::Answered { answer, .. } = &mut call.outcome else {
        return;
    };
    let kind = below(chance, 4);
    let nudge = |version: &mut u64| {
        *version = if kind.is_multiple_of(2) {
            *version + 1
        } else {
            version.saturating_sub(1)
        }
    };
    match answer {
        Answer::Appended { .. } if kind == 3 => {
            *answer = Answer::Conflict {
                failed: vec![(0, below(chance, 4))],
            };
        }
        Answer::Appended { first_versions } => first_versions.iter_mut().for_each(nudge),
        Answer::Conflict { .. } if kind == 3 => {
            let Op::Append { records, .. } = &call.op else {
                return;
            };
            *answer = Answer::Appended {
                first_versions: records.iter().map(|_| 1 + below(chance, 3)).collect(),
            };
        }
        Answer::Conflict { failed } => failed.iter_mut().for_each(|(_, version)| nudge(version)),
        Answer::Records { latest, .. } if kind < 2 => nudge(latest),
        Answer::Records { latest, records } => {
            records.pop();
            *latest = records.len() as u64;
        }
        Answer::Latest { latest } => latest.iter_mut().for_each(|(version, _)| nudge(version)),
    }
}

#[test]
fn the_checker_agrees_with_every_order_of_a_small_history() {
    let (mut explained, mut refused, mut unknown_happened, mut unknown_never) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let several = seed % 2 == 0;
        let shape = Shape {
            clients: 4,
            calls: CALLS,
            keys: if several { 2 } else { 1 },
            several,
            crash_every: 12,
            give_up_every: 8,
        };
        let chance = SimRandom::new(seed ^ 0x7a3e);
        let mut history = correct_history(seed, shape);
        for _ in 0..seed % 4 {
            tamper(&mut history, &chance);
        }
        let expected = some_order_explains(&history);
        explained += u64::from(expected);
        refused += u64::from(!expected);
        assert!(
            expected || seed % 4 > 0,
            "seed {seed}: nobody tampered with {history:#?}"
        );

        match history.check() {
            Ok(accepted) => {
                assert!(expected, "seed {seed}: accepted {history:#?}");
                unknown_happened += accepted.unknown_happened;
                unknown_never += accepted.unknown_never;
                accepted
                    .orders
                    .iter()
                    .for_each(|order| assert_explains(&history, order));
            }
            Err(fault) => assert!(!expected, "seed {seed}: {fault}\n{history:#?}"),
        }
        // Checks once more without the knowledge from the end of whether an append happened, and
        // where.
        match checker::check(
            &PlainModel {
                end: Plain::of(&history.ends),
            },
            &history.calls,
        ) {
            Ok(order) => {
                assert!(expected, "seed {seed}: accepted unsettled {history:#?}");
                assert_explains(&history, &order);
            }
            Err(Rejection::NoOrder { .. }) => {
                assert!(!expected, "seed {seed}: unsettled {history:#?}");
            }
            Err(Rejection::TooManyOrders) => panic!("seed {seed}: undecided"),
        }
    }
    println!("{explained} explained, {refused} refused");
    assert!(
        unknown_happened > 0 && unknown_never > 0,
        "{unknown_happened} happened, {unknown_never} did not"
    );
    assert!(
        explained > SEEDS / 4 && refused > SEEDS / 4,
        "{explained} explained, {refused} refused"
    );
}
