//! Access for administrators: a socket in the data directory.
//!
//! It serves the same services as the port, with its own connection limit, so that no number of
//! clients can keep an administrator out. The file system decides who may connect: the user who
//! runs the broker.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::net::{UnixListener, UnixStream};
use tokio_stream::Stream;
use tracing::debug;

use crate::{env::FileSystem, types::ADMIN_SOCKET};

/// A listening socket, as a stream of connections. Dropping it removes its name, so the data
/// directory must still be locked then: the name might belong to the next broker already.
pub(crate) struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    files: Arc<dyn FileSystem>,
}

impl AdminSocket {
    /// The path of a data directory's socket.
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(ADMIN_SOCKET)
    }

    /// Listens in a data directory, which must be locked. A socket that an earlier broker has left
    /// there is replaced.
    ///
    /// # Errors
    ///
    /// If the file system holds no sockets, or the path is too long for one: see
    /// [`FileSystem::listen`].
    pub(crate) fn listen(files: Arc<dyn FileSystem>, data_dir: &Path) -> io::Result<Self> {
        let path = Self::path(data_dir);
        let listener = files.listen(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path,
            files,
        })
    }
}

impl Stream for AdminSocket {
    type Item = io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = self.listener.poll_accept(cx);
        accepted.map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if let Err(error) = self.files.remove_file(&self.path) {
            debug!(%error, "the administrators' socket cannot be removed");
        }
    }
}
