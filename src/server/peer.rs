//! A client's connection, as far as what it shares with others is concerned.

use std::{
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
    auth::{CertificateNames, Entrance, Principal},
    http2::window,
    limits::{Options, most_connections},
    reads::{Reads, Shares},
    tally::{Counted, Tally},
    turns::{Lanes, Long, Queue},
};
use crate::{
    broker::{Broker, Flow, ProducerHolder},
    budget::{Budget, Holder, Name, Part},
    tls::PeerIdentity,
    types::ADMIN_SOCKET,
};

/// A connection that knows where its client is.
pub(crate) trait Origin {
    /// The client's address, for people: of a proxy where there is one between.
    fn address(&self) -> String;
}

impl Origin for TcpStream {
    fn address(&self) -> String {
        let address = self.peer_addr();
        address.map_or_else(|_| String::new(), |address| address.to_string())
    }
}

impl Origin for UnixStream {
    fn address(&self) -> String {
        ADMIN_SOCKET.to_owned()
    }
}

/// The pipe of a broker in a test's process.
impl Origin for DuplexStream {
    fn address(&self) -> String {
        "in-process".to_owned()
    }
}

/// What one connection has of the parts that all connections share. Travels with every request of
/// it; clones are the same connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Requests that come in.
    pub(super) requests: Holder,
    /// Calls that are open.
    pub(super) calls: Holder,
    /// What the client may send before it is taken, beyond the first window.
    pub(super) windows: Holder,
    /// Reads, and answers that wait for their client.
    pub(super) reads: Holder,
    /// Reads alone.
    read_shares: Arc<OnceLock<Shares>>,
    /// Turns of its reads.
    read_turns: Queue,
    /// Its calls that take long.
    pub(super) long: Long,
    /// Its appends, which take turns with those of others.
    pub(super) appends: Flow,
    /// The producers that it uses.
    pub(super) producers: Option<Arc<ProducerHolder>>,
    /// Whether it is still there.
    pub(super) pulse: Pulse,
    /// Where the client is.
    address: Arc<str>,
    /// Where it has come in.
    pub(super) entrance: Entrance,
    /// Who the client is by its certificate.
    certificate: Option<Arc<Certificate>>,
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
            calls: budget.part(Name::Calls).holder(),
            windows,
            long: lanes.long(reads.clone()),
            reads,
            read_shares: Arc::default(),
            read_turns: lanes.reads(),
            appends: Flow::default(),
            producers,
            pulse: Pulse::default(),
            address: Arc::default(),
            entrance: Entrance::default(),
            certificate: None,
            _counted: None,
        }
    }

    /// Knows its client by a certificate from here on, if there is one.
    pub(super) fn known_by(self, certificate: Option<PeerIdentity>) -> Self {
        Self {
            certificate: certificate.map(|identity| Arc::new(Certificate::of(identity))),
            ..self
        }
    }

    /// Whose certificate the client has shown; none if it has shown none. An authority of
    /// `tls.client_ca` has signed it, and it was valid then.
    pub(super) fn certified(&self, names: &CertificateNames) -> Option<Principal> {
        let Certificate {
            identity,
            principal,
        } = &**self.certificate.as_ref()?;
        let principal = principal.get_or_init(|| names.principal(identity));
        Some(principal.clone())
    }
}

/// A client's certificate, and who that is.
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
    /// Where the client is; empty where that is not known.
    pub(super) fn address(&self) -> Arc<str> {
        Arc::clone(&self.address)
    }
}

/// Whether anything comes from a client: what it sends, and its answers to pings.
#[derive(Clone, Debug, Default)]
pub(super) struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    /// How often something has come.
    count: AtomicU64,
    /// How often, in milliseconds, a silent client is to be asked at least.
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
    /// Asks the client at least so often, when it is silent.
    pub(super) fn want(&self, interval: Duration) {
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        self.0.interval_ms.fetch_min(interval.max(1), Relaxed);
    }

    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(self.0.interval_ms.load(Relaxed))
    }

    /// Something has come.
    pub(super) fn beat(&self) {
        self.0.count.fetch_add(1, Relaxed);
    }

    /// How often something has come.
    pub(super) fn heard(&self) -> u64 {
        self.0.count.load(Relaxed)
    }
}

/// The peers of a listener.
#[derive(Clone)]
pub(super) struct Peers {
    budget: Budget,
    /// None where no producers are used.
    broker: Option<Arc<Broker>>,
    /// How many there are.
    tally: Arc<Tally>,
    /// How many connections there may be.
    most: usize,
    /// What their windows may grow into.
    growth: Arc<Part>,
    lanes: Lanes,
    are_administrators: bool,
}

impl Peers {
    /// Those of a listener. There are fewer than the options allow where the memory of windows is
    /// not enough for them.
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

    /// Those of the administrators' listener, which has places and turns of its own. Their windows
    /// grow into the same.
    pub(super) fn beside(&self, tally: &Arc<Tally>) -> Self {
        Self {
            tally: Arc::clone(tally),
            lanes: Lanes::of_administrators(),
            are_administrators: true,
            ..self.clone()
        }
    }

    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// How many connections there may be.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Another one has connected, from this address.
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

/// The flow of the connection that a request came by; one of its own where none is known.
pub(super) fn flow(extensions: &Extensions) -> Flow {
    extensions
        .get::<Peer>()
        .map(|peer| peer.appends.clone())
        .unwrap_or_default()
}

/// Whether the client is still there whose connection a request came by.
pub(super) fn pulse(extensions: &Extensions) -> Option<Pulse> {
    Some(extensions.get::<Peer>()?.pulse.clone())
}

/// Where the client is whose connection a request came by; empty where that is not known.
pub(super) fn address(extensions: &Extensions) -> String {
    let peer = extensions.get::<Peer>();
    peer.map_or_else(String::new, |peer| peer.address.to_string())
}

/// What holds the producers of the connection that a request came by.
pub(super) fn producers(extensions: &Extensions) -> Option<Arc<ProducerHolder>> {
    extensions.get::<Peer>()?.producers.clone()
}

/// What the connection that a request came by has of the memory of requests; a share of its own
/// where none is known.
pub(super) fn requests(extensions: &Extensions, broker: &Broker) -> Holder {
    match extensions.get::<Peer>() {
        Some(peer) => peer.requests.clone(),
        None => broker.budget().part(Name::Requests).holder(),
    }
}

/// What the connection that a request came by has of the memory of reads; shares of its own where
/// none is known.
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

/// The long calls of the connection that a request came by; alone where none is known.
pub(super) fn long(extensions: &Extensions, broker: &Broker) -> Long {
    match extensions.get::<Peer>() {
        Some(peer) => peer.long.clone(),
        None => Lanes::new().long(broker.budget().part(Name::Reads).holder()),
    }
}
