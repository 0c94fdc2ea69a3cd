//! A broker that checks its callers.

use std::sync::Arc;

use bytes::{Buf, BufMut};
use http::uri::PathAndQuery;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_stream::Stream;
use tonic::{
    Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

use crate::{
    broker::{self, Broker},
    client::{Client, NewTopic},
    env::Env,
    server::{
        self, Options, Server,
        auth::{Auth, Exposure, Grant, Grants, NamePattern, Operation, Operations},
    },
};

pub(super) struct Guarded {
    pub(super) auth: Arc<Auth>,
    pub(super) broker: Arc<Broker>,
    pub(super) url: String,
    channel: Channel,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
    _dir: TempDir,
}

/// Allows a principal these operations on topics, groups and producers of these names.
pub(super) fn grant(principal: &str, operations: &[Operation], names: &[&str]) -> Grant {
    let pattern = |text: &&str| NamePattern::parse(text).expect("it is a pattern");
    let names: Vec<NamePattern> = names.iter().map(pattern).collect();
    let mut granted = Operations::default();
    for operation in operations {
        granted = granted.and(*operation);
    }
    Grant {
        principals: vec![pattern(&principal)],
        operations: granted,
        topics: names.clone(),
        groups: names.clone(),
        producers: names,
    }
}

impl Guarded {
    /// Starts a broker with these topics, in which everybody may do everything.
    pub(super) async fn start(topics: &[&str]) -> Self {
        let auth = Auth::new(Grants::default(), Exposure::Loopback);
        Self::start_with(auth, topics).await
    }

    /// Starts a broker with these topics that checks its callers with `auth`.
    pub(super) async fn start_with(auth: Auth, topics: &[&str]) -> Self {
        Self::start_within(Options::default(), auth, topics).await
    }

    /// Starts a broker with these topics and limits that checks its callers with `auth`.
    pub(super) async fn start_within(limits: Options, auth: Auth, topics: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let mut options = broker::Options::new(dir.path().to_owned());
        options.disk_reserve_bytes = 0;
        let broker = Broker::open(Env::system(), options).expect("the directory is empty");
        let auth = Arc::new(auth);
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let url = format!("http://{address}");
        let (stop, told_to_stop) = oneshot::channel::<()>();
        let server = Server::new(Arc::clone(&broker), limits);
        let server = server.with_auth(Arc::clone(&auth));
        let told_to_stop = async move { drop(told_to_stop.await) };
        let ended = tokio::spawn(server.run(server::tcp(listener), told_to_stop));
        let endpoint = Endpoint::from_shared(url.clone()).expect("it is an address");
        let guarded = Self {
            auth,
            broker,
            channel: endpoint.connect().await.expect("it listens"),
            url,
            stop,
            ended,
            _dir: dir,
        };
        let client = guarded.client().await;
        for topic in topics {
            let created = client.topics().create(&NewTopic::new(topic)).await;
            created.expect("it is new");
        }
        guarded
    }

    pub(super) async fn client(&self) -> Client {
        Client::connect(&self.url).await.expect("it listens")
    }

    /// Replaces all grants by these.
    pub(super) fn grant(&self, grants: impl IntoIterator<Item = Grant>) {
        self.auth.replace(Grants::new(grants.into_iter().collect()));
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Makes any call with one request, and returns its first answer, if it has one.
    pub(super) async fn call(
        &self,
        path: &'static str,
        request: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Status> {
        self.make(path, Request::new(tokio_stream::once(request)))
            .await
    }

    /// Makes any call with one request and this `authorization` header, and returns its first
    /// answer, if it has one.
    pub(super) async fn call_with(
        &self,
        authorization: &str,
        path: &'static str,
        request: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, Status> {
        let mut request = Request::new(tokio_stream::once(request));
        let value = authorization.parse().expect("it is text");
        request.metadata_mut().insert("authorization", value);
        self.make(path, request).await
    }

    /// Makes any call with these requests.
    pub(super) async fn make(
        &self,
        path: &'static str,
        requests: Request<impl Stream<Item = Vec<u8>> + Send + 'static>,
    ) -> Result<Option<Vec<u8>>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.expect("it stands");
        let path = PathAndQuery::from_static(path);
        let answers = grpc.streaming(requests, path, Undecoded).await?;
        answers.into_inner().message().await
    }

    pub(super) async fn stop(self) {
        drop(self.channel);
        self.stop.send(()).expect("it runs");
        self.ended.await.expect("it does not panic");
        tokio::task::block_in_place(|| self.broker.close()).expect("nothing fails");
    }
}

/// Messages as their bytes.
#[derive(Clone, Copy, Default)]
struct Undecoded;

impl Codec for Undecoded {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Undecoded {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Undecoded {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
