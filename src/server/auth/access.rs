//! What one call may do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Response;
use tonic::{Code, Extensions, Request, Status, body::Body};

use super::{
    Exposure, Grants, Operation, Operations, Principal,
    asks::{self, Asks, Need},
    audit::{self, Came, Told},
    authority::{Authority, Caller},
    grants::{Resource, Rights},
    identify::Entrance,
};
use crate::{
    broker::{Broker, Error, Producer, TopicFilter},
    server::{
        quotas::Meter,
        status::{self, shortened},
    },
    types::TopicName,
};

/// How many of the resources of one act the audit log names.
const MOST_SHOWN: usize = 20;

/// Who makes a call, and what they may do. Travels with the request; clones are the same call's.
#[derive(Clone, Debug)]
pub(crate) struct Access(Arc<Call>);

#[derive(Debug)]
struct Call {
    authority: Arc<Authority>,
    caller: Caller,
    entrance: Entrance,
    address: Arc<str>,
    length: Length,
    /// What the caller may do by these grants.
    rights: Mutex<(Arc<Grants>, Rights)>,
    /// What the caller is metered with, by these rules.
    metered: Mutex<(u64, Option<Arc<Meter>>)>,
    asked: Mutex<Asked>,
}

/// What is kept of what a call has asked for.
#[derive(Debug)]
struct Asked {
    /// A stream ends when that is not allowed any more; the audit log names it.
    needs: Option<Vec<Need<'static>>>,
    /// What it does to the broker, with details, if the audit log is to have that.
    act: Option<(&'static str, String)>,
}

/// What a call is, as far as it matters when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// It is answered, and over.
    Short,
    /// It goes on with what its first message asks for.
    Stream,
    /// It goes on with appends, each of which is looked at by itself.
    Appends,
}

impl Length {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/taffrail.v1.Log/AppendStream" => Self::Appends,
            "/taffrail.v1.Log/Read"
            | "/taffrail.v1.Entities/ReadKey"
            | "/taffrail.v1.Entities/GetLatest"
            | "/taffrail.v1.Groups/Consume"
            | "/taffrail.v1.Broker/Backup"
            | "/taffrail.v1.Admin/ImportRecords"
            | "/grpc.health.v1.Health/Watch" => Self::Stream,
            _ if path.starts_with("/grpc.reflection.") => Self::Stream,
            _ => Self::Short,
        }
    }
}

impl Access {
    /// The access of `caller`, who connected through `entrance` from `address`, for a call of this
    /// length.
    pub(super) fn new(
        authority: &Arc<Authority>,
        caller: Caller,
        (entrance, address): (Entrance, Arc<str>),
        length: Length,
    ) -> Self {
        let grants = authority.grants();
        let rights = rights(authority, &grants, &caller, entrance);
        Self(Arc::new(Call {
            authority: Arc::clone(authority),
            caller,
            entrance,
            address,
            rights: Mutex::new((grants, rights)),
            metered: Mutex::default(),
            length,
            asked: Mutex::new(Asked {
                needs: (length == Length::Appends).then(|| vec![asks::appends()]),
                act: None,
            }),
        }))
    }

    /// Refuses what is not allowed, with all that is in it.
    ///
    /// The caller was known when the call began; its message may have come much later.
    pub(crate) fn permit(&self, request: &impl Asks) -> Result<(), Status> {
        self.authority().still_knows(&self.0.caller)?;
        let rights = self.rights();
        let is_all = matches!(rights, Rights::Everything);
        let kept = self.authority().auth.trail.topic();
        if !is_all || kept.is_some() {
            let needs = request.asks();
            if let Some(topic) = kept {
                self.keep_out(topic, &needs)?;
            }
            self.allow(&rights, &needs)?;
        }
        let act = request.act();
        if act.is_some() || self.0.length == Length::Stream {
            self.keep(request, act);
        }
        if self.0.length != Length::Short {
            self.note(&Came::Begun);
        }
        Ok(())
    }

