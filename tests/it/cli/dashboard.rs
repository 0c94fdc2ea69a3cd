//! The dashboard for Grafana and the rules for Prometheus; Prometheus' own packages read both in
//! `.ci/check_metrics.py`.

use serde_json::Value;

use super::{run, text};

#[test]
fn every_panel_of_the_dashboard_has_a_place_of_its_own() {
    let output = run(&["dashboard"], b"");
    assert_eq!(output.status.code(), Some(0));
    let dashboard: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("there are some");
    assert!(panels.len() > 20, "{}", panels.len());
    let mut taken = std::collections::BTreeSet::new();
    for panel in panels {
        let at = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{panel}");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "something else is where {panel} is");
            }
        }
        let is_row = panel["type"] == "row";
        let queries = panel["targets"].as_array().map_or(0, Vec::len);
        assert_eq!(is_row, queries == 0, "{panel}");
    }
}

#[test]
fn the_rules_name_metrics_as_they_are_shown() {
    let output = run(&["dashboard", "--alerts"], b"");
    assert_eq!(output.status.code(), Some(0));
    let rules = text(&output.stdout);
    assert!(
        rules.starts_with("groups:\n  - name: taffrail\n    rules:\n"),
        "{rules}"
    );
    for expected in [
        "      - alert: TaffrailStorageFailed\n        expr: \"taffrail_storage_failed == 1\"\n",
        "taffrail_journal_sync_seconds_bucket[5m]",
        "absent(taffrail_build_info)",
    ] {
        assert!(rules.contains(expected), "{expected} in:\n{rules}");
    }
}
