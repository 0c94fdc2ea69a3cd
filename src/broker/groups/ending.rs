//! Ends a session that cannot continue with a partition, for example because records are damaged,
//! unless its client wants to be told so and to go on with the others (`failing.rs`).
//!
//! The session ends with that error, but first its client may commit what it was sent. Otherwise it
//! would be sent the same records at each attempt, and none would ever be committed.
//!
//! Until then nothing is sent of that partition. The others continue up to their ends at that
//! moment, so that none of them delays the end for ever. If the client does not commit everything,
//! the session ends after the time in which the member must hand partitions over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::session::Session;
use crate::{
    broker::{Error, lock},
    catalog::groups::{Generation, Place},
};

/// The pending end of a session.
pub(super) struct Ending {
    error: Error,
    /// The partition whose error it was, as it was assigned.
    first: (Place, Generation),
    /// All partitions that gave an error.
    aside: BTreeSet<Place>,
    /// The session ends at this time at the latest.
    until: Duration,
}

impl Session {
    /// Handles an error of a partition that must end the session. An error that may pass ends it at
    /// once: the member joins again and continues.
    pub(super) fn end_behind(
        &mut self,
        place: Place,
        generation: Generation,
        error: Error,
    ) -> Result<(), Error> {
        if error.may_pass() {
            return Err(error);
        }
        if self.give_up(place, generation, &error) {
            return Ok(());
        }
        if let Some(ending) = &mut self.ending {
            ending.aside.insert(place);
            return Ok(());
        }
        let until = self.shared.env.clock.elapsed() + self.drain;
        self.ending = Some(Ending {
            error,
            first: (place, generation),
            aside: BTreeSet::from([place]),
            until,
        });
        lock(&self.live.state).ends_at = Some(until);
        self.shared.alarm.wake_by(until);
        Ok(())
    }

    /// Cancels the end if the partition is not the member's any more, or was assigned anew: a reset
    /// has resolved the error.
    pub(super) fn look_whether_mended(&mut self, generations: &BTreeMap<Place, Generation>) {
        let is_mended = |ending: &mut Ending| {
            let (place, generation) = ending.first;
            generations.get(&place) != Some(&generation)
        };
        if self.ending.take_if(is_mended).is_some() {
            lock(&self.live.state).ends_at = None;
            self.is_at_rest = false;
        }
    }

    pub(super) fn is_aside(&self, place: Place) -> bool {
        let ending = self.ending.as_ref();
        ending.is_some_and(|ending| ending.aside.contains(&place)) || self.failing.has_any_of(place)
    }

    /// Ends the session if its client is done with what it was sent, or its time is over.
    pub(super) fn end_if_due(&self) -> Result<(), Error> {
        let Some(ending) = &self.ending else {
            return Ok(());
        };
        let is_late = self.shared.env.clock.elapsed() >= ending.until;
        match is_late || self.has_done_with_all() {
            true => Err(ending.error.clone()),
            false => Ok(()),
        }
    }

    /// Whether everything that its partitions had was sent and committed, or handed over.
    fn has_done_with_all(&self) -> bool {
        let state = lock(&self.live.state);
        let mut open = state.partitions.iter();
        let is_done = |place: &Place| {
            let known = self.partitions.get(place);
            known.is_none_or(|known| known.read.is_at_limit())
        };
        self.draining.is_empty()
            && open.all(|(place, open)| {
                let is_sent = is_done(place) || open.is_paused || self.is_aside(*place);
                is_sent && open.under_way.is_empty()
            })
    }

    /// Whether the session's time is over.
    pub(super) fn is_late(&self) -> bool {
        let now = self.shared.env.clock.elapsed();
        let ending = self.ending.as_ref();
        ending.is_some_and(|ending| now >= ending.until)
    }
}
