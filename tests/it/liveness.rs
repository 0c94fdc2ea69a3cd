//! How long a member stays in its group: while it works, and while its machine answers.

use std::{net::SocketAddr, time::Duration};

use taffrail::{
    client::{Batch, Client, CommitOutcome, Error, NewTopic, Record},
    proto::{
        ConsumeRequest, Credit, JoinGroup, consume_request::Message, groups_client::GroupsClient,
        wire::ConsumeMessage,
    },
    testing::TestBroker,
    types::PartitionId,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tonic::transport::Endpoint;

/// The shortest session time.
const SESSION: Duration = Duration::from_secs(1);

/// Less than a session time.
const STEP: Duration = Duration::from_millis(900);

/// Longer than anything takes in these tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// This many steps are more than six sessions; with the default session time of 10 s that would be
/// a minute.
const STEPS: u32 = 7;

async fn broker() -> (TestBroker, Client) {
    let broker = TestBroker::builder().simulated(1).tcp().start().await;
    let client = broker.client();
    let topic = NewTopic::new("t");
    client.topics().create(&topic).await.expect("it may be");
    let mut batch = Batch::to_partition("t", PartitionId(0));
    batch.push(&Record::new().value("v"));
    client.append(batch).await.expect("it may be");
    (broker, client)
}

/// When the group's only member was heard last, if it is still there.
async fn heard(client: &Client) -> Option<i64> {
    let described = client.groups().describe("g").await.expect("there is one");
    described.members.first().map(|member| member.last_heard_ms)
}

/// Lets six sessions pass, step by step, each of which waits until the member was heard.
async fn pass_sessions(broker: &TestBroker, client: &Client) {
    for _ in 0..STEPS {
        let before = heard(client).await;
        broker.advance(STEP).await;
        let heard_again = async {
            while heard(client).await.expect("it is there") <= before.unwrap_or_default() {}
        };
        let in_time = timeout(PATIENCE, heard_again).await;
        in_time.expect("it is heard of");
    }
}

#[tokio::test]
async fn a_record_that_takes_six_sessions_costs_its_member_no_partition() -> Result<(), Error> {
    let (broker, client) = broker().await;
    let member = client.member("g").topic("t").commit_explicitly();
    let mut member = member.session_timeout(SESSION).join().await?;
    let read = member.next_record().await?.expect("it is there");
    // The member does nothing meanwhile.
    pass_sessions(&broker, &client).await;
    assert_eq!(member.commit([read.next()]).await?, [CommitOutcome::Done]);
    member.leave().await
}

#[tokio::test]
async fn a_silent_member_is_there_while_its_machine_answers_and_no_longer() -> Result<(), Error> {
    let (broker, client) = broker().await;
    let (stall, stalled) = watch::channel(false);
    let relay = relay(broker.address(), stalled).await;
    let endpoint = Endpoint::from_shared(format!("http://{relay}")).expect("it is valid");
    let channel = endpoint.connect().await.expect("it is there");
    let (say, said) = tokio::sync::mpsc::channel(1);
    let join = JoinGroup {
        group: "g".to_owned(),
        topics: vec!["t".to_owned()],
        credit: Some(Credit {
            records: 10,
            bytes: 1_000,
        }),
        session_timeout_ms: 1_000,
        ..JoinGroup::default()
    };
    let message = Some(Message::Join(join));
    say.send(ConsumeRequest { message }).await.expect("room");
    let requests = tokio_stream::wrappers::ReceiverStream::new(said);
    let answers = GroupsClient::new(channel).consume(requests).await;
    let mut answers = answers.expect("it may join").into_inner();
    let joined = answers.message().await.expect("it goes on");
    let joined = joined.and_then(|response| response.message);
    assert!(matches!(joined, Some(ConsumeMessage::Joined(_))));
    // The member sends nothing, but its connection answers pings.
    pass_sessions(&broker, &client).await;

    // The connection is not closed, only unresponsive. The broker gets time to ask in vain; nothing
    // depends on how long.
    stall.send_replace(true);
    for _ in 0..4 {
        sleep(SESSION / 2).await;
        broker.advance(SESSION / 2).await;
    }
    assert_eq!(heard(&client).await, None, "it is still there");
    drop((say, answers));
    Ok(())
}

/// Passes bytes on in both directions until it is stalled: from then on it passes nothing, and
/// closes nothing.
async fn relay(broker: SocketAddr, stalled: watch::Receiver<bool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((ours, _)) = listener.accept().await {
            let theirs = TcpStream::connect(broker).await.expect("it listens");
            let (ours, theirs) = (ours.into_split(), theirs.into_split());
            tokio::spawn(pass(ours.0, theirs.1, stalled.clone()));
            tokio::spawn(pass(theirs.0, ours.1, stalled.clone()));
        }
    });
    address
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    stalled: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 1 << 14];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if *stalled.borrow() {
            std::future::pending::<()>().await;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
