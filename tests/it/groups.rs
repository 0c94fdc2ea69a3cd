//! Consumer groups over real gRPC.

use std::{collections::BTreeSet, time::Duration};

use taffrail::{
    client::{
        Append, Batch, Client, CommitOutcome, Error, GroupOffset, GroupRecord, Member, NewTopic,
        Record, ResetGroup,
    },
    proto::{
        CommitOffsets, ConsumeRequest, Credit, JoinGroup, Leave, NoOffset,
        consume_request::Message, groups_client::GroupsClient, no_offset::Policy,
        wire::ConsumeMessage,
    },
    testing::TestBroker,
    types::{Offset, PartitionId, Position},
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};

type Outcome = Result<(), Error>;

/// A session time that no test waits for: members that are gone have left explicitly.
const LONG: Duration = Duration::from_secs(3_600);

async fn topic(client: &Client, name: &str, partitions: u32, records: usize) -> Outcome {
    let topic = NewTopic::new(name).partitions(partitions);
    client
        .topics()
        .create(&topic.setting("keys", "plain"))
        .await?;
    append(client, name, partitions, 0..records).await
}

async fn append(
    client: &Client,
    topic: &str,
    partitions: u32,
    numbers: std::ops::Range<usize>,
) -> Outcome {
    for number in numbers {
        let partition = u32::try_from(number).expect("few") % partitions;
        let mut batch = Batch::to_partition(topic, PartitionId(partition));
        batch.push(&Record::new().value(&number.to_string()));
        client.append(batch).await?;
    }
    Ok(())
}

fn value(next: &GroupRecord) -> String {
    let value = next.record.value.as_deref().unwrap_or_default();
    String::from_utf8_lossy(value).into_owned()
}

/// Reads, handles and commits everything.
async fn read_all(mut member: Member) -> Result<Vec<String>, Error> {
    let mut values = Vec::new();
    while let Some(next) = member.next_record().await? {
        values.push(value(&next));
    }
    member.leave().await?;
    Ok(values)
}

fn reason<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.expect_err("it is refused");
    error.reason().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_member_that_joins_goes_on_behind_what_was_handled() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 10).await?;

    let mut first = client.member("g").topic("t").join().await?;
    for expected in 0..4 {
        let next = first.next_record().await?.expect("it waits for more");
        assert_eq!(value(&next), expected.to_string());
    }
    // The last record counts as handled, too.
    first.leave().await?;

    let rest = client.member("g").topic("t").until_caught_up().join();
    let expected: Vec<String> = (4..10).map(|number| number.to_string()).collect();
    assert_eq!(read_all(rest.await?).await?, expected);
    let committed = client.groups().offsets("g").await?;
    assert_eq!(committed[0].next_offset, Offset(10));
    Ok(())
}

#[tokio::test]
async fn members_share_the_partitions_and_one_that_leaves_is_missed_at_once() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 4, 0).await?;
    let join = || client.member("g").topic("t").session_timeout(LONG).join();
    let (mut one, mut two) = (join().await?, join().await?);
    while one.partitions().count() != 2 || two.partitions().count() != 2 {
        for member in [&mut one, &mut two] {
            // There is nothing to read; the members take their assignments meanwhile.
            let told = tokio::time::timeout(Duration::from_millis(10), member.next_record());
            assert!(told.await.is_err());
        }
    }

    append(&client, "t", 4, 0..40).await?;
    let mut seen = BTreeSet::new();
    let (mut of_one, mut of_two) = (0, 0);
    while seen.len() < 40 {
        tokio::select! {
            next = one.next_record() => {
                seen.insert(value(&next?.expect("it waits for more")));
                of_one += 1;
            }
            next = two.next_record() => {
                seen.insert(value(&next?.expect("it waits for more")));
                of_two += 1;
            }
        }
    }
    assert!(of_one > 0 && of_two > 0, "{of_one} and {of_two}");
    two.leave().await?;

    append(&client, "t", 4, 40..80).await?;
    while seen.len() < 80 {
        seen.insert(value(&one.next_record().await?.expect("it waits for more")));
    }
    one.leave().await
}

#[tokio::test]
async fn who_joins_with_the_same_name_fences_the_one_before_for_good() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 2).await?;
    let join = || client.member("g").topic("t").name("worker-1").join();
    let mut old = join().await?;
    let read = old.next_record().await?.expect("it is there");

    let mut new = join().await?;
    assert_eq!(value(&new.next_record().await?.expect("it is there")), "0");
    let fenced = loop {
        // Records that were sent before may still arrive.
        if let Err(error) = old.next_record().await {
            break error;
        }
    };
    assert_eq!(fenced.reason(), Some("FENCED"));
    assert_eq!(reason(old.next_record().await), "FENCED");
    assert_eq!(reason(old.commit([read.next()]).await), "FENCED");
    assert_eq!(value(&new.next_record().await?.expect("it is there")), "1");
    new.leave().await
}

