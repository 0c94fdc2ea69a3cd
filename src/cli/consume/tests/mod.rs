//! How records are printed, and which records are read.

use super::{
    Consumer,
    places::{End, Start, Until},
    plan::{Left, Plan, Source},
};
use crate::{
    cli::{
        connection::Server,
        flags::{Command, Flags},
        record::Format,
    },
    client::{Batch, Client, NewTopic, Record},
    proto,
    testing::TestBroker,
    types::{Offset, PartitionId, Position, RecordView},
};
use clap::Parser;
use prost::Message;

fn stored(record: proto::Record) -> Vec<u8> {
    proto::Record {
        offset: Some(7),
        append_time_ms: Some(2000),
        ..record
    }
    .encode_to_vec()
}

fn render(format: &Format, encoded: &[u8]) -> Option<String> {
    let mut out = Vec::new();
    let record = RecordView::parse(encoded).unwrap();
    format
        .render(&mut out, PartitionId(3), &record)
        .then(|| String::from_utf8(out).unwrap())
}

#[test]
fn json_has_text_where_bytes_are_text() {
    let record = proto::Record {
        key: Some("k\"ey".into()),
        value: Some("va\nlue".into()),
        r#type: "placed".to_owned(),
        timestamp_ms: Some(-5),
        headers: vec![proto::Header {
            name: "h".to_owned(),
            value: "x".into(),
        }],
        ..proto::Record::default()
    };
    assert_eq!(
        render(&Format::Json, &stored(record)).unwrap(),
        concat!(
            r#"{"partition":3,"offset":7,"version":null,"erased":false,"key":"k\"ey","type":"placed","#,
            r#""timestamp_ms":-5,"append_time_ms":2000,"#,
            r#""headers":[{"name":"h","value":"x"}],"value":"va\nlue"}"#,
            "\n"
        )
    );
}

#[test]
fn json_has_base64_where_bytes_are_not_text() {
    let header = proto::Header {
        name: "h".to_owned(),
        value: b"\xfe"[..].into(),
    };
    let record = proto::Record {
        key: Some(b"\xff"[..].into()),
        value: Some(b"\x80\x81"[..].into()),
        headers: vec![header],
        ..proto::Record::default()
    };
    assert_eq!(
        render(&Format::Json, &stored(record)).unwrap(),
        concat!(
            r#"{"partition":3,"offset":7,"version":null,"erased":false,"key_base64":"/w==","type":"","#,
            r#""timestamp_ms":2000,"#,
            r#""append_time_ms":2000,"#,
            r#""headers":[{"name":"h","value_base64":"/g=="}],"value_base64":"gIE="}"#,
            "\n"
        )
    );
}

