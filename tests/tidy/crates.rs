//! Every third-party crate has one home. Then replacing one is a small change, and a reader knows
//! where its concepts stop.

use std::collections::BTreeSet;

use crate::source::{SourceFile, Violation, assert_clean, file, files, find_word, lines_found};

/// Where a crate may be used: files or folders below `src`.
enum Home {
    /// Only here.
    In(&'static [&'static str]),
    /// Everywhere but here.
    NotIn(&'static [&'static str]),
    /// Only used for what it does when it is linked, or in one derived line.
    Anywhere,
}

use Home::{Anywhere, In, NotIn};

/// The layers that run on the asynchronous runtime.
const ASYNCHRONOUS: Home = In(&["broker/", "server/", "client/", "testing/", "tls/", "cli/"]);
/// The layers that speak gRPC; `testing` connects a client to a broker without a port.
const GRPC: Home = In(&["proto/", "server/", "client/", "testing/"]);

const HOMES: [(&str, Home); 51] = [
    ("arc-swap", In(&["storage/log/"])),
    ("base64", In(&["cli/", "server/http/v1/"])),
    ("bytes", Anywhere),
    ("clap", In(&["cli/"])),
    ("clap_complete", In(&["cli/"])),
    ("clap_mangen", In(&["cli/"])),
    ("crc32fast", In(&["storage/format/checksum.rs"])),
    ("flate2", In(&["codec/"])),
    ("futures-core", In(&["server/", "client/"])),
    ("h2", In(&["server/"])),
    ("hashbrown", In(&["storage/keys/table.rs"])),
    ("hdrhistogram", In(&["cli/"])),
    ("http", In(&["server/", "client/", "testing/"])),
    ("http-body", In(&["server/", "client/"])),
    ("hyper", In(&["server/http/"])),
    ("hyper-util", In(&["server/", "client/", "testing/"])),
    ("indicatif", In(&["cli/"])),
    ("jiff", In(&["cli/"])),
    ("jsonwebtoken", In(&["server/auth/jwt/"])),
    ("libc", In(&["env/heap.rs"])),
    ("lz4_flex", In(&["codec/"])),
    ("memmap2", In(&["env/mmap.rs"])),
    ("opentelemetry", In(&["cli/otlp.rs"])),
    ("opentelemetry-otlp", In(&["cli/otlp.rs"])),
    ("opentelemetry_sdk", In(&["cli/otlp.rs"])),
    ("prometheus-client", In(&["metrics/"])),
    // The client encodes records into the batch they are sent in.
    ("prost", In(&["proto/", "client/"])),
    ("prost-types", In(&["proto/"])),
    ("rand", In(&["env/"])),
    // Signatures of tokens. rustls and the journal have modules of this name.
    (
        "ring",
        In(&["server/auth/jwt/", "tls/", "storage/journal/"]),
    ),
    ("rustix", In(&["env/"])),
    ("rustls", In(&["tls/"])),
    ("rustls-native-certs", In(&["tls/"])),
    ("serde", In(&["config/", "cli/", "server/http/v1/"])),
    // The command line prints JSON, and calls over HTTP take and give it; keys and claims of tokens
    // are JSON, and records of the audit log.
    (
        "serde_json",
        In(&[
            "cli/",
            "server/auth/jwt/",
            "server/auth/audit.rs",
            "server/http/v1/",
        ]),
    ),
    (
        "sha2",
        In(&["catalog/access_tokens.rs", "storage/format/erasure.rs"]),
    ),
    ("siphasher", In(&["storage/keys/hash.rs"])),
    ("strsim", In(&["config/settings.rs", "cli/hints.rs"])),
    ("tempfile", In(&["testing/"])),
    ("thiserror", Anywhere),
    ("tokio", ASYNCHRONOUS),
    ("tokio-rustls", In(&["tls/"])),
    ("tokio-stream", In(&["server/", "client/", "testing/"])),
    ("toml", In(&["config/"])),
    ("tonic", GRPC),
    ("tonic-prost", In(&["proto/"])),
    ("tonic-reflection", In(&["server/"])),
    // opentelemetry-otlp has a module of this name.
    (
        "tonic-types",
        In(&["server/", "client/", "proto/", "cli/otlp.rs"]),
    ),
    ("tower", In(&["server/", "client/", "testing/"])),
    ("x509-cert", In(&["tls/certificate.rs"])),
    ("zstd", In(&["codec/"])),
];

