//! Words that stand for a thought that was not finished.

use crate::source::{
    SourceFile, Violation, assert_clean, files, find_word, leading_identifier, line_of,
    lines_found, rust,
};

/// Work that is still to be done is an issue, not a note in the source.
const UNFINISHED: [&str; 4] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("HA", "CK"),
];

/// Macros that say the same.
const UNFINISHED_CODE: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Names that could stand for anything, wherever they occur in a type's name, and as the name of a
/// file or folder.
const EMPTY_NAMES: [&str; 6] = ["Manager", "Helper", "Util", "Common", "Misc", "Impl"];

/// Names that add nothing at the end of a type's name.
const EMPTY_ENDINGS: [&str; 2] = ["Data", "Info"];

fn unfinished_work(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for word in UNFINISHED {
        for at in find_word(&file.text, word) {
            found.push(file.violation_in_line(
                line_of(&file.text, at),
                format!("{word}: do it, or open an issue"),
            ));
        }
    }
    for word in UNFINISHED_CODE {
        for at in
            find_word(&file.code, word).filter(|at| file.code[at + word.len()..].starts_with('!'))
        {
            found.push(file.violation(at, format!("{word}! is unfinished work")));
        }
    }
    found
}

/// What a sentence has where a name is missing: the caller, the reader, the thread.
const NAMELESS: [&str; 10] = [
    "for who", "of who", "by who", "to who", "with who", "from who", "for whom", "of whom",
    "by whom", "to whom",
];

/// Comments that leave it to the reader to find out who is meant.
fn nameless_comments(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let Some((_, comment)) = line.split_once("//") else {
            continue;
        };
        for phrase in NAMELESS {
            if find_word(comment, phrase).next().is_some() {
                found.push(file.violation_in_line(at + 1, format!("{phrase}: say a name")));
            }
        }
    }
    found
}

/// How a comment begins that leaves it to the reader to find out what it is about: the item below
/// has a name of its own.
const THINGLESS: [&str; 7] = [
    "That of ",
    "Those of ",
    "One who ",
    "One that ",
    "What of ",
    "Of whom ",
    "The same",
];

/// Comments of items that begin with a word in the place of what they are about.
fn thingless_comments(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut is_within = false;
    for (at, line) in file.text.lines().enumerate() {
        let line = line.trim_start();
        let text = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"));
        if let Some(text) = text
            && !is_within
        {
            for begins in THINGLESS {
                if text.trim_start().starts_with(begins) {
                    let problem = format!("{begins}…: say what it is");
                    found.push(file.violation_in_line(at + 1, problem));
                }
            }
        }
        is_within = text.is_some();
    }
    found
}

fn empty_type_names(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for keyword in ["struct", "enum", "union", "trait", "type", "mod"] {
        for at in find_word(&file.code, keyword) {
            // The associated types of an impl are named by the trait.
            if keyword == "type" && is_indented(&file.code, at) {
                continue;
            }
            let name = leading_identifier(&file.code[at + keyword.len()..]);
            if let Some(word) = empty_word(name) {
                found.push(file.violation(
                    at,
                    format!("{name}: {word} could be anything; say what it is"),
                ));
            }
        }
    }
    found
}

fn is_indented(code: &str, at: usize) -> bool {
    let line = &code[code[..at].rfind('\n').map_or(0, |newline| newline + 1)..at];
    line.starts_with(' ')
}

fn empty_file_names(file: &SourceFile) -> Vec<Violation> {
    let parts = file.path.trim_end_matches(".rs").split('/').skip(1);
    let empty = parts.filter_map(|part| empty_word(part).map(|word| (part, word)));
    empty
        .map(|(part, word)| {
            file.violation_in_line(1, format!("{part}: {word} could hold anything"))
        })
        .collect()
}

/// The word of a name that says nothing, if it has one.
fn empty_word(name: &str) -> Option<String> {
    let words = words_of(name);
    let ending = words.last().filter(|last| {
        let is_version = last
            .strip_prefix('V')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        words.len() > 1 && (is_version || EMPTY_ENDINGS.contains(&last.as_str()))
    });
    words
        .iter()
        .find(|word| EMPTY_NAMES.contains(&word.trim_end_matches('s')))
        .or(ending)
        .cloned()
}

