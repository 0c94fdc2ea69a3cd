//! A broker with one topic in memory that keeps the promises made to producers, and fails on
//! demand.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::{
    io::{DuplexStream, duplex},
    sync::{Semaphore, mpsc},
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming, async_trait, transport::Endpoint};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    client::Client,
    proto::{
        self, AppendResponse, AppendStreamResponse, AppendedBatch, AppendedRange,
        ListOffsetsRequest, ListOffsetsResponse, OpenProducerRequest, OpenProducerResponse,
        ReadRequest, ReceivedBatch, Record,
        append_stream_response::Outcome,
        log_server::{Log, LogServer},
        topics_server::{Topics, TopicsServer},
        wire::{AppendRequest, ReadResponse},
    },
    types::Records,
};

/// What to do with a request. The script gives one of these for each request, in order.
#[derive(Clone, Debug)]
pub(in crate::client::tests) enum Play {
    Answer,
    /// Store it, and break the connection instead of answering.
    StoreAndCut,
    /// Store the batch, but forget its offsets: a repetition is answered without ranges.
    StoreForgetWhereAndCut,
    /// Break the connection at once.
    Cut,
    Refuse(Status),
    /// Forget every producer, then handle the request.
    Forget,
    /// Answer once a permit is added to the gate.
    Wait,
}

#[derive(Clone)]
pub(in crate::client::tests) struct FakeBroker {
    state: Arc<Mutex<State>>,
    pub(in crate::client::tests) gate: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    script: VecDeque<Play>,
    producers_opened: u64,
    known: Vec<u64>,
    /// Whether a stored batch is answered as a duplicate without ranges.
    forgets_where: bool,
    /// The ranges that each batch was answered with, by producer and partition.
    answered: BTreeMap<(u64, u32), Vec<AppendedRange>>,
    logs: BTreeMap<u32, Vec<Record>>,
    requests: usize,
    streams_opened: usize,
    streams_open: usize,
}

pub(in crate::client::tests) const PARTITIONS: u32 = 4;

impl FakeBroker {
    /// Starts the broker. Requests behind the end of the script are answered.
    pub(in crate::client::tests) fn start(
        script: impl IntoIterator<Item = Play>,
    ) -> (Self, Client) {
        let state = State {
            script: script.into_iter().collect(),
            ..State::default()
        };
        let broker = Self {
            state: Arc::new(Mutex::new(state)),
            gate: Arc::new(Semaphore::new(0)),
        };
        let (connect, connections) = mpsc::channel::<Result<DuplexStream, std::io::Error>>(16);
        let serving = tonic::transport::Server::builder()
            .add_service(LogServer::new(broker.clone()))
            .add_service(TopicsServer::new(broker.clone()))
            .serve_with_incoming(ReceiverStream::new(connections));
        tokio::spawn(async move { drop(serving.await) });

        let endpoint = Endpoint::from_static("http://fake.invalid");
        let channel = endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
            let connect = connect.clone();
            async move {
                let (ours, theirs) = duplex(1 << 16);
                connect
                    .send(Ok(theirs))
                    .await
                    .map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        }));
        (broker, Client::from_channel(channel))
    }

    /// Lets a producer append that was never opened.
    pub(in crate::client::tests) fn know(&self, producer: u64) {
        self.state.lock().unwrap().known.push(producer);
    }

    /// How many append streams were opened, and how many of them are open.
    pub(in crate::client::tests) fn streams(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.streams_opened, state.streams_open)
    }

    /// What to do with the next request.
    pub(in crate::client::tests) fn play(&self, play: Play) {
        self.state.lock().unwrap().script.push_back(play);
    }

    /// The values in each partition, in order.
    pub(in crate::client::tests) fn values(&self) -> BTreeMap<u32, Vec<String>> {
        let value = |record: &Record| {
            String::from_utf8(record.value.clone().unwrap_or_default().to_vec()).unwrap()
        };
        let logs = &self.state.lock().unwrap().logs;
        logs.iter()
            .map(|(partition, log)| (*partition, log.iter().map(value).collect()))
            .collect()
    }

    pub(in crate::client::tests) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    pub(in crate::client::tests) fn producers_opened(&self) -> u64 {
        self.state.lock().unwrap().producers_opened
    }
}

