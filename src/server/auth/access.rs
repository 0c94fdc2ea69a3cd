//! What one call may do.

use tonic::{Extensions, Request, Status};
use tracing::warn;

use super::{
    Auth, Exposure, Operation, Operations, Principal,
    asks::{Asks, Need},
    grants::{Resource, Rights},
    identify::Entrance,
};
use crate::server::status;

/// Who makes a call, and what they may do. Travels with the request.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    principal: Principal,
    rights: Rights,
}

impl Access {
    /// Someone who came in there.
    pub(in crate::server) fn new(auth: &Auth, principal: Principal, entrance: &Entrance) -> Self {
        Self {
            rights: rights(auth, &principal, entrance),
            principal,
        }
    }

    /// What a request has that did not come by [`super::Identify`].
    fn nobody() -> Self {
        Self {
            principal: Principal::anonymous(),
            rights: Rights::NONE,
        }
    }

    /// Refuses what is not allowed, with all that is in it.
    pub(crate) fn permit(&self, request: &impl Asks) -> Result<(), Status> {
        if matches!(self.rights, Rights::Everything) {
            return Ok(());
        }
        for Need {
            operations,
            resource,
        } in request.asks()
        {
            if !self.rights.allow(operations, resource) {
                return Err(self.denied(operations, resource));
            }
        }
        Ok(())
    }

    /// Whether a topic is shown.
    pub(crate) fn sees_topic(&self, name: &str) -> bool {
        self.rights
            .allow(Operations::OF_TOPICS, Resource::Topic(name))
    }

    /// Whether a group is shown.
    pub(crate) fn sees_group(&self, name: &str) -> bool {
        let operations = Operations::of(Operation::Group);
        self.rights.allow(operations, Resource::Group(name))
    }

    /// Whether entities of a topic may be erased.
    pub(crate) fn erases_in(&self, topic: &str) -> bool {
        let operations = Operations::of(Operation::Erase);
        self.rights.allow(operations, Resource::Topic(topic))
    }

    fn denied(&self, operations: Operations, resource: Resource<'_>) -> Status {
        let operation = operations.first().map_or("", Operation::name);
        let (principal, resource) = (self.principal.as_str(), resource.to_string());
        warn!(target: "audit", principal, operation, resource, outcome = "denied", "a call was denied");
        status::denied(principal, operation, &resource)
    }
}

fn rights(auth: &Auth, principal: &Principal, entrance: &Entrance) -> Rights {
    if principal.is_local_admin() {
        return Rights::Everything;
    }
    if let Some(rights) = auth.grants().rights(principal) {
        return rights;
    }
    let is_open = auth.exposure == Exposure::Everywhere || entrance.is_local();
    match is_open || !principal.is_anonymous() {
        true => Rights::Everything,
        false => Rights::NONE,
    }
}

/// What a call may do whose request has these extensions.
pub(crate) fn access(extensions: &Extensions) -> Access {
    let access = extensions.get::<Access>();
    access.cloned().unwrap_or_else(Access::nobody)
}

/// Refuses a request that asks for what is not allowed.
pub(crate) fn permit<T: Asks>(request: &Request<T>) -> Result<Access, Status> {
    let access = access(request.extensions());
    access.permit(request.get_ref())?;
    Ok(access)
}
