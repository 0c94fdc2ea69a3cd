//! `Admin.ImportRecords`, message by message.

use prost::encoding;
use taffrail::{
    client::{ImportedRecord, NewTopic},
    proto::{
        self, ImportBegin, ImportEnd, ImportRecordsResponse, ImportedPartition,
        admin_client::AdminClient, import_records_response::Message as Answer,
        wire::ImportRecordsRequest,
    },
    testing::TestBroker,
    types::{Offset, PartitionId},
};
use tonic::Status;

use super::raw::{info, keyless};

/// The responses to these messages, and how the call ends.
async fn import(
    broker: &TestBroker,
    requests: Vec<ImportRecordsRequest>,
) -> (Vec<Answer>, Result<(), Status>) {
    let mut client = AdminClient::new(broker.channel());
    let mut answers = Vec::new();
    let called = client.import_records(tokio_stream::iter(requests)).await;
    let mut stream = match called {
        Ok(stream) => stream.into_inner(),
        Err(status) => return (answers, Err(status)),
    };
    loop {
        match stream.message().await {
            Ok(Some(ImportRecordsResponse { message })) => {
                answers.push(message.expect("one is set"));
            }
            Ok(None) => return (answers, Ok(())),
            Err(status) => return (answers, Err(status)),
        }
    }
}

fn begin() -> ImportRecordsRequest {
    ImportRecordsRequest {
        begin: Some(ImportBegin {
            topic: "t".to_owned(),
            starts: vec![ImportedPartition {
                partition: 1,
                offset: 7,
            }],
        }),
        ..ImportRecordsRequest::default()
    }
}

fn end() -> ImportRecordsRequest {
    ImportRecordsRequest {
        end: Some(ImportEnd::default()),
        ..ImportRecordsRequest::default()
    }
}

/// A message with records without keys, at these offsets of partition 1.
fn records(offsets: &[u64]) -> ImportRecordsRequest {
    let mut run = Vec::new();
    for offset in offsets {
        let record = proto::Record {
            offset: Some(*offset),
            timestamp_ms: Some(-5),
            append_time_ms: Some(1_000 + *offset as i64),
            ..keyless("v")
        };
        encoding::message::encode(15, &record, &mut run);
    }
    ImportRecordsRequest {
        partition: 1,
        number: 10,
        records: vec![run.into()],
        ..ImportRecordsRequest::default()
    }
}

fn reason(ended: &Result<(), Status>) -> String {
    match ended {
        Ok(()) => String::new(),
        Err(status) => info(status).reason,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_come_where_they_should_not_are_refused_and_the_import_can_go_on() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    let topic = NewTopic::new("t").partitions(2);
    client.topics().create(&topic).await.expect("it is new");
    let both = ImportRecordsRequest {
        begin: begin().begin,
        ..records(&[7])
    };
    let last = ImportRecordsRequest {
        end: end().end,
        ..records(&[7])
    };
    let unknown = ImportRecordsRequest {
        records: vec![b"\x7a\x02\xf8\x3e".to_vec().into()],
        ..records(&[])
    };
    for (requests, expected) in [
        (vec![], "MALFORMED_REQUEST"),
        (vec![records(&[7])], "MALFORMED_REQUEST"),
        (vec![end()], "MALFORMED_REQUEST"),
        (vec![both], "MALFORMED_REQUEST"),
        (vec![begin(), begin()], "MALFORMED_REQUEST"),
        (vec![begin(), last], "MALFORMED_REQUEST"),
        (vec![begin()], "MALFORMED_REQUEST"),
        (vec![begin(), unknown], "IMPORT_MALFORMED"),
        (
            vec![begin(), ImportRecordsRequest::default()],
            "IMPORT_MALFORMED",
        ),
        (
            vec![begin(), records(&[8]), records(&[8])],
            "IMPORT_MALFORMED",
        ),
    ] {
        let (answers, ended) = import(&broker, requests.clone()).await;
        assert_eq!(reason(&ended), expected, "{requests:?}: {ended:?}");
        let is_done = |answer: &Answer| matches!(answer, Answer::Done(_));
        assert!(!answers.iter().any(is_done), "{answers:?}");
    }
    let (_, ended) = import(&broker, vec![begin(), records(&[9, 9])]).await;
    let status = ended.expect_err("an offset comes twice");
    assert_eq!(info(&status).metadata["number"], "11", "{status}");

    // Records below this offset were stored before, and nothing of what was refused was.
    let (answers, ended) = import(&broker, vec![begin(), records(&[12]), end()]).await;
    ended.expect("it goes on");
    let [Answer::Begun(begun), Answer::Done(done)] = &answers[..] else {
        panic!("{answers:?}");
    };
    let next: Vec<(u32, u64)> = begun
        .next
        .iter()
        .map(|of| (of.partition, of.offset))
        .collect();
    assert_eq!((next, done.records), (vec![(0, 0), (1, 9)], 1));
    let mut read = client.read("t").open().await.expect("it is there");
    let mut offsets = Vec::new();
    while let Some(record) = read.next_record().await.expect("nothing is damaged") {
        assert_eq!(record.append_time_ms, 1_000 + record.offset.0 as i64);
        offsets.push((record.partition.0, record.offset.0));
    }
    assert_eq!(offsets, [(1, 8), (1, 12)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_this_library_imports_and_hears_of_a_refusal_while_it_sends() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client
        .topics()
        .create(&NewTopic::new("t"))
        .await
        .expect("it is new");
    let record = |offset: u64| ImportedRecord {
        offset: Offset(offset),
        append_time_ms: 5,
        value: Some(vec![1; 1_000].into()),
        ..ImportedRecord::default()
    };
    let mut import = client.import("t", &[]).await.expect("it is empty");
    let refused = loop {
        // All messages but the first come at the wrong place.
        let sent = import.send(PartitionId(0), 1, &[record(3)]).await;
        if let Err(error) = sent {
            break error;
        }
    };
    assert_eq!(refused.reason(), Some("IMPORT_MALFORMED"), "{refused}");
    drop(import);
    // The broker may not have noticed yet that the earlier client is gone.
    let mut import = loop {
        match client.import("t", &[]).await {
            Err(error) if error.reason() == Some("IMPORT_UNDER_WAY") => {}
            begun => break begun.expect("it goes on"),
        }
    };
    assert_eq!(import.next_offsets()[&PartitionId(0)], Offset(4));
    import
        .send(PartitionId(0), 1, &[record(4), record(6)])
        .await
        .expect("they are sound");
    let ends = [(PartitionId(0), Offset(10))];
    assert_eq!(import.finish(&ends).await.expect("all is stored"), 2);
    let (_, partitions) = client.topics().describe("t").await.expect("it is there");
    assert_eq!(partitions[0].high_watermark, Offset(10));
}
