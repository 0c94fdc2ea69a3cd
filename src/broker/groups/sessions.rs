//! The open sessions of members, as far as others deal with them: fencing them, waking them when
//! their partitions or committed offsets change, and showing them.
//!
//! A session is in this list from the moment when its join is decided, so the list has a member's
//! sessions in the order of their joins. A session is fenced *before* the join of a later one is
//! applied, and it checks for that after it has read the applied catalog. So it never takes a
//! generation for its own that was given to the later one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::watch;

use super::under_way::{Credit, UnderWay};
use crate::{
    broker::{Error, Shared, lock},
    catalog::groups::{Generation, GroupChange, Instance, MemberId, Place},
    types::{GroupName, Offset},
};

/// How long a session waits for a partition's first offset to be committed until it tries again.
const PLACING: Duration = Duration::from_secs(1);

/// All sessions.
#[derive(Default)]
pub(in crate::broker) struct Sessions {
    registry: Mutex<Registry>,
    /// Held while due work is done: whoever comes meanwhile finds it done.
    pub(super) round: Mutex<()>,
}

#[derive(Default)]
struct Registry {
    by_group: BTreeMap<GroupName, BTreeMap<MemberId, Vec<Arc<Live>>>>,
    /// Members whose streams have broken since this was last taken.
    lost: Vec<Lost>,
    /// Whether topics have changed, so that groups must be checked.
    topics_have_changed: bool,
    /// Whether there was no room for more partitions with owners: once there may be, groups must be
    /// checked.
    lacks_room: bool,
}

/// A member whose stream has broken.
pub(super) struct Lost {
    pub(super) group: GroupName,
    pub(super) member: MemberId,
    pub(super) at: Duration,
}

/// The part of a session that is shared with others.
pub(super) struct Live {
    pub(super) group: GroupName,
    pub(super) member: MemberId,
    /// Which client it is.
    pub(super) instance: Instance,
    /// The generation of its join. A later session of the same member has a later one.
    pub(super) joined_in: Generation,
    /// After what time without a message it is over, if it uses heartbeats.
    pub(super) silence: Option<Duration>,
    /// After what time without progress a partition is taken from it.
    pub(super) progress: Option<Duration>,
    /// How much may be under way of each partition.
    pub(super) partition_credit: Credit,
    pub(super) address: String,
    pub(super) woken: watch::Sender<()>,
    pub(super) state: Mutex<State>,
}

/// The changing part of it.
#[derive(Default)]
pub(super) struct State {
    ended: Option<Ended>,
    has_left: bool,
    /// What has changed since the session looked.
    news: News,
    pub(super) heard_at: Duration,
    pub(super) credit: Credit,
    pub(super) partitions: BTreeMap<Place, Open>,
    /// Whether partitions were taken from it for lack of progress, and its client has made none
    /// since.
    is_stuck: bool,
    /// When the session ends, even if its client is not done with what it was sent.
    pub(super) ends_at: Option<Duration>,
    /// Partitions whose first offset is being committed, and since when.
    pub(super) placing: BTreeMap<Place, Duration>,
    /// Partitions that cannot be read on, and why.
    pub(super) failed: BTreeMap<Place, Arc<str>>,
}

/// Changes that a session must be told of.
#[derive(Clone, Copy, Default)]
pub(super) struct News {
    /// The assignment may have changed.
    pub(super) is_assignment_old: bool,
    /// A partition whose credit was used up has credit again.
    has_room: bool,
    /// The session must end, and its client has committed something or its time is over.
    may_end: bool,
}

/// A partition that a session reads.
#[derive(Default)]
pub(super) struct Open {
    pub(super) under_way: UnderWay,
    pub(super) is_paused: bool,
    /// When its records were last committed, worked on, or sent while none were under way.
    pub(super) progress_at: Duration,
}

/// Why a session is over that its client did not close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Fenced,
    Silent,
}

/// A session as it is shown to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LiveMember {
    /// The client's address.
    pub(crate) address: String,
    pub(crate) credit_left: Credit,
    /// How long ago its client last sent something.
    pub(crate) heard: Duration,
}

/// Work that is due.
#[derive(Default)]
pub(super) struct Due {
    /// Members that sent nothing for too long.
    pub(super) silent: Vec<(GroupName, MemberId)>,
    /// Partitions that made no progress for too long.
    pub(super) stuck: Vec<(GroupName, MemberId, Vec<Place>)>,
}

