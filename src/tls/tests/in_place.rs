//! What passes through the client's end, and how it ends.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use rustls::{ServerConfig, version::TLS12};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::{Acceptor, Connector, acceptor, authority::Authority, connector};
use crate::tls::{ClientStream, HTTP2, ServerStream, pem, provider};

/// The two ends of a connection, over a pipe that holds this many bytes.
async fn ends(room: usize) -> (ServerStream<DuplexStream>, ClientStream<DuplexStream>) {
    let authority = Authority::new();
    let (ours, theirs) = duplex(room);
    let (acceptor, connector) = both(&authority);
    meet(&acceptor, theirs, &connector, ours).await
}

fn both(authority: &Authority) -> (Acceptor, Connector) {
    let connector = connector(authority, None, "localhost");
    (acceptor(authority, None), connector)
}

async fn meet(
    acceptor: &Acceptor,
    theirs: DuplexStream,
    connector: &Connector,
    ours: DuplexStream,
) -> (ServerStream<DuplexStream>, ClientStream<DuplexStream>) {
    let opening = Bytes::new();
    let (accepted, connected) =
        tokio::join!(acceptor.accept(theirs, &opening), connector.connect(ours));
    let (broker, _) = accepted.map_err(|(error, _)| error).expect("sound");
    (broker, connected.expect("sound"))
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

/// Sends and receives in both directions at the same time.
async fn exchange(
    broker: &mut (impl AsyncRead + AsyncWrite + Unpin),
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    sent: &[u8],
) {
    let (mut broker_reads, mut broker_writes) = tokio::io::split(broker);
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let (mut at_broker, mut at_client) = (vec![0; sent.len()], vec![0; sent.len()]);
    let (written, answered, _, _) = tokio::join!(
        async {
            client_writes.write_all(sent).await?;
            client_writes.flush().await
        },
        async {
            broker_writes.write_all(sent).await?;
            broker_writes.flush().await
        },
        async {
            broker_reads
                .read_exact(&mut at_broker)
                .await
                .expect("sound")
        },
        async {
            client_reads
                .read_exact(&mut at_client)
                .await
                .expect("sound")
        },
    );
    written.expect("sound");
    answered.expect("sound");
    assert!(at_broker == sent && at_client == sent);
}

#[tokio::test]
async fn what_comes_may_be_taken_in_pieces_of_any_size() {
    let (mut broker, mut client) = ends(100_000).await;
    let sent = pattern(1_000_000);
    let expected = sent.clone();
    let sends = tokio::spawn(async move {
        broker.write_all(&sent).await.expect("sound");
        broker.shutdown().await.expect("sound");
    });
    let mut heard = Vec::new();
    let mut piece = vec![0; 122_889];
    for size in [1, 7, 8_192, 16_385, 122_889].into_iter().cycle() {
        match client.read(&mut piece[..size]).await.expect("sound") {
            0 => break,
            bytes => heard.extend_from_slice(&piece[..bytes]),
        }
    }
    assert!(heard == expected);
    sends.await.expect("sound");
}

#[tokio::test]
async fn a_connection_that_is_cut_off_is_not_one_that_was_ended() {
    let (mut broker, mut client) = ends(1 << 16).await;
    broker.write_all(b"pong").await.expect("sound");
    broker.shutdown().await.expect("sound");
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.expect("it was ended");
    assert_eq!(heard, b"pong");

    let (mut broker, mut client) = ends(1 << 16).await;
    broker.write_all(b"pong").await.expect("sound");
    broker.flush().await.expect("sound");
    drop(broker);
    let error = client
        .read_to_end(&mut heard)
        .await
        .expect_err("it was cut");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(heard, b"pongpong");
}

#[tokio::test]
async fn the_broker_hears_that_the_client_has_ended_the_connection() {
    let (mut broker, mut client) = ends(1 << 16).await;
    client.write_all(b"ping").await.expect("sound");
    client.shutdown().await.expect("sound");
    let refused = client.write_all(b"ping").await.expect_err("it has ended");
    assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe);
    let mut heard = Vec::new();
    broker.read_to_end(&mut heard).await.expect("it was ended");
    assert_eq!(heard, b"ping");
}

#[tokio::test]
async fn the_keys_change_while_bytes_pass() {
    let (mut broker, mut client) = ends(50_000).await;
    for _ in 0..3 {
        exchange(&mut broker, &mut client, &pattern(300_000)).await;
        // The client is asked to change its keys too.
        let (_, session) = broker.get_mut();
        session.refresh_traffic_keys().expect("it is TLS 1.3");
    }
}

#[tokio::test]
async fn bytes_pass_with_the_version_before() {
    let authority = Authority::new();
    let issued = authority.broker();
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12])
        .expect("it is compiled in")
        .with_no_client_auth()
        .with_single_cert(
            pem::certificates(issued.certificate.as_bytes()).expect("sound"),
            pem::key(issued.key.as_bytes()).expect("sound"),
        )
        .expect("sound");
    config.alpn_protocols = vec![HTTP2.to_vec()];
    let (ours, theirs) = duplex(50_000);
    let connector = connector(&authority, None, "localhost");
    let (broker, client) = tokio::join!(
        TlsAcceptor::from(Arc::new(config)).accept(theirs),
        connector.connect(ours)
    );
    let (mut broker, mut client) = (broker.expect("sound"), client.expect("sound"));
    exchange(&mut broker, &mut client, &pattern(300_000)).await;
}

/// Passes bytes on, and changes one in each piece once told to.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    is_bad: &AtomicBool,
) {
    let mut piece = vec![0; 10_000];
    while let Ok(bytes @ 1..) = from.read(&mut piece).await {
        if is_bad.load(Relaxed) {
            piece[bytes - 1] ^= 1;
        }
        to.write_all(&piece[..bytes]).await.expect("it is open");
    }
}

#[tokio::test]
async fn bytes_that_were_changed_on_the_way_end_the_connection_on_both_sides() {
    let authority = Authority::new();
    let (acceptor, connector) = both(&authority);
    let ((ours, near), (far, theirs)) = (duplex(1 << 16), duplex(1 << 16));
    let is_bad = AtomicBool::new(false);
    let never = AtomicBool::new(false);
    let (near_reads, near_writes) = tokio::io::split(near);
    let (far_reads, far_writes) = tokio::io::split(far);
    let ends = async {
        let (mut broker, mut client) = meet(&acceptor, theirs, &connector, ours).await;
        exchange(&mut broker, &mut client, b"some").await;
        is_bad.store(true, Relaxed);
        broker.write_all(b"pong").await.expect("it is open");
        broker.flush().await.expect("it is open");
        let mut heard = [0; 4];
        let error = client.read(&mut heard).await.expect_err("it was changed");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("decrypt"), "{error}");
        let again = client.read(&mut heard).await.expect_err("it has failed");
        assert_eq!(again.to_string(), error.to_string());
        let told = broker.read(&mut heard).await.expect_err("it was told");
        assert!(told.to_string().contains("BadRecordMac"), "{told}");
    };
    tokio::select! {
        () = ends => {}
        () = pass_on(near_reads, far_writes, &never) => panic!("it was closed"),
        () = async {
            pass_on(far_reads, near_writes, &is_bad).await;
            std::future::pending::<()>().await;
        } => {}
    }
}
