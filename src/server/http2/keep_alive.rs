//! Asks a silent client whether it is still there.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Sleep, sleep};

use super::socket::Traffic;
use crate::server::{limits, peer::Pulse};

/// The pings of a connection.
pub(super) struct KeepAlive {
    pings: PingPong,
    pulse: Pulse,
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether anything has come since the timer was set.
    heard: bool,
    asked: bool,
    /// Whether a ping has not been answered. The next one cannot be sent before.
    pong_missing: bool,
}

impl KeepAlive {
    pub(super) fn new(pings: PingPong, pulse: Pulse) -> Self {
        Self {
            pings,
            pulse,
            interval: limits::KEEPALIVE_INTERVAL,
            timer: Box::pin(sleep(limits::KEEPALIVE_INTERVAL)),
            heard: false,
            asked: false,
            pong_missing: false,
        }
    }

    /// Ready when the client was asked and did not answer.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, traffic: &Traffic) -> Poll<()> {
        if traffic.has_read() {
            self.pulse.beat();
            self.heard = true;
        }
        // Any byte counts as an answer.
        if self.asked && self.heard {
            self.restart();
        }
        let wanted = self.pulse.interval();
        if wanted < self.interval {
            self.interval = wanted;
            self.restart();
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.heard {
                self.restart();
            } else if self.asked {
                return Poll::Ready(());
            } else {
                // This fails if the connection has failed, which is noticed elsewhere.
                self.pings.send_ping(Ping::opaque()).ok();
                (self.asked, self.pong_missing) = (true, true);
                self.timer.set(sleep(limits::KEEPALIVE_TIMEOUT));
            }
        }
        if self.pong_missing && self.pings.poll_pong(cx).is_ready() {
            self.pong_missing = false;
        }
        Poll::Pending
    }

    fn restart(&mut self) {
        self.asked = false;
        self.heard = false;
        self.timer.set(sleep(self.interval));
    }
}