/// `RecordV2` and `record_v2` both as `Record`, `V2`.
fn words_of(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut begins = true;
    for c in name.chars() {
        if c == '_' {
            begins = true;
        } else if begins || c.is_uppercase() {
            words.push(c.to_uppercase().collect());
            begins = false;
        } else if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words
}

#[test]
fn nothing_is_left_unfinished_in_the_source() {
    let own = "tests/tidy/words.rs";
    let all = rust().into_iter().chain(files("proto", "proto"));
    assert_clean(
        all.filter(|file| file.path != own)
            .flat_map(|file| unfinished_work(&file)),
    );
}

#[test]
fn comments_name_those_they_speak_of() {
    let own = "tests/tidy/words.rs";
    let all = rust().into_iter().chain(files("proto", "proto"));
    assert_clean(
        all.filter(|file| file.path != own)
            .flat_map(|file| nameless_comments(&file)),
    );
}

#[test]
fn comments_of_items_begin_with_what_they_are_about() {
    assert_clean(
        rust()
            .into_iter()
            .flat_map(|file| thingless_comments(&file)),
    );
}

#[test]
fn no_type_has_a_name_that_could_be_anything() {
    assert_clean(files("src", "rs").iter().flat_map(empty_type_names));
}

#[test]
fn no_file_is_a_store_room() {
    assert_clean(files("src", "rs").iter().flat_map(empty_file_names));
}

#[test]
fn unfinished_work_is_found_in_comments_and_in_code() {
    let text = "// TODO: later\nfn a() { todo!() }\n// fine\nlet todo = 1;\nunimplemented!(\"b\");\n/* FIXME */";
    assert_eq!(
        lines_found(unfinished_work(&SourceFile::new("src/a.rs", text))),
        [1, 6, 2, 5]
    );
}

#[test]
fn comments_without_a_name_are_found() {
    let text = concat!(
        "/// The memory of who reads.\n",
        "fn a() {} // taken by whom?\n",
        "let of_who = 1;\n",
        "// the reader\n",
        "// of whose records",
    );
    assert_eq!(
        lines_found(nameless_comments(&SourceFile::new("src/a.rs", text))),
        [1, 2]
    );
}

#[test]
fn comments_that_do_not_say_what_they_are_about_are_found() {
    let text = concat!(
        "/// That of a client.\n",
        "fn a() {}\n",
        "/// The place\n",
        "/// That of a client begins a line in the middle.\n",
        "fn b() {}\n",
        "    /// One who reads.\n",
        "// That of a line is another matter.\n",
        "//! Those of a file.\n",
        "fn c() {}\n",
        "/// The same for a server.",
    );
    assert_eq!(
        lines_found(thingless_comments(&SourceFile::new("src/a.rs", text))),
        [1, 6, 8, 10]
    );
}

#[test]
fn names_that_could_be_anything_are_found() {
    for name in [
        "TopicManager",
        "HelperOfTopics",
        "StringUtils",
        "Common",
        "MiscThings",
        "BrokerImpl",
        "RecordV2",
        "TopicInfo",
    ] {
        let file = SourceFile::new("src/a.rs", &format!("\npub(crate) struct {name} {{}}"));
        assert_eq!(lines_found(empty_type_names(&file)), [2], "{name}");
    }
    let of_a_trait = SourceFile::new(
        "src/a.rs",
        "impl Connected for Stream {\n    type ConnectInfo = ();\n}",
    );
    assert_eq!(lines_found(empty_type_names(&of_a_trait)), []);
    for name in [
        "DataDir", "Commit", "InfoLine", "Simple", "V", "Utility", "Communal", "Data", "Vector",
    ] {
        let file = SourceFile::new("src/a.rs", &format!("enum {name} {{}}"));
        assert_eq!(lines_found(empty_type_names(&file)), [], "{name}");
    }
}

#[test]
fn store_rooms_are_found() {
    let found = |path| lines_found(empty_file_names(&SourceFile::new(path, "")));
    for path in [
        "src/util.rs",
        "src/broker/utils.rs",
        "src/common/mod.rs",
        "src/env/disk_helpers.rs",
        "src/a/frame_v2.rs",
    ] {
        assert_eq!(found(path), [1], "{path}");
    }
    assert_eq!(found("src/storage/data_dir.rs"), []);
}
