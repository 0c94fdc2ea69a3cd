//! For how long a member is there: while it works, and while its machine answers.

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

/// The shortest there is.
const SESSION: Duration = Duration::from_secs(1);

/// Less than a session.
const STEP: Duration = Duration::from_millis(900);

/// How long a test waits for what is to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many steps are more than six sessions: a minute, with the default of 10 s.
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

/// When the one member of the group was heard last, if it is there.
async fn heard(client: &Client) -> Option<i64> {
    let described = client.groups().describe("g").await.expect("there is one");
    described.members.first().map(|member| member.last_heard_ms)
}

/// Six sessions pass for the broker, each step when the member was heard since the one before.
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
    // Nothing is asked of the member meanwhile.
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
    // Its connection answers pings, and it says nothing.
    pass_sessions(&broker, &client).await;

    // Nothing is closed. It is asked in vain: there is time for that, which decides nothing.
    stall.send_replace(true);
    for _ in 0..4 {
        sleep(SESSION / 2).await;
        broker.advance(SESSION / 2).await;
    }
    assert_eq!(heard(&client).await, None, "it is still there");
    drop((say, answers));
    Ok(())
}

/// Passes on what comes in either direction, until it is stalled: then nothing is, and nothing is
/// closed.
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
