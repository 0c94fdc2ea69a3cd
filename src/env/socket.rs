//! Unix sockets: names in the file system on which a process listens.

#![expect(
    clippy::disallowed_methods,
    reason = "a socket is made private and removed as a file is, and this is part of that door"
)]

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
};

use rustix::{
    io::{Errno, FdFlags, fcntl_setfd},
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen as start_listening, socket},
};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;

/// Only its owner may connect.
const MODE: u32 = 0o600;

/// Listens on a socket with this name; see [`FileSystem::listen`](super::FileSystem::listen).
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => too_long(path),
        error => error.into(),
    })?;
    remove_left(path)?;
    let bound = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&bound, FdFlags::CLOEXEC)?;
    bind(&bound, &address)?;
    // The mode is set before the socket listens, so nobody could connect under another mode.
    let listening = fs::set_permissions(path, fs::Permissions::from_mode(MODE))
        .and_then(|()| Ok(start_listening(&bound, BACKLOG)?));
    if let Err(error) = listening {
        // Nobody would listen on it, so the name is removed.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(bound.into())
}

/// Removes the socket that an ended process has left.
fn remove_left(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something else of this name, which is left alone",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn too_long(path: &Path) -> io::Error {
    let len = path.as_os_str().as_bytes().len();
    io::Error::new(
        io::ErrorKind::InvalidFilename,
        format!(
            "a path of {len} bytes is too long for a socket, which may have about 100; choose a data directory with a \
             shorter path, or a relative one"
        ),
    )
}
