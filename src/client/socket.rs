//! Connections to a broker on the same machine through a Unix socket, such as the administrators'
//! socket in its data directory.

use std::{
    io,
    path::{Path, PathBuf},
};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::types::ADMIN_SOCKET;

/// The path in an address such as `unix:/var/lib/taffrail`, or `unix:///var/lib/taffrail`, the form
/// of gRPC libraries; `None` for any other address.
pub(super) fn path_of(server: &str) -> Option<PathBuf> {
    let path = server.strip_prefix("unix:")?;
    Some(path.strip_prefix("//").unwrap_or(path).into())
}

/// Connects through a socket, or through the one in a data directory.
pub(super) async fn connect(
    endpoint: &Endpoint,
    path: PathBuf,
) -> Result<Channel, tonic::transport::Error> {
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { open(&path).await.map(TokioIo::new) }
    });
    endpoint.connect_with_connector(connector).await
}

async fn open(path: &Path) -> io::Result<UnixStream> {
    let error = match UnixStream::connect(path).await {
        Err(error) if may_be_directory(error.kind()) => error,
        opened => return opened.map_err(|error| explain(path, &error)),
    };
    let inside = path.join(ADMIN_SOCKET);
    match UnixStream::connect(&inside).await {
        Err(not_inside) if not_inside.kind() == io::ErrorKind::NotADirectory => {
            Err(explain(path, &error))
        }
        opened => opened.map_err(|error| explain(&inside, &error)),
    }
}

/// Whether connecting to a directory may fail with this error; operating systems differ.
fn may_be_directory(kind: io::ErrorKind) -> bool {
    !matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
    )
}

/// Explains why there is no connection.
pub(super) fn explain(path: &Path, error: &io::Error) -> io::Error {
    let path = path.display();
    let meaning = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "there is no socket {path}; a broker that runs has one in its data directory, or says in its log why not"
        ),
        io::ErrorKind::PermissionDenied => {
            format!("this user may not connect to {path}; the user who runs the broker may")
        }
        io::ErrorKind::ConnectionRefused => {
            format!("nobody listens on {path}; the broker that made it has ended")
        }
        io::ErrorKind::InvalidInput => {
            format!("{path} is too long for a socket ({error}); a relative path may be shorter")
        }
        _ => format!("cannot connect to {path}: {error}"),
    };
    io::Error::new(error.kind(), meaning)
}
