//! The client at the other end of one connection over HTTP.

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

/// What is known of a client and its connection.
pub(super) struct Client {
    pub(super) place: Place,
    /// How long the client may take nothing of the response under way.
    pub(super) patience: Patience,
    /// How long it may take nothing while no call is under way.
    stall: Duration,
    /// The address that it connected to, unless that is none of a network.
    pub(super) local: Option<SocketAddr>,
    /// The client's address.
    address: String,
    /// The identity in the client's certificate, if it has shown one.
    identity: OnceLock<PeerIdentity>,
    /// The client's shares of memory and turns, and the number of the broker that they belong to;
    /// none before its first call.
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

    /// Notes that the call has ended.
    pub(super) fn end_call(&self) {
        self.patience.set(self.stall);
        self.place.idle();
    }
}
