//! One connection over HTTP.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use super::{stalling::Patience, v1::Api};
use crate::{
    server::{
        peer::{Origin, Peer},
        places::Place,
    },
    tls::PeerIdentity,
};

/// What is known of a client, and of its connection.
pub(super) struct Client {
    pub(super) place: Place,
    /// How long it may take nothing of an answer.
    pub(super) patience: Patience,
    /// The same while it has no call.
    stall: Duration,
    /// Where it has come in, if that is an address of a network.
    pub(super) local: Option<SocketAddr>,
    /// Where it is.
    address: String,
    /// The client's identity by its certificate, if it has shown one.
    identity: OnceLock<PeerIdentity>,
    /// What it has of what all clients share, from its first call on; and of which broker.
    peer: Mutex<Option<(u64, Peer)>>,
}

impl Client {
    pub(super) fn new(io: &impl Origin, place: Place, stall: Duration) -> Arc<Self> {
        Arc::new(Self {
            place,
            patience: Patience::new(stall),
            stall,
            local: io.local_address(),
            address: io.address(),
            identity: OnceLock::new(),
            peer: Mutex::default(),
        })
    }

    /// Notes the certificate that the client has shown.
    pub(super) fn known_by(&self, identity: PeerIdentity) {
        self.identity.get_or_init(|| identity);
    }

    pub(super) fn peer(&self, api: &Api) -> Peer {
        let mut known = self.peer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, peer)) = &*known
            && *number == api.number()
        {
            return peer.clone();
        }
        // An ephemeral broker may have been replaced by `Admin.Crash`; then this client is
        // registered with the new one.
        let peer = api.connected(&self.address);
        let peer = peer.known_by(self.identity.get().cloned());
        *known = Some((api.number(), peer.clone()));
        peer
    }

    /// Notes that the client has a call under way, of whose answer it may take nothing for at most
    /// `patience`.
    pub(super) fn begin_call(&self, patience: Duration) {
        self.place.busy();
        self.patience.set(patience);
    }

    /// Its call is over.
    pub(super) fn end_call(&self) {
        self.patience.set(self.stall);
        self.place.idle();
    }
}
