//! The records that a session sends. Partitions take turns, each within its own credit and all
//! within the member's.

use std::{
    future::{Future, poll_fn},
    ops::Bound::{Excluded, Included, Unbounded},
    pin::Pin,
    task::Poll,
};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    assignment::{Assigned, Followed},
    session::{RecordsOf, Session},
    under_way::Credit,
};
use crate::{
    broker::{
        Error, Filter, ReadBatch, ResponseLimit,
        fetched::{Chosen, Most},
        lock,
        partition_cursor::{PartitionCursor, Returned},
    },
    catalog::groups::Place,
    types::Offset,
};

type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Session {
    /// The next records of any partition. A partition's turn lasts until everything that was read
    /// ahead is sent, or its credit is used up.
    pub(super) fn next_records(&mut self) -> Result<Option<RecordsOf>, Error> {
        for _ in 0..=self.partitions.len() {
            if self.credit_left().is_none() {
                return Ok(None);
            }
            if let Some(place) = self.turn {
                let records = self.records_of(place)?;
                if records.is_some() {
                    if self.fetched.is_none() {
                        self.pass_turn();
                    }
                    return Ok(records);
                }
            }
            self.pass_turn();
        }
        Ok(None)
    }

    /// Whether the next step reads no file and sends no more than `bytes` of records.
    pub(crate) fn is_light(&self, bytes: usize) -> bool {
        let news = lock(&self.live.state).news();
        if news.is_assignment_old {
            // A group that begins at a time must look for it in files.
            return false;
        }
        let has_moved = self.topics.values().any(Followed::has_moved);
        let is_at_rest = self.is_at_rest && !news.is_any() && !has_moved;
        if is_at_rest || self.credit_left().is_none() {
            return true;
        }
        if let Some(fetched) = &self.fetched {
            let turn = self.turn.and_then(|turn| self.partitions.get(&turn));
            let is_stale = |of: &Assigned| of.read.is_stale(&of.at, &self.fetched);
            return fetched.memory() <= bytes && !turn.is_some_and(is_stale);
        }
        let begin = self.turn.map_or(Unbounded, Included);
        let behind = self.partitions.range((begin, Unbounded));
        let before = self.turn.map(|turn| self.partitions.range(..turn));
        for (place, assigned) in behind.chain(before.into_iter().flatten()) {
            let PartitionCursor { cursor, limit } = assigned.read;
            let limit = match has_moved {
                true => assigned.at.range().1,
                false => limit,
            };
            let may_be_sent = self.live.room(*place).is_some() && !self.is_aside(*place);
            if cursor.next < limit && may_be_sent {
                let reader = self.shared.partitions.reader(&assigned.at);
                return reader.has_in_memory(cursor.next, limit, bytes);
            }
        }
        true
    }

    /// The next notice of an erasure that the client was not told, with the position in its
    /// partition.
    pub(super) fn next_notice(&mut self) -> Option<RecordsOf> {
        for (topic, followed) in &mut self.topics {
            while let Some((id, erased)) = followed.topic.notices.next(&mut followed.notices) {
                let Some(assigned) = self.partitions.get(&(*topic, id)) else {
                    continue;
                };
                let mut records = assigned.records(Vec::new());
                records.batch.erased.push(erased);
                return Some(records);
            }
        }
        None
    }

    /// Whether everything was sent, except in paused partitions.
    pub(super) fn has_caught_up(&self) -> bool {
        let is_done = |(place, assigned): (&Place, &Assigned)| {
            assigned.read.is_at_limit() || self.live.is_paused(*place) || self.is_aside(*place)
        };
        self.credit_left().is_some()
            && self.ending.is_none()
            && !self.partitions.is_empty()
            && self.partitions.iter().all(is_done)
    }

    /// Resolves when there may be something to tell or send.
    pub(super) fn wait(&self) -> Waiting {
        let mut waits: Vec<Waiting> = vec![changed(self.woken.clone())];
        for followed in self.topics.values() {
            waits.push(changed(followed.moved.clone()));
        }
        Box::pin(poll_fn(move |context| {
            let mut is_any = false;
            for wait in &mut waits {
                is_any = is_any || wait.as_mut().poll(context).is_ready();
            }
            if is_any {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }))
    }

    fn credit_left(&self) -> Option<Credit> {
        self.credit.get().without(Credit::default())
    }

    /// Passes the turn to the next partition.
    fn pass_turn(&mut self) {
        self.fetched = None;
        let next = self.turn.and_then(|turn| {
            let behind = (Excluded(turn), Unbounded);
            self.partitions.range(behind).next()
        });
        let next = next.or_else(|| self.partitions.first_key_value());
        self.turn = next.map(|(place, _)| *place);
    }

    /// The next records of the partition whose turn it is.
    fn records_of(&mut self, place: Place) -> Result<Option<RecordsOf>, Error> {
        let mut has_moved = false;
        loop {
            let chosen = match self.choose(place) {
                Ok(chosen) => chosen,
                Err(error) => {
                    self.set_aside(place, error)?;
                    None
                }
            };
            let Some((began, chosen)) = chosen else {
                // No records are left to send, but the position has moved past the last one that
                // was sent. The client must know the position to commit that it has read
                // everything.
                let moved = self.partitions.get(&place).filter(|_| has_moved);
                return Ok(moved.map(|assigned| assigned.records(Vec::new())));
            };
            if chosen.count == 0 {
                has_moved = true;
                continue;
            }
            match self.send(place, began, chosen) {
                Ok(records) => return Ok(records),
                Err(error) => self.set_aside(place, error)?,
            }
        }
    }

    /// Handles an error of a partition with which the session cannot continue.
    fn set_aside(&mut self, place: Place, error: Error) -> Result<(), Error> {
        match self.partitions.get(&place) {
            Some(assigned) => self.end_behind(place, assigned.generation, error),
            None => Err(error),
        }
    }

    /// Records of a partition to send, with the position before them.
    fn choose(&mut self, place: Place) -> Result<Option<(PartitionCursor, Chosen)>, Error> {
        if self.is_aside(place) {
            return Ok(None);
        }
        let goes_on = self.ending.is_none();
        let Some(assigned) = self.partitions.get_mut(&place) else {
            return Ok(None);
        };
        if let Some(followed) = self.topics.get(&place.0)
            && assigned.moves != followed.moves
            && goes_on
        {
            assigned.moves = followed.moves;
            assigned.read.limit = assigned.at.range().1;
        }
        if assigned.read.is_at_limit() {
            return Ok(None);
        }
        let Some(room) = self.live.room(place) else {
            return Ok(None);
        };
        let most = most(room.min(self.credit.get()), self.response);
        let began = assigned.read;
        let (owner, fetched) = (&self.shared.partitions, &mut self.fetched);
        let filter = Filter::default();
        let read = assigned
            .read
            .read(owner, &assigned.at, fetched, &filter, most);
        match read {
            Ok(chosen) => Ok(chosen.map(|chosen| (began, chosen))),
            Err(error) => self.go_on_behind(place, error),
        }
    }

    /// Continues behind an error, if the session's settings allow it.
    fn go_on_behind(
        &mut self,
        place: Place,
        error: Error,
    ) -> Result<Option<(PartitionCursor, Chosen)>, Error> {
        let Some(assigned) = self.partitions.get(&place) else {
            return Ok(None);
        };
        if assigned.at.is_deleted() {
            self.revoke(place, None);
            return Ok(None);
        }
        if !matches!(error, Error::OffsetOutOfRange { .. }) {
            return Err(error);
        }
        let gone = assigned.read.cursor.next;
        let next = self.begin_at(&assigned.at, gone)?;
        if self.is_passed_over(&assigned.at, gone) {
            let commit = self.commit_to(place, assigned.generation, next);
            self.commit_first(vec![commit])?;
        }
        let (_, limit) = assigned.at.range();
        let read = PartitionCursor::new(next, limit);
        if let Some(assigned) = self.partitions.get_mut(&place) {
            assigned.read = read;
        }
        Ok(Some((read, Chosen::default())))
    }

    /// Counts records that are sent.
    ///
    /// # Errors
    ///
    /// If they make a larger response than the client takes. Then nothing has changed.
    fn send(
        &mut self,
        place: Place,
        began: PartitionCursor,
        chosen: Chosen,
    ) -> Result<Option<RecordsOf>, Error> {
        let Some(assigned) = self.partitions.get_mut(&place) else {
            return Ok(None);
        };
        let credit = Credit {
            records: chosen.count,
            bytes: u64::try_from(chosen.bytes).unwrap_or(u64::MAX),
        };
        let next = assigned.read.cursor.next;
        let is_replayed = |until: &Offset| began.cursor.next < *until;
        let records = RecordsOf {
            cost: credit,
            replayed_below: assigned.replay_until.filter(is_replayed),
            ..assigned.records(chosen.slices)
        };
        if chosen.bytes > self.response.most().bytes {
            let bytes = (self.response_bytes)(&records);
            let checked = self
                .response
                .check(bytes, &assigned.at, &records.batch.records);
            if let Err(error) = checked {
                assigned.read = began;
                self.fetched = None;
                return Err(error);
            }
        }
        self.credit.take(credit);
        let mut state = lock(&self.live.state);
        state.credit = self.credit.get();
        if let Some(open) = state.partitions.get_mut(&place) {
            if open.under_way.is_empty() {
                open.progress_at = self.shared.env.clock.elapsed();
                if let Some(progress) = self.live.progress {
                    self.shared.alarm.wake_by(open.progress_at + progress);
                }
            }
            open.under_way.send(next, credit);
        }
        drop(state);
        let last = Returned::new(began.cursor, next, chosen.in_files);
        self.last = Some((assigned.at.clone(), last));
        Ok(Some(records))
    }
}

impl Assigned {
    /// A message with these records and the position behind them.
    fn records(&self, records: Vec<Bytes>) -> RecordsOf {
        RecordsOf {
            topic: self.at.topic.name.clone(),
            topic_id: self.at.topic.id,
            generation: self.generation,
            batch: ReadBatch {
                partition: self.at.partition().id,
                next_offset: self.read.cursor.next,
                high_watermark: self.read.limit,
                caught_up: self.read.is_at_limit(),
                erased: Vec::new(),
                records,
            },
            cost: Credit::default(),
            replayed_below: None,
        }
    }
}

/// The bound of one response within this credit.
fn most(credit: Credit, response: ResponseLimit) -> Most {
    let bytes = usize::try_from(credit.bytes).unwrap_or(usize::MAX);
    Most {
        records: credit.records,
        bytes: bytes.min(response.most().bytes),
    }
}

fn changed(mut moved: watch::Receiver<()>) -> Waiting {
    Box::pin(async move {
        // If the sender is gone, the topic is too, and the next step reports it.
        drop(moved.changed().await);
    })
}
