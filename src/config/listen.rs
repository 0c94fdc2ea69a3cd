//! Where to listen, and whether that is allowed.

use std::net::{SocketAddr, ToSocketAddrs};

use super::Error;

/// The first address that `listen` names. Without `insecure` all of them must be loopback.
pub(super) fn resolve(listen: &str, insecure: bool) -> Result<SocketAddr, Error> {
    let problem = |problem: String| Error::Listen {
        listen: listen.to_owned(),
        problem,
    };
    let addresses: Vec<SocketAddr> = listen
        .to_socket_addrs()
        .map_err(|error| problem(error.to_string()))?
        .collect();
    if !insecure
        && let Some(exposed) = addresses
            .iter()
            .find(|address| !address.ip().to_canonical().is_loopback())
    {
        return Err(Error::Exposed {
            listen: listen.to_owned(),
            address: exposed.ip(),
        });
    }
    addresses
        .first()
        .copied()
        .ok_or_else(|| problem("the name has no address".to_owned()))
}
