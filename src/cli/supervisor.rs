//! What systemd is told, where it has started this process: that it is ready, that it stops, and,
//! as long as its tasks go on, that it lives.

use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinHandle, time::interval};
use tracing::warn;

use crate::{broker::Broker, config};

/// Whoever started this process, if it is to be told.
pub(super) struct Supervisor(Option<Arc<Ears>>);

struct Ears {
    socket: UnixDatagram,
    address: SocketAddr,
    /// How often it wants to hear that the process lives, at least.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names. One that cannot be told is not there.
    pub(super) fn find() -> Self {
        let Some(config::Supervisor { socket, watchdog }) = config::supervisor() else {
            return Self(None);
        };
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(&socket),
        };
        let ears = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            // Whoever is slow to hear holds up nobody: what is said comes again, or is the last.
            socket.set_nonblocking(true)?;
            Ok(Ears {
                socket,
                address,
                watchdog,
            })
        });
        match ears {
            Ok(ears) => Self(Some(Arc::new(ears))),
            Err(error) => {
                warn!(%error, "NOTIFY_SOCKET names nothing that can be told anything");
                Self(None)
            }
        }
    }

    /// The broker takes calls.
    pub(super) fn ready(&self) {
        self.say("READY=1\nSTATUS=it takes calls");
    }

    /// The broker finishes what is under way.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=it finishes what is under way");
    }

    /// Says that the process lives twice as often as it must, until its storage has failed, or the
    /// handle is aborted.
    pub(super) fn watch(&self, broker: Arc<Broker>) -> Option<JoinHandle<()>> {
        let ears = Arc::clone(self.0.as_ref()?);
        let mut period = interval(ears.watchdog? / 2);
        Some(tokio::spawn(async move {
            while broker.failure().is_none() {
                period.tick().await;
                ears.say("WATCHDOG=1");
            }
        }))
    }

    fn say(&self, state: &str) {
        if let Some(ears) = &self.0 {
            ears.say(state);
        }
    }
}

impl Ears {
    fn say(&self, state: &str) {
        // One that does not hear any more has ended, or will end this process.
        self.socket
            .send_to_addr(state.as_bytes(), &self.address)
            .ok();
    }
}
