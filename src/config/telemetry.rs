//! Where traces are sent, and of how many calls.

use super::web::is_host;
use crate::server::Share;

/// What is set of traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Telemetry {
    /// The collector's URL; none where nothing is traced.
    pub(crate) otlp_endpoint: Option<String>,
    /// The share of calls that begin traces.
    pub(crate) sample_ratio: Share,
}

impl Default for Telemetry {
    /// One in a hundred, of nothing.
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sample_ratio: Share(10_000),
        }
    }
}

/// The URL of a collector; empty for none.
pub(super) fn endpoint(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let problem = || {
        "it is the URL of a collector that takes OTLP over gRPC, with http:// or https://, a host \
         and a port, as in \"http://localhost:4317\""
            .to_owned()
    };
    let rest = text.strip_prefix("http://");
    let rest = rest.or_else(|| text.strip_prefix("https://"));
    let host = rest.ok_or_else(problem)?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let (name, port) = host.rsplit_once(':').ok_or_else(problem)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    match is_host(name) && is_port {
        true => Ok(Some(text.to_owned())),
        false => Err(problem()),
    }
}

/// A share between 0 and 1.
pub(super) fn ratio(text: &str) -> Result<Share, String> {
    let ratio = text.parse().ok();
    let ratio: f64 = ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "it is a number from 0 to 1".to_owned())?;
    // Below 2^32, and not negative.
    Ok(Share((ratio * f64::from(Share::ALL.0)).round() as u32))
}
