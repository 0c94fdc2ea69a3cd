//! A broker in the test's process.

use std::{fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
};
use tonic::transport::Channel;

use super::{Builder, network::Network, world::World};
use crate::{
    broker::{self, Broker},
    client::Client,
    server::{self, Server},
};

/// A broker for a test; see the [module](super) for an example.
///
/// Dropping it is a [`crash`](Self::crash) without a way back; its temporary directory is removed.
#[derive(Debug)]
pub struct TestBroker {
    // Dropped in this order: the broker before its disk.
    running: Option<Running>,
    network: Network,
    settings: Settings,
    world: World,
}

/// How a test broker is started, again and again.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) broker: broker::Options,
    pub(super) server: server::Options,
}

impl TestBroker {
    /// Starts a broker that its clients reach without a port, on a temporary directory.
    ///
    /// # Panics
    ///
    /// If it cannot start, and outside of a tokio runtime.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Sets up a broker that differs: with a port, on a certain directory, on a simulated disk.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) async fn start_with(world: World, network: Network, settings: Settings) -> Self {
        let mut broker = Self {
            running: None,
            network,
            settings,
            world,
        };
        broker.restart().await;
        broker
    }

    /// A client. It may be used for as long as the test likes: while the broker is down, its calls
    /// fail; after a [`restart`](Self::restart) it connects again.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::from_channel(self.channel())
    }

    /// A connection for stubs that were generated from the .proto files.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.network.channel()
    }

    /// The address it listens on.
    ///
    /// # Panics
    ///
    /// If it was built without [`Builder::tcp`].
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.network
            .address()
            .expect("a test broker listens only if it is built with `.tcp()`")
    }

    /// Its address as clients take it, such as `http://127.0.0.1:40123`.
    ///
    /// # Panics
    ///
    /// If it was built without [`Builder::tcp`].
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Its data directory, to be looked at or damaged while the broker is down. On a simulated disk
    /// there is nothing at this path.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.world.data_dir()
    }

    /// Lets time pass on the clock of a [simulated](Builder::simulated) broker, which otherwise
    /// stands still. What is due by then is done in the background.
    ///
    /// # Panics
    ///
    /// If the broker has the machine's clock.
    pub fn advance_clock(&self, by: Duration) {
        self.world.advance_clock(by);
    }

    /// Lets time pass for a [simulated](Builder::simulated) broker, from one deadline to the next,
    /// and waits until it has done what was due: members that stayed away are removed from their
    /// groups, and their partitions assigned to others. Clients receive what results of that
    /// asynchronously, as always.
    ///
    /// # Panics
    ///
    /// If the broker has the machine's clock, or its storage has failed.
    pub async fn advance(&self, by: Duration) {
        match &self.running {
            Some(running) => {
                let passed = running
                    .broker
                    .pass_time(by, |step| self.world.advance_clock(step));
                passed.await.expect("the broker's storage works");
            }
            None => self.world.advance_clock(by),
        }
    }

    /// Ends the broker at once: connections break, what is under way is not answered, nothing more
    /// is written. On a real disk this is what kill -9 does; on a simulated one it is a power cut,
    /// which loses what was not synced, or parts of it, as drawn from the seed.
    ///
    /// # Panics
    ///
    /// If the broker is not running.
    pub async fn crash(&mut self) {
        let running = self
            .running
            .take()
            .expect("only a running broker can crash");
        self.network.unplug();
        self.world.cut_power();
        running.crash().await;
    }

    /// Stops the broker as its operator would: calls under way are finished, following reads are
    /// ended, everything is put where the next start finds it at once. [`restart`](Self::restart)
    /// starts it again.
    ///
    /// # Panics
    ///
    /// If the broker is not running, or its storage has failed.
    pub async fn stop(&mut self) {
        let running = self
            .running
            .take()
            .expect("only a running broker can be stopped");
        self.network.unplug();
        running.stop().await;
    }

    /// Starts the broker again on what [`crash`](Self::crash) or [`stop`](Self::stop) left, after
    /// stopping it if need be. Clients connect again by themselves.
    ///
    /// # Panics
    ///
    /// If it cannot start.
    pub async fn restart(&mut self) {
        if self.running.is_some() {
            self.stop().await;
        }
        let (env, options) = (self.world.env(), self.settings.broker.clone());
        let broker = spawn_blocking(move || Broker::open(env, options))
            .await
            .expect("opening a broker does not panic")
            .unwrap_or_else(|error| panic!("the test broker cannot start: {error}"));

        let (shutdown, asked_to_stop) = oneshot::channel::<()>();
        let server = Server::new(Arc::clone(&broker), self.settings.server.clone());
        let stopping = async move { drop(asked_to_stop.await) };
        let serving = self.network.serve(server, stopping).await;
        self.running = Some(Running {
            broker,
            serving,
            shutdown: Some(shutdown),
            ended: false,
        });
    }
}

/// A broker and its server.
struct Running {
    broker: Arc<Broker>,
    serving: JoinHandle<()>,
    shutdown: Option<oneshot::Sender<()>>,
    /// Whether it has crashed or stopped, so that nothing is left to do when it is dropped.
    ended: bool,
}

impl Running {
    async fn crash(mut self) {
        self.ended = true;
        self.serving.abort();
        // It is cancelled, or has ended already.
        drop((&mut self.serving).await);
        let broker = Arc::clone(&self.broker);
        spawn_blocking(move || broker.abandon())
            .await
            .expect("abandoning a broker does not panic");
    }

    async fn stop(mut self) {
        self.ended = true;
        drop(self.shutdown.take());
        (&mut self.serving)
            .await
            .expect("the server does not panic");
        let broker = Arc::clone(&self.broker);
        spawn_blocking(move || broker.close())
            .await
            .expect("closing a broker does not panic")
            .unwrap_or_else(|error| panic!("the test broker cannot be stopped: {error}"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.serving.abort();
            self.broker.abandon();
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}
