//! Records the history of a run.
//!
//! One recorder sees every call of every client: [`Recorder::invoke`] before the call is made,
//! [`Recorder::answered`] after its answer. Both tick the clock, so that a call that was answered
//! before another was made comes before it, and all other calls are concurrent. With threads a
//! mutex protects the recorder; it is not held during the call.
//!
//! A call that is repeated after a failure, as by an idempotent client, is one call, from the first
//! attempt to the answer of the last one.

use std::collections::BTreeMap;

use super::{
    checker::Tick,
    entity::{Answer, Key, Op},
    history::{Call, History, Outcome},
};

/// A recorded call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallId(usize);

/// Records a history.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder {
    clock: u64,
    last_id: u64,
    /// The calls, each with whether it was refused.
    calls: Vec<(Call, bool)>,
}

impl Recorder {
    /// Ids that no record has yet.
    pub(super) fn fresh_ids(&mut self, count: u64) -> Vec<u64> {
        self.last_id += count;
        (self.last_id - count + 1..=self.last_id).collect()
    }

    /// Records that a client makes a call. Unless more is recorded, the outcome is unknown: the
    /// call may take effect at any time or never. Its client may go on to other calls.
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

    /// Records the answer.
    pub(super) fn answered(&mut self, call: CallId, answer: Answer) {
        let at = self.tick();
        self.open_call(call).0.outcome = Outcome::Answered { answer, at };
    }

    /// Records that the call was refused and never takes effect. It is not part of the history, and
    /// its record ids belong to no call.
    pub(super) fn refused(&mut self, call: CallId) {
        self.open_call(call).1 = true;
    }

    /// Records that the broker has crashed and that no other broker has been called yet. Unanswered
    /// calls have taken effect or not, which is not known; after this moment none of them does.
    pub(super) fn crashed(&mut self) {
        let by = Some(self.tick());
        for (call, _) in &mut self.calls {
            if matches!(call.outcome, Outcome::Unknown { by: None }) {
                call.outcome = Outcome::Unknown { by };
            }
        }
    }

    /// Records that a client repeats a call from before a crash, in a way that lets it take effect
    /// once. The call is under way again, and stays one call.
    pub(super) fn retried(&mut self, CallId(call): CallId) {
        let (of, refused) = &mut self.calls[call];
        assert!(
            !*refused && matches!(of.outcome, Outcome::Unknown { .. }),
            "it is over already: {of:?}"
        );
        of.outcome = Outcome::Unknown { by: None };
    }

    /// Returns the history, with the records of every entity when no call could take effect any
    /// more: see `history.rs`.
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