#[tokio::test]
async fn who_comes_back_after_another_has_taken_its_name_is_fenced_and_not_the_other() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 1).await?;
    let named = || client.member("g").topic("t").name("one").join();
    let old = named().await?.member_id().to_owned();
    let mut new = named().await?;
    let group = client.groups().describe("g").await?;
    assert_eq!(group.members[0].member_id, new.member_id());
    let back = JoinGroup {
        member_id: old,
        member_name: "one".to_owned(),
        ..join("g")
    };
    let status = ends_with(&broker, vec![Message::Join(back)]).await;
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert_eq!(value(&new.next_record().await?.expect("it is there")), "0");
    new.leave().await
}

#[tokio::test]
async fn a_commit_of_what_another_member_has_is_fenced() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 5).await?;
    let join = || client.member("g").topic("t").commit_explicitly().join();
    let mut owner = join().await?;
    let read = owner.next_record().await?.expect("it is there");
    let mut other = join().await?;

    let mine = read.next();
    let stolen = GroupOffset {
        generation: mine.generation.map(|generation| generation + 1),
        ..mine.clone()
    };
    assert_eq!(other.commit([stolen]).await?, [CommitOutcome::Fenced]);
    assert_eq!(owner.commit([mine.clone()]).await?, [CommitOutcome::Done]);
    let committed = Offset(1);
    assert_eq!(
        owner.commit([mine.clone()]).await?,
        [CommitOutcome::Unchanged { committed }]
    );
    let beyond = GroupOffset {
        next_offset: Offset(100_000),
        ..mine
    };
    let high_watermark = Offset(5);
    assert_eq!(
        owner.commit([beyond]).await?,
        [CommitOutcome::BeyondEnd { high_watermark }]
    );
    Ok(())
}

#[tokio::test]
async fn what_a_member_takes_too_long_over_is_given_to_another_and_it_is_fenced() -> Outcome {
    let broker = TestBroker::builder().simulated(1).start().await;
    let client = broker.client();
    topic(&client, "t", 1, 1).await?;
    let minute = Duration::from_secs(60);
    let join = || {
        let member = client.member("g").topic("t").commit_explicitly();
        let member = member.session_timeout(LONG);
        member.progress_timeout(minute).join()
    };
    let mut slow = join().await?;
    let read = slow.next_record().await?.expect("it is there");
    let mut other = join().await?;

    broker.advance(minute).await;
    let again = other.next_record().await?.expect("it comes again");
    assert_eq!(again.record, read.record);
    assert_eq!(slow.commit([read.next()]).await?, [CommitOutcome::Fenced]);
    assert_eq!(other.commit([again.next()]).await?, [CommitOutcome::Done]);
    Ok(())
}

#[tokio::test]
async fn what_was_read_before_a_reset_is_not_committed_and_comes_again() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 3).await?;
    let member = client.member("g").topic("t").commit_explicitly();
    let mut member = member.join().await?;
    let mut last = None;
    for _ in 0..3 {
        last = member.next_record().await?;
    }
    let last = last.expect("three are there").next();
    assert_eq!(member.commit([last.clone()]).await?, [CommitOutcome::Done]);

    let to_start = ResetGroup::to_position("g", Position::Earliest);
    let dry = client
        .groups()
        .reset(to_start.clone().dry_run(true))
        .await?;
    assert_eq!(client.groups().offsets("g").await?[0].next_offset.0, 3);
    let set = client.groups().reset(to_start).await?;
    assert_eq!(set, dry);
    assert_eq!(
        (set.offsets[0].before, set.offsets[0].next_offset),
        (Some(Offset(3)), Offset(0))
    );

    assert_eq!(member.commit([last]).await?, [CommitOutcome::Fenced]);
    let again = member.next_record().await?.expect("it comes again");
    assert_eq!(value(&again), "0");
    Ok(())
}

#[tokio::test]
async fn a_member_for_which_nothing_is_left_ends_when_it_is_to_end() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 1).await?;
    let mut first = client.member("g").topic("t").join().await?;
    first.next_record().await?.expect("it is there");
    let second = client.member("g").topic("t").until_caught_up();
    let mut second = second.join().await?;
    let patience = Duration::from_secs(60);
    let ended = tokio::time::timeout(patience, second.next_record()).await;
    assert_eq!(ended.expect("it ends")?, None);
    first.leave().await
}

