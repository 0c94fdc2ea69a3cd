//! Whether a silent client is still there.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use http::{Request, Response};
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;

use crate::{
    budget::{Budget, Sizes},
    env::Env,
    server::{
        Options,
        connections::Connections,
        notices::Notices,
        peer::{Peer, Peers, Pulse},
        stop,
    },
};

const INTERVAL: Duration = Duration::from_millis(50);

/// Longer than this takes on a busy machine, and shorter than two intervals without a ping if
/// nothing asks for more frequent ones.
const PATIENCE: Duration = Duration::from_secs(50);

/// A call without end, like a member's; it sends its connection's pulse to the test.
async fn open_call(told: mpsc::Sender<Pulse>, request: Request<Body>) -> Response<Body> {
    let peer = request.extensions().get::<Peer>().expect("it has one");
    peer.pulse.want(INTERVAL);
    told.send(peer.pulse.clone()).await.expect("it is awaited");
    std::future::pending().await
}

fn serve(told: mpsc::Sender<Pulse>) -> (mpsc::Sender<io::Result<DuplexStream>>, stop::Stop) {
    let (sender, receiver) = mpsc::channel(1);
    let (stop, stopping) = stop::channel();
    let peers = Peers::new(
        &Budget::new(&Sizes::default()),
        None,
        &Arc::default(),
        &Options::default(),
    );
    let clock = Env::system().clock;
    tokio::spawn(async move {
        let service = tower::service_fn(move |request| {
            let told = told.clone();
            async move { Ok::<_, Infallible>(open_call(told, request).await) }
        });
        let (options, notices) = (Options::default(), Arc::new(Notices::default()));
        let mut connections = Connections::new(service, peers, clock, &options, notices, stopping);
        connections.take(ReceiverStream::new(receiver)).await;
    });
    (sender, stop)
}

#[tokio::test]
async fn a_silent_client_is_asked_as_often_as_its_call_wants() {
    let (told, mut pulses) = mpsc::channel(1);
    let (incoming, _stop) = serve(told);
    let (ours, theirs) = duplex(1 << 16);
    incoming.send(Ok(theirs)).await.expect("it is served");
    let (calls, connection) = h2::client::handshake(ours).await.expect("it is served");
    tokio::spawn(connection);
    let request = Request::post("http://broker/member")
        .body(())
        .expect("sound");
    let mut calls = calls.ready().await.expect("it is served");
    let _open = calls.send_request(request, false).expect("it is served");
    let pulse = pulses.recv().await.expect("the call has come");

    let answers = async {
        while pulse.heard() < 10 {
            sleep(INTERVAL).await;
        }
    };
    timeout(PATIENCE, answers).await.expect("it answers");
}
