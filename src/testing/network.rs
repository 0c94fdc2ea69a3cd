//! How clients reach a test broker: through a pipe in the process, or a port of the loopback
//! interface.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{DuplexStream, duplex},
    net::TcpListener,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use crate::{client, server::Server};

/// What a pipe holds in each direction: about what a socket's buffers do.
const PIPE_BYTES: usize = 1 << 20;

/// A name for the broker in the process; nothing looks it up.
const IN_PROCESS_URL: &str = "http://in-process.invalid";

/// Where clients find a broker. It outlives the broker, whose address stays the same when it is
/// restarted.
#[derive(Debug)]
pub(super) enum Network {
    InProcess(Switchboard),
    Tcp {
        address: SocketAddr,
        /// Bound before the first start, so that nobody else takes the port.
        listener: Option<TcpListener>,
    },
}

impl Network {
    pub(super) fn in_process() -> Self {
        Self::InProcess(Switchboard::default())
    }

    pub(super) async fn tcp(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0))
            .await
            .expect("the interface has a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        Self::Tcp {
            address,
            listener: Some(listener),
        }
    }

    /// The port, if there is one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::InProcess(_) => None,
            Self::Tcp { address, .. } => Some(*address),
        }
    }

    /// Runs a server for its clients.
    pub(super) async fn serve(
        &mut self,
        server: Server,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        match self {
            Self::InProcess(switchboard) => {
                let incoming = switchboard.plug_in();
                tokio::spawn(server.run(incoming, shutdown))
            }
            Self::Tcp { address, listener } => {
                let listener = match listener.take() {
                    Some(listener) => listener,
                    None => TcpListener::bind(*address)
                        .await
                        .expect("the broker's port is still free"),
                };
                tokio::spawn(server.run(crate::server::tcp(listener), shutdown))
            }
        }
    }

    /// Refuses connections from now on.
    pub(super) fn unplug(&self) {
        match self {
            Self::InProcess(switchboard) => switchboard.unplug(),
            // The listener went to the server and is closed with it.
            Self::Tcp { .. } => {}
        }
    }

    /// A connection to whatever broker there is when it is used.
    pub(super) fn channel(&self) -> Channel {
        let options = client::Options::default();
        match self {
            Self::InProcess(switchboard) => {
                let endpoint = options.endpoint(IN_PROCESS_URL).expect("the URL is valid");
                let switchboard = switchboard.clone();
                endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
                    let switchboard = switchboard.clone();
                    async move { switchboard.connect().await.map(TokioIo::new) }
                }))
            }
            Self::Tcp { address, .. } => options
                .endpoint(&format!("http://{address}"))
                .expect("the URL is valid")
                .connect_lazy(),
        }
    }
}

/// Connects clients with the server that is plugged in.
#[derive(Clone, Debug, Default)]
pub(super) struct Switchboard(Arc<Mutex<Option<mpsc::Sender<io::Result<DuplexStream>>>>>);

type Incoming = Pin<Box<ReceiverStream<io::Result<DuplexStream>>>>;

impl Switchboard {
    fn plug_in(&self) -> Incoming {
        let (sender, receiver) = mpsc::channel(16);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Box::pin(ReceiverStream::new(receiver))
    }

    fn unplug(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn connect(&self) -> io::Result<DuplexStream> {
        let refused = || {
            io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "the test broker is not running",
            )
        };
        let server = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(refused)?;
        let (ours, theirs) = duplex(PIPE_BYTES);
        server.send(Ok(theirs)).await.map_err(|_| refused())?;
        Ok(ours)
    }
}
