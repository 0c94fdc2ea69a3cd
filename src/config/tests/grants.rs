//! Roles, grants and quotas in the configuration file.

use std::num::NonZeroU64;

use super::load;
use crate::{
    config::Config,
    server::{Grant, Grants, Limits, NamePattern, Operation, Operations, Quota, Rule, Rules},
};

const RULES: &str = r#"
listen = "127.0.0.1:1"

[[role]]
name = "writers"
principals = ["token:orders", "token:billing*"]

[[grant]]
roles = ["writers"]
principals = ["anonymous"]
operations = ["append", "group"]
topics = ["orders*", "payments"]
groups = ["*"]
producers = ["orders"]

[[grant]]
principals = ["*"]
operations = ["admin"]
"#;

fn patterns(texts: &[&str]) -> Vec<NamePattern> {
    let parse = |text: &&str| NamePattern::parse(text).expect("it is one");
    texts.iter().map(parse).collect()
}

#[test]
fn grants_and_roles_are_read() {
    let config = load(RULES).unwrap();
    let expected = Grants::new(vec![
        Grant {
            principals: patterns(&["anonymous", "token:orders", "token:billing*"]),
            operations: Operations::of(Operation::Append).and(Operation::Group),
            topics: patterns(&["orders*", "payments"]),
            groups: patterns(&["*"]),
            producers: patterns(&["orders"]),
        },
        Grant {
            principals: patterns(&["*"]),
            operations: Operations::of(Operation::Admin),
            ..Grant::default()
        },
    ]);
    assert_eq!(*config.grants(), expected);
    assert_eq!(*Config::default().grants(), Grants::default());
}

/// Asserts the error message for each of these files.
fn assert_said(wrong: &[(String, &str)]) {
    for (text, expected) in wrong {
        let problem = load(text).expect_err("it is wrong").to_string();
        assert!(
            problem.contains(expected),
            "{problem:?} does not say {expected:?}"
        );
    }
}

#[test]
fn names_that_no_certificate_can_have_are_refused() {
    assert_said(&[
        (
            "[[grant]]\nprincipals = [\"certificate:billing\"]\noperations = [\"admin\"]"
                .to_owned(),
            "line 2: no certificate has the name \"billing\"; behind \"certificate:\" come the",
        ),
        (
            "[[grant]]\nprincipals = [\"certificate:CN:\"]\noperations = [\"admin\"]".to_owned(),
            "line 2: no certificate has the name \"CN:\"",
        ),
        (
            "[tls]\nprincipal = \"CN,cn\"".to_owned(),
            "line 2: tls.principal cannot be \"CN,cn\": it is some of URI, CN, DNS, email,",
        ),
        (
            "[tls]\nprincipal = \"CN,CN\"".to_owned(),
            "line 2: tls.principal cannot be \"CN,CN\"",
        ),
    ]);
}

#[test]
fn certificates_are_principals_by_name_and_by_how_names_begin() {
    for name in [
        "CN:billing",
        "URI:spiffe://example/*",
        "subject:CN=a,O=b",
        "DNS:*",
        "U*",
        "*",
    ] {
        let principals = format!("[[grant]]\nprincipals = [\"certificate:{name}\"]\n");
        let loaded = load(&format!("{principals}operations = [\"admin\"]"));
        assert!(loaded.is_ok(), "{name}: {loaded:?}");
    }
}

#[test]
fn quotas_that_would_bound_nothing_or_everything_are_refused() {
    assert_said(&[
        (
            "[[quota]]\nprincipals = [\"*\"]\nrequests = 0".to_owned(),
            "line 3: requests is 0, with which nothing would go on; leave it out",
        ),
        (
            "[[quota]]\nprincipals = [\"*\"]\nappend_bytes = \"fast\"".to_owned(),
            "line 3: append_bytes is a number of bytes each second, or a text such as \"10MiB\"",
        ),
        (
            "[[quota]]\nprincipals = [\"*\"]\nstreams = \"10\"".to_owned(),
            "line 3: streams is a number, such as 100",
        ),
        (
            "[[quota]]\nprincipals = [\"*\"]\nreads = 1".to_owned(),
            "line 3: a quota has no \"reads\"; it has principals, roles, append_bytes, read_bytes",
        ),
        (
            "[[quota]]\nprincipals = [\"*\"]".to_owned(),
            "line 1: the quota bounds nothing; it needs one of append_bytes",
        ),
        (
            "\n[[quota]]\nrequests = 1".to_owned(),
            "line 2: the quota is for nobody; it needs principals, roles or both",
        ),
        (
            "[[quota]]\nroles = [\"x\"]\nrequests = 1".to_owned(),
            "line 2: there is no role \"x\"; begin one with [[role]]",
        ),
    ]);
}

