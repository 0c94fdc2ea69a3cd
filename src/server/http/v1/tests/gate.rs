//! By which names a request may reach the broker.

use http::{Request, header};

use super::super::gate::pass;
use crate::server::limits::HttpApi;

/// Whether a request for this host is let in at this address.
fn is_let_in(host: &str, address: &str, is_tls: bool) -> bool {
    let rules = HttpApi::default();
    let request = Request::get("/v1/topics").header(header::HOST, host);
    let request = request.body(()).expect("it is a request");
    let address = address.parse().expect("it is an address");
    pass(&rules, &request, Some(address), is_tls).is_ok()
}

#[test]
fn a_host_without_a_port_means_the_port_of_its_scheme() {
    for (is_tls, own, other) in [(false, 80, 443), (true, 443, 80)] {
        for (host, ip) in [
            ("192.0.2.1", "192.0.2.1"),
            ("localhost", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("192.0.2.1", "[::ffff:192.0.2.1]"),
        ] {
            for port in [own, other, 9641] {
                let address = format!("{ip}:{port}");
                assert_eq!(
                    is_let_in(host, &address, is_tls),
                    port == own,
                    "{host} {address}"
                );
                let with_port = format!("{host}:{port}");
                assert!(
                    is_let_in(&with_port, &address, is_tls),
                    "{with_port} {address}"
                );
            }
        }
        let address = format!("192.0.2.1:{own}");
        for host in [
            "",
            "192.0.2.2",
            "localhost",
            "example.org",
            "192.0.2.1:9641",
        ] {
            assert!(!is_let_in(host, &address, is_tls), "{host} {address}");
        }
    }
}