impl Sessions {
    pub(super) fn open(&self, live: Arc<Live>) {
        let mut registry = lock(&self.registry);
        let group = registry.by_group.entry(live.group.clone()).or_default();
        group.entry(live.member).or_default().push(live);
    }

    /// Ends a session. The member counts as lost, unless it has left or has a later session.
    pub(super) fn close(&self, live: &Arc<Live>, now: Duration) {
        let mut registry = lock(&self.registry);
        let Some(members) = registry.by_group.get_mut(&live.group) else {
            return;
        };
        let Some(lives) = members.get_mut(&live.member) else {
            return;
        };
        lives.retain(|other| !Arc::ptr_eq(other, live));
        let has_another = lives.iter().any(|other| other.check().is_ok());
        if lives.is_empty() {
            members.remove(&live.member);
        }
        if members.is_empty() {
            registry.by_group.remove(&live.group);
        }
        if !has_another && !lock(&live.state).has_left {
            registry.lost.push(Lost {
                group: live.group.clone(),
                member: live.member,
                at: now,
            });
        }
    }

    pub(super) fn take_lost(&self) -> Vec<Lost> {
        std::mem::take(&mut lock(&self.registry).lost)
    }

    /// Notes that topics or their partitions have changed.
    pub(in crate::broker) fn note_topics(&self) {
        lock(&self.registry).topics_have_changed = true;
    }

    /// Notes whether there is room for more partitions with owners. Returns true when it runs out.
    pub(super) fn note_room(&self, has_room: bool) -> bool {
        let mut registry = lock(&self.registry);
        let lacked_room = std::mem::replace(&mut registry.lacks_room, !has_room);
        !has_room && !lacked_room
    }

    /// Notes that there may be room again. Returns true if there was none, so that groups must be
    /// checked.
    fn note_freed(&self) -> bool {
        let mut registry = lock(&self.registry);
        registry.topics_have_changed |= registry.lacks_room;
        registry.lacks_room
    }

    pub(super) fn take_topics_have_changed(&self) -> bool {
        std::mem::take(&mut lock(&self.registry).topics_have_changed)
    }

    /// Whether no later session of the same member has asked to join.
    pub(super) fn is_latest(&self, live: &Arc<Live>) -> bool {
        let lives = self.of_member(&live.group, live.member);
        lives.last().is_some_and(|last| Arc::ptr_eq(last, live))
    }

    /// Fences earlier sessions of the members that join by this change, which is not applied yet.
    pub(in crate::broker) fn fence(&self, group: &GroupName, change: &GroupChange) {
        for member in &change.joined {
            for live in self.of_member(group, member.id) {
                if live.joined_in < change.generation {
                    live.end(Ended::Fenced);
                }
            }
        }
    }

    /// Fences all sessions of a member that is removed.
    pub(super) fn remove(&self, group: &GroupName, member: MemberId) {
        for live in self.of_member(group, member) {
            live.end(Ended::Fenced);
        }
    }

    /// Notifies all sessions that assignments may have changed.
    pub(in crate::broker) fn tell_all(&self) {
        for live in self.all() {
            live.tell_assignment();
        }
    }

    fn of_member(&self, group: &GroupName, member: MemberId) -> Vec<Arc<Live>> {
        let registry = lock(&self.registry);
        let members = registry.by_group.get(group);
        let lives = members.and_then(|members| members.get(&member));
        lives.cloned().unwrap_or_default()
    }

    fn of_group(&self, group: &GroupName) -> Vec<Arc<Live>> {
        let registry = lock(&self.registry);
        let members = registry.by_group.get(group);
        let lives = members.into_iter().flat_map(BTreeMap::values).flatten();
        lives.cloned().collect()
    }

    fn all(&self) -> Vec<Arc<Live>> {
        let registry = lock(&self.registry);
        let members = registry.by_group.values().flat_map(BTreeMap::values);
        members.flatten().cloned().collect()
    }

