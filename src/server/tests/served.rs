//! A server that can only be reached through its socket.

use std::{io, path::Path, sync::Arc};

use tempfile::TempDir;
use tokio::{io::DuplexStream, sync::oneshot, task::JoinHandle};

use crate::{
    broker::{self, Broker},
    env::Env,
    server::{AdminSocket, Options, Server},
};

pub(super) struct Served {
    dir: TempDir,
    broker: Arc<Broker>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Served {
    /// Starts a server whose broker has these options.
    pub(super) fn start(with: impl FnOnce(&mut broker::Options)) -> Self {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let mut options = broker::Options::new(dir.path().to_owned());
        options.disk_reserve_bytes = 0;
        with(&mut options);
        let broker = Broker::open(Env::system(), options).expect("the directory is empty");
        let socket = AdminSocket::listen(Env::system().files, dir.path());
        let socket = socket.expect("sockets can be here");
        let (stop, told_to_stop) = oneshot::channel::<()>();
        let server = Server::new(Arc::clone(&broker), Options::default()).with_admin(socket);
        let nobody = tokio_stream::pending::<io::Result<DuplexStream>>();
        let ended = tokio::spawn(server.run(nobody, async move { drop(told_to_stop.await) }));
        Self {
            dir,
            broker,
            stop,
            ended,
        }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn address(&self) -> String {
        format!("unix:{}", self.dir().display())
    }

    pub(super) async fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.ended.await.expect("it does not panic");
        tokio::task::block_in_place(|| self.broker.close()).expect("nothing fails");
    }
}
