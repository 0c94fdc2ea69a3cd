//! Socket addresses, and the errors when no connection can be made.

use std::{io, path::Path};

use crate::client::{Client, Error, socket};

#[test]
fn the_address_of_a_socket_is_a_path() {
    for (server, path) in [
        ("unix:data", Some("data")),
        ("unix:./data/admin.sock", Some("./data/admin.sock")),
        ("unix:/var/lib/taffrail", Some("/var/lib/taffrail")),
        ("unix:///var/lib/taffrail", Some("/var/lib/taffrail")),
        ("http://unix:80", None),
        ("unix.example.org:80", None),
    ] {
        assert_eq!(
            socket::path_of(server).as_deref(),
            path.map(Path::new),
            "{server}"
        );
    }
}

#[test]
fn what_is_in_the_way_of_a_connection_is_said() {
    for (kind, said) in [
        (io::ErrorKind::NotFound, "there is no socket d"),
        (
            io::ErrorKind::PermissionDenied,
            "this user may not connect to d",
        ),
        (io::ErrorKind::ConnectionRefused, "nobody listens on d"),
        (io::ErrorKind::InvalidInput, "d is too long for a socket"),
        (io::ErrorKind::OutOfMemory, "cannot connect to d"),
    ] {
        let explained = socket::explain(Path::new("d"), &kind.into());
        assert_eq!(explained.kind(), kind);
        assert!(explained.to_string().contains(said), "{explained}");
    }
}

#[tokio::test]
async fn an_address_without_a_path_is_none() {
    for server in ["unix:", "unix://"] {
        let connected = Client::connect(server).await;
        assert!(
            matches!(connected, Err(Error::InvalidServer { .. })),
            "{server}"
        );
    }
}
