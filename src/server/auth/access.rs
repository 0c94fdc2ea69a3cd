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
    broker::{Append, Broker, Error, Load, Producer, TopicFilter, Watch},
    server::{
        quotas::Meter,
        status::{self, shortened},
        traces::Tracing,
    },
    types::TopicName,
};

/// How many of an act's resources the audit log names.
const MOST_SHOWN: usize = 20;

/// The caller of a request and what it may do. It travels with the request; clones share the state
/// of the same call.
#[derive(Clone, Debug)]
pub(crate) struct Access(Arc<Call>);

#[derive(Debug)]
struct Call {
    authority: Arc<Authority>,
    caller: Caller,
    entrance: Entrance,
    address: Arc<str>,
    length: Length,
    /// The grants that were last looked at, and what the caller may do by them.
    rights: Mutex<(Arc<Grants>, Rights)>,
    /// The number of the quota rules that were last looked at, and the meter that they give the
    /// caller.
    metered: Mutex<(u64, Option<Arc<Meter>>)>,
    asked: Mutex<Asked>,
    /// None where no calls are traced.
    tracing: Option<Tracing>,
}

/// What is remembered of a request after it was permitted.
#[derive(Debug)]
struct Asked {
    /// What the request asked for: its stream ends when this is no longer allowed, and the audit
    /// log names it.
    needs: Option<Vec<Need<'static>>>,
    /// The act, with its details, if the request is one that the audit log records.
    act: Option<(&'static str, String)>,
}

/// How a call goes on after its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// It has one request and one answer.
    Short,
    /// Nothing but its first message is checked; the stream may go on as long as that is allowed.
    Stream,
    /// A stream of appends, each of which is checked by itself.
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
    /// The access of a `caller` that connected from `address` through `entrance`, for a call of
    /// this length.
    pub(super) fn new(
        authority: &Arc<Authority>,
        caller: Caller,
        (entrance, address): (Entrance, Arc<str>),
        length: Length,
        tracing: Option<Tracing>,
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
            tracing,
        }))
    }

    /// Refuses the request unless everything that it asks for is allowed.
    ///
    /// It asks again whether the caller is still known: the message may have come long after the
    /// call began.
    pub(crate) fn permit(&self, request: &impl Asks) -> Result<(), Status> {
        self.authority().still_knows(&self.0.caller)?;
        self.trace(request);
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

    /// Has the trace of the call say what it is about, if it has one.
    fn trace(&self, request: &impl Asks) {
        let Some(tracing) = self.0.tracing.as_ref().filter(|one| one.is_traced()) else {
            return;
        };
        if self.0.length == Length::Appends {
            return;
        }
        let (mut topic, mut group) = (None, None);
        let needs = request.asks();
        for need in &needs {
            match &need.resource {
                Resource::Topic(name) if topic.is_none() => topic = Some(&**name),
                Resource::Group(name) if group.is_none() => group = Some(&**name),
                _ => {}
            }
        }
        tracing.is_about(topic, group);
    }

    /// Follows an append of this call, if it is traced.
    pub(in crate::server) fn follow(&self, append: &Append, load: Load) -> Option<Watch> {
        let tracing = self.0.tracing.as_ref()?;
        let appended = (load.bytes as u64, load.records as u64);
        match self.0.length {
            Length::Appends => {
                let batch = append.batches.first();
                tracing.append_of_stream(batch.map(|batch| &*batch.topic), appended)
            }
            Length::Short | Length::Stream => tracing.append(appended),
        }
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
        // The client named the producer's id only, so the refusal does not tell its name.
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

    /// Remembers what the first message of a call asks for.
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

    /// Whether the caller may know that this topic exists.
    pub(crate) fn sees_topic(&self, name: &str) -> bool {
        let resource = Resource::Topic(name.into());
        self.rights().allow(Operations::OF_TOPICS, &resource)
    }

    /// Whether the caller may know that this group exists.
    pub(crate) fn sees_group(&self, name: &str) -> bool {
        let operations = Operations::of(Operation::Group);
        let resource = Resource::Group(name.into());
        self.rights().allow(operations, &resource)
    }

    /// The topics that the caller may read.
    pub(in crate::server) fn readable(&self) -> TopicFilter {
        self.topics_with(Operations::of(Operation::Read))
    }

    /// The topics that the caller may know of.
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

    /// The error without the name of a group that the caller may not know of.
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

    /// Whether the caller may erase entities of the topic.
    pub(crate) fn erases_in(&self, topic: &str) -> bool {
        let operations = Operations::of(Operation::Erase);
        let resource = Resource::Topic(topic.into());
        self.rights().allow(operations, &resource)
    }

    /// Records the outcome of the call in the audit log, if it is an administrator's act.
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

    /// Refuses the call from now on if its caller is no longer known, or no longer allowed what it
    /// has asked for.
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

    /// When the caller's token or JWT expires, in milliseconds since 1970.
    pub(super) fn expires_ms(&self) -> Option<i64> {
        self.0.caller.expires_ms()
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.0.caller.principal
    }

    pub(super) fn length(&self) -> Length {
        self.0.length
    }

    /// The meter of the caller's principal; none if no quota is for it.
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

    /// What the audit log is told.
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

/// A call that is under way. If it is dropped before it is answered, the audit log says that its
/// outcome is unknown.
pub(super) struct UnderWay(Option<Access>);

impl UnderWay {
    pub(super) fn new(access: Access) -> Self {
        Self(Some(access))
    }

    pub(super) fn answered(mut self, response: &Response<Body>) {
        if let Some(access) = self.0.take() {
            // A stream that succeeds sends its status behind its messages, so a status in the
            // headers is a failure.
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

/// The access that [`super::Identify`] left among a request's extensions. A request that did not
/// pass there has none, and is refused.
pub(crate) fn access(extensions: &Extensions) -> Result<Access, Status> {
    let access = extensions.get::<Access>().cloned();
    access.ok_or_else(status::internal)
}

/// Refuses the request unless everything that it asks for is allowed.
pub(crate) fn permit<T: Asks>(request: &Request<T>) -> Result<Access, Status> {
    let access = access(request.extensions())?;
    access.permit(request.get_ref())?;
    Ok(access)
}
