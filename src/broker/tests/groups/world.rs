//! A broker on a simulated disk and clock, whose time moves from deadline to deadline; and members
//! that take what their sessions tell and send, and check its order.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::super::world::{append_of, create, encode_record, env, id_of, now, options, send};
use crate::{
    broker::{
        Broker, Error, ResponseLimit,
        groups::{
            CommitOutcome, Credit, Event, FailedPartition, GroupOffset, JoinGroup, NoOffset,
            OffsetGone, RecordsOf, Session, SessionStep,
        },
    },
    catalog::{
        Change,
        groups::{Generation, MemberId, Place, State},
    },
    env::{
        Clock,
        sim::{CrashMode, SimClock, SimDisk, SimRandom},
    },
    types::{GroupName, Offset, PartitionId, Position, RecordView, Records},
};

pub(super) const SESSION: Duration = Duration::from_secs(10);
/// The time after which members that joined are given their partitions.
pub(super) const JOINING: Duration = Duration::from_millis(250);
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// A broker with its disk and clock.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    pub(super) seed: u64,
    broker: Option<Broker>,
    next_id: u64,
    streams: Cell<u64>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut world = Self {
            disk: SimDisk::new(seed),
            clock: SimClock::new(1_700_000_000_000),
            seed,
            broker: None,
            next_id: 0,
            streams: Cell::new(1),
        };
        world.start();
        world
    }

    /// A world with a topic of this many partitions.
    pub(super) fn with_topic(topic: &str, partitions: u32) -> Self {
        let world = Self::new(1);
        create(world.broker(), topic, partitions);
        world
    }

    /// Creates a topic with plain keys, which can get more partitions.
    pub(super) fn create_plain(&self, topic: &str, partitions: u32) {
        let settings = BTreeMap::from([("keys".to_owned(), "plain".to_owned())]);
        let created = self.broker().create_topic(topic, partitions, &settings);
        self.broker().commit_all();
        let created = now(created.expect("it may be")).expect("an answer");
        created.expect("nothing fails");
    }

    pub(super) fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it runs")
    }

    pub(super) fn start(&mut self) {
        self.seed += 1_000_000;
        let env = env(&self.disk, &self.clock, &SimRandom::new(self.seed));
        let broker = Broker::open_stepped(env, options());
        self.broker = Some(broker.unwrap_or_else(|error| panic!("it does not start: {error}")));
    }

    /// Stops the broker cleanly.
    pub(super) fn stop(&mut self) {
        let broker = self.broker.take().expect("it runs");
        broker.close().expect("nothing fails");
    }

    /// Kills the broker. `mode` decides what is lost of unsynced data.
    pub(super) fn kill(&mut self, mode: CrashMode) {
        self.broker = None;
        self.disk = self.disk.power_cut(self.seed, mode);
    }

    /// Lets time pass, and does everything that becomes due for groups.
    pub(super) fn advance(&self, time: Duration) {
        self.advance_looking(time, |_| ());
    }

    /// Lets time pass, does everything that becomes due for groups, and calls `look` after each
    /// change.
    pub(super) fn advance_looking(&self, time: Duration, mut look: impl FnMut(&Self)) {
        let end = self.clock.elapsed() + time;
        let shared = &self.broker().shared;
        while let Some(next) = shared.next_group_deadline().filter(|next| *next <= end) {
            let step = next.saturating_sub(self.clock.elapsed());
            self.clock.advance(step.max(Duration::from_millis(1)));
            shared.on_deadline();
            self.broker().commit_all();
            look(self);
        }
        let rest = end.saturating_sub(self.clock.elapsed());
        self.clock.advance(rest);
    }

    /// Appends this many records to a partition; returns their ids.
    pub(super) fn append(&mut self, topic: &str, partition: u32, count: u64) -> Vec<u64> {
        let ids = self.draw_ids(count);
        let records: Vec<Vec<u8>> = ids.iter().map(|id| encode_record(*id, 40)).collect();
        let append = append_of(topic, Some(partition), &records);
        send(self.broker(), append).expect("nothing fails");
        ids
    }

    /// Reserves ids for this many future records.
    pub(super) fn draw_ids(&mut self, count: u64) -> Vec<u64> {
        let ids = (self.next_id..self.next_id + count).collect();
        self.next_id += count;
        ids
    }

    /// Lets a member join, and waits until it has its partitions.
    pub(super) fn join(&self, join: JoinGroup) -> Member {
        let member = self.try_join(join).expect("nothing speaks against it");
        self.advance(JOINING);
        member
    }

    /// Lets a member join, perhaps together with others.
    pub(super) fn try_join(&self, join: JoinGroup) -> Result<Member, Error> {
        let pending = self.broker().join_group(join)?;
        self.broker().commit_all();
        let session = now(pending).expect("an answer")?;
        let stream = self.streams.get();
        self.streams.set(stream + 1);
        Ok(Member {
            stream,
            ..Member::new(session)
        })
    }

    /// The durable state of the group.
    pub(super) fn state(&self, group: &str) -> State {
        let name = GroupName::new(group).expect("it is valid");
        let applied = self.broker().shared.sequencer.applied();
        let group = applied.groups().get(&name);
        group.map(|group| group.state().clone()).unwrap_or_default()
    }

    /// Resets an offset of the group.
    pub(super) fn reset(&self, place: Place, next: Offset) {
        self.reset_of("g", place, next);
    }

    /// Resets an offset of another group.
    pub(super) fn reset_of(&self, group: &str, place: Place, next: Offset) {
        let shared = &self.broker().shared;
        let group = GroupName::new(group).expect("it is valid");
        let mut planned = shared.sequencer.planned();
        let change =
            planned
                .groups()
                .decide_reset(&group, vec![(place, next)], shared.clock.now_ms());
        let change = change.expect("there is room");
        let queued =
            shared
                .sequencer
                .plan(&mut planned, Change::Group { group, change }, || Ok(()));
        drop(planned);
        drop(queued.expect("there is room"));
        self.broker().commit_all();
    }

    pub(super) fn place(&self, topic: &str, partition: u32) -> Place {
        let topic = self.broker().shared.partitions.topics().find(topic);
        (topic.expect("it is there").id, PartitionId(partition))
    }

    /// Lets several members take everything, and hand over what they must, until nothing changes
    /// any more.
    pub(super) fn settle(&self, members: &mut [&mut Member]) {
        loop {
            let mut has_moved = false;
            for member in members.iter_mut() {
                has_moved |= member.take_all() > 0;
                has_moved |= member.hand_over() > 0;
                self.broker().commit_all();
            }
            if !has_moved {
                return;
            }
        }
    }
}

