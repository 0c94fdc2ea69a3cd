//! The broker's time.

use std::time::Duration;

use super::{
    Client, Error,
    status::{self, AtStake},
};
use crate::proto;

/// The broker's time and its machine's, at one moment.
///
/// Append times are the broker's time. The broker follows the machine's wall clock if that is near,
/// and one that is further away only after it has kept its distance for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The broker's time, in milliseconds since 1970-01-01T00:00:00Z.
    pub now_ms: i64,
    /// The machine's wall clock, in milliseconds since 1970-01-01T00:00:00Z.
    pub wall_ms: i64,
    /// If the wall clock is not followed: how long it must still keep its distance until it is.
    pub followed_in: Option<Duration>,
}

impl Client {
    /// Asks for the broker's clock.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn clock(&self) -> Result<Clock, Error> {
        let mut calls = self.broker.clone();
        let call = calls.get_clock(proto::GetClockRequest {});
        let answer = status::answer(self.request_timeout, AtStake::Nothing, call).await?;
        Ok(answer.clock.unwrap_or_default().into())
    }

    /// Makes the broker follow its machine's wall clock at once. Use it when that clock is known to
    /// be right.
    ///
    /// # Errors
    ///
    /// If the broker is not available, or it is not known whether it received the call.
    pub async fn accept_clock(&self) -> Result<Clock, Error> {
        let mut calls = self.broker.clone();
        let call = calls.accept_clock(proto::AcceptClockRequest {});
        let answer = status::answer(self.request_timeout, AtStake::Change, call).await?;
        Ok(answer.clock.unwrap_or_default().into())
    }
}

impl From<proto::Clock> for Clock {
    fn from(clock: proto::Clock) -> Self {
        Self {
            now_ms: clock.now_ms,
            wall_ms: clock.wall_ms,
            followed_in: clock.followed_in_ms.map(Duration::from_millis),
        }
    }
}
