//! What a member of a group is sent without waiting for calls that read files.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream};
use http::Request;
use prost::Message as _;
use tokio::time::{sleep, timeout};
use tokio_stream::Stream;
use tonic::{Code, Status};

use super::reads::{PATIENCE, World, fill, reason};
use crate::{
    broker::{Broker, JoinGroup, Session},
    budget::{Name, Sizes},
    proto::{
        self, CommitOffsets, ConsumeRequest, consume_request,
        wire::{ConsumeMessage, ConsumeResponse},
    },
    server::{
        answers::Source,
        auth::tests::access_of_everybody,
        groups::{events, join::join_group, member::MemberAnswers},
        stop,
        turns::Lanes,
    },
};

/// The requests that a member sends.
#[derive(Clone, Default)]
struct Requests(Arc<Mutex<VecDeque<ConsumeRequest>>>);

impl Stream for Requests {
    type Item = Result<ConsumeRequest, Status>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.0.lock().expect("nobody panics").pop_front();
        next.map_or(Poll::Pending, |request| Poll::Ready(Some(Ok(request))))
    }
}

async fn next(member: &mut MemberAnswers<Requests>) -> ConsumeMessage {
    let next = poll_fn(|cx| member.poll_next(cx));
    let next = timeout(PATIENCE, next).await.expect("there is more");
    let message = next.expect("nothing fails").expect("it goes on").concat();
    let response = ConsumeResponse::decode(&message[..]);
    response
        .expect("a response")
        .message
        .expect("it says something")
}

#[tokio::test]
async fn a_commit_is_answered_while_records_wait_to_be_read() {
    let (broker, mut ours) = World::broker(Sizes::default(), PATIENCE, 1).await;
    let world = World::connected(&broker, ours.remove(0)).await;
    world.append("a", 1_000_000).await;
    world.append("b", 1_000_000).await;
    broker.checkpoint_now().expect("nothing fails");
    let join = a_join();
    let joining = broker.join_group(join).expect("it is a good one");
    let session = joining.await.expect("nothing fails");
    let requests = Requests::default();
    let (mut member, _stop) = answers(&broker, session, &requests);
    let records = loop {
        if let ConsumeMessage::Records(records) = next(&mut member).await {
            break records;
        }
    };
    assert!(!member.is_light(), "the next record is in a file");

    let commit = CommitOffsets {
        offsets: vec![records.next.expect("where to go on")],
    };
    let commit = ConsumeRequest {
        message: Some(consume_request::Message::Commit(commit)),
    };
    requests.0.lock().expect("nobody panics").push_back(commit);
    let answered = async {
        let mut cx = Context::from_waker(Waker::noop());
        while !member.is_light() {
            sleep(Duration::from_millis(1)).await;
            member.take_requests(&mut cx);
        }
    };
    timeout(PATIENCE, answered).await.expect("it needs no turn");
    assert!(matches!(
        next(&mut member).await,
        ConsumeMessage::Committed(_)
    ));
    assert!(!member.is_light(), "the next record is in a file");
    assert!(matches!(
        next(&mut member).await,
        ConsumeMessage::Records(_)
    ));
}

/// The responses to a member of this session that sends these requests.
fn answers(
    broker: &Broker,
    session: Session,
    requests: &Requests,
) -> (MemberAnswers<Requests>, stop::Stop) {
    let (stop, stopping) = stop::channel();
    let first = (events::heartbeat(), Duration::from_secs(60));
    let counts_as = broker.budget().part(Name::Requests).holder();
    let long = Lanes::new().long(counts_as.clone());
    let requests = (requests.clone(), counts_as, access_of_everybody(), long);
    let stopped = stopping.stopped();
    let member = MemberAnswers::new(session, first, requests, None, stopped);
    (member, stop)
}