#[test]
fn quotas_are_read() {
    let quotas = "[[quota]]\nroles = [\"writers\"]\nappend_bytes = \"10MiB\"\nrequests = 100\n";
    let config = load(&format!("{RULES}\n{quotas}")).unwrap();
    let mut limits = Limits::default();
    for (quota, limit) in [(Quota::AppendBytes, 10 << 20), (Quota::Requests, 100)] {
        limits.set(quota, NonZeroU64::new(limit).expect("it is not 0"));
    }
    let principals = patterns(&["token:orders", "token:billing*"]);
    assert_eq!(*config.quotas(), Rules(vec![Rule { principals, limits }]));
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_to_do() {
    let grant = |line: &str| format!("\n[[grant]]\nprincipals = [\"*\"]\n{line}\n");
    let wrong = [
        (
            grant("operations = [\"reed\"]"),
            "test.toml, line 4: there is no operation \"reed\"; there are read, append, group, \
            erase",
        ),
        (
            grant("operations = [\"read\"]"),
            "line 2: the grant allows read, append, erase or topic-admin and names no topics",
        ),
        (
            grant("operations = [\"group\"]\ntopics = [\"t\"]"),
            "line 2: the grant names topics and does not allow read, append, erase or topic-admin",
        ),
        (
            grant("operations = [\"group\"]"),
            "line 2: the grant allows group and names no groups",
        ),
        (
            grant("operations = [\"read\"]\ntopics = [\"t\"]\nproducers = [\"p\"]"),
            "line 2: the grant names producers and does not allow append",
        ),
        (
            grant("operations = [\"read\"]\ntopics = [\"\"]"),
            "line 5: \"\" in topics is no name",
        ),
        (
            grant("operations = [\"read\"]\ntopics = [\"a*b\"]"),
            "line 5: \"a*b\" in topics is no name",
        ),
        (
            grant("operations = [\"read\"]\ntopics = []"),
            "line 5: topics is empty; leave it out",
        ),
        (
            grant("operations = [\"read\"]\ntopics = \"t\""),
            "line 5: topics is a list of texts",
        ),
        (
            grant("operations = [\"read\"]\ntopic = [\"t\"]"),
            "line 5: a grant has no \"topic\"; it has principals, roles, operations, topics, \
            groups, producers",
        ),
        (
            grant("roles = [\"x\"]\noperations = [\"admin\"]"),
            "line 4: there is no role \"x\"; begin one with [[role]]",
        ),
        (
            grant("topics = [\"a b/\"]\noperations = [\"read\"]"),
            "line 4: \"a b/\" in topics is a name that none of them can have",
        ),
        (
            grant("topics = [\"orders*\", \"a b/*\"]\noperations = [\"read\"]"),
            "line 4: \"a b/*\" in topics is a name that none of them can have",
        ),
        (
            grant(""),
            "line 2: the grant allows nothing; it needs operations",
        ),
        (
            "[[grant]]\noperations = [\"admin\"]".to_owned(),
            "line 1: the grant is for nobody; it needs principals, roles or both",
        ),
        (
            "[[grant]]\nprincipals = [\"alice\"]\noperations = [\"admin\"]".to_owned(),
            "line 2: \"alice\" is no principal; it is \"anonymous\", \"token:NAME\"",
        ),
        (
            "[[grant]]\nprincipals = [\"token:\"]\noperations = [\"admin\"]".to_owned(),
            "line 2: \"token:\" is no principal",
        ),
        (
            "[[grant]]\nprincipals = [\"local-admin\"]\noperations = [\"admin\"]".to_owned(),
            "line 2: local-admin may do everything, without grants and quotas",
        ),
        (
            "[grant]\nprincipals = [\"*\"]".to_owned(),
            "line 1: begin each grant with [[grant]]",
        ),
        (
            "\n\n[[role]]\nprincipals = [\"*\"]".to_owned(),
            "line 3: the role has no name",
        ),
        (
            "[[role]]\nname = \"a\"".to_owned(),
            "line 1: the role \"a\" has no principals",
        ),
        (
            "[[role]]\nname = \"a\"\nprincipals = [\"*\"]\n".repeat(2),
            "line 4: the role \"a\" is there twice",
        ),
    ];
    assert_said(&wrong);
}
