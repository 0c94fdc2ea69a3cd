//! How the history of a run is written down while it goes on.
//!
//! One recorder sees every call of every client: [`Recorder::invoke`] before the call is made,
//! [`Recorder::answered`] behind its answer. Both tick the clock, so that calls of which one was
//! answered before the other was made are in order, and all others are concurrent. On threads it
//! stands behind a mutex, which is let go while the call is out.
//!
//! A call that is sent again after a failure, as one that an idempotent client repeats, is one
//! call, from when it was first made to the answer of the last try.

use std::collections::BTreeMap;

use super::{
    checker::Tick,
    entity::{Answer, Key, Op},
    history::{Call, History, Outcome},
};

/// A call that was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallId(usize);

/// Writes down a history.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    clock: u64,
    last_id: u64,
    /// With whether it was refused.
    calls: Vec<(Call, bool)>,
}

impl Recorder {
    /// Ids that no record has had.
    pub(super) fn fresh_ids(&mut self, count: u64) -> Vec<u64> {
        self.last_id += count;
        (self.last_id - count + 1..=self.last_id).collect()
    }

    /// A client is about to make a call. Without anything further the call stays unknown: it may
    /// take effect at any time, or never. Its client may go on to other calls.
    pub(super) fn invoke(&mut self, client: u32, op: Op) -> CallId {
        let invoked = self.tick();
        self.calls.push((
            Call {
                client,
                op,
                invoked,
                outcome: Outcome::Unknown { by: None },
            },
            false,
        ));
        CallId(self.calls.len() - 1)
    }

    /// It has been answered.
    pub(super) fn answered(&mut self, call: CallId, answer: Answer) {
        let at = self.tick();
        self.open_call(call).0.outcome = Outcome::Answered { answer, at };
    }

    /// It has been refused: nothing happened, and nothing will. It is no part of the history, and
    /// its records are of no call.
    pub(super) fn refused(&mut self, call: CallId) {
        self.open_call(call).1 = true;
    }

    /// The broker is gone, and no other has been asked yet. Of calls that are not answered it is
    /// decided, though not known, whether they have taken effect: after this none does.
    pub(super) fn crashed(&mut self) {
        let by = Some(self.tick());
        for (call, _) in &mut self.calls {
            if matches!(call.outcome, Outcome::Unknown { by: None }) {
                call.outcome = Outcome::Unknown { by };
            }
        }
    }

    /// Its client is about to make a call of before a crash once more, in a way that lets it take
    /// effect once: it is under way again, and is one call.
    pub(super) fn retried(&mut self, CallId(call): CallId) {
        let (of, refused) = &mut self.calls[call];
        assert!(
            !*refused && matches!(of.outcome, Outcome::Unknown { .. }),
            "it is over already: {of:?}"
        );
        of.outcome = Outcome::Unknown { by: None };
    }

    /// The history, with what every entity held when nothing could take effect any more: see
    /// `history.rs`.
    pub(super) fn finish(self, ends: BTreeMap<Key, Vec<u64>>) -> History {
        let calls = self
            .calls
            .into_iter()
            .filter(|(_, refused)| !refused)
            .map(|(call, _)| call);
        History {
            calls: calls.collect(),
            ends,
        }
    }

    fn open_call(&mut self, CallId(call): CallId) -> &mut (Call, bool) {
        let (of, refused) = &self.calls[call];
        assert!(
            !refused && matches!(of.outcome, Outcome::Unknown { by: None }),
            "it is over already: {of:?}"
        );
        &mut self.calls[call]
    }

    fn tick(&mut self) -> Tick {
        self.clock += 1;
        Tick(self.clock)
    }
}
