//! The addresses to listen on, and whether they are allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::Error;

/// The setting `http.listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HttpListen {
    /// The port after the one for calls.
    Auto,
    /// Do not listen.
    Off,
    /// This address.
    At(String),
}

/// The address for HTTP, once that for calls is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpAddress {
    /// It was configured, so it is an error if it is taken.
    Set(SocketAddr),
    /// The port after the one for calls. If it is taken, the broker runs without HTTP.
    Derived(SocketAddr),
    /// There is no port after the one for calls, which is 65,535.
    NoneLeft,
    /// Do not listen for HTTP.
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

    /// The address for HTTP, if calls are served at `calls`. `open` says whether other machines may
    /// connect to it.
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

/// The IP address for the derived HTTP port: loopback if other machines may not connect.
fn seen_at(calls: SocketAddr, open: bool) -> IpAddr {
    match calls.ip() {
        ip if open || ip.to_canonical().is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// The first address that `listen` resolves to. Unless `insecure` is set, all of them must be
/// loopback.
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