#[tokio::test]
async fn offsets_are_committed_with_the_append_or_not_at_all() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "in", 1, 2).await?;
    topic(&client, "out", 1, 0).await?;
    let member = client.member("g").topic("in").commit_explicitly();
    let mut member = member.join().await?;
    let read = member.next_record().await?.expect("it is there");
    let write = |member: &Member, next: GroupOffset| {
        Append::from(Batch::of("out", [Record::new().value("made of it")]))
            .commit_offsets(member, [next])
    };
    client.append(write(&member, read.next())).await?;
    assert_eq!(
        client.groups().offsets("g").await?[0].next_offset,
        Offset(1)
    );

    let next = GroupOffset {
        generation: Some(9_999),
        ..read.next()
    };
    let refused = client.append(write(&member, next)).await;
    assert_eq!(reason(refused), "COMMIT_FENCED");
    let other = client.member("g").topic("in").commit_explicitly();
    let other = other.join().await?;
    let stolen = client.append(write(&other, read.next())).await;
    assert_eq!(reason(stolen), "COMMIT_FENCED");
    client.append(write(&member, read.next())).await?;
    let (_, partitions) = client.topics().describe("out").await?;
    assert_eq!(partitions[0].high_watermark, Offset(2));
    Ok(())
}

#[tokio::test]
async fn a_member_keeps_its_partitions_when_the_broker_is_started_anew() -> Outcome {
    let mut broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 2, 4).await?;
    let mut member = client.member("g").topic("t").join().await?;
    let id = member.member_id().to_owned();
    for _ in 0..4 {
        member.next_record().await?;
    }
    broker.crash().await;
    broker.restart().await;
    append(&client, "t", 2, 4..6).await?;
    let mut seen = BTreeSet::new();
    while !seen.contains("4") || !seen.contains("5") {
        seen.insert(value(
            &member.next_record().await?.expect("it waits for more"),
        ));
    }
    assert_eq!(member.member_id(), id);
    member.leave().await
}

#[tokio::test]
async fn a_fork_with_replay_says_which_records_the_other_group_has_handled() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 3).await?;
    read_all(
        client
            .member("old")
            .topic("t")
            .until_caught_up()
            .join()
            .await?,
    )
    .await?;
    append(&client, "t", 1, 3..4).await?;
    client.groups().fork("old", "new", true).await?;
    assert_eq!(
        reason(client.groups().fork("old", "new", true).await),
        "GROUP_EXISTS"
    );
    let mut member = client.member("new").topic("t").join().await?;
    let mut replayed = Vec::new();
    for _ in 0..4 {
        let next = member.next_record().await?.expect("four are there");
        replayed.push(next.is_replayed);
    }
    assert_eq!(replayed, [true, true, true, false]);
    member.leave().await
}

#[tokio::test]
async fn partitions_that_are_added_are_read() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 1).await?;
    let mut member = client.member("g").topic_prefix("t").join().await?;
    member.next_record().await?;
    let grown = client.topics().add_partitions("t", 3).await?;
    assert_eq!(grown.partitions, 3);
    let mut batch = Batch::to_partition("t", PartitionId(2));
    batch.push(&Record::new().value("behind"));
    client.append(batch).await?;
    let next = member.next_record().await?.expect("it waits for more");
    assert_eq!(
        (next.record.partition, &*value(&next)),
        (PartitionId(2), "behind")
    );
    member.leave().await
}

fn join(group: &str) -> JoinGroup {
    JoinGroup {
        group: group.to_owned(),
        topics: vec!["t".to_owned()],
        credit: Some(Credit {
            records: 10,
            bytes: 1_000,
        }),
        ..JoinGroup::default()
    }
}