/// A request to join group `g` for topic `t`, with as much credit as possible.
pub(super) fn join() -> JoinGroup {
    JoinGroup {
        group: "g".to_owned(),
        topics: vec!["t".to_owned()],
        prefixes: Vec::new(),
        name: String::new(),
        member_id: None,
        instance: None,
        credit: credit(1_000_000),
        partition_credit: None,
        response: ResponseLimit::default(),
        response_bytes: |records| records.batch.records.iter().map(Bytes::len).sum(),
        no_offset: NoOffset::Start(Position::Earliest),
        offset_gone: OffsetGone::Fail,
        tells_failed: false,
        session: SESSION,
        drain: DRAIN,
        heartbeat: false,
        progress: None,
        is_ephemeral: false,
        client: "test".to_owned(),
        address: "test".to_owned(),
    }
}

/// Like [`join`], with a member name.
pub(super) fn join_named(name: &str) -> JoinGroup {
    JoinGroup {
        name: name.to_owned(),
        ..join()
    }
}

/// Credit for this many records, of any size.
pub(super) fn credit(records: u64) -> Credit {
    Credit {
        records,
        bytes: 64 << 20,
    }
}

/// A partition that a member was told it has.
#[derive(Clone, Debug)]
pub(super) struct Has {
    pub(super) topic: String,
    pub(super) generation: Generation,
    /// The offset behind the last record received.
    pub(super) next: Offset,
}

/// A record that a member got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) place: Place,
    pub(super) offset: Offset,
    pub(super) id: u64,
}

/// A member, and what it was told.
pub(super) struct Member {
    pub(super) session: Session,
    pub(super) id: MemberId,
    /// The number of its stream among all streams.
    pub(super) stream: u64,
    pub(super) has: BTreeMap<Place, Has>,
    pub(super) to_hand_over: Vec<Place>,
    /// Partitions to be handed over, as the member had them before.
    pub(super) leaving: BTreeMap<Place, Has>,
    /// Records that it was sent and has not handled yet.
    pub(super) got: Vec<Got>,
    pub(super) caught_up: u32,
    /// The partitions that it was told it cannot read on.
    pub(super) failed: Vec<FailedPartition>,
}

impl Member {
    pub(super) fn new(session: Session) -> Self {
        Self {
            id: session.member_id(),
            session,
            stream: 0,
            has: BTreeMap::new(),
            to_hand_over: Vec::new(),
            leaving: BTreeMap::new(),
            got: Vec::new(),
            caught_up: 0,
            failed: Vec::new(),
        }
    }

