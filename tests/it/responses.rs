//! The sizes of responses: no client is sent one that is larger than it accepts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prost::Message;
use taffrail::{
    client::{Batch, GroupOffset, NewTopic, Record},
    proto::{
        ConsumeRequest, Credit, DescribeGroupRequest, FetchOffsetsRequest, GetLatestRequest,
        GroupPartition, JoinGroup, ReadKeyRequest, ReadRequest, consume_request,
        entities_client::EntitiesClient, groups_client::GroupsClient, log_client::LogClient, wire,
    },
    testing::TestBroker,
    types::{Offset, PartitionId},
};
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};

use super::raw::info;

const KEY: &[u8] = b"k";
const LEAST: u32 = 65_536;

/// The result of a call: the sizes of its responses, and how it ended.
struct Came {
    sizes: Vec<usize>,
    end: Result<(), Status>,
}

async fn came<T: Message + Default>(opened: Result<Streaming<T>, Status>) -> Came {
    let mut sizes = Vec::new();
    let mut responses = match opened {
        Ok(responses) => responses,
        Err(status) => {
            let end = Err(status);
            return Came { sizes, end };
        }
    };
    loop {
        match responses.message().await {
            Ok(Some(response)) => sizes.push(response.encoded_len()),
            Ok(None) => return Came { sizes, end: Ok(()) },
            Err(status) => {
                let end = Err(status);
                return Came { sizes, end };
            }
        }
    }
}

/// Makes each call that returns records, as a client that accepts messages of `takes` bytes and
/// states `says`.
async fn of_each_call(broker: &TestBroker, takes: usize, says: u32) -> Vec<(&'static str, Came)> {
    let channel = broker.channel();
    let (topic, key) = ("t".to_owned(), bytes::Bytes::from_static(KEY));
    let mut log = LogClient::new(channel.clone()).max_decoding_message_size(takes);
    let mut entities = EntitiesClient::new(channel).max_decoding_message_size(takes);
    let read = ReadRequest {
        topic: topic.clone(),
        max_response_bytes: says,
        ..ReadRequest::default()
    };
    let read_key = ReadKeyRequest {
        topic: topic.clone(),
        key: key.clone(),
        max_response_bytes: says,
        ..ReadKeyRequest::default()
    };
    let latest = GetLatestRequest {
        topic,
        keys: vec![key; 40],
        max_response_bytes: says,
    };
    let read = log.read(read).await.map(tonic::Response::into_inner);
    let read_key = entities.read_key(read_key).await;
    let latest = entities.get_latest(latest).await;
    vec![
        ("Read", came(read).await),
        (
            "ReadKey",
            came(read_key.map(tonic::Response::into_inner)).await,
        ),
        (
            "GetLatest",
            came(latest.map(tonic::Response::into_inner)).await,
        ),
    ]
}

/// A member that commits nothing, until its stream ends.
async fn of_member(broker: &TestBroker, says: u32) -> Came {
    came(member(broker, says).await).await
}

/// The only member of a group, which takes as much as it `says` in one response.
async fn member(
    broker: &TestBroker,
    says: u32,
) -> Result<Streaming<wire::ConsumeResponse>, Status> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let join = JoinGroup {
        group: format!("g{}", NEXT.fetch_add(1, Relaxed)),
        topics: vec!["t".to_owned()],
        credit: Some(Credit {
            records: 1_000_000,
            bytes: 1 << 30,
        }),
        drain_timeout_ms: Some(0),
        max_response_bytes: says,
        ..JoinGroup::default()
    };
    let message = Some(consume_request::Message::Join(join));
    let (up, requests) = tokio::sync::mpsc::channel(1);
    up.send(ConsumeRequest { message })
        .await
        .expect("it is taken");
    // The member stays until the broker ends its stream.
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let requests = requests.chain(tokio_stream::pending());
    let mut groups = GroupsClient::new(broker.channel());
    let opened = groups.consume(requests).await;
    opened.map(tonic::Response::into_inner)
}

