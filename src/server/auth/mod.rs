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
    identify::{Entrance, Identify},
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
    /// Only callers of this machine.
    #[default]
    Loopback,
    /// Everybody.
    Everywhere,
}

/// What decides about calls, for all connections of a broker.
#[derive(Debug)]
pub(crate) struct Auth {
    grants: watch::Sender<Arc<Grants>>,
    exposure: Exposure,
    /// How callers with a certificate are named.
    certificates: CertificateNames,
    /// Whose JWTs are taken, if any are.
    issuer: Option<Arc<Issuer>>,
    /// How much callers may use.
    quotas: Quotas,
    /// Where the audit log is written to beside the log.
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

    /// Has the audit log written to this topic, too.
    pub(crate) fn with_audit_topic(self, topic: Option<TopicName>) -> Self {
        Self {
            trail: Trail::new(topic),
            ..self
        }
    }

    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }

    /// Has the audit log say that the configuration file has other ones of these, so many, at this
    /// moment.
    pub(crate) fn note_reload(&self, time_ms: i64, what: &str, count: usize) {
        audit::reloaded(&self.trail, time_ms, what, count);
    }

    /// Lets callers use no more than these say.
    pub(crate) fn with_quotas(self, rules: quotas::Rules) -> Self {
        Self {
            quotas: Quotas::new(rules),
            ..self
        }
    }

    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Knows callers with a JWT of this issuer.
    pub(crate) fn with_issuer(self, issuer: Option<Arc<Issuer>>) -> Self {
        Self { issuer, ..self }
    }

    /// Knows callers with a certificate by these of its names.
    pub(crate) fn with_certificates(self, certificates: CertificateNames) -> Self {
        Self {
            certificates,
            ..self
        }
    }

    /// What is granted from now on; false if that was granted before.
    pub(crate) fn replace(&self, grants: Grants) -> bool {
        self.grants.send_if_modified(|current| {
            let is_another = **current != grants;
            if is_another {
                *current = Arc::new(grants);
            }
            is_another
        })
    }

    /// How many grants count: with any, all else is denied.
    pub(crate) fn count(&self) -> usize {
        self.grants.borrow().len()
    }
}

impl Default for Auth {
    /// Everybody may do everything.
    fn default() -> Self {
        Self::new(Grants::default(), Exposure::Everywhere)
    }
}
