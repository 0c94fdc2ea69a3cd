//! `topic`: what topics there are, and what they are like.

use super::{assert_fails, started};

#[test]
fn topics_are_created_listed_described_altered_trimmed_and_deleted() {
    let (_dir, broker) = started();
    let created = broker.json(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "--set",
        "segment.bytes=64KiB",
    ]);
    assert_eq!(
        (&created["name"], &created["partitions"]),
        (&"orders".into(), &3.into())
    );
    broker.succeed(&["topic", "create", "plain"], b"");
    let listed = broker.json(&["topic", "list"]);
    let names: Vec<_> = listed["topics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|topic| &topic["name"])
        .collect();
    assert_eq!(names, ["orders", "plain"]);

    broker.succeed(&["produce", "orders", "--partition", "1"], b"a\nb\nc\n");
    assert_eq!(
        broker.json(&[
            "topic",
            "trim",
            "orders",
            "--partition",
            "1",
            "--before",
            "2"
        ])["earliest"],
        2
    );
    let described = broker.json(&["topic", "describe", "orders"]);
    assert_eq!(described["settings"]["segment.bytes"], "65536");
    let partition = &described["partition_list"][1];
    assert_eq!(
        (&partition["earliest"], &partition["high_watermark"]),
        (&2.into(), &3.into())
    );

    let altered = broker.json(&[
        "topic",
        "alter",
        "orders",
        "--set",
        "segment.ms=1h",
        "--reset",
        "segment.bytes",
    ]);
    assert_eq!(altered["settings"]["segment.ms"], "3600000");
    assert_eq!(
        altered["settings"]["segment.bytes"],
        (256 << 20).to_string()
    );

    broker.succeed(&["topic", "delete", "orders"], b"");
    assert_fails(
        &broker.run(&["topic", "describe", "orders"]),
        4,
        &["orders"],
    );
    assert_eq!(broker.stop(), Some(0), "asked to stop, it ends well");
}