#[tokio::test]
async fn commits_whose_answers_are_not_read_are_counted_and_few_of_them_are_taken() {
    const OFFSETS: usize = 10_000;
    const SENT: usize = 20;
    let (broker, _ours) = World::broker(Sizes::default(), PATIENCE, 1).await;
    let join = a_join();
    let joining = broker.join_group(join).expect("it is a good one");
    let session = joining.await.expect("nothing fails");
    let requests = Requests::default();
    let (mut member, _stop) = answers(&broker, session, &requests);
    let nobodys = proto::GroupOffset {
        topic: "u".repeat(249),
        generation: 1,
        ..proto::GroupOffset::default()
    };
    for _ in 0..SENT {
        let offsets = vec![nobodys.clone(); OFFSETS];
        let message = Some(consume_request::Message::Commit(CommitOffsets { offsets }));
        let mut waiting = requests.0.lock().expect("nobody panics");
        waiting.push_back(ConsumeRequest { message });
    }
    let waiting = || requests.0.lock().expect("nobody panics").len();
    let part = broker.budget().part(Name::Requests);
    let mut cx = Context::from_waker(Waker::noop());
    // The member has been told that it has joined.
    poll_fn(|cx| member.poll_next(cx))
        .await
        .expect("it goes on");
    let answered = async {
        while !member.is_light() {
            member.take_requests(&mut cx);
            sleep(Duration::from_millis(1)).await;
        }
        member.take_requests(&mut cx);
    };
    timeout(PATIENCE, answered).await.expect("it is answered");
    assert_eq!(waiting(), SENT - 1, "one is more than may wait");
    let used = part.used();
    assert!(used > OFFSETS * 249, "{used} bytes are counted of one");
    assert!(used < 2 * OFFSETS * 249, "{used} bytes are counted of one");

    for left in (0..SENT).rev() {
        while !matches!(next(&mut member).await, ConsumeMessage::Committed(_)) {}
        let more = async {
            while waiting() > left.saturating_sub(1) {
                member.take_requests(&mut cx);
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, more).await.expect("the next is taken");
        assert_eq!(waiting(), left.saturating_sub(1));
    }
    drop(member);
    assert_eq!(part.used(), 0, "all is given back");
}

#[tokio::test]
async fn a_commit_that_there_is_no_room_for_ends_the_stream_and_the_member_may_come_back() {
    let (broker, _ours) = World::broker(Sizes::default(), PATIENCE, 1).await;
    let join = a_join();
    let joining = broker.join_group(join.clone()).expect("it is a good one");
    let session = joining.await.expect("nothing fails");
    let requests = Requests::default();
    let (mut member, _stop) = answers(&broker, session, &requests);
    let part = broker.budget().part(Name::Requests);
    part.add(part.bound());
    let offsets = vec![proto::GroupOffset {
        topic: "t".into(),
        generation: 1,
        ..proto::GroupOffset::default()
    }];
    let message = Some(consume_request::Message::Commit(CommitOffsets { offsets }));
    let commit = ConsumeRequest { message };
    requests.0.lock().expect("nobody panics").push_back(commit);
    member.take_requests(&mut Context::from_waker(Waker::noop()));
    let ended = async {
        loop {
            if let Err(status) = poll_fn(|cx| member.poll_next(cx)).await {
                return status;
            }
        }
    };
    let ended = timeout(PATIENCE, ended).await.expect("it ends");
    assert_eq!(reason(&ended).0, Code::ResourceExhausted);
    drop(member);
    let again = broker.join_group(join).expect("it is a good one");
    timeout(PATIENCE, again)
        .await
        .expect("it is answered")
        .expect("it may join again");
}

/// A request to join, with credit for a large record or two.
fn a_join() -> JoinGroup {
    let join = proto::JoinGroup {
        group: "g".into(),
        topics: vec!["t".into()],
        credit: Some(proto::Credit {
            records: 10,
            bytes: 10_000_000,
        }),
        ..proto::JoinGroup::default()
    };
    join_group(join, String::new()).expect("it is a good one")
}

/// A member whose client sends nothing more, and its responses.
async fn join(world: &mut World) -> (SendStream<Bytes>, RecvStream) {
    let request = Request::post("http://broker/taffrail.v1.Groups/Consume")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let sent = world.client.send_request(request, false);
    let (response, mut stream) = sent.expect("there is room");
    let join = proto::JoinGroup {
        group: "g".into(),
        topics: vec!["t".into()],
        credit: Some(proto::Credit {
            records: 10,
            bytes: 10_000_000,
        }),
        ..proto::JoinGroup::default()
    };
    let message = Some(consume_request::Message::Join(join));
    let message = ConsumeRequest { message }.encode_to_vec();
    let len = u32::try_from(message.len()).expect("it is small");
    let body = [&[0][..], &len.to_be_bytes(), &message].concat();
    stream.send_data(body.into(), false).expect("it is open");
    let response = response.await.expect("the connection stands");
    (stream, response.into_body())
}

#[tokio::test]
async fn a_member_that_reads_nothing_is_not_ended_for_those_who_need_its_memory() {
    const RECORD: usize = 100_000;
    let mut world = World::with(2 << 20, Duration::ZERO).await;
    world.append("a", RECORD).await;
    let (_member, mut sent) = join(&mut world).await;
    let mut bytes = fill(&mut sent).await;
    // The member has stalled for longest.
    let mut stalled = Vec::new();
    let refused = loop {
        match world.read_much().await {
            Ok(mut body) => stalled.push((fill(&mut body).await, body)),
            Err(refused) => break refused,
        }
    };
    assert_eq!(reason(&refused).0, Code::ResourceExhausted);
    let admitted = async {
        while world.read_much().await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let admitted = timeout(PATIENCE, admitted).await;
    admitted.expect("one of the reads is ended for it");

    let mut taken = bytes.len();
    while bytes.len() < RECORD {
        let released = sent.flow_control().release_capacity(taken);
        released.expect("it was received");
        let data = sent.data().await.expect("it goes on");
        let data = data.expect("the connection stands");
        taken = data.len();
        bytes.extend_from_slice(&data);
    }
}
