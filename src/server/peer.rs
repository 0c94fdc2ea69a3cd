//! A client's connection, and its shares of what all connections have together.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::DuplexStream,
    net::{TcpStream, UnixStream},
};
use tonic::Extensions;

use super::{
    auth::{CertificateNames, ConnectionSlot, Entrance, Principal, Verified},
    http2::{whole_turns::WholeTurns, window},
    limits::{Options, most_connections},
    reads::{Reads, Shares},
    refusals::Refusals,
    tally::{Counted, Tally},
    turns::{Lanes, Long, ReadTurns},
};
use crate::{
    broker::{Broker, Flow, ProducerHolder},
    budget::{Budget, Holder, Name, Part},
    tls::PeerIdentity,
    types::ADMIN_SOCKET,
};

/// A connection that knows the addresses of its ends.
pub(crate) trait Origin {
    /// The client's address for users to read; if there is a proxy, the proxy's.
    fn address(&self) -> String;

    /// The address of this end, unless it is none of a network.
    fn local_address(&self) -> Option<SocketAddr> {
        None
    }
}

impl Origin for TcpStream {
    fn address(&self) -> String {
        let address = self.peer_addr();
        address.map_or_else(|_| String::new(), |address| address.to_string())
    }

    fn local_address(&self) -> Option<SocketAddr> {
        self.local_addr().ok()
    }
}

impl Origin for UnixStream {
    fn address(&self) -> String {
        ADMIN_SOCKET.to_owned()
    }
}

/// A pipe to a broker in a test's own process.
impl Origin for DuplexStream {
    fn address(&self) -> String {
        "in-process".to_owned()
    }
}

/// The shares of one connection. It travels with each of its requests; clones stand for the same
/// connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Its share of the memory of requests that come in.
    pub(super) requests: Holder,
    /// Which of these were refused.
    pub(super) refusals: Arc<Refusals>,
    /// Its share of the memory of open calls.
    pub(super) calls: Holder,
    /// Its share of what clients may send ahead, beyond the first window.
    pub(super) windows: Holder,
    /// Its share of the memory of reads, and of responses that wait for their client.
    pub(super) reads: Holder,
    /// Its shares of the memory of reads alone.
    read_shares: Arc<OnceLock<Shares>>,
    /// The queues of its reads for their turns.
    read_turns: ReadTurns,
    /// Its long calls.
    pub(super) long: Long,
    /// The line in which it stands if it uses up its turns.
    pub(super) whole_turns: WholeTurns,
    /// Its appends, which take turns with those of other connections.
    pub(super) appends: Flow,
    /// The producers that it uses.
    pub(super) producers: Option<Arc<ProducerHolder>>,
    /// Whether its client is still there.
    pub(super) pulse: Pulse,
    /// Where the client is.
    address: Arc<str>,
    /// The listener by which it came in.
    pub(super) entrance: Entrance,
    /// The client's identity by its certificate.
    certificate: Option<Arc<Certificate>>,
    /// The JWT that was verified last on this connection.
    verified: Arc<Verified>,
    /// The principal that the connection counts for, if there are quotas.
    slot: Arc<ConnectionSlot>,
    _counted: Option<Arc<Counted>>,
}

impl Peer {
    pub(super) fn new(
        budget: &Budget,
        windows: Holder,
        producers: Option<Arc<ProducerHolder>>,
        lanes: &Lanes,
    ) -> Self {
        let reads = budget.part(Name::Reads).holder();
        Self {
            requests: budget.part(Name::Requests).holder(),
            refusals: Arc::default(),
            calls: budget.part(Name::Calls).holder(),
            windows,
            long: lanes.long(reads.clone()),
            reads,
            read_shares: Arc::default(),
            read_turns: lanes.reads(),
            whole_turns: lanes.whole.clone(),
            appends: Flow::default(),
            producers,
            pulse: Pulse::default(),
            address: Arc::default(),
            entrance: Entrance::default(),
            certificate: None,
            verified: Arc::default(),
            slot: Arc::default(),
            _counted: None,
        }
    }

    /// Sets the client's certificate, if there is one.
    pub(super) fn known_by(self, certificate: Option<PeerIdentity>) -> Self {
        Self {
            certificate: certificate.map(|identity| Arc::new(Certificate::of(identity))),
            ..self
        }
    }

    /// The JWT that was verified last on this connection.
    pub(super) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The principal that the connection counts for, if there are quotas.
    pub(super) fn slot(&self) -> &ConnectionSlot {
        &self.slot
    }

    /// The principal of the certificate that the client has shown; `None` if it has shown none. The
    /// certificate was signed by an authority of `tls.client_ca`, and was valid when the client
    /// connected.
    pub(super) fn certified(&self, names: &CertificateNames) -> Option<Principal> {
        let Certificate {
            identity,
            principal,
        } = &**self.certificate.as_ref()?;
        let principal = principal.get_or_init(|| names.principal(identity));
        Some(principal.clone())
    }
}

/// A client's certificate, and its principal.
#[derive(Debug)]
struct Certificate {
    identity: PeerIdentity,
    principal: OnceLock<Principal>,
}

impl Certificate {
    fn of(identity: PeerIdentity) -> Self {
        Self {
            identity,
            principal: OnceLock::new(),
        }
    }
}

