//! How much may be asked for, and given.

use super::World;

#[test]
fn the_largest_record_that_there_may_be_is_given() {
    let world = World::start();
    world.create("t", &["--set", "max.record.bytes=8MiB"]);
    // The broker's fields and the lengths around it take less than a hundred bytes.
    let value = "v".repeat((8 << 20) - 100);
    world
        .broker
        .succeed(&["produce", "t", "--key", "a"], value.as_bytes());
    for path in ["/v1/topics/t/records", "/v1/topics/t/keys/a"] {
        let records = world.get(path).lines();
        assert_eq!(records.len(), 1, "{path}");
        assert_eq!(records[0]["value"], value, "{path}");
    }
}

#[test]
fn how_many_topics_or_records_are_asked_for_has_bounds() {
    let world = World::start();
    for (path, says) in [
        ("/v1/topics?max=0", "max is 0; 1 to 1000 are allowed"),
        ("/v1/topics?max=1001", "max is 1001; 1 to 1000 are allowed"),
        (
            "/v1/topics?max=5000000000",
            "max is 5000000000; 1 to 1000 are allowed",
        ),
        ("/v1/topics/t/records?max=0", "max is 0"),
        ("/v1/topics/t/keys/a?max=0", "max is 0"),
    ] {
        let problem = world.get(path).assert_problem(400, "MALFORMED_REQUEST");
        let detail = problem["detail"].as_str().expect("it is text");
        assert!(detail.contains(says), "{path}: {detail}");
    }
    for max in [1, 1_000] {
        let listed = world.get(&format!("/v1/topics?max={max}"));
        assert_eq!(listed.status, 200, "{max}");
    }
}
