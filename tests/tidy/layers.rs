//! Layers: a folder of `src` uses folders of lower rank only. An upward use is how a core becomes
//! untestable, and a use of a sibling how two layers become one.

use crate::source::{
    SourceFile, Violation, assert_clean, balanced_len, file, files, find_word, leading_identifier,
    lines_found,
};

/// Every layer and its rank.
const RANKS: [(&str, u32); 15] = [
    ("types", 0),
    ("budget", 1),
    ("codec", 1),
    ("env", 1),
    ("metrics", 1),
    ("proto", 1),
    ("tls", 1),
    ("catalog", 2),
    ("storage", 3),
    ("broker", 4),
    ("server", 5),
    ("client", 5),
    ("config", 6),
    ("testing", 7),
    ("cli", 7),
];

/// Layers that see less than their rank would let them: what a user's program links should not drag
/// in the broker.
const NARROWED: [(&str, &[&str]); 1] = [("client", &["types", "proto", "tls"])];

/// Layers in which nothing waits and nothing runs beside: the caller decides on which thread, and a
/// simulation calls everything from one.
const SYNCHRONOUS: [&str; 6] = ["types", "codec", "env", "metrics", "storage", "catalog"];

fn rank(layer: &str) -> Option<u32> {
    RANKS
        .iter()
        .find(|(name, _)| *name == layer)
        .map(|(_, rank)| *rank)
}

fn may_use(from: &str, to: &str) -> bool {
    let lower = matches!((rank(from), rank(to)), (Some(from), Some(to)) if to < from);
    let narrowed = NARROWED.iter().find(|(layer, _)| *layer == from);
    from == to || (lower && narrowed.is_none_or(|(_, seen)| seen.contains(&to)))
}

/// Uses of a layer that this file's layer does not see. Tests may look from wherever they need to.
fn uses_of_unseen_layers(file: &SourceFile) -> Vec<Violation> {
    let Some(layer) = file.layer().filter(|_| !file.is_test()) else {
        return Vec::new();
    };
    if rank(layer).is_none() {
        return vec![file.violation_in_line(
            1,
            format!("{layer} is not a layer; give it a rank in tests/tidy/layers.rs"),
        )];
    }
    mentions_of_the_root(file)
        .into_iter()
        .filter(|(_, name)| rank(name).is_some() && !may_use(layer, name))
        .map(|(at, name)| file.violation(at, format!("{layer} must not use {name}")))
        .collect()
}

