//! Certificates and keys, valid and invalid, and handshakes.

pub(crate) mod authority;
mod in_place;

use std::{io, sync::Arc};

use bytes::Bytes;
use rcgen::{
    BasicConstraints, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use self::authority::{Authority, Issued, named, params, with_usage};
use super::{Acceptor, Clients, Connector, File, PeerIdentity, Prepared, Problem, Texts, Trust};

/// 2026-11-28.
const NOW_MS: i64 = 1_795_824_000_000;

const REQUIRED: Clients = Clients {
    required: true,
    any_usage: false,
};

fn texts(issued: &Issued, client_ca: Option<&Authority>) -> Texts {
    Texts {
        certificate: issued.certificate.clone().into(),
        key: issued.key.clone().into(),
        client_ca: client_ca.map(|authority| authority.certificate().into()),
    }
}

fn refused(texts: &Texts) -> (File, Problem) {
    let refused = Prepared::new(texts, REQUIRED, NOW_MS).expect_err("it cannot be used");
    (refused.file, refused.problem)
}

#[test]
fn files_that_cannot_be_used_are_refused_with_what_is_wrong() {
    let authority = Authority::new();
    let (good, other) = (authority.broker(), authority.broker());
    let good = texts(&good, Some(&authority));
    assert!(Prepared::new(&good, REQUIRED, NOW_MS).is_ok());

    let with = |change: fn(&mut Texts, &Issued)| {
        let mut texts = good.clone();
        change(&mut texts, &other);
        refused(&texts)
    };
    let found = with(|texts, other| texts.key = other.key.clone().into());
    assert_eq!(found, (File::Key, Problem::Mismatch));
    let found = with(|texts, _| texts.key = texts.certificate.clone());
    assert_eq!(found, (File::Key, Problem::NoKey));
    let found = with(|texts, _| texts.certificate = b"nothing".to_vec());
    assert_eq!(found, (File::Certificate, Problem::NoCertificate));
    let found = with(|texts, _| texts.client_ca = Some(texts.key.clone()));
    assert_eq!(found, (File::ClientCa, Problem::NoCertificate));
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let mut texts = good.clone();
    texts.key = encrypted.into();
    assert_eq!(refused(&texts), (File::Key, Problem::EncryptedKey));
    let mut texts = good;
    texts.certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
    assert!(matches!(
        refused(&texts),
        (File::Certificate, Problem::Malformed(_))
    ));
}

#[test]
fn a_certificate_that_is_not_valid_now_is_refused_with_the_moment() {
    let authority = Authority::new();
    let mut expired = params(&["localhost"]);
    expired.not_after = date_time_ymd(2026, 11, 27);
    let found = refused(&texts(&authority.issue(expired), None));
    let moment = "2026-11-27T00:00:00Z".to_owned();
    assert_eq!(found, (File::Certificate, Problem::Expired(moment)));
    let mut early = params(&["localhost"]);
    early.not_before = date_time_ymd(2026, 11, 29);
    let found = refused(&texts(&authority.issue(early), None));
    let moment = "2026-11-29T00:00:00Z".to_owned();
    assert_eq!(found, (File::Certificate, Problem::NotYetValid(moment)));
}

#[test]
fn authorities_that_are_none_or_not_valid_now_are_refused_with_which_one() {
    let authority = Authority::new();
    let good = texts(&authority.broker(), Some(&authority));
    let with = |params| {
        let second = authority.issue(params).certificate;
        let client_ca = [authority.certificate(), &second].concat().into_bytes();
        let texts = Texts {
            client_ca: Some(client_ca),
            ..good.clone()
        };
        let refused = Prepared::new(&texts, REQUIRED, NOW_MS).map(drop);
        refused.map_err(|refused| (refused.file, refused.to_string()))
    };
    let an_authority = || {
        let mut params = named("another");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    assert_eq!(with(an_authority()), Ok(()));
    let refused = |problem: &str| {
        Err((
            File::ClientCa,
            format!("certificate 2 (CN=another): {problem}"),
        ))
    };
    let mut expired = an_authority();
    expired.not_after = date_time_ymd(2026, 11, 27);
    let told = "it has expired at 2026-11-27T00:00:00Z; have a new one made";
    assert_eq!(with(expired), refused(told));
    let mut early = an_authority();
    early.not_before = date_time_ymd(2026, 11, 29);
    let told = "it is not valid before 2026-11-29T00:00:00Z; is the clock of this machine right?";
    assert_eq!(with(early), refused(told));
    let told = "it is not of an authority (CA:TRUE, and keyCertSign where there is a key usage); \
                put the certificate of the authority there that signs those of clients";
    let mut leaf = named("another");
    assert_eq!(with(leaf.clone()), refused(told));
    leaf.is_ca = IsCa::ExplicitNoCa;
    assert_eq!(with(leaf), refused(told));
    let mut signs_nothing = an_authority();
    signs_nothing.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(with(signs_nothing), refused(told));
}

#[test]
fn a_client_is_who_its_certificate_names() {
    let mut params = named("billing, \"EU\"");
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Example");
    params.subject_alt_names = vec![
        SanType::DnsName("billing.example".try_into().expect("ASCII")),
        SanType::URI("spiffe://example/billing".try_into().expect("ASCII")),
        SanType::Rfc822Name("a@example".try_into().expect("ASCII")),
        SanType::IpAddress([10, 0, 0, 1].into()),
    ];
    let issued = Authority::new().issue(params);
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    assert_eq!(
        PeerIdentity::of(&certificate).unwrap(),
        PeerIdentity {
            subject: "O=Example,CN=billing\\, \\\"EU\\\"".to_owned(),
            common_name: Some("billing, \"EU\"".to_owned()),
            alternative_names: [
                "DNS:billing.example",
                "URI:spiffe://example/billing",
                "email:a@example",
                "IP:10.0.0.1"
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    );
}

/// Makes a handshake and sends something in both directions. Returns the client's identity.
async fn meet(acceptor: &Acceptor, connector: &Connector) -> io::Result<Option<PeerIdentity>> {
    let (ours, theirs) = duplex(1 << 16);
    let broker = async {
        let accepted = acceptor.accept(theirs, &Bytes::new()).await;
        let (mut stream, identity) = accepted.map_err(|(error, _)| error)?;
        stream.write_all(b"pong").await?;
        stream.flush().await?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await?;
        Ok::<_, io::Error>((heard, identity))
    };
    let client = async {
        let mut stream = connector.connect(ours).await?;
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).await?;
        Ok::<_, io::Error>(heard)
    };
    let (broker, client) = tokio::join!(broker, client);
    // The client's error comes first, because that is what a person sees.
    assert_eq!(&client?, b"pong");
    let (heard, identity) = broker?;
    assert_eq!(&heard, b"ping");
    Ok(identity)
}

fn acceptor(authority: &Authority, clients: Option<Clients>) -> Acceptor {
    let client_ca = clients.map(|_| authority);
    let texts = texts(&authority.broker(), client_ca);
    let prepared = Prepared::new(&texts, clients.unwrap_or(REQUIRED), NOW_MS);
    Acceptor::new(prepared.expect("the files can be used"))
}

fn connector(authority: &Authority, identity: Option<&Issued>, host: &str) -> Connector {
    let identity = identity.map(|issued| (issued.certificate.as_bytes(), issued.key.as_bytes()));
    let trust = Trust::Pem(authority.certificate().as_bytes());
    Connector::new(trust, identity, host).expect("it is sound")
}

async fn told(acceptor: &Acceptor, connector: &Connector) -> String {
    let met = meet(acceptor, connector).await;
    met.expect_err("they do not agree").to_string()
}

#[tokio::test]
async fn a_client_is_let_in_with_a_certificate_of_the_right_authority_alone() {
    let (authority, other) = (Authority::new(), Authority::new());
    let acceptor = acceptor(&authority, Some(REQUIRED));
    let (good, bad) = (authority.client("a"), other.client("a"));
    let met = meet(&acceptor, &connector(&authority, Some(&good), "localhost")).await;
    assert_eq!(met.unwrap().unwrap().subject, "CN=a");

    let told_none = told(&acceptor, &connector(&authority, None, "localhost")).await;
    assert!(
        told_none.contains("takes only clients that have a certificate"),
        "{told_none}"
    );
    let told_other = told(&acceptor, &connector(&authority, Some(&bad), "localhost")).await;
    assert!(
        told_other.contains("does not take the certificate"),
        "{told_other}"
    );
}

#[tokio::test]
async fn clients_without_a_certificate_are_let_in_where_none_is_required() {
    let (authority, other) = (Authority::new(), Authority::new());
    let optional = Clients {
        required: false,
        ..REQUIRED
    };
    let acceptor = acceptor(&authority, Some(optional));
    let met = meet(&acceptor, &connector(&authority, None, "127.0.0.1")).await;
    assert_eq!(met.unwrap(), None);
    let bad = other.client("a");
    told(&acceptor, &connector(&authority, Some(&bad), "127.0.0.1")).await;
}

#[tokio::test]
async fn certificates_of_servers_are_taken_for_clients_if_that_is_said() {
    let authority = Authority::new();
    let server = with_usage(named("a"), ExtendedKeyUsagePurpose::ServerAuth);
    let code = with_usage(named("b"), ExtendedKeyUsagePurpose::CodeSigning);
    let (server, code) = (authority.issue(server), authority.issue(code));
    let strict = acceptor(&authority, Some(REQUIRED));
    let any = Clients {
        any_usage: true,
        ..REQUIRED
    };
    let lenient = acceptor(&authority, Some(any));
    let of = |issued| connector(&authority, Some(issued), "localhost");
    told(&strict, &of(&server)).await;
    let met = meet(&lenient, &of(&server)).await;
    assert_eq!(met.unwrap().unwrap().subject, "CN=a");
    told(&lenient, &of(&code)).await;
    let usual = authority.client("c");
    assert!(meet(&lenient, &of(&usual)).await.is_ok());
    // A certificate of another authority is still refused.
    let other = Authority::new();
    let foreign = other.issue(with_usage(named("a"), ExtendedKeyUsagePurpose::ServerAuth));
    told(&lenient, &of(&foreign)).await;
}

#[tokio::test]
async fn a_client_is_told_what_is_wrong_with_the_broker() {
    let (authority, other) = (Authority::new(), Authority::new());
    let acceptor = acceptor(&authority, None);
    let unknown = told(&acceptor, &connector(&other, None, "localhost")).await;
    assert!(
        unknown.contains("no authority that this client trusts"),
        "{unknown}"
    );
    let named = told(&acceptor, &connector(&authority, None, "elsewhere")).await;
    assert!(named.contains("for other names"), "{named}");

    // Ports without TLS: a broker's, and another server's.
    for (answer, expected) in [
        (
            &[0x15, 3, 1, 0, 2, 2, 0x46][..],
            "does not speak TLS on this port",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "does not speak TLS: use http://",
        ),
    ] {
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(answer).await.expect("there is room");
        let connector = connector(&authority, None, "localhost");
        let error = connector.connect(ours).await.expect_err("it is no TLS");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn new_files_are_for_new_connections() {
    let (authority, next) = (Authority::new(), Authority::new());
    let acceptor = Arc::new(acceptor(&authority, None));
    let before = connector(&authority, None, "localhost");
    assert!(meet(&acceptor, &before).await.is_ok());
    let texts = texts(&next.broker(), None);
    acceptor.replace(Prepared::new(&texts, REQUIRED, NOW_MS).expect("it is sound"));
    told(&acceptor, &before).await;
    assert!(
        meet(&acceptor, &connector(&next, None, "localhost"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn much_passes_in_both_directions_as_it_was_sent() {
    let authority = Authority::new();
    let acceptor = acceptor(&authority, None);
    let connector = connector(&authority, None, "localhost");
    let (ours, theirs) = duplex(10_000);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let broker = async {
        let (mut stream, _) = acceptor.accept(theirs, &Bytes::new()).await.expect("sound");
        let mut heard = vec![0; sent.len()];
        stream.read_exact(&mut heard).await.expect("sound");
        stream.write_all(&heard).await.expect("sound");
        stream.shutdown().await.expect("sound");
    };
    let client = async {
        let mut stream = connector.connect(ours).await.expect("sound");
        stream.write_all(&sent).await.expect("sound");
        stream.flush().await.expect("sound");
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.expect("sound");
        heard
    };
    let ((), heard) = tokio::join!(broker, client);
    assert!(heard == sent);
}
