//! `entity`: the records of one key.

use serde_json::Value;

use super::{objects, started, text};

#[test]
fn an_entity_is_read_looked_at_and_erased_by_its_key() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--partitions", "3"], b"");
    let lines = b"{\"k\":\"a\",\"n\":1}\n{\"k\":\"b\",\"n\":1}\n{\"k\":\"a\",\"n\":2}\n{\"k\":\"a\",\"n\":3}\n";
    broker.succeed(&["produce", "t", "--key-field", "k"], lines);

    let versions = |args: &[&str]| -> Vec<u64> {
        let records = objects(&broker.succeed(
            &[&["entity", "read", "t", "a", "--json"], args].concat(),
            b"",
        ));
        assert!(
            records
                .iter()
                .all(|record| record["key"] == "a" && record["erased"] == false),
            "{records:?}"
        );
        records
            .iter()
            .map(|record| record["version"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(versions(&[]), [1, 2, 3]);
    assert_eq!(versions(&["--from-version", "2"]), [2, 3]);
    assert_eq!(versions(&["--backward", "--max", "2"]), [3, 2]);
    assert!(versions(&["--max", "0"]).is_empty());
    let printed = text(&broker.succeed(&["entity", "read", "t", "b"], b""));
    assert!(
        printed.starts_with("1  ") && printed.ends_with("  {\"k\":\"b\",\"n\":1}\n"),
        "{printed}"
    );
    let nobody = broker.run(&["entity", "read", "t", "nobody"]);
    assert_eq!(
        (nobody.status.code(), text(&nobody.stdout)),
        (Some(0), String::new())
    );
    assert!(
        text(&nobody.stderr).contains("\"nobody\" of topic \"t\" has no records"),
        "{}",
        text(&nobody.stderr)
    );

    let latest = objects(&broker.succeed(
        &["entity", "latest", "t", "b", "nobody", "a", "--json"],
        b"",
    ));
    let latest: Vec<_> = latest
        .iter()
        .map(|entry| (&entry["key"], &entry["version"], &entry["record"]))
        .collect();
    assert_eq!(latest[1], (&"nobody".into(), &0.into(), &Value::Null));
    assert_eq!(
        (latest[0].0, latest[0].1, &latest[2].2["value"]),
        (&"b".into(), &1.into(), &"{\"k\":\"a\",\"n\":3}".into())
    );
    assert!(
        text(&broker.succeed(&["entity", "latest", "t", "a"], b""))
            .contains("{\"k\":\"a\",\"n\":3}")
    );

    let erased = broker.json(&["entity", "erase", "t", "a", "--wait"]);
    assert_eq!(
        (&erased["complete"], &erased["through_version"]),
        (&true.into(), &3.into()),
        "{erased}"
    );
    let consumed = broker.run(&["consume", "t"]);
    assert_eq!(text(&consumed.stdout), "{\"k\":\"b\",\"n\":1}\n");
    assert!(
        text(&consumed.stderr).contains("3 erased records"),
        "{}",
        text(&consumed.stderr)
    );
    let left = objects(&broker.succeed(&["consume", "t", "--json"], b""));
    let marked = left
        .iter()
        .filter(|record| record["erased"] == true && record["key"].is_null());
    assert_eq!((left.len(), marked.count()), (4, 3));
    let again = text(&broker.succeed(&["entity", "erase", "t", "a"], b""));
    assert!(
        again.contains("up to version 3"),
        "to erase again is harmless: {again}"
    );
    assert!(
        text(&broker.succeed(&["entity", "erase", "t", "nobody"], b""))
            .contains("nothing was erased")
    );
}

#[test]
fn what_was_trimmed_of_an_entity_is_said_and_not_passed_over_in_silence() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t", "--key", "a"], b"one\ntwo\nthree\n");
    let trim = |before: &str| {
        let trim = ["topic", "trim", "t", "--partition", "0", "--before", before];
        broker.succeed(&trim, b"");
    };
    let read = |args: &[&str]| {
        let output = broker.run(&[&["entity", "read", "t", "a"], args].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (text(&output.stdout).lines().count(), text(&output.stderr))
    };
    assert_eq!(read(&[]), (3, String::new()));

    trim("2");
    let said =
        "entity \"a\" of topic \"t\" is at version 3; its records up to version 2 are gone\n";
    assert_eq!(read(&[]), (1, said.to_owned()));
    let remark = serde_json::json!({ "remark": said.trim_end() });
    assert_eq!(read(&["--json"]), (1, format!("{remark}\n")));
    assert_eq!(read(&["--backward"]), (1, said.to_owned()));
    assert_eq!(read(&["--backward", "--max", "1"]), (1, String::new()));
    assert_eq!(read(&["--from-version", "3"]), (1, String::new()));
    assert_eq!(
        read(&["--backward", "--from-version", "1"]),
        (0, said.replace("version 2", "version 1"))
    );

    trim("3");
    let all = said.replace("version 2", "version 3");
    assert_eq!(read(&[]), (0, all.clone()));
    assert_eq!(read(&["--backward", "--max", "1"]), (0, all));
    assert_eq!(read(&["--from-version", "4"]), (0, String::new()));
}

#[test]
fn an_entity_is_trimmed_below_a_version() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let lines = b"{\"k\":\"a\",\"n\":1}\n{\"k\":\"a\",\"n\":2}\n{\"k\":\"a\",\"n\":3}\n";
    broker.succeed(&["produce", "t", "--key-field", "k"], lines);
    let trim = ["entity", "trim", "t", "a", "--before", "3"];
    let dry_run = text(&broker.succeed(&[&trim[..], &["--dry-run"]].concat(), b""));
    assert_eq!(
        dry_run,
        "the records of \"a\" from version 1 to 2 would go; its latest is 3\n"
    );
    let read = ["entity", "read", "t", "a"];
    let lines = |printed: Vec<u8>| text(&printed).lines().count();
    assert_eq!(lines(broker.succeed(&read, b"")), 3);
    let trimmed = text(&broker.succeed(&trim, b""));
    assert_eq!(trimmed, "\"a\" starts at version 3; its latest is 3\n");
    assert_eq!(lines(broker.succeed(&read, b"")), 1);
    let refused = broker.run_with(&["entity", "trim", "t", "a", "--before", "5"], b"");
    assert_eq!(refused.status.code(), Some(4));
    let said = text(&refused.stderr);
    assert!(said.contains("its latest is 3"), "{said}");
}