    /// When [`due`](Self::due) has something next.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let registry = lock(&self.registry);
        if registry.topics_have_changed {
            return Some(Duration::ZERO);
        }
        if let Some(lost) = registry.lost.first() {
            return Some(lost.at);
        }
        let members = registry.by_group.values().flat_map(BTreeMap::values);
        members.flatten().filter_map(|live| live.deadline()).min()
    }

    /// Takes the work that is due by now.
    pub(super) fn due(&self, now: Duration) -> Due {
        let mut due = Due::default();
        for live in self.all() {
            if live.is_silent(now) {
                live.end(Ended::Silent);
                due.silent.push((live.group.clone(), live.member));
                continue;
            }
            live.place_again(now);
            live.end_in_time(now);
            let stuck = live.take_stuck(now);
            if !stuck.is_empty() {
                due.stuck.push((live.group.clone(), live.member, stuck));
            }
        }
        due
    }

    /// Whether a member's session has paused this partition.
    pub(crate) fn has_paused(&self, group: &GroupName, member: MemberId, place: Place) -> bool {
        let Some(live) = self.of_member(group, member).pop() else {
            return false;
        };
        let state = lock(&live.state);
        let open = state.partitions.get(&place);
        open.is_some_and(|open| open.is_paused)
    }

    /// Why a member's session cannot read this partition on, if it cannot.
    pub(crate) fn failure(
        &self,
        group: &GroupName,
        member: MemberId,
        place: Place,
    ) -> Option<Arc<str>> {
        let live = self.of_member(group, member).pop()?;
        let state = lock(&live.state);
        state.failed.get(&place).cloned()
    }

    /// A member's session, if it has one.
    pub(crate) fn get(
        &self,
        group: &GroupName,
        member: MemberId,
        now: Duration,
    ) -> Option<LiveMember> {
        let live = self.of_member(group, member).pop()?;
        let state = lock(&live.state);
        Some(LiveMember {
            address: live.address.clone(),
            credit_left: state.credit,
            heard: now.saturating_sub(state.heard_at),
        })
    }
}

impl News {
    pub(super) fn is_any(self) -> bool {
        self.is_assignment_old || self.has_room || self.may_end
    }
}

impl State {
    /// The state of a new session.
    pub(super) fn begin(now: Duration) -> Self {
        let news = News {
            is_assignment_old: true,
            ..News::default()
        };
        Self {
            news,
            heard_at: now,
            ..Self::default()
        }
    }

    pub(super) fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    pub(super) fn news(&self) -> News {
        self.news
    }

    /// The paused partitions.
    pub(super) fn paused(&self) -> Vec<Place> {
        let paused = self.partitions.iter().filter(|(_, open)| open.is_paused);
        paused.map(|(place, _)| *place).collect()
    }

    /// Its memory, in bytes, beside what each partition takes.
    pub(super) fn memory(&self) -> usize {
        let mut bytes = 0;
        for open in self.partitions.values() {
            bytes += open.under_way.memory();
        }
        for text in self.failed.values() {
            bytes += size_of::<(Place, Arc<str>)>() + text.len();
        }
        bytes
    }
}

