//! `clock`: the broker's time.

use super::{started, text};

#[test]
fn the_broker_says_what_time_it_is_and_whether_it_follows_the_machines_clock() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    let appended = broker.json(&["consume", "t"]);
    for command in ["show", "accept"] {
        let clock = broker.json(&["clock", command]);
        assert!(clock["followed_in_ms"].is_null(), "{clock}");
        let (now, wall) = (clock["now_ms"].as_i64(), clock["wall_ms"].as_i64());
        assert!(now.is_some() && wall.is_some(), "{clock}");
        assert!(now >= appended["append_time_ms"].as_i64(), "{clock}");
        let shown = text(&broker.succeed(&["clock", command], b""));
        assert!(shown.contains("the machine's clock is followed"), "{shown}");
    }
}