async fn broker_with(values: &[usize]) -> TestBroker {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let topic = NewTopic::new("t").setting("max.record.bytes", "8MiB");
    client.topics().create(&topic).await.expect("it is new");
    for len in values {
        let value = vec![7; *len];
        let record = Record::new().key(KEY).value(&value);
        client
            .append(Batch::of("t", [record]))
            .await
            .expect("it is stored");
    }
    broker
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_sent_no_more_than_such_clients_take() {
    let broker = broker_with(&[10, 5 << 20]).await;
    let mut all = of_each_call(&broker, 4 << 20, 0).await;
    all.push(("Consume", of_member(&broker, 0).await));
    for (call, came) in all {
        let status = came.end.expect_err(call);
        assert_eq!(status.code(), Code::FailedPrecondition, "{call}: {status}");
        let info = info(&status);
        assert_eq!(info.reason, "RECORD_EXCEEDS_RESPONSE", "{call}");
        let told = |name: &str| info.metadata[name].clone();
        assert_eq!(told("topic"), "t", "{call}");
        assert_eq!(told("partition"), "0", "{call}");
        assert_eq!(told("offset"), "1", "{call}");
        assert_eq!(told("limit"), "4194304", "{call}");
        assert!(
            told("size").parse::<usize>().expect("a number") > 5 << 20,
            "{call}"
        );
    }
    // The position is where it was: the first record was sent, and the second is next.
    for (call, came) in of_each_call(&broker, 16 << 20, 16 << 20).await {
        came.end.expect(call);
        assert!(came.sizes.iter().any(|size| *size > 5 << 20), "{call}");
    }
}

/// The largest response of each call, a member's included, of a client that says this.
async fn largest_of_each(
    broker: &TestBroker,
    says: u32,
) -> Vec<(&'static str, Result<u32, Status>)> {
    let mut all = Vec::new();
    for (call, came) in of_each_call(broker, usize::MAX, says).await {
        let largest = came.sizes.into_iter().max().unwrap_or_default();
        let largest = u32::try_from(largest).expect("it is short");
        all.push((call, came.end.map(|()| largest)));
    }
    all.push(("Consume", records_of_member(broker, says).await));
    all
}

/// The size of the first response with records that a member gets.
async fn records_of_member(broker: &TestBroker, says: u32) -> Result<u32, Status> {
    let mut responses = member(broker, says).await?;
    loop {
        let response = responses.message().await?.expect("a member reads on");
        if let Some(wire::ConsumeMessage::Records(_)) = response.message {
            return Ok(u32::try_from(response.encoded_len()).expect("it is short"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_sent_if_its_response_is_exactly_what_the_client_takes() {
    // More than goes together with others.
    let broker = broker_with(&[1_100_000]).await;
    let ample = largest_of_each(&broker, 2 << 20).await;
    for (at, (call, size)) in ample.into_iter().enumerate() {
        let size = size.expect(call);
        let (_, exact) = largest_of_each(&broker, size).await.swap_remove(at);
        assert_eq!(exact.expect(call), size, "{call}");

        let (_, refused) = largest_of_each(&broker, size - 1).await.swap_remove(at);
        let info = info(&refused.expect_err(call));
        assert_eq!(info.reason, "RECORD_EXCEEDS_RESPONSE", "{call}");
        assert_eq!(info.metadata["offset"], "0", "{call}");
        assert_eq!(info.metadata["size"], size.to_string(), "{call}");
        assert_eq!(info.metadata["limit"], (size - 1).to_string(), "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_are_filled_up_to_what_the_client_takes() {
    let broker = broker_with(&[20_000; 40]).await;
    let least = LEAST as usize;
    for (call, came) in of_each_call(&broker, least, LEAST).await {
        came.end.expect(call);
        assert!(came.sizes.len() > 10, "{call}: {:?}", came.sizes);
        assert!(
            came.sizes.iter().all(|size| *size <= least),
            "{call}: {:?}",
            came.sizes
        );
    }
    for (call, came) in of_each_call(&broker, usize::MAX, LEAST - 1).await {
        let status = came.end.expect_err(call);
        assert_eq!(status.code(), Code::InvalidArgument, "{call}");
        assert!(status.message().contains("65536"), "{status}");
    }
}

/// A group that has committed in 1,001 partitions of the topic "wide", which has them all.
async fn wide_group(broker: &TestBroker) {
    let client = broker.client();
    let topic = NewTopic::new("wide").partitions(1_001);
    client.topics().create(&topic).await.expect("it may be");
    let offset = |partition| GroupOffset {
        topic: "wide".to_owned(),
        topic_id: None,
        partition: PartitionId(partition),
        next_offset: Offset(0),
        generation: None,
        metadata: bytes::Bytes::new(),
    };
    let offsets = (0..1_001).map(offset);
    let committed = client.groups().commit("g", offsets, false).await;
    committed.expect("it may be");
}

#[tokio::test]
async fn a_group_is_described_page_by_page_and_the_client_asks_for_all() {
    let broker = TestBroker::start().await;
    wide_group(&broker).await;
    let mut groups = GroupsClient::new(broker.channel());
    let ask = |page_size, after: Option<u32>| DescribeGroupRequest {
        group: "g".to_owned(),
        page_size,
        after: after.map(|partition| GroupPartition {
            topic: "wide".to_owned(),
            partition,
            topic_id: String::new(),
        }),
    };
    for (request, partitions, more) in [
        (ask(0, None), 1_000, true),
        (ask(5_000, None), 1_000, true),
        (ask(10, None), 10, true),
        (ask(0, Some(999)), 1, false),
    ] {
        let page = groups.describe(request).await.expect("it is there");
        let page = page.into_inner();
        assert_eq!((page.partitions.len(), page.more), (partitions, more));
    }
    let all = broker.client().groups().describe("g").await;
    let all = all.expect("it is there").partitions;
    let partitions: Vec<u32> = all.iter().map(|of| of.partition.0).collect();
    assert_eq!(partitions, (0..1_001).collect::<Vec<u32>>());
}

#[tokio::test]
async fn committed_offsets_come_page_by_page_and_the_client_asks_for_all() {
    let broker = TestBroker::start().await;
    wide_group(&broker).await;
    let mut groups = GroupsClient::new(broker.channel());
    let ask = |after| FetchOffsetsRequest {
        group: "g".to_owned(),
        after,
        ..FetchOffsetsRequest::default()
    };
    let first = groups.fetch_offsets(ask(None)).await.expect("it is there");
    let first = first.into_inner();
    assert_eq!((first.offsets.len(), first.more), (1_000, true));
    let last = GroupPartition {
        topic: "wide".to_owned(),
        partition: 999,
        topic_id: String::new(),
    };
    let rest = groups.fetch_offsets(ask(Some(last))).await;
    let rest = rest.expect("it is there").into_inner();
    assert_eq!((rest.offsets.len(), rest.more), (1, false));

    let all = broker.client().groups().offsets("g").await;
    let all = all.expect("it is there");
    let partitions: Vec<u32> = all.iter().map(|offset| offset.partition.0).collect();
    assert_eq!(partitions, (0..1_001).collect::<Vec<u32>>());
}