/// Every name that is looked up at the root of the crate, by `crate::` or by enough `super::`, with
/// its place.
fn mentions_of_the_root(file: &SourceFile) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in find_word(&file.code, "crate") {
        if let Some(behind) = file.code[at + "crate".len()..]
            .trim_start()
            .strip_prefix("::")
        {
            found.extend(names_at(behind).into_iter().map(|name| (at, name)));
        }
    }
    let depth = module_depth(&file.path);
    for at in
        find_word(&file.code, "super").filter(|&at| !file.code[..at].trim_end().ends_with("::"))
    {
        let (mut behind, mut levels) = (&file.code[at..], 0);
        while let Some(rest) = behind.trim_start().strip_prefix("super") {
            let Some(rest) = rest.trim_start().strip_prefix("::") else {
                break;
            };
            (behind, levels) = (rest, levels + 1);
        }
        if levels >= depth {
            found.extend(names_at(behind).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// The names that a path names first: one, or those of a group in braces.
fn names_at(path: &str) -> Vec<String> {
    let path = path.trim_start();
    if !path.starts_with('{') {
        return vec![leading_identifier(path).to_owned()];
    }
    let group = &path[1..balanced_len(path, '{', '}').map_or(path.len(), |len| len - 1)];
    let (mut names, mut depth, mut start) = (Vec::new(), 0i32, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    names.push(&group[start..]);
    names
        .into_iter()
        .map(|name| leading_identifier(name).to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// How many `super::` lead from a file's module to the root.
fn module_depth(path: &str) -> usize {
    let parts = path
        .trim_start_matches("src/")
        .trim_end_matches(".rs")
        .split('/');
    parts.filter(|part| *part != "mod").count()
}

/// It waits, but only for threads that it has started itself and that end before its call returns.
const SYNCED_SIDE_BY_SIDE: &str = "src/env/side_by_side.rs";

fn waiting_in_synchronous_layers(file: &SourceFile) -> Vec<Violation> {
    if file.is_test()
        || file.path == SYNCED_SIDE_BY_SIDE
        || !file
            .layer()
            .is_some_and(|layer| SYNCHRONOUS.contains(&layer))
    {
        return Vec::new();
    }
    ["tokio", "async", "await", "spawn", "thread"]
        .iter()
        .flat_map(|word| find_word(&file.code, word).map(move |at| (at, word)))
        .map(|(at, word)| {
            file.violation(
                at,
                format!("{word} in a layer that is synchronous and has no threads"),
            )
        })
        .collect()
}

/// What reads, indexes and writes frames out in the broker: it has the partitions, and nothing of
/// the journal or of what is planned.
const OF_PARTITIONS: [&str; 10] = [
    "src/broker/deletion.rs",
    "src/broker/entities/",
    "src/broker/fetched.rs",
    "src/broker/keys/",
    "src/broker/offsets.rs",
    "src/broker/partition_cursor.rs",
    "src/broker/partition_list.rs",
    "src/broker/partitions.rs",
    "src/broker/read.rs",
    "src/broker/write_out.rs",
];

/// Owners that it does not see, and their names in what has all of them.
const UNSEEN_OF_PARTITIONS: [&str; 6] = [
    "Committer",
    "Planned",
    "Sequencer",
    "Shared",
    "committer",
    "sequencer",
];

/// Uses of other owners where there are to be partitions only.
fn other_owners_beside_partitions(file: &SourceFile) -> Vec<Violation> {
    if !OF_PARTITIONS.iter().any(|of| file.path.starts_with(of)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for name in UNSEEN_OF_PARTITIONS {
        for at in find_word(&file.code, name) {
            let message = format!("what has the partitions does not see {name}");
            found.push(file.violation(at, message));
        }
    }
    found
}

/// Where memory is mapped, and where the allocator is told what to do.
const UNSAFE: [&str; 2] = ["src/env/heap.rs", "src/env/mmap.rs"];

/// `unsafe` anywhere but in its places.
fn unsafe_outside_of_its_places(file: &SourceFile) -> Vec<Violation> {
    if UNSAFE.contains(&&*file.path) {
        return Vec::new();
    }
    find_word(&file.code, "unsafe")
        .map(|at| file.violation(at, format!("unsafe code has its places: {UNSAFE:?}")))
        .collect()
}

#[test]
fn no_layer_uses_a_higher_one_or_a_sibling() {
    assert_clean(files("src", "rs").iter().flat_map(uses_of_unseen_layers));
}

#[test]
fn storage_and_what_is_below_it_neither_wait_nor_spawn() {
    assert_clean(
        files("src", "rs")
            .iter()
            .flat_map(waiting_in_synchronous_layers),
    );
}

#[test]
fn what_reads_has_the_partitions_and_no_other_owner() {
    assert_clean(
        files("src", "rs")
            .iter()
            .flat_map(other_owners_beside_partitions),
    );
}

#[test]
fn unsafe_code_is_in_one_file() {
    assert_clean(
        files("src", "rs")
            .iter()
            .flat_map(unsafe_outside_of_its_places),
    );
}

#[test]
fn the_binary_is_thin() {
    let main = file("src/main.rs");
    assert!(
        main.text.lines().count() <= 40,
        "src/main.rs only starts taffrail::cli"
    );
}

#[test]
fn upward_and_sibling_uses_are_found_in_every_form() {
    let text = "\
use crate::types::Offset;
use crate::broker::Error;
use crate::{env::{Clock, server}, proto, types};
fn a() { crate::cli::run() }
use super::super::client;
use super::server;
// crate::server
const A: &str = \"crate::server\";
use crate::{
    env,
    config::Config,
};
";
    let found = |path| lines_found(uses_of_unseen_layers(&SourceFile::new(path, text)));
    assert_eq!(
        found("src/storage/log.rs"),
        [2, 4, 9, 5],
        "storage: upward and sibling uses"
    );
    assert_eq!(
        found("src/storage/mod.rs"),
        [2, 4, 9, 5, 6],
        "one super:: leads to the root"
    );
    assert_eq!(
        found("src/cli/serve.rs"),
        [],
        "the highest layer sees all but its siblings"
    );
    assert_eq!(
        found("src/storage/tests/log.rs"),
        [],
        "tests look from wherever they need to"
    );
    assert_eq!(
        found("src/client/read.rs"),
        [2, 3, 4, 9, 9],
        "the client does not see the broker"
    );
    assert_eq!(found("src/extra/read.rs"), [1], "a folder without a rank");
}

#[test]
fn siblings_do_not_see_each_other() {
    let found = |path, text| lines_found(uses_of_unseen_layers(&SourceFile::new(path, text)));
    assert_eq!(
        found("src/cli/bench.rs", "use crate::testing::TestBroker;"),
        [1]
    );
    assert_eq!(
        found("src/server/log.rs", "use crate::client::Client;"),
        [1]
    );
    assert_eq!(found("src/env/disk.rs", "use crate::proto::Record;"), [1]);
}

#[test]
fn a_synchronous_layer_that_waits_or_spawns_is_found() {
    let text = "use tokio::sync::mpsc;\nasync fn a() {}\nfn b() { std::thread::Builder::new(); }\n\
                // tokio\nfn spawned() {}";
    let found = |path| lines_found(waiting_in_synchronous_layers(&SourceFile::new(path, text)));
    assert_eq!(found("src/storage/log.rs"), [1, 2, 3]);
    assert_eq!(found("src/storage/tests/log.rs"), []);
    assert_eq!(found("src/broker/append.rs"), []);
}

#[test]
fn unsafe_code_elsewhere_is_found() {
    let text = "// unsafe\nfn a() { unsafe { b() } }\n#![deny(unsafe_code)]";
    assert_eq!(
        lines_found(unsafe_outside_of_its_places(&SourceFile::new(
            "src/env/disk.rs",
            text
        ))),
        [2]
    );
    assert_eq!(
        lines_found(unsafe_outside_of_its_places(&SourceFile::new(
            "src/env/mmap.rs",
            text
        ))),
        []
    );
}

#[test]
fn another_owner_beside_partitions_is_found() {
    let text = "use super::Shared;\nfn a() { self.shared.sequencer.planned() }\n// Shared\n\
                fn b() { self.shared.partitions.topics() }";
    let found = |path| lines_found(other_owners_beside_partitions(&SourceFile::new(path, text)));
    assert_eq!(found("src/broker/read.rs"), [1, 2]);
    assert_eq!(found("src/broker/keys/upkeep.rs"), [1, 2]);
    assert_eq!(found("src/broker/topics.rs"), []);
}
