//! Tells systemd, if it has started this process, that the broker is ready, that it is stopping,
//! and regularly that it is alive.

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

/// The supervisor to tell, if there is one.
pub(super) struct Supervisor(Option<Arc<Ears>>);

struct Ears {
    socket: UnixDatagram,
    address: SocketAddr,
    /// The longest interval between messages that the process is alive.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// Finds the supervisor that the environment names. If its socket cannot be used, it is
    /// ignored.
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
            // Nothing waits for a slow supervisor: messages are repeated, except for the last one.
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

    /// Tells that the broker takes calls.
    pub(super) fn ready(&self) {
        self.say("READY=1\nSTATUS=it takes calls");
    }

    /// Tells that the broker is finishing the calls under way.
    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=it finishes what is under way");
    }

    /// Tells regularly, twice as often as required, that the process is alive, until the storage
    /// has failed or the handle is aborted.
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
        // A supervisor that does not receive this has ended, or will kill this process.
        self.socket
            .send_to_addr(state.as_bytes(), &self.address)
            .ok();
    }
}