    /// Refuses appends of a producer whose name is not granted to the caller. Nothing is looked up
    /// for those who may do everything.
    pub(in crate::server) fn permit_producer(
        &self,
        broker: &Broker,
        producer: Option<Producer>,
    ) -> Result<(), Status> {
        let rights = self.rights();
        let (Some(producer), Rights::Granted(_)) = (producer, &rights) else {
            return Ok(());
        };
        let Some(name) = broker.producer_name(producer.id) else {
            return Ok(());
        };
        let need = asks::appends_as(&name);
        if rights.allow(need.operations, &need.resource) {
            return Ok(());
        }
        // The caller has named the id alone.
        let shown = Resource::Producer(producer.id.to_string().into());
        Err(self.denied(need.operations, &shown))
    }

    /// Refuses appends to the topic of the audit log, and imports: whoever can write there could
    /// hide what was done.
    fn keep_out(&self, topic: &TopicName, needs: &[Need<'_>]) -> Result<(), Status> {
        let append = Operations::of(Operation::Append);
        let forges = |need: &&Need<'_>| match &need.resource {
            Resource::Topic(name) => need.operations == append && name == topic.as_str(),
            Resource::OfBroker("topic", name) => name == topic.as_str(),
            _ => false,
        };
        match needs.iter().find(forges) {
            Some(need) => Err(self.denied(append, &need.resource)),
            None => Ok(()),
        }
    }

    /// Keeps what the first message of a call asks for.
    fn keep(&self, request: &impl Asks, act: Option<&'static str>) {
        let mut asked = lock(&self.0.asked);
        if asked.needs.is_none() {
            let needs = request.asks().into_iter().map(Need::into_owned);
            *asked = Asked {
                needs: Some(needs.collect()),
                act: act.map(|act| (act, shortened(&request.details()))),
            };
        }
    }

    /// Whether a topic is shown.
    pub(crate) fn sees_topic(&self, name: &str) -> bool {
        let resource = Resource::Topic(name.into());
        self.rights().allow(Operations::OF_TOPICS, &resource)
    }

    /// Whether a group is shown.
    pub(crate) fn sees_group(&self, name: &str) -> bool {
        let operations = Operations::of(Operation::Group);
        let resource = Resource::Group(name.into());
        self.rights().allow(operations, &resource)
    }

    /// The topics that the caller may read.
    pub(in crate::server) fn readable(&self) -> TopicFilter {
        self.topics_with(Operations::of(Operation::Read))
    }

    /// The topics that are shown.
    pub(in crate::server) fn seen(&self) -> TopicFilter {
        self.topics_with(Operations::OF_TOPICS)
    }

    fn topics_with(&self, operations: Operations) -> TopicFilter {
        match self.rights() {
            Rights::Everything => TopicFilter::default(),
            rights => TopicFilter::new(move |name| {
                rights.allow(operations, &Resource::Topic(name.into()))
            }),
        }
    }

    /// An error, without the name of a group that is not shown.
    pub(in crate::server) fn shown(&self, error: Error) -> Error {
        match error {
            Error::RetentionHeld {
                topic,
                partition,
                group,
                from,
            } if !self.sees_group(&group) => Error::RetentionHeld {
                topic,
                partition,
                group: String::new(),
                from,
            },
            error => error,
        }
    }

    /// Whether entities of a topic may be erased.
    pub(crate) fn erases_in(&self, topic: &str) -> bool {
        let operations = Operations::of(Operation::Erase);
        let resource = Resource::Topic(topic.into());
        self.rights().allow(operations, &resource)
    }

    /// Has the audit log say what has come of the call, if it is an act of an administrator.
    fn note(&self, came: &Came) {
        let asked = lock(&self.0.asked);
        let (Some((act, details)), Some(needs)) = (&asked.act, &asked.needs) else {
            return;
        };
        let shown = needs.iter().take(MOST_SHOWN);
        let mut on: Vec<String> = shown
            .map(|need| shortened(&need.resource.to_string()))
            .collect();
        if let more @ 1.. = needs.len().saturating_sub(MOST_SHOWN) {
            on.push(format!("{more} more"));
        }
        let on = on.join(", ");
        let told = Told {
            details,
            ..self.told(act, &on)
        };
        audit::acted(&self.authority().auth.trail, &told, came);
    }

