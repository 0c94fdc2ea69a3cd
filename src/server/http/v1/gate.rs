//! Decides which web pages may call.
//!
//! A browser sends requests to this machine for any page on the Internet. But it adds what the page
//! cannot change: the page's origin (`Origin`, `Sec-Fetch-Site`), and the host name by which it has
//! reached the broker (`Host`). A page may have its own host name resolve to this machine (DNS
//! rebinding), but that name is none of the broker's. And a form cannot be sent with a content type
//! that a call accepts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tonic::Code;

use super::{super::answer::Answer, super::pieces::Pieces, problem::Problem};
use crate::server::limits::HttpApi;

/// The request headers that a page may set, beside those that are always allowed.
const HEADERS: &str = "authorization, content-type, last-event-id, traceparent";

/// Headers that a browser adds to every request over plain HTTP, or to those of pages. A page can
/// change some of them and remove none; Prometheus and probes send none of them.
const OF_BROWSERS: [&str; 4] = ["accept-language", "origin", "referer", "sec-fetch-site"];

/// For how many seconds a browser may remember that a page may call.
const MAX_AGE: &str = "600";

/// A request that was let in; knows which page may read the response.
pub(super) struct Gate {
    origin: Option<HeaderValue>,
}

/// Lets a request in, unless it is from a web page that may not call. `local` is the address at
/// which it came in, `is_secure` whether with TLS.
pub(super) fn pass<B>(
    rules: &HttpApi,
    request: &Request<B>,
    local: Option<SocketAddr>,
    is_secure: bool,
) -> Result<Gate, Problem> {
    let headers = request.headers();
    let host = host_of(request);
    if !is_own(rules, &Host::of(host, is_secure), local) {
        return Err(refused_host(host));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next();
    if let Some(origin) = origin {
        let text = origin.to_str().unwrap_or("?");
        let is_listed = rules.origins.iter().any(|listed| listed == text);
        if !is_listed || origins.next().is_some() {
            return Err(refused_origin(text));
        }
    } else if let Some(site) = headers.get("sec-fetch-site")
        && site != "none"
    {
        // A request for a page's picture or script has no origin, but still says that it is from
        // another site.
        return Err(refused_origin("of another site"));
    }
    Ok(Gate {
        origin: origin.cloned(),
    })
}

/// Whether metrics may be read under the request's host name.
///
/// Only a DNS name can be made to resolve to this machine by somebody else: addresses and
/// `localhost` cannot, and with TLS a browser refuses a certificate for another name. Of DNS names,
/// on loopback only those from the configuration are accepted. On other addresses, networks give
/// brokers names under which Prometheus scrapes them, so others are refused to browsers only.
pub(in crate::server::http) fn may_be_named<B>(
    rules: &HttpApi,
    request: &Request<B>,
    local: Option<SocketAddr>,
    is_secure: bool,
) -> bool {
    let host = Host::of(host_of(request), is_secure);
    if is_secure || host.is_listed(rules) || !host.is_dns_name() {
        return true;
    }
    let is_loopback = local.is_some_and(|local| local.ip().to_canonical().is_loopback());
    let headers = request.headers();
    let is_of_browser = OF_BROWSERS.iter().any(|name| headers.contains_key(*name));
    !is_loopback && !is_of_browser
}

/// The host name by which the broker was reached.
fn host_of<B>(request: &Request<B>) -> &str {
    match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => single(request.headers(), &header::HOST).unwrap_or_default(),
    }
}

/// The value of a header; `None` if it is missing or occurs several times.
fn single<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The host name and the port by which the broker was reached, in lower case.
struct Host {
    whole: String,
    name_bytes: usize,
}

impl Host {
    /// Without a port it means the default one of its scheme: browsers leave that out.
    fn of(text: &str, is_secure: bool) -> Self {
        let mut whole = text.to_ascii_lowercase();
        let name_bytes = match whole.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => name.len(),
            _ => whole.len(),
        };
        if whole[name_bytes..].trim_start_matches(':').is_empty() {
            whole.truncate(name_bytes);
            whole.push_str(if is_secure { ":443" } else { ":80" });
        }
        Self { whole, name_bytes }
    }

    fn name(&self) -> &str {
        &self.whole[..self.name_bytes]
    }

    fn port(&self) -> &str {
        self.whole[self.name_bytes..].trim_start_matches(':')
    }

    fn is_listed(&self, rules: &HttpApi) -> bool {
        let is_this = |listed: &String| *listed == self.whole || listed == self.name();
        rules.hosts.iter().any(is_this)
    }

    /// Whether it is a name that its owner can make resolve to any address.
    fn is_dns_name(&self) -> bool {
        let name = self.name();
        let is_address = name.parse::<Ipv4Addr>().is_ok() || name.starts_with('[');
        // Browsers and resolvers let no other machine have that name.
        !is_address && name != "localhost"
    }
}

/// Whether a host name is the broker's: the address at which the request came in, `localhost`, or a
/// name from the configuration.
fn is_own(rules: &HttpApi, host: &Host, local: Option<SocketAddr>) -> bool {
    if host.is_listed(rules) {
        return true;
    }
    let Some(local) = local else {
        return false;
    };
    let ip = local.ip().to_canonical();
    let is_ours = match ip {
        IpAddr::V4(ip) => host.name() == ip.to_string(),
        IpAddr::V6(ip) => host.name() == format!("[{ip}]"),
    };
    let is_localhost = ip.is_loopback() && host.name() == "localhost";
    (is_ours || is_localhost) && host.port() == local.port().to_string()
}

fn refused_host(host: &str) -> Problem {
    let text = format!(
        "the request is for {host:?}, which is not this broker's address; call it by its address, \
         or list the name in http.hosts"
    );
    Problem::of_http(
        StatusCode::MISDIRECTED_REQUEST,
        Code::PermissionDenied,
        ("HOST_NOT_ALLOWED", text),
        &[("host", host)],
    )
}

fn refused_origin(origin: &str) -> Problem {
    let text = format!(
        "a web page ({origin}) has sent the request, and may not; pages that may are listed in \
         http.origins"
    );
    Problem::of_http(
        StatusCode::FORBIDDEN,
        Code::PermissionDenied,
        ("ORIGIN_NOT_ALLOWED", text),
        &[("origin", origin)],
    )
}

impl Gate {
    /// The response to a preflight request, by which a browser asks whether its page may call;
    /// `None` for other requests.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Answer>> {
        if request.method() != Method::OPTIONS || self.origin.is_none() {
            return None;
        }
        let mut response = Response::new(Pieces::uncounted(String::new()).into());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.let_out(headers);
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
            (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if request
            .headers()
            .contains_key("access-control-request-private-network")
        {
            let allowed = HeaderValue::from_static("true");
            headers.insert("access-control-allow-private-network", allowed);
        }
        Some(response)
    }

    /// Adds the headers by which the browser lets the page read the response.
    pub(super) fn let_out(&self, headers: &mut HeaderMap) {
        let nosniff = HeaderValue::from_static("nosniff");
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = &self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let exposed = HeaderValue::from_static("retry-after");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}
