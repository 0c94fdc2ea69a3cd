//! A session with a partition that it cannot go on with: its records are damaged, say. It ends with
//! that error, but not before its client has committed what it was sent. Otherwise it would be sent
//! the same again with each attempt, and nothing of it would ever be committed.
//!
//! Until then the partition is left aside. The others go on up to what they hold at that moment, so
//! that one of them keeps nobody from the rest. Where the client does not commit all of it, its
//! time to hand partitions over counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::session::Session;
use crate::{
    broker::{Error, lock},
    catalog::groups::{Generation, Place},
};

/// The end that a session comes to.
pub(super) struct Ending {
    error: Error,
    /// The partition that gave the error, as it was assigned,
    first: (Place, Generation),
    /// and all that gave one.
    aside: BTreeSet<Place>,
    /// It waits for nothing any longer.
    until: Duration,
}

impl Session {
    /// A partition gives an error, with which the session is to end. One that may pass ends it at
    /// once: the member joins again, and goes on.
    pub(super) fn end_behind(
        &mut self,
        place: Place,
        generation: Generation,
        error: Error,
    ) -> Result<(), Error> {
        if error.may_pass() {
            return Err(error);
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

    /// The session does not end if the partition is not its member's any more, or was assigned
    /// anew: a reset has mended it.
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
        ending.is_some_and(|ending| ending.aside.contains(&place))
    }

    /// Ends the session if it is to, and its client has done with what it has, or has had its time.
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

    /// Whether all that its partitions held has been sent and committed, or handed over.
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

    /// Whether the session has come to its time.
    pub(super) fn is_late(&self) -> bool {
        let now = self.shared.env.clock.elapsed();
        let ending = self.ending.as_ref();
        ending.is_some_and(|ending| now >= ending.until)
    }
}