impl State {
    fn append(&mut self, request: &AppendRequest) -> Result<AppendResponse, Status> {
        let producer = request.producer.expect("a producer").id;
        if !self.known.contains(&producer) {
            return Err(refusal(Code::NotFound, "UNKNOWN_PRODUCER"));
        }
        let batches: Vec<_> = request
            .batches
            .iter()
            .map(|batch| ReceivedBatch::decode(batch).unwrap())
            .collect();
        let stored: Vec<_> = batches
            .iter()
            .map(|batch| self.stored(producer, batch))
            .collect::<Result<_, _>>()?;
        assert!(
            stored.iter().all(Option::is_some) || stored.iter().all(Option::is_none),
            "a request changed"
        );
        let mut answers = Vec::new();
        for (batch, stored) in batches.iter().zip(stored) {
            let duplicate = self.forgets_where && stored.is_some();
            let mut range = match stored {
                Some(range) => range,
                None => self.store(producer, batch),
            };
            if !request.return_versions {
                range.versions.clear();
            }
            answers.push(AppendedBatch {
                ranges: if duplicate { vec![] } else { vec![range] },
                duplicate,
            });
        }
        Ok(AppendResponse { batches: answers })
    }

    fn stored(
        &self,
        producer: u64,
        batch: &ReceivedBatch,
    ) -> Result<Option<AppendedRange>, Status> {
        let (partition, sequence) = (
            batch.partition.unwrap(),
            usize::try_from(batch.sequence.unwrap()).unwrap(),
        );
        let answered = self
            .answered
            .get(&(producer, partition))
            .map_or(&[][..], Vec::as_slice);
        match answered.get(sequence) {
            Some(range) => {
                let count = Records::new(&batch.records).count();
                assert_eq!(
                    range.count as usize, count,
                    "a batch that was sent again has changed"
                );
                Ok(Some(range.clone()))
            }
            None if answered.len() == sequence => Ok(None),
            None => Err(refusal(Code::FailedPrecondition, "OUT_OF_SEQUENCE")),
        }
    }

    fn store(&mut self, producer: u64, batch: &ReceivedBatch) -> AppendedRange {
        let partition = batch.partition.unwrap();
        let log = self.logs.entry(partition).or_default();
        let first_offset = log.len() as u64;
        log.extend(
            Records::new(&batch.records).map(|record| Record::decode(record.unwrap().1).unwrap()),
        );
        let count = u32::try_from(log.len() as u64 - first_offset).unwrap();
        let versions = (1..=u64::from(count)).collect();
        let range = AppendedRange {
            partition,
            first_offset,
            count,
            append_time_ms: 0,
            versions,
        };
        self.answered
            .entry((producer, partition))
            .or_default()
            .push(range.clone());
        range
    }
}

pub(in crate::client::tests) fn refusal(code: Code, reason: &str) -> Status {
    Status::with_error_details(
        code,
        reason,
        ErrorDetails::with_error_info(reason, "taffrail.dev", []),
    )
}

fn cut() -> Status {
    Status::unavailable("the connection broke")
}

type Answers<T> = ReceiverStream<Result<T, Status>>;