    /// Takes the next event; `None` if the session waits.
    pub(super) fn take(&mut self) -> Result<Option<Event>, Error> {
        let event = match self.session.step()? {
            SessionStep::Event(event) => event,
            SessionStep::Wait(_) => return Ok(None),
        };
        match &event {
            Event::Assigned(assigned) => {
                for assigned in assigned {
                    let has = Has {
                        topic: assigned.topic.to_string(),
                        generation: assigned.generation,
                        next: assigned.next_offset,
                    };
                    let place = (assigned.topic_id, assigned.partition);
                    // Records received before a partition starts again must not be committed.
                    if self.has.contains_key(&place) || self.leaving.contains_key(&place) {
                        self.got.retain(|got| got.place != place);
                        self.leaving.remove(&place);
                    }
                    let before = self.has.insert(place, has);
                    let is_later = before.is_none_or(|had| had.generation < assigned.generation);
                    assert!(
                        is_later,
                        "{place:?} is assigned again in no later generation"
                    );
                }
            }
            Event::Revoked { partitions, time } => {
                for (_, place) in partitions {
                    let had = self.has.remove(place);
                    let had = had.expect("only what was assigned is revoked");
                    if *time > Duration::ZERO {
                        self.to_hand_over.push(*place);
                    }
                    self.leaving.insert(*place, had);
                }
            }
            Event::Records(records) => self.take_records(records),
            Event::Failed(failed) => self.failed.push(failed.clone()),
            Event::CaughtUp => self.caught_up += 1,
        }
        Ok(Some(event))
    }

    fn take_records(&mut self, records: &RecordsOf) {
        let place = (records.topic_id, records.batch.partition);
        let has = self.has.get_mut(&place);
        let has = has.unwrap_or_else(|| panic!("records of {place:?}, which is not assigned"));
        assert_eq!(has.generation, records.generation, "of {place:?}");
        let mut count = 0;
        for (offset, id) in read(&records.batch.records) {
            assert!(offset >= has.next, "{place:?} goes back to {offset}");
            has.next = offset.plus(1);
            count += 1;
            self.got.push(Got { place, offset, id });
        }
        let next = records.batch.next_offset;
        if count == 0 && records.batch.erased.is_empty() {
            assert!(has.next < next, "{place:?} has not moved");
            has.next = next;
        }
        assert_eq!(has.next, next, "of {place:?}");
        assert_eq!(records.cost.records, count);
    }

    /// Takes all events that are there; returns their number.
    pub(super) fn take_all(&mut self) -> usize {
        let mut count = 0;
        while self.take().expect("the session goes on").is_some() {
            count += 1;
        }
        count
    }

    /// The ids of the records received since the last call.
    pub(super) fn ids(&mut self) -> Vec<u64> {
        self.take_all();
        self.got.drain(..).map(|got| got.id).collect()
    }

    /// Hands over the partitions that it must; returns their number.
    pub(super) fn hand_over(&mut self) -> usize {
        let places = std::mem::take(&mut self.to_hand_over);
        if !places.is_empty() {
            let named = self.named(&places);
            self.session.drained(&named).expect("the session goes on");
        }
        places.len()
    }

    /// The session's ids for these partitions, found by topic name.
    pub(super) fn named(&self, places: &[Place]) -> Vec<Place> {
        let of_session = |place: &Place| {
            let topic = &self.leaving.get(place)?.topic;
            self.session.place(topic, Some(place.0), place.1)
        };
        places.iter().filter_map(of_session).collect()
    }

    /// The partitions of `t` that the member has.
    pub(super) fn partitions(&self) -> Vec<u32> {
        self.has.keys().map(|(_, partition)| partition.0).collect()
    }

    /// Commits all records received from a partition.
    pub(super) fn commit(&mut self, world: &World, place: Place) -> CommitOutcome {
        let has = self.has.get(&place).expect("it has it").clone();
        self.commit_at(world, place, &has).expect("an outcome")
    }

    /// Commits as if this was the member's position and generation.
    pub(super) fn commit_at(
        &mut self,
        world: &World,
        place: Place,
        has: &Has,
    ) -> Result<CommitOutcome, Error> {
        let pending = self.session.commit(vec![offset(place, has)])?;
        world.broker().commit_all();
        let mut outcomes = now(pending).expect("an answer")?;
        assert_eq!(outcomes.len(), 1);
        Ok(outcomes.remove(0))
    }
}

/// The offset behind the last record received, as a commit.
pub(super) fn offset(place: Place, has: &Has) -> GroupOffset {
    GroupOffset {
        topic: has.topic.clone(),
        topic_id: Some(place.0),
        partition: place.1,
        next_offset: has.next,
        metadata: Bytes::new(),
        generation: Some(has.generation),
        member: None,
    }
}

/// The offset and id of each record.
fn read(slices: &[Bytes]) -> Vec<(Offset, u64)> {
    let mut found = Vec::new();
    for slice in slices {
        for record in Records::new(slice) {
            let record = RecordView::parse(record.expect("a record").1).expect("a record");
            let offset = Offset(record.offset.expect("the broker's field"));
            found.push((offset, id_of(record.value.expect("a value"))));
        }
    }
    found
}

/// The error with which a session ends.
pub(super) fn end_of(member: &mut Member) -> Error {
    loop {
        match member.take() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the session waits"),
            Err(error) => return error,
        }
    }
}
