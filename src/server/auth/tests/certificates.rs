//! Callers with certificates.

use crate::{
    server::auth::{CertificateName, CertificateNames},
    tls::PeerIdentity,
};

use CertificateName::{CommonName, Dns, Email, Ip, Subject, Uri};

fn billing() -> PeerIdentity {
    PeerIdentity {
        subject: "CN=billing,O=Example".to_owned(),
        common_name: Some("billing".to_owned()),
        alternative_names: [
            "DNS:billing.example",
            "URI:spiffe://example/billing",
            "URI:spiffe://example/other",
            "email:a@example",
            "IP:10.0.0.1",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

fn principal(names: &[CertificateName], certificate: &PeerIdentity) -> String {
    let names = CertificateNames(names.to_vec());
    names.principal(certificate).to_string()
}

#[test]
fn a_certificate_is_known_by_the_first_of_the_names_that_it_has() {
    let billing = billing();
    for (names, expected) in [
        (&[CommonName][..], "certificate:CN:billing"),
        (
            &[Uri, CommonName],
            "certificate:URI:spiffe://example/billing",
        ),
        (&[Dns], "certificate:DNS:billing.example"),
        (&[Email], "certificate:email:a@example"),
        (&[Ip], "certificate:IP:10.0.0.1"),
        (&[Subject], "certificate:subject:CN=billing,O=Example"),
    ] {
        assert_eq!(principal(names, &billing), expected);
    }
    let by_default = CertificateNames::default().principal(&billing);
    assert_eq!(
        by_default.as_str(),
        "certificate:URI:spiffe://example/billing"
    );
    let plain = PeerIdentity {
        alternative_names: Vec::new(),
        ..billing
    };
    let by_default = CertificateNames::default().principal(&plain);
    assert_eq!(by_default.as_str(), "certificate:CN:billing");
    assert_eq!(
        principal(&[Uri, Subject], &plain),
        "certificate:subject:CN=billing,O=Example"
    );
}

#[test]
fn a_certificate_without_such_a_name_says_as_little_as_none() {
    let nameless = PeerIdentity {
        subject: String::new(),
        common_name: Some("n".repeat(513)),
        alternative_names: vec!["URI:".to_owned()],
    };
    assert_eq!(
        CertificateNames::default().principal(&nameless).as_str(),
        "anonymous"
    );
    assert_eq!(
        principal(&[Email], &billing()),
        "certificate:email:a@example"
    );
    assert_eq!(principal(&[Email], &nameless), "anonymous");
}

#[test]
fn a_name_of_one_kind_is_never_one_of_another() {
    let forged = PeerIdentity {
        common_name: Some("URI:spiffe://example/billing".to_owned()),
        alternative_names: Vec::new(),
        ..billing()
    };
    assert_eq!(
        CertificateNames::default().principal(&forged).as_str(),
        "certificate:CN:URI:spiffe://example/billing"
    );
}