#[async_trait]
impl Log for FakeBroker {
    type AppendStreamStream = Answers<AppendStreamResponse>;
    type ReadStream = Answers<ReadResponse>;

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let (answers, receiver) = mpsc::channel(16);
        let (mut requests, broker) = (request.into_inner(), self.clone());
        let mut state = self.state.lock().unwrap();
        state.streams_opened += 1;
        state.streams_open += 1;
        drop(state);
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let play = {
                    let mut state = broker.state.lock().unwrap();
                    state.requests += 1;
                    state.script.pop_front().unwrap_or(Play::Answer)
                };
                let append = || broker.state.lock().unwrap().append(&request);
                let answer = match play {
                    Play::Answer => append(),
                    Play::StoreAndCut => append().and(Err(cut())),
                    Play::StoreForgetWhereAndCut => {
                        broker.state.lock().unwrap().forgets_where = true;
                        append().and(Err(cut()))
                    }
                    Play::Cut => Err(cut()),
                    Play::Refuse(status) => Err(status),
                    Play::Forget => {
                        broker.state.lock().unwrap().known.clear();
                        append()
                    }
                    Play::Wait => {
                        broker.gate.acquire().await.unwrap().forget();
                        append()
                    }
                };
                let failed = answer.is_err();
                let answer = answer.map(|appended| AppendStreamResponse {
                    outcome: Some(Outcome::Appended(appended)),
                });
                if answers.send(answer).await.is_err() || failed {
                    break;
                }
            }
            broker.state.lock().unwrap().streams_open -= 1;
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn open_producer(
        &self,
        _: Request<OpenProducerRequest>,
    ) -> Result<Response<OpenProducerResponse>, Status> {
        let mut state = self.state.lock().unwrap();
        state.producers_opened += 1;
        let id = state.producers_opened;
        state.known.push(id);
        Ok(Response::new(OpenProducerResponse {
            producer: Some(proto::Producer { id, epoch: 0 }),
        }))
    }

    async fn append(&self, _: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        unused()
    }

    async fn read(&self, _: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        unused()
    }

    async fn list_offsets(
        &self,
        _: Request<ListOffsetsRequest>,
    ) -> Result<Response<ListOffsetsResponse>, Status> {
        unused()
    }
}

/// The result of a call that a producer does not make.
type Unused<T> = Result<Response<T>, Status>;

fn unused<T>() -> Unused<T> {
    Err(Status::unimplemented("a producer does not call this"))
}

#[async_trait]
impl Topics for FakeBroker {
    async fn describe(
        &self,
        request: Request<proto::DescribeTopicRequest>,
    ) -> Result<Response<proto::DescribeTopicResponse>, Status> {
        let (name, value) = ("max.record.bytes".to_owned(), "1024".to_owned());
        let settings = vec![proto::Setting {
            name,
            value,
            is_default: false,
        }];
        let name = request.into_inner().name;
        let topic = proto::Topic {
            name,
            id: String::new(),
            partitions: PARTITIONS,
            settings,
            longest_life_ms: None,
        };
        Ok(Response::new(proto::DescribeTopicResponse {
            topic: Some(topic),
            partitions: Vec::new(),
        }))
    }

    async fn create(
        &self,
        _: Request<proto::CreateTopicRequest>,
    ) -> Unused<proto::CreateTopicResponse> {
        unused()
    }

    async fn delete(
        &self,
        _: Request<proto::DeleteTopicRequest>,
    ) -> Unused<proto::DeleteTopicResponse> {
        unused()
    }

    async fn list(
        &self,
        _: Request<proto::ListTopicsRequest>,
    ) -> Unused<proto::ListTopicsResponse> {
        unused()
    }

    async fn alter(
        &self,
        _: Request<proto::AlterTopicRequest>,
    ) -> Unused<proto::AlterTopicResponse> {
        unused()
    }

    async fn add_partitions(
        &self,
        _: Request<proto::AddPartitionsRequest>,
    ) -> Unused<proto::AddPartitionsResponse> {
        unused()
    }

    async fn trim(&self, _: Request<proto::TrimRequest>) -> Unused<proto::TrimResponse> {
        unused()
    }

    async fn compact(&self, _: Request<proto::CompactRequest>) -> Unused<proto::CompactResponse> {
        unused()
    }
}