#[test]
fn json_has_null_where_nothing_is() {
    let json = render(&Format::Json, &stored(proto::Record::default())).unwrap();
    assert!(
        json.contains(r#""key":null"#) && json.contains(r#""value":null"#),
        "{json}"
    );
}

#[test]
fn json_has_the_version_and_says_what_was_erased() {
    let record = proto::Record {
        version: Some(12),
        erased: Some(vec![9; 32].into()),
        ..proto::Record::default()
    };
    let json = render(&Format::Json, &stored(record.clone())).unwrap();
    assert!(
        json.contains(r#""version":12,"erased":true,"key":null"#),
        "{json}"
    );
    assert_eq!(
        render(&Format::Value, &stored(record)),
        None,
        "there is nothing left to print"
    );
}

#[test]
fn values_are_written_byte_for_byte_and_tombstones_not_at_all() {
    let mut out = Vec::new();
    let mut print = |record: Record<'_>| {
        let mut run = Vec::new();
        record.encode(&mut run);
        let (_, encoded) = crate::types::Records::new(&run).next().unwrap().unwrap();
        Format::Value.render(
            &mut out,
            PartitionId(0),
            &RecordView::parse(encoded).unwrap(),
        )
    };
    assert!(print(Record::new().value(b"\xff\r")));
    assert!(print(Record::new().value("")));
    assert!(!print(Record::tombstone("gone")));
    assert_eq!(out, b"\xff\r\n\n");
}

#[test]
fn a_template_has_the_letters_of_kcat_and_adds_nothing() {
    let record = proto::Record {
        key: Some(b"k\xff"[..].into()),
        value: Some("v".into()),
        r#type: "placed".to_owned(),
        timestamp_ms: Some(-5),
        version: Some(12),
        headers: ["a", "b"]
            .map(|name| proto::Header {
                name: name.to_owned(),
                value: "1".into(),
            })
            .into(),
        ..proto::Record::default()
    };
    let render = |template: &str, record: proto::Record| {
        let format = Format::parse(template, "orders").unwrap();
        let mut out = Vec::new();
        let encoded = stored(record);
        let record = RecordView::parse(&encoded).unwrap();
        assert!(format.render(&mut out, PartitionId(3), &record));
        out
    };
    for (template, printed) in [
        ("%k", &b"k\xff"[..]),
        ("%t/%p/%o %s", b"orders/3/7 v"),
        ("%K %S%R", b"2 1\0\0\0\x01"),
        ("%T|%h|%V|%e", b"-5|a=1,b=1|12|placed"),
        ("100%%\\t\\n\\\\\\x00\\r", b"100%\t\n\\\0\r"),
        ("Zo\u{eb} %s", "Zo\u{eb} v".as_bytes()),
    ] {
        assert_eq!(render(template, record.clone()), printed, "{template}");
    }
    let nothing = proto::Record::default();
    assert_eq!(
        render("%k%K%s%S%R%h%V%e %T", nothing),
        b"-1-1\xff\xff\xff\xff 2000"
    );
    for (format, says) in [
        ("xml", "neither value, json"),
        ("%z", "%z stands for nothing"),
        ("%", "write %%"),
        ("\\q", "\\q stands for nothing"),
        ("\\x1", "two hexadecimal"),
        ("\\x+1", "two hexadecimal"),
        ("\\", "write \\\\"),
    ] {
        let problem = Format::parse(format, "orders").unwrap_err();
        assert!(problem.contains(says), "{format}: {problem}");
    }
}

fn plan(ends: &[u64], from: Position, follow: bool, max: Option<u64>) -> Plan {
    let mut partitions = std::collections::BTreeMap::new();
    for (end, partition) in ends.iter().zip(0..) {
        let stop = (!follow).then_some(Offset(*end));
        let left = Left::new(from, stop, Offset(*end));
        partitions.insert(PartitionId(partition), left);
    }
    Plan::of(Source::default(), partitions, follow, max)
}

/// A record at an offset. Its memory is leaked, which does not matter in a test.
fn at(offset: u64, timestamp_ms: i64) -> RecordView<'static> {
    let record = proto::Record {
        offset: Some(offset),
        timestamp_ms: Some(timestamp_ms),
        ..proto::Record::default()
    };
    RecordView::parse(record.encode_to_vec().leak()).unwrap()
}

#[test]
fn a_finite_read_is_complete_at_the_ends_that_were_current_when_it_started() {
    let mut plan = plan(&[3, 0, 5], Position::Earliest, false, None);
    assert!(
        plan.is_wanted(PartitionId(0), &at(2, 0)) && !plan.is_wanted(PartitionId(0), &at(3, 0))
    );
    plan.pass_over(PartitionId(0), Offset(9));
    assert!(!plan.is_complete());
    plan.pass_over(PartitionId(2), Offset(5));
    assert!(plan.is_complete());
}

#[test]
fn an_empty_topic_and_the_latest_position_have_nothing_to_read() {
    assert!(plan(&[0, 0], Position::Earliest, false, None).is_complete());
    assert!(plan(&[3, 8], Position::Latest, false, None).is_complete());
    assert!(!plan(&[3, 8], Position::Latest, true, None).is_complete());
}

#[test]
fn an_offset_past_the_end_is_left_for_the_broker_to_refuse() {
    assert!(!plan(&[3], Position::Offset(Offset(4)), false, None).is_complete());
}

#[test]
fn between_an_offset_and_an_end_before_it_there_is_nothing() {
    let left = |from, end| {
        let left = Left::new(Position::Offset(Offset(from)), Some(Offset(end)), Offset(9));
        let partitions = [(PartitionId(0), left)].into();
        Plan::of(Source::default(), partitions, false, None)
    };
    assert!(left(5, 3).is_complete() && left(3, 3).is_complete());
    assert!(!left(3, 5).is_complete());
    assert!(!left(10, 5).is_complete(), "the broker refuses the offset");
    let left = Left::new(Position::Latest, Some(Offset(3)), Offset(9));
    let plan = Plan::of(
        Source::default(),
        [(PartitionId(0), left)].into(),
        true,
        None,
    );
    assert!(plan.is_complete());
}

#[test]
fn a_partition_that_goes_on_ends_at_a_record_of_the_time_that_is_waited_for() {
    let mut plan =
        plan(&[3], Position::Latest, true, None).until_ms([(PartitionId(0), 1_000)].into());
    assert!(plan.is_wanted(PartitionId(0), &at(3, 999)));
    assert!(!plan.is_wanted(PartitionId(0), &at(4, 1_000)));
    assert!(!plan.is_wanted(PartitionId(0), &at(5, 999)));
    assert!(!plan.is_complete());
    plan.pass_over(PartitionId(0), Offset(6));
    assert!(plan.is_complete());
}

