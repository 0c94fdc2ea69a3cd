//! Where to listen, and whether that is allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::Error;

/// Where to listen for HTTP, as it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HttpListen {
    /// Beside the port for calls.
    Auto,
    /// Nowhere.
    Off,
    /// At this address.
    At(String),
}

/// Where metrics and health are to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpAddress {
    /// Somebody has asked for this one.
    Set(SocketAddr),
    /// The one beside the port for calls: if it is taken, nobody meant it.
    Derived(SocketAddr),
    /// There is no port beside that for calls.
    NoneLeft,
    /// Nowhere.
    Off,
}

impl HttpListen {
    pub(super) fn of(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ if text.contains(':') => Ok(Self::At(text.to_owned())),
            _ => Err("it is an address and a port, \"auto\" or \"off\"".to_owned()),
        }
    }

    /// The address of this listener, where `calls` is the one that `listen` has become. `open` says
    /// whether other machines may reach it.
    pub(super) fn address(
        &self,
        listen: &str,
        calls: SocketAddr,
        open: bool,
    ) -> Result<HttpAddress, Error> {
        match self {
            Self::Off => Ok(HttpAddress::Off),
            Self::At(address) => resolve(address, open).map(HttpAddress::Set),
            Self::Auto if listen.ends_with(":0") => Ok(HttpAddress::Derived(SocketAddr::new(
                seen_at(calls, open),
                0,
            ))),
            Self::Auto => match calls.port().checked_add(1) {
                Some(port) => Ok(HttpAddress::Derived(SocketAddr::new(
                    seen_at(calls, open),
                    port,
                ))),
                None => Ok(HttpAddress::NoneLeft),
            },
        }
    }
}

/// Where the port beside that for calls is: on this machine, where other machines may not see it.
fn seen_at(calls: SocketAddr, open: bool) -> IpAddr {
    match calls.ip() {
        ip if open || ip.to_canonical().is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

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
