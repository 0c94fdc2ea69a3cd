//! How a test broker differs from the usual one.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use super::{
    TestBroker,
    broker::Settings,
    network::Network,
    world::{Place, World},
};
use crate::budget::Name;

/// Bytes of a journal file. The largest request (16 MiB) fits.
const JOURNAL_FILE_BYTES: u64 = 32 << 20;
/// Smaller, because the simulated disk is in memory. What does not fit is refused.
const SIMULATED_JOURNAL_FILE_BYTES: u64 = 4 << 20;

/// Bytes waiting to be put into segments: twice the largest request.
const MEMORY_BYTES: usize = 32 << 20;

/// Sets up a [`TestBroker`]; made by [`TestBroker::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    place: Place,
    listen: Option<IpAddr>,
    journal_file_bytes: Option<u64>,
    memory_bytes: usize,
    max_connections: Option<usize>,
    drain: Option<Duration>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Temporary,
            listen: None,
            journal_file_bytes: None,
            memory_bytes: MEMORY_BYTES,
            max_connections: None,
            drain: None,
        }
    }

    /// Listens on a free port of 127.0.0.1, for clients in other languages or processes; see
    /// [`TestBroker::url`]. It keeps the port when it is restarted.
    pub fn tcp(self) -> Self {
        self.listen(Ipv4Addr::LOCALHOST.into())
    }

    /// Listens on a free port of this address. The port must stay free while the broker is down.
    /// For a broker that is restarted, another address of 127.0.0.0/8 is better than 127.0.0.1,
    /// whose ports are also given to clients that connect.
    pub fn listen(mut self, address: IpAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Keeps the data in this directory, which is created if need be and stays. Default: a
    /// temporary directory, removed when the broker is dropped.
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.place = Place::Directory(path.into());
        self
    }

    /// Runs on a disk and a clock that exist in memory only. What a [`crash`](TestBroker::crash)
    /// leaves of the data that was not synced is drawn from the seed: the same seed and the same
    /// calls give the same result as far as the order of the writes is the same.
    pub fn simulated(mut self, seed: u64) -> Self {
        self.place = Place::Simulated { seed };
        self
    }

    /// The size of a journal file; a multiple of 4,096, default 32 MiB, simulated 4 MiB. No request
    /// can be larger. The smaller they are, the sooner they are used again, which is when bugs
    /// would show.
    pub fn journal_file_bytes(mut self, bytes: u64) -> Self {
        self.journal_file_bytes = Some(bytes);
        self
    }

    /// Most bytes appended and not yet in segments, default 32 MiB; at least twice the largest
    /// request. Appends wait beyond.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Most connections at a time, default 1,000.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = Some(connections);
        self
    }

    /// How long [`stop`](TestBroker::stop) waits for calls under way to finish, default 10 s.
    pub fn drain(mut self, drain: Duration) -> Self {
        self.drain = Some(drain);
        self
    }

    /// Starts it, on the runtime of the test.
    ///
    /// # Panics
    ///
    /// If it cannot start, and outside of a tokio runtime.
    pub async fn start(self) -> TestBroker {
        let simulated = matches!(self.place, Place::Simulated { .. });
        let journal_file_bytes = if simulated {
            SIMULATED_JOURNAL_FILE_BYTES
        } else {
            JOURNAL_FILE_BYTES
        };
        let world = World::new(self.place);

        let mut broker = crate::broker::Options::new(world.data_dir().to_owned());
        broker.journal_file_bytes = self.journal_file_bytes.unwrap_or(journal_file_bytes);
        broker.memory = broker.memory.with(Name::Appends, self.memory_bytes);
        // The tests are not about a nearly full disk of the machine that runs them.
        broker.disk_reserve_bytes = 0;
        let mut server = crate::server::Options::default();
        if let Some(connections) = self.max_connections {
            server.max_connections = connections;
        }
        if let Some(drain) = self.drain {
            server.drain = drain;
        }

        let network = match self.listen {
            Some(address) => Network::tcp(address).await,
            None => Network::in_process(),
        };
        TestBroker::start_with(world, network, Settings { broker, server }).await
    }
}