impl Peer {
    /// The client's address; empty if it is not known.
    pub(super) fn address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }
}

/// Counts heartbeats of a client: anything that it sends, including answers to pings.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    /// The number of heartbeats.
    count: AtomicU64,
    /// The interval, in milliseconds, in which a silent client must at least be sent a ping.
    interval_ms: AtomicU64,
}

impl Default for Beats {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            interval_ms: AtomicU64::new(u64::MAX),
        }
    }
}

impl Pulse {
    /// Makes a silent client be sent a ping at least once in this interval.
    pub(super) fn want(&self, interval: Duration) {
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.0.interval_ms.fetch_min(interval.max(1), Relaxed);
    }

    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.0.interval_ms.load(Relaxed))
    }

    /// Counts a heartbeat.
    pub(super) fn beat(&self) {
        self.0.count.fetch_add(1, Relaxed);
    }

    /// The number of heartbeats so far.
    pub(super) fn heard(&self) -> u64 {
        self.0.count.load(Relaxed)
    }
}

/// The connections of a listener.
#[derive(Clone)]
pub(super) struct Peers {
    budget: Budget,
    /// `None` if no producers are used.
    broker: Option<Arc<Broker>>,
    /// The number of connections.
    tally: Arc<Tally>,
    /// The connection limit.
    most: usize,
    /// The memory into which their windows may grow.
    growth: Arc<Part>,
    lanes: Lanes,
    are_administrators: bool,
}

impl Peers {
    /// The connections of a listener. The limit is lower than the options allow if the memory of
    /// windows is not enough.
    pub(super) fn new(
        budget: &Budget,
        broker: Option<&Arc<Broker>>,
        tally: &Arc<Tally>,
        options: &Options,
    ) -> Self {
        let windows = budget.part(Name::Windows);
        let most = most_connections(windows.bound(), options.tls).min(options.max_connections);
        Self {
            budget: budget.clone(),
            broker: broker.cloned(),
            tally: Arc::clone(tally),
            most,
            growth: window::growth(windows, most * options.connection_bytes()),
            lanes: Lanes::new(),
            are_administrators: false,
        }
    }

    /// The connections of the administrators' listener, which has its own places and turns. Their
    /// windows grow into the same memory.
    pub(super) fn beside(&self, tally: &Arc<Tally>) -> Self {
        Self {
            tally: Arc::clone(tally),
            lanes: Lanes::of_administrators(),
            are_administrators: true,
            ..self.clone()
        }
    }

    /// The clients of the listener for HTTP, which share the turns with the port's. They are
    /// counted elsewhere.
    pub(super) fn over_http(&self) -> Self {
        Self {
            tally: Arc::default(),
            ..self.clone()
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The connection limit.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// A new connection from this address.
    pub(super) fn connected(&self, address: &str) -> Peer {
        let producers = self.broker.as_ref().map(|broker| broker.producer_holder());
        let entrance = match self.are_administrators {
            true => Entrance::Administrators,
            false => Entrance::from(address),
        };
        Peer {
            address: address.into(),
            entrance,
            _counted: Some(Arc::new(self.tally.count())),
            ..Peer::new(&self.budget, self.growth.holder(), producers, &self.lanes)
        }
    }
}

/// The flow of a request's connection; a new one if the connection is not known.
pub(super) fn flow(extensions: &Extensions) -> Flow {
    extensions
        .get::<Peer>()
        .map(|peer| peer.appends.clone())
        .unwrap_or_default()
}

/// The heartbeats of a request's connection.
pub(super) fn pulse(extensions: &Extensions) -> Option<Pulse> {
    Some(extensions.get::<Peer>()?.pulse.clone())
}

/// The address of a request's client; empty if it is not known.
pub(super) fn address(extensions: &Extensions) -> String {
    let peer = extensions.get::<Peer>();
    peer.map_or_else(String::new, |peer| peer.address.to_string())
}

/// The holder of the producers of a request's connection.
pub(super) fn producers(extensions: &Extensions) -> Option<Arc<ProducerHolder>> {
    extensions.get::<Peer>()?.producers.clone()
}

/// The share that a request's connection has of the memory of requests; a new share if the
/// connection is not known.
pub(super) fn requests(extensions: &Extensions, broker: &Broker) -> Holder {
    match extensions.get::<Peer>() {
        Some(peer) => peer.requests.clone(),
        None => broker.budget().part(Name::Requests).holder(),
    }
}

/// The shares that a request's connection has of the memory of reads; new shares if the connection
/// is not known.
pub(super) fn reads(extensions: &Extensions, broker: &Broker, reads: &Reads) -> Shares {
    match extensions.get::<Peer>() {
        Some(peer) => {
            let shares = || reads.shares(peer.reads.clone(), peer.read_turns.clone());
            peer.read_shares.get_or_init(shares).clone()
        }
        None => reads.shares(
            broker.budget().part(Name::Reads).holder(),
            Lanes::new().reads(),
        ),
    }
}

/// The long calls of a request's connection; a new queue if the connection is not known.
pub(super) fn long(extensions: &Extensions, broker: &Broker) -> Long {
    match extensions.get::<Peer>() {
        Some(peer) => peer.long.clone(),
        None => Lanes::new().long(broker.budget().part(Name::Reads).holder()),
    }
}
