//! Who calls, and what they may do.
//!
//! Every call passes [`Identify`], which finds out who makes it ([`Principal`]) and leaves an
//! [`Access`] among the request's extensions. Each adapter hands its request to [`Access::permit`],
//! the one place that decides: `asks.rs` says of every request what it asks for, [`Grants`] says
//! who may do what.
//!
//! - Names are compared before anything is looked up, so that a topic that is forbidden and one
//!   that does not exist are answered in the same way.
//! - A request that comes without an [`Access`] may do nothing.
//! - A stream ends when its caller may not go on with what it has asked for (`cut.rs`).
//! - What is denied, and what administrators do, is in the audit log (`audit.rs`).
//! - Without any grant, everybody may do everything, but for those who neither are on this machine
//!   nor say who they are, unless the broker was told that it may be so ([`Exposure`]).
//! - [`Principal::local_admin`] may do everything, whatever is granted: the owner of the
//!   data directory always has a way in.

mod access;
mod asks;
mod audit;
mod authority;
mod certificate;
mod cut;
mod denials;
mod grants;
mod identify;
mod jwt;
mod principal;
mod trail;
mod usage;

#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;

use self::{identify::Unauthenticated, jwt::Issuer};
use tokio::sync::watch;

use super::quotas::{self, Quotas};
use crate::types::TopicName;

use self::trail::Trail;

pub(super) use self::{
    access::{Access, access, permit},
    authority::{Authority, Verified},
    cut::Cut,
    identify::{Entrance, Identify, is_of_health},
    usage::{ConnectionSlot, Pace},
};
pub(crate) use self::{
    certificate::{CertificateName, CertificateNames},
    grants::{Grant, Grants, NamePattern, Operation, Operations},
    jwt::{JwtAlgorithm, JwtKeys, JwtRules},
    principal::Principal,
};

/// Whether callers of other machines who do not say who they are may do everything where nothing is
/// granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Exposure {
    /// Only those on this machine.
    #[default]
    Loopback,
    /// Everybody, from anywhere.
    Everywhere,
}

/// The checks on calls, shared by all connections of a broker.
#[derive(Debug)]
pub(crate) struct Auth {
    grants: watch::Sender<Arc<Grants>>,
    exposure: Exposure,
    /// By which of their names certificates become principals.
    certificates: CertificateNames,
    /// The issuer whose JWTs are accepted, if there is one.
    issuer: Option<Arc<Issuer>>,
    /// The quotas of callers.
    quotas: Quotas,
    /// The audit log's topic.
    trail: Trail,
}

impl Auth {
    pub(crate) fn new(grants: Grants, exposure: Exposure) -> Self {
        Self {
            grants: watch::Sender::new(Arc::new(grants)),
            exposure,
            certificates: CertificateNames::default(),
            issuer: None,
            quotas: Quotas::default(),
            trail: Trail::default(),
        }
    }

    /// Writes the audit log to this topic, beside the broker's log.
    pub(crate) fn with_audit_topic(self, topic: Option<TopicName>) -> Self {
        Self {
            trail: Trail::new(topic),
            ..self
        }
    }

    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Records in the audit log that a number of grants, quotas or the like was read again from the
    /// configuration file.
    pub(crate) fn note_reload(&self, time_ms: i64, what: &str, count: usize) {
        audit::reloaded(&self.trail, time_ms, what, count);
    }

    /// Limits callers by these quotas.
    pub(crate) fn with_quotas(self, rules: quotas::Rules) -> Self {
        Self {
            quotas: Quotas::new(rules),
            ..self
        }
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Accepts JWTs of this issuer.
    pub(crate) fn with_issuer(self, issuer: Option<Arc<Issuer>>) -> Self {
        Self { issuer, ..self }
    }

    /// Names callers with certificates by these kinds of names.
    pub(crate) fn with_certificates(self, certificates: CertificateNames) -> Self {
        Self {
            certificates,
            ..self
        }
    }

    /// Replaces all grants; false if they are the same as before.
    pub(crate) fn replace(&self, grants: Grants) -> bool {
        self.grants.send_if_modified(|current| {
            let is_another = **current != grants;
            if is_another {
                *current = Arc::new(grants);
            }
            is_another
        })
    }

    /// How many grants there are. If there are any, everything else is denied.
    pub(crate) fn count(&self) -> usize {
        self.grants.borrow().len()
    }
}

impl Default for Auth {
    /// Checks that allow everybody everything.
    fn default() -> Self {
        Self::new(Grants::default(), Exposure::Everywhere)
    }
}