/// The status that a stream with these messages ends with.
async fn ends_with(broker: &TestBroker, messages: Vec<Message>) -> Status {
    let mut groups = GroupsClient::new(broker.channel());
    let messages = messages.into_iter().map(|message| ConsumeRequest {
        message: Some(message),
    });
    let requests = tokio_stream::iter(messages).chain(tokio_stream::pending());
    let mut responses = match groups.consume(requests).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status,
    };
    loop {
        match responses.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok(""),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn messages_that_a_member_may_not_send_end_its_stream() -> Outcome {
    let broker = TestBroker::start().await;
    topic(&broker.client(), "t", 1, 0).await?;
    let nothing = JoinGroup {
        credit: Some(Credit::default()),
        ..join("g")
    };
    for (messages, says) in [
        (vec![Message::Leave(Leave {})], "first message"),
        (
            vec![Message::Commit(CommitOffsets::default())],
            "first message",
        ),
        (
            vec![Message::Join(join("g")), Message::Join(join("g"))],
            "joined already",
        ),
        (vec![Message::Join(nothing)], "credit"),
        (vec![Message::Join(join(&"g".repeat(256)))], "group"),
    ] {
        let status = ends_with(&broker, messages).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert!(status.message().contains(says), "{status}");
    }
    let left = vec![Message::Join(join("g")), Message::Leave(Leave {})];
    assert_eq!(ends_with(&broker, left).await.code(), Code::Ok);
    Ok(())
}

#[tokio::test]
async fn a_member_that_the_broker_ends_is_gone_at_once_and_its_group_says_why() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let groups = client.groups();
    topic(&client, "t", 1, 1).await?;
    let join = |name: &str| JoinGroup {
        member_name: name.to_owned(),
        session_timeout_ms: 3_600_000,
        ..join("g")
    };
    let fail = |name: &str| JoinGroup {
        no_offset: Some(NoOffset {
            policy: Some(Policy::Fail(true)),
        }),
        ..join(name)
    };
    for (messages, why) in [
        (
            vec![Message::Join(join("")), Message::Join(join(""))],
            "MALFORMED_REQUEST",
        ),
        (vec![Message::Join(fail(""))], "NO_OFFSET"),
    ] {
        let status = ends_with(&broker, messages).await;
        let group = groups.describe("g").await?;
        assert_eq!(group.members, [], "{status}");
        assert!(group.reason.contains(why), "{}", group.reason);
        assert!(group.reason.contains(status.message()), "{}", group.reason);
    }

    // Its name keeps its partitions for the next member with this name.
    ends_with(&broker, vec![Message::Join(fail("one"))]).await;
    let group = groups.describe("g").await?;
    assert_eq!(group.members.len(), 1);
    for says in ["\"one\"", "NO_OFFSET"] {
        assert!(group.reason.contains(says), "{}", group.reason);
    }
    let reset = ResetGroup::to_position("g", Position::Earliest);
    groups.reset(reset.topic("t")).await?;
    let group = groups.describe("g").await?;
    assert!(!group.reason.contains("NO_OFFSET"), "{}", group.reason);
    Ok(())
}

#[tokio::test]
async fn it_is_shown_from_where_a_member_is_connected() -> Outcome {
    let broker = TestBroker::builder().tcp().start().await;
    let client = broker.client();
    topic(&client, "t", 1, 0).await?;
    let member = client.member("g").topic("t").join().await?;
    let described = client.groups().describe("g").await?;
    let address = &described.members[0].address;
    assert!(address.starts_with("127.0.0.1:"), "{address:?}");
    let port = address.rsplit(':').next().map(str::parse::<u16>);
    assert!(matches!(port, Some(Ok(1..))), "{address:?}");
    member.leave().await
}

#[tokio::test]
async fn a_client_that_ends_its_side_has_left() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 0).await?;
    let mut groups = GroupsClient::new(broker.channel());
    let request = ConsumeRequest {
        message: Some(Message::Join(join("g"))),
    };
    let requests = tokio_stream::iter([request]);
    let joined = groups.consume(requests).await.expect("it may join");
    let mut responses = joined.into_inner();
    let first = responses.message().await.expect("it may join");
    let first = first.and_then(|response| response.message);
    assert!(
        matches!(first, Some(ConsumeMessage::Joined(_))),
        "{first:?}"
    );
    while responses.message().await.expect("it ends well").is_some() {}
    assert_eq!(client.groups().describe("g").await?.members, []);
    Ok(())
}

#[tokio::test]
async fn what_a_member_says_is_taken_while_it_does_not_read() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    topic(&client, "t", 1, 0).await?;
    // More than a connection buffers for a client that does not read.
    let large = "7".repeat(900_000);
    for _ in 0..24 {
        let record = Record::new().value(&large);
        client.append(Batch::of("t", [record])).await?;
    }
    let join = JoinGroup {
        credit: Some(Credit {
            records: 1_000,
            bytes: 64 << 20,
        }),
        ..join("g")
    };
    let mut groups = GroupsClient::new(broker.channel()).max_decoding_message_size(16 << 20);
    let (say, said) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::wrappers::ReceiverStream::new(said);
    let send = |message| {
        let message = Some(message);
        say.send(ConsumeRequest { message })
    };
    send(Message::Join(join)).await.expect("it is taken");
    let mut responses = groups
        .consume(requests)
        .await
        .expect("it may join")
        .into_inner();
    let next = loop {
        let response = responses.message().await.expect("it goes on");
        if let Some(ConsumeMessage::Records(records)) = response.and_then(|said| said.message) {
            break records.next.expect("it says what to commit");
        }
    };
    let expected = Offset(next.next_offset);
    let commit = CommitOffsets {
        offsets: vec![next],
    };
    send(Message::Commit(commit)).await.expect("it is taken");
    let committed = async {
        while client
            .groups()
            .offsets("g")
            .await
            .is_ok_and(|all| all.is_empty())
        {
            tokio::task::yield_now().await;
        }
    };
    let patience = Duration::from_secs(60);
    let in_time = tokio::time::timeout(patience, committed).await;
    in_time.expect("it is committed, though nothing else is read");
    let offsets = client.groups().offsets("g").await?;
    assert_eq!(offsets[0].next_offset, expected);
    drop(responses);
    Ok(())
}
