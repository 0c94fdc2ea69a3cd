//! Joining a group.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    refused,
    session::{NoOffset, OffsetGone, RecordsOf, Session},
    sessions::{Live, State},
    under_way::Credit,
};
use crate::{
    broker::{Broker, Error, Pending, ResponseLimit},
    catalog::groups::{Instance, Join, MemberId},
    types::{GroupName, Position, TopicName, limits, steering},
};

/// A request to join a group.
#[derive(Clone, Debug)]
pub(crate) struct JoinGroup {
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    /// Prefixes of topics' names.
    pub(crate) prefixes: Vec<String>,
    /// The member's name; empty for none.
    pub(crate) name: String,
    /// The member's id, if it comes back after its stream broke.
    pub(crate) member_id: Option<MemberId>,
    /// Which client it was then; `None` for the first one that had this member.
    pub(crate) instance: Option<Instance>,
    pub(crate) credit: Credit,
    /// How much may be under way of each partition; `None` for as much as `credit`.
    pub(crate) partition_credit: Option<Credit>,
    /// What the member takes in one response.
    pub(crate) response: ResponseLimit,
    /// How many bytes the response with these records has, encoded.
    pub(crate) response_bytes: fn(&RecordsOf) -> usize,
    pub(crate) no_offset: NoOffset,
    pub(crate) offset_gone: OffsetGone,
    /// Whether partitions that cannot be read on are told, and do not end the session.
    pub(crate) tells_failed: bool,
    /// How long the member may send no heartbeat, or be without a stream.
    pub(crate) session: Duration,
    /// How long it may take to hand a partition over.
    pub(crate) drain: Duration,
    /// Whether the member counts as gone without messages for that long, even while its stream is
    /// open.
    pub(crate) heartbeat: bool,
    /// After what time without progress a partition with records under way is taken from it.
    pub(crate) progress: Option<Duration>,
    pub(crate) is_ephemeral: bool,
    /// A description of the client, shown to users.
    pub(crate) client: String,
    /// Its address, shown to users.
    pub(crate) address: String,
}

impl Broker {
    /// Joins a group, for the first time or again. The answer comes when the join is durable; an
    /// older session of the same member is fenced then.
    pub(crate) fn join_group(&self, join: JoinGroup) -> Result<Pending<Session>, Error> {
        let shared = &self.shared;
        let group = GroupName::new(&join.group)?;
        let fresh = MemberId(shared.env.random.next_u64());
        let member = member(&join, fresh, shared.clock.now_ms())?;
        shared.health.check_room()?;
        let now = shared.env.clock.elapsed();
        let mut planned = shared.sequencer.planned();
        shared.settle_lost(&mut planned);
        let joined = shared
            .decide_on_groups(&planned, |groups, topics| {
                groups.decide_join(&group, member, topics, now)
            })
            .map_err(|error| refused(&group, error))?;
        let live = Arc::new(Live {
            group: group.clone(),
            member: joined.member,
            instance: joined.instance,
            joined_in: joined.change.generation,
            silence: join.heartbeat.then_some(join.session),
            progress: join.progress,
            partition_credit: join.partition_credit.unwrap_or(join.credit),
            address: join.address.clone(),
            woken: watch::Sender::new(()),
            state: Mutex::new(State::begin(now)),
        });
        shared.sessions.open(Arc::clone(&live));
        let session = Session::new(Arc::clone(shared), live, &join);
        shared.plan_group(&mut planned, &group, joined.change, move || Ok(session))
    }
}

/// Checks a request, and makes the catalog's form of it.
fn member(join: &JoinGroup, fresh: MemberId, at_ms: i64) -> Result<Join, Error> {
    let malformed = |reason: String| Err(Error::MalformedRequest { reason });
    for (what, text) in [
        ("the member's name", &join.name),
        ("`client`", &join.client),
        ("the client's address", &join.address),
    ] {
        if text.len() > limits::MAX_MEMBER_NAME_BYTES {
            let (len, most) = (text.len(), limits::MAX_MEMBER_NAME_BYTES);
            return malformed(format!(
                "{what} has {len} bytes; at most {most} are allowed"
            ));
        }
        // They are shown on users' terminals.
        if let Some(letter) = steering(text) {
            return malformed(format!(
                "{what} has {letter}: no control characters are allowed, nor those for the \
                direction of text"
            ));
        }
    }
    for (what, credit) in [
        ("`credit`", Some(join.credit)),
        ("`partition_credit`", join.partition_credit),
    ] {
        if credit.is_some_and(|credit| credit.records == 0 || credit.bytes == 0) {
            return malformed(format!(
                "{what} is nothing: the member would never be sent a record; give at least one record and one byte"
            ));
        }
    }
    if join.topics.is_empty() && join.prefixes.is_empty() {
        return malformed("no topic is named; name topics, or prefixes of their names".to_owned());
    }
    if matches!(join.no_offset, NoOffset::Start(Position::Offset(_))) {
        return malformed(
            "a group cannot start at one offset in all partitions; reset it to that".to_owned(),
        );
    }
    check_times(join)?;
    Ok(Join {
        fresh,
        back: join.member_id,
        instance: join.instance,
        name: join.name.as_str().into(),
        topics: topics(&join.topics)?,
        prefixes: prefixes(&join.prefixes)?,
        session: join.session,
        drain: join.drain,
        client: join.client.as_str().into(),
        is_ephemeral: join.is_ephemeral,
        at_ms,
    })
}

fn check_times(join: &JoinGroup) -> Result<(), Error> {
    let most = Duration::from_millis(limits::MAX_GROUP_TIME_MS);
    let least = Duration::from_millis(limits::MIN_SESSION_MS);
    for (what, time, least) in [
        ("session", join.session, least),
        ("drain", join.drain, Duration::ZERO),
        ("progress", join.progress.unwrap_or(most), least),
    ] {
        if time < least || time > most {
            let reason = format!(
                "the {what} timeout is {} ms; {} to {} are allowed",
                time.as_millis(),
                least.as_millis(),
                most.as_millis()
            );
            return Err(Error::MalformedRequest { reason });
        }
    }
    Ok(())
}

fn topics(names: &[String]) -> Result<BTreeSet<TopicName>, Error> {
    let mut topics = BTreeSet::new();
    for name in names {
        if !topics.insert(TopicName::new(name)?) {
            return Err(twice("topic", name));
        }
    }
    Ok(topics)
}

/// Checks prefixes of topics' names: no topic's name can begin with an invalid one.
fn prefixes(prefixes: &[String]) -> Result<BTreeSet<Arc<str>>, Error> {
    let mut checked: BTreeSet<Arc<str>> = BTreeSet::new();
    for prefix in prefixes {
        TopicName::check_prefix(prefix)?;
        if !checked.insert(prefix.as_str().into()) {
            return Err(twice("prefix", prefix));
        }
    }
    Ok(checked)
}

fn twice(what: &str, name: &str) -> Error {
    let reason = format!("{what} {name:?} is named twice");
    Error::MalformedRequest { reason }
}