    /// Whether the call may go on: its caller is known, and may still do what it has asked for.
    pub(super) fn may_go_on(&self) -> Result<(), Status> {
        let Call {
            authority, caller, ..
        } = &*self.0;
        authority.still_knows(caller)?;
        match &lock(&self.0.asked).needs {
            Some(needs) => self.allow(&self.rights(), needs),
            None => Ok(()),
        }
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// When the caller is not known any more, in milliseconds since 1970.
    pub(super) fn expires_ms(&self) -> Option<i64> {
        self.0.caller.expires_ms()
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.0.caller.principal
    }

    pub(super) fn length(&self) -> Length {
        self.0.length
    }

    /// What counts what the caller uses; none where nothing bounds it.
    pub(super) fn meter(&self) -> Option<Arc<Meter>> {
        let Call {
            authority, caller, ..
        } = &*self.0;
        let quotas = &authority.auth.quotas;
        let generation = quotas.generation();
        if generation == 0 {
            return None;
        }
        let mut known = lock(&self.0.metered);
        if known.0 != generation {
            let now = authority.clock.elapsed();
            *known = (
                generation,
                quotas.meter(&caller.principal, &caller.roles, now),
            );
        }
        known.1.clone()
    }

    fn allow(&self, rights: &Rights, needs: &[Need<'_>]) -> Result<(), Status> {
        for Need {
            operations,
            resource,
        } in needs
        {
            if !rights.allow(*operations, resource) {
                return Err(self.denied(*operations, resource));
            }
        }
        Ok(())
    }

    /// What the caller may do now.
    pub(super) fn rights(&self) -> Rights {
        let Call {
            authority,
            caller,
            entrance,
            ..
        } = &*self.0;
        let now = authority.grants();
        let mut known = lock(&self.0.rights);
        if !Arc::ptr_eq(&known.0, &now) {
            let rights = rights(authority, &now, caller, *entrance);
            *known = (now, rights);
        }
        known.1.clone()
    }

    /// For the audit log.
    fn told<'a>(&'a self, operation: &'a str, resource: &'a str) -> Told<'a> {
        Told {
            time_ms: (self.authority().now_ms)(),
            who: (self.0.caller.principal.as_str(), &*self.0.address),
            operation,
            resource,
            details: "",
        }
    }

    fn denied(&self, operations: Operations, resource: &Resource<'_>) -> Status {
        let operation = operations.first().map_or("", Operation::name);
        let resource = shortened(&resource.to_string());
        let principal = self.0.caller.principal.as_str();
        audit::denied(
            &self.authority().auth.trail,
            &self.told(operation, &resource),
        );
        status::denied(principal, operation, &resource)
    }
}

/// A call that is under way. Dropped before it is answered, it may have done what it asked for.
pub(super) struct UnderWay(Option<Access>);

impl UnderWay {
    pub(super) fn new(access: Access) -> Self {
        Self(Some(access))
    }

    pub(super) fn answered(mut self, response: &Response<Body>) {
        if let Some(access) = self.0.take() {
            // One that is well says so behind its message.
            let failed = Status::from_header_map(response.headers());
            let failed = failed.filter(|status| status.code() != Code::Ok);
            access.note(&failed.map_or(Came::Done, Came::Failed));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(access) = &self.0 {
            access.note(&Came::Unknown);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rights(authority: &Authority, grants: &Grants, caller: &Caller, entrance: Entrance) -> Rights {
    let principal = &caller.principal;
    if principal.is_local_admin() {
        return Rights::Everything;
    }
    if let Some(rights) = grants.rights(principal, &caller.roles) {
        return rights;
    }
    let is_open = authority.auth.exposure == Exposure::Everywhere || entrance.is_local();
    match is_open || !principal.is_anonymous() {
        true => Rights::Everything,
        false => Rights::none(),
    }
}

/// What a call may do whose request has these extensions. One that did not come by
/// [`super::Identify`] has none.
pub(crate) fn access(extensions: &Extensions) -> Result<Access, Status> {
    let access = extensions.get::<Access>().cloned();
    access.ok_or_else(status::internal)
}

/// Refuses a request that asks for what is not allowed.
pub(crate) fn permit<T: Asks>(request: &Request<T>) -> Result<Access, Status> {
    let access = access(request.extensions())?;
    access.permit(request.get_ref())?;
    Ok(access)
}