#[test]
fn partitions_may_have_places_of_their_own() {
    let start = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Start::parse(&texts, 3_600_000).map_err(|failure| failure.to_string())
    };
    let found = start(&[
        "0:17,3:latest",
        "12:1970-01-01T00:00:01,500Z,4:-1h",
        "earliest",
    ]);
    let found = found.unwrap();
    for (partition, place) in [
        (0, Position::Offset(Offset(17))),
        (1, Position::Earliest),
        (3, Position::Latest),
        (4, Position::Timestamp(0)),
        (12, Position::Timestamp(1_500)),
    ] {
        assert_eq!(found.of(PartitionId(partition)), place, "{partition}");
    }
    let time = start(&["2013-01-01T05:17:00Z"]).unwrap();
    assert_eq!(time.only(), Some(Position::Timestamp(1_357_017_420_000)));
    for (texts, says) in [
        (&["1", "2"][..], "two places"),
        (&["1:1", "1:2"], "partition 1"),
        (&["99999999999:1"], "too large"),
        (&["1:sometime"], "sometime"),
        (&["1:"], "no place is given for partition 1"),
    ] {
        let problem = start(texts).unwrap_err();
        assert!(problem.contains(says), "{texts:?}: {problem}");
    }
}

#[test]
fn an_end_is_an_offset_a_time_or_the_end() {
    let parse = |text: &str| Until::parse(&[text.to_owned()], 3_600_000);
    let until = |text| parse(text).map_err(|failure| failure.to_string());
    let everywhere = |text| until(text).expect("it is a place").of(PartitionId(7));
    assert_eq!(everywhere("end"), Some(End::HighWatermark));
    assert_eq!(everywhere("latest"), Some(End::HighWatermark));
    assert_eq!(everywhere("17"), Some(End::Offset(Offset(17))));
    assert_eq!(everywhere("-1h"), Some(End::Timestamp(0)));
    let own = until("0:17,3:-1h").expect("they are places");
    assert_eq!(own.of(PartitionId(0)), Some(End::Offset(Offset(17))));
    assert_eq!(own.of(PartitionId(3)), Some(End::Timestamp(0)));
    assert_eq!(own.of(PartitionId(1)), None);
    assert!(until("earliest").unwrap_err().contains("nothing lies"));
    assert!(until("soon").unwrap_err().contains("soon"));
}

#[test]
fn a_limit_counts_over_all_partitions() {
    let mut plan = plan(&[3, 3], Position::Earliest, true, Some(2));
    for partition in [0, 1] {
        assert!(plan.is_wanted(PartitionId(partition), &at(0, 0)));
        plan.count_printed();
    }
    assert!(!plan.is_wanted(PartitionId(1), &at(1, 0)) && plan.is_complete());
}

/// What is printed if others append while the command is reading.
async fn printed(
    client: &Client,
    topic: &str,
    follow: bool,
    max: u64,
    meanwhile: impl AsyncFnOnce(),
) -> Vec<String> {
    let max = max.to_string();
    let mut typed = vec!["taffrail", "consume", topic, "--max", &max];
    if follow {
        typed.push("--follow");
    }
    let Command::Consume(flags) = Flags::parse_from(typed).command else {
        panic!("it is another command");
    };
    let start = Start::default();
    let plan = Plan::new(client, &flags, &start, &Until::default())
        .await
        .unwrap();
    meanwhile().await;
    let mut consumer = Consumer::new(plan, Format::Value, Vec::new());
    let server = Server::at("http://nobody.is.lost");
    consumer.consume(client.clone(), &server).await.unwrap();
    let output = String::from_utf8(consumer.output).unwrap();
    output.lines().map(str::to_owned).collect()
}

async fn append(client: &Client, topic: &str, partition: u32, records: usize, record: &Record<'_>) {
    let mut batch = Batch::to_partition(topic, PartitionId(partition));
    for _ in 0..records {
        batch.push(record);
    }
    client.append(batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_records_are_printed_as_were_there_although_others_are_appended() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    for (max, expected) in [(1, 1), (80, 80), (100, 100), (101, 100)] {
        let topic = &format!("t-{max}");
        let new = NewTopic::new(topic).partitions(2);
        client.topics().create(&new).await.unwrap();
        for partition in 0..2 {
            append(&client, topic, partition, 50, &Record::new().value("old")).await;
        }
        let lines = printed(&client, topic, false, max, async || {
            append(&client, topic, 0, 100, &Record::new().value("new")).await;
        });
        assert_eq!(lines.await, vec!["old"; expected], "{max}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_without_a_value_are_not_among_those_that_are_printed() {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("t")).await.unwrap();
    append(&client, "t", 0, 3, &Record::tombstone("gone")).await;
    append(&client, "t", 0, 3, &Record::new().value("there")).await;
    for follow in [false, true] {
        let lines = printed(&client, "t", follow, 2, async || {}).await;
        assert_eq!(lines, ["there", "there"], "follow: {follow}");
    }
}
