//! The bounds of a broker.

use super::{
    Client, Error,
    status::{self, AtStake},
};
use crate::proto;

/// The bounds that a client can meet of a broker, as they are set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The broker's version.
    pub version: String,
    /// Every bound, each name once.
    pub all: Vec<Limit>,
}

/// A bound.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limit {
    /// Its name, such as `record_bytes`.
    pub name: String,
    /// The most that is allowed.
    pub most: u64,
    /// The least that is allowed.
    pub least: u64,
    /// What is counted: `bytes`, `ms`, or empty for things.
    pub unit: String,
    /// The setting that changes it, of the broker or of a topic; empty if there is none.
    pub setting: String,
    /// What it bounds, in words.
    pub meaning: String,
}

impl Limits {
    /// The most of a bound; none if the broker does not know it.
    #[must_use]
    pub fn most(&self, name: &str) -> Option<u64> {
        let found = self.all.iter().find(|limit| limit.name == name);
        found.map(|limit| limit.most)
    }
}

impl Client {
    /// Asks for the broker's bounds, and its version.
    ///
    /// # Errors
    ///
    /// That the broker is not available.
    pub async fn limits(&self) -> Result<Limits, Error> {
        let mut calls = self.broker.clone();
        let call = calls.limits(proto::LimitsRequest {});
        let answer = status::answer(self.request_timeout, AtStake::Nothing, call).await?;
        Ok(Limits {
            version: answer.version,
            all: answer.limits.into_iter().map(Limit::from).collect(),
        })
    }
}

impl From<proto::Limit> for Limit {
    fn from(limit: proto::Limit) -> Self {
        Self {
            name: limit.name,
            most: limit.most,
            least: limit.least,
            unit: limit.unit,
            setting: limit.setting,
            meaning: limit.meaning,
        }
    }
}
