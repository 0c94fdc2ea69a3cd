//! Calls that keep threads: how many run at a time, and which is next.

use std::{
    future::{pending, poll_fn},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{DuplexStream, duplex},
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Status;

use super::{
    append::cold,
    reads::{PATIENCE, SOCKET_BYTES, World},
};
use crate::{
    broker::Broker,
    env::sim::OpKind,
    proto::{GetClockRequest, ListOffsetsRequest, Position, ReadKeyRequest, ReadRequest, position},
    server::{self, Server, turns::Lane, waiting_threads},
};

/// The calls that a connection may have open.
const CALLS: usize = 200;

/// The connections in the order in which their calls had turns, if each has this many calls, and
/// begins all of them before the next connection does.
async fn order(lane: &Lane, calls: &[usize]) -> Vec<usize> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for (connection, calls) in calls.iter().enumerate() {
        let queue = lane.queue();
        for _ in 0..*calls {
            let (queue, order) = (queue.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                let _turn = queue.turn().await;
                order.lock().unwrap().push(connection);
                // All other calls are in the queue before the first one has its turn.
                World::settle().await;
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("it does not panic");
    }
    Arc::try_unwrap(order).unwrap().into_inner().unwrap()
}

#[tokio::test]
async fn connections_take_turns_however_many_calls_they_have() {
    let order = order(&Lane::new(1, 1), &[5, 1, 3]).await;
    assert_eq!(order, [0, 1, 2, 0, 2, 0, 2, 0, 0]);
}

#[tokio::test]
async fn a_connection_has_no_more_turns_at_a_time_than_it_may() {
    let lane = Lane::new(3, 2);
    let (one, other) = (lane.queue(), lane.queue());
    let first = (one.try_turn(), one.try_turn());
    assert!(first.0.is_some() && first.1.is_some());
    assert!(one.try_turn().is_none());
    assert!(other.try_turn().is_some());
    drop(first.0);
    assert!(one.try_turn().is_some());
}

#[tokio::test]
async fn what_is_cancelled_leaves_the_queue() {
    let lane = Lane::new(1, 1);
    let (one, other) = (lane.queue(), lane.queue());
    let turn = one.try_turn().expect("nobody has it");
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let one = one.clone();
        waiting.spawn(async move {
            let _turn = one.turn().await;
            pending::<()>().await;
        });
    }
    World::settle().await;
    waiting.shutdown().await;
    drop(turn);
    assert!(other.try_turn().is_some());
    assert!(one.try_turn().is_some());
}

/// A runtime like that of `taffrail serve` on a machine with two processors.
fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(waiting_threads())
        .enable_all()
        .build()
        .expect("there are threads")
}

fn serve(broker: &Arc<Broker>, connections: usize) -> Vec<DuplexStream> {
    let pairs = (0..connections).map(|_| duplex(SOCKET_BYTES));
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.unzip();
    let server = Server::new(Arc::clone(broker), server::Options::default());
    let incoming = tokio_stream::iter(theirs.into_iter().map(Ok));
    tokio::spawn(server.run(incoming, pending()));
    ours
}

/// Calls of one client that wait for a file do not hold up another client, which makes another
/// call meanwhile, and end when their client is gone.
fn leave_threads_for_others(
    path: &'static str,
    request: impl prost::Message + 'static,
    meanwhile: (&'static str, impl prost::Message + 'static),
) {
    let runtime = runtime();
    let (disk, broker) = cold(&runtime);
    runtime.block_on(async {
        let mut ours = serve(&broker, 2);
        let mut other = World::connected(&broker, ours.remove(0)).await;
        let mut many = World::connected(&broker, ours.remove(0)).await;
        let hold = disk.hold(OpKind::Read);
        let mut answers = Vec::new();
        for _ in 0..CALLS {
            poll_fn(|cx| many.client.poll_ready(cx))
                .await
                .expect("it stands");
            answers.push(many.call(path, &request));
        }
        let waiting = async {
            while hold.waiting() == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("it needs a file");
        for _ in 0..10 {
            let answer = other.call(meanwhile.0, &meanwhile.1);
            let answer = timeout(PATIENCE, answer).await.expect("it is answered");
            let refused = Status::from_header_map(answer.expect("it stands").headers());
            assert!(refused.is_none(), "{refused:?}");
        }
        drop((answers, many));
        drop(hold);
        let answer = other.call(path, &request);
        let answer = timeout(PATIENCE, answer).await.expect("it has its turn");
        let refused = Status::from_header_map(answer.expect("it stands").headers());
        assert!(refused.is_none(), "{refused:?}");
        broker.close().expect("nothing fails");
    });
}

const CLOCK: (&str, GetClockRequest) = ("/taffrail.v1.Broker/GetClock", GetClockRequest {});

#[test]
fn reads_of_keys_that_need_files_leave_threads_for_others() {
    let request = ReadKeyRequest {
        topic: "t".into(),
        key: "key 0".into(),
        ..ReadKeyRequest::default()
    };
    leave_threads_for_others("/taffrail.v1.Entities/ReadKey", request, CLOCK);
}

#[test]
fn long_calls_that_need_files_leave_threads_for_others() {
    let at = Position {
        at: Some(position::At::TimestampMs(1_700_000_000_000)),
    };
    let request = ListOffsetsRequest {
        topic: "t".into(),
        position: Some(at),
        ..ListOffsetsRequest::default()
    };
    leave_threads_for_others("/taffrail.v1.Log/ListOffsets", request, CLOCK);
}

#[test]
fn a_read_begins_while_the_messages_of_others_wait_for_files() {
    let read = "/taffrail.v1.Log/Read";
    let request = ReadRequest {
        topic: "t".into(),
        ..ReadRequest::default()
    };
    leave_threads_for_others(read, request.clone(), (read, request));
}