/// Logging: who handles an error logs it, and values and codecs handle none.
const LOGGING: [(&str, Home); 2] = [
    ("tracing", NotIn(&["types/", "proto/", "storage/format/"])),
    ("tracing-subscriber", In(&["cli/"])),
];

fn homes() -> impl Iterator<Item = &'static (&'static str, Home)> {
    HOMES.iter().chain(&LOGGING)
}

fn crates_away_from_home(file: &SourceFile) -> Vec<Violation> {
    if file.is_test() {
        return Vec::new();
    }
    let path = file.path.trim_start_matches("src/");
    homes()
        .filter(|(_, home)| match home {
            In(places) => !places.iter().any(|place| path.starts_with(place)),
            NotIn(places) => places.iter().any(|place| path.starts_with(place)),
            Anywhere => false,
        })
        .flat_map(|(name, _)| {
            mentions(&file.code, &name.replace('-', "_"))
                .map(move |at| (at, name))
                .collect::<Vec<_>>()
        })
        .map(|(at, name)| {
            file.violation(
                at,
                format!("{name} has its home elsewhere; see tests/tidy/crates.rs"),
            )
        })
        .collect()
}

/// Where a path begins with the crate's name, or an import names it. A module of the same name
/// further down a path is not the crate.
fn mentions<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    find_word(code, name).filter(move |&at| {
        let before = code[..at].trim_end();
        let after = code[at + name.len()..].trim_start();
        let deeper = before.ends_with("::")
            && !before
                .trim_end_matches("::")
                .trim_end()
                .ends_with([';', '{', '}', '(', '<']);
        let imported = before.ends_with("use") && after.starts_with([';', 'a']);
        !deeper && (after.starts_with("::") || imported)
    })
}

/// The names below `[dependencies]` in a `Cargo.toml`.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let lines = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn every_crate_is_used_at_home_only() {
    assert_clean(files("src", "rs").iter().flat_map(crates_away_from_home));
}

#[test]
fn every_dependency_has_a_home_and_every_home_a_dependency() {
    let manifest = file("Cargo.toml");
    let with_home: BTreeSet<&str> = homes().map(|(name, _)| *name).collect();
    assert_eq!(dependencies(&manifest.text), with_home);
}

#[test]
fn a_crate_away_from_home_is_found_in_every_form() {
    let text = "\
use crc32fast::Hasher;
use memmap2;
fn a() { clap::Parser::parse() }
fn b() -> crate::server::tower::Limit { encoding::http::x() }
#[derive(serde::Serialize)]
use tonic_types as types;
fn c(toml: u32) {}
// rand::random
";
    let found = |path| lines_found(crates_away_from_home(&SourceFile::new(path, text)));
    assert_eq!(found("src/broker/append.rs"), [3, 1, 2, 5, 6]);
    assert_eq!(found("src/broker/tests/append.rs"), []);
    assert_eq!(found("src/cli/mod.rs"), [1, 2, 6]);
}

#[test]
fn logging_in_values_and_codecs_is_found() {
    let found = |path| {
        lines_found(crates_away_from_home(&SourceFile::new(
            path,
            "tracing::info!(\"a\");",
        )))
    };
    assert_eq!(found("src/types/record.rs"), [1]);
    assert_eq!(found("src/storage/format/frame.rs"), [1]);
    assert_eq!(found("src/storage/recovery.rs"), []);
}

#[test]
fn dependencies_are_read_from_their_section_alone() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nb = \"1\"\nc-d = { v = 2 }\n\n\
                    [dev-dependencies]\ne = \"3\"\n";
    assert_eq!(
        dependencies(manifest).into_iter().collect::<Vec<_>>(),
        ["b", "c-d"]
    );
}
