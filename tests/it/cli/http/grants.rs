//! Grants and quotas for calls over HTTP.

use serde_json::Value;

use super::{super::run, World, text};

#[test]
fn calls_need_the_grants_that_they_need_over_grpc() {
    let world = World::configured(
        "[[grant]]\nprincipals = [\"token:reader\"]\noperations = [\"read\"]\ntopics = [\"t\"]\n",
    );
    let admin = format!("unix:{}", world.dir.path().join("data").display());
    let as_admin = |args: &[&str]| {
        let output = run(&[args, &["--server", &admin]].concat(), b"");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        output.stdout
    };
    as_admin(&["topic", "create", "t"]);
    as_admin(&["topic", "create", "secret"]);
    let token = as_admin(&["token", "create", "reader", "--expires", "1d", "--json"]);
    let token: Value = serde_json::from_slice(&token).expect("it is JSON");
    let token = token["text"].as_str().expect("it is there");
    let bearer = format!("Authorization: Bearer {token}");

    let read = "GET /v1/topics/t/records";
    world
        .ask(read, &[], b"")
        .assert_problem(403, "PERMISSION_DENIED");
    assert_eq!(world.ask(read, &[&bearer], b"").status, 200);
    let wrong = world.ask(read, &["Authorization: Bearer x"], b"");
    wrong.assert_problem(401, "TOKEN_MALFORMED");
    assert!(wrong.header.contains("\r\nwww-authenticate: Bearer\r\n"));
    let lines = "Content-Type: application/x-ndjson";
    let append = world.ask(
        "POST /v1/topics/t/records",
        &[&bearer, lines],
        b"{\"key\":\"a\"}",
    );
    let problem = append.assert_problem(403, "PERMISSION_DENIED");
    assert_eq!(problem["metadata"]["operation"], "append");
    assert_eq!(problem["metadata"]["principal"], "token:reader");
    let seen = world.ask("GET /v1/topics", &[&bearer], b"").json();
    let names: Vec<&Value> = seen["topics"].as_array().into_iter().flatten().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0]["name"], "t");

    let mut lines = world.follow("/v1/topics/t/records?follow", &[&bearer]);
    as_admin(&["token", "revoke", "reader", "--yes"]);
    let last = lines.line();
    assert_eq!(last["problem"]["reason"], "TOKEN_UNKNOWN", "{last}");
}

#[test]
fn an_append_above_a_quota_is_refused_before_its_body_is_waited_for() {
    let quota = "[[quota]]\nprincipals = [\"anonymous\"]\nappend_bytes = 1\n";
    let world = World::configured(quota);
    world.create("t", &[]);
    let lines = "Content-Type: application/x-ndjson";
    let append = "POST /v1/topics/t/records";
    // It takes a day until there may be more.
    let record = format!("{{\"value\":\"{}\"}}", "x".repeat(100_000));
    let first = world.ask(append, &[lines], record.as_bytes());
    assert_eq!(first.status, 200, "{}", first.text());
    let host = format!("Host: {}", world.address);
    let refused = world.ask_as(append, &[&host, lines, "Content-Length: 1000"], b"");
    let problem = refused.assert_problem(429, "QUOTA_EXCEEDED");
    assert_eq!(problem["metadata"]["quota"], "append_bytes");
}