impl Live {
    /// Fails if the session is over.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Some(ended) = lock(&self.state).ended else {
            return Ok(());
        };
        let group = self.group.to_string();
        match ended {
            Ended::Fenced => Err(Error::MemberFenced { group }),
            Ended::Silent => Err(Error::SessionEnded { group }),
        }
    }

    fn end(&self, ended: Ended) {
        lock(&self.state).ended.get_or_insert(ended);
        self.woken.send_replace(());
    }

    /// Notes that its member leaves, so it is not waited for.
    pub(super) fn leave(&self) {
        lock(&self.state).has_left = true;
    }

    fn tell_assignment(&self) {
        lock(&self.state).news.is_assignment_old = true;
        self.woken.send_replace(());
    }

    /// Notes that an offset of one of this session's partitions was committed. Commits are many, so
    /// the session is woken only if this one lets it continue.
    fn tell_committed(&self, place: Place, next: Offset, now: Duration) {
        let mut state = lock(&self.state);
        if state.placing.remove(&place).is_some() {
            state.news.is_assignment_old = true;
        }
        if let Some(open) = state.partitions.get_mut(&place) {
            let had_room = self.room_of(open).is_some();
            open.under_way.commit(next);
            open.progress_at = now;
            let has_room = self.room_of(open).is_some();
            state.news.has_room |= has_room && !had_room;
        }
        state.news.may_end |= state.ends_at.is_some();
        let is_news = state.news.is_any();
        drop(state);
        if is_news {
            self.woken.send_replace(());
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let state = lock(&self.state);
        if state.ended.is_some() {
            return None;
        }
        let silent = self.silence.map(|silence| state.heard_at + silence);
        let stuck = self.progress.and_then(|progress| {
            let open = state.partitions.values();
            let at_work = open.filter(|open| !open.under_way.is_empty());
            at_work.map(|open| open.progress_at + progress).min()
        });
        let placed = state.placing.values().min().map(|at| *at + PLACING);
        let times = silent.into_iter().chain(stuck).chain(placed);
        times.chain(state.ends_at).min()
    }

    fn is_silent(&self, now: Duration) -> bool {
        let state = lock(&self.state);
        let is_over = |silence| now >= state.heard_at + silence;
        state.ended.is_none() && self.silence.is_some_and(is_over)
    }

    /// Wakes a session that must end and whose time is over.
    fn end_in_time(&self, now: Duration) {
        let mut state = lock(&self.state);
        if state.ends_at.take_if(|at| *at <= now).is_none() {
            return;
        }
        state.news.may_end = true;
        drop(state);
        self.woken.send_replace(());
    }

    /// Makes the session commit first offsets again that were not applied; the disk may have been
    /// full.
    fn place_again(&self, now: Duration) {
        let mut state = lock(&self.state);
        let waiting = state.placing.len();
        state.placing.retain(|_, at| now < *at + PLACING);
        let is_late = state.placing.len() < waiting;
        drop(state);
        if is_late {
            self.tell_assignment();
        }
    }

    /// The credit that is left for a partition; `None` if nothing may be sent.
    pub(super) fn room(&self, place: Place) -> Option<Credit> {
        let state = lock(&self.state);
        let open = state
            .partitions
            .get(&place)
            .filter(|open| !open.is_paused)?;
        self.room_of(open)
    }

    fn room_of(&self, open: &Open) -> Option<Credit> {
        self.partition_credit.without(open.under_way.total())
    }

    pub(super) fn is_paused(&self, place: Place) -> bool {
        let state = lock(&self.state);
        let open = state.partitions.get(&place);
        open.is_some_and(|open| open.is_paused)
    }

    /// Takes the partitions without progress, and starts their time anew.
    fn take_stuck(&self, now: Duration) -> Vec<Place> {
        let mut stuck = Vec::new();
        let Some(progress) = self.progress else {
            return stuck;
        };
        let mut state = lock(&self.state);
        for (place, open) in &mut state.partitions {
            if !open.under_way.is_empty() && now >= open.progress_at + progress {
                open.progress_at = now;
                stuck.push(*place);
            }
        }
        state.is_stuck |= !stuck.is_empty();
        stuck
    }

    /// Whether partitions were taken from it for lack of progress since the last call.
    pub(super) fn take_is_stuck(&self) -> bool {
        std::mem::take(&mut lock(&self.state).is_stuck)
    }
}

impl Shared {
    /// Notifies sessions of an applied change.
    pub(in crate::broker) fn tell_sessions(&self, group: &GroupName, change: &GroupChange) {
        self.note_rebalance(group, change);
        let moves = !change.owned.is_empty() || !change.left.is_empty() || change.is_deleted;
        if moves {
            for live in self.sessions.of_group(group) {
                live.tell_assignment();
            }
        }
        let frees = change.owned.iter().any(|(_, owned)| owned.is_none());
        if (frees || !change.left.is_empty() || change.is_deleted) && self.sessions.note_freed() {
            self.alarm.wake();
        }
        if change.offsets.is_empty() {
            return;
        }
        let now = self.env.clock.elapsed();
        for (place, next, owner) in self.owners_of(group, change) {
            for live in self.sessions.of_member(group, owner) {
                live.tell_committed(place, next, now);
            }
        }
    }

    /// The offsets in a change, each with the member that owns its partition.
    fn owners_of(&self, group: &GroupName, change: &GroupChange) -> Vec<(Place, Offset, MemberId)> {
        let applied = self.sequencer.applied();
        let Some(group) = applied.groups().get(group) else {
            return Vec::new();
        };
        let mut owners = Vec::with_capacity(change.offsets.len());
        for (place, committed) in &change.offsets {
            if let Some(owned) = group.state().owned.get(place) {
                owners.push((*place, committed.next, owned.owner));
            }
        }
        owners
    }
}
