//! The shape of files: short enough to hold one concept, with a first line that says which, and
//! tests apart.

use crate::source::{
    SourceFile, Violation, assert_clean, balanced_len, files, find_word, leading_identifier,
    line_of, lines_found, rust,
};

/// Most lines of a file. Files of 150 to 400 are what we aim for.
const MAX_FILE_LINES: usize = 600;

/// Most lines of a function. What fits on a screen, 70, is what we aim for.
const MAX_FUNCTION_LINES: usize = 100;

/// Most characters of a line; `rustfmt` holds code to it, but neither comments nor strings.
const MAX_COLUMNS: usize = 120;

fn long_files(file: &SourceFile) -> Vec<Violation> {
    let lines = file.text.lines().count();
    let message = || {
        format!("{lines} lines, at most {MAX_FILE_LINES}: which of its concepts can stand alone?")
    };
    if lines > MAX_FILE_LINES {
        vec![file.violation_in_line(1, message())]
    } else {
        Vec::new()
    }
}

fn long_functions(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for at in find_word(&file.code, "fn") {
        let name = leading_identifier(&file.code[at + 2..]);
        let Some(lines) = body_of_function(&file.code[at..]).map(|body| body.lines().count())
        else {
            continue;
        };
        if !name.is_empty() && lines > MAX_FUNCTION_LINES {
            let message = format!(
                "{name} has {lines} lines, at most {MAX_FUNCTION_LINES}: give its steps names"
            );
            found.push(file.violation(at, message));
        }
    }
    found
}

/// A function from `fn` to its closing brace; none if it has no body.
fn body_of_function(code: &str) -> Option<&str> {
    let mut nested = 0i32;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            ';' if nested == 0 => return None,
            '{' if nested == 0 => {
                return balanced_len(&code[at..], '{', '}').map(|len| &code[..at + len]);
            }
            _ => {}
        }
    }
    None
}

fn long_lines(file: &SourceFile) -> Vec<Violation> {
    let long = |(_, line): &(usize, &str)| line.chars().count() > MAX_COLUMNS;
    let message = |(at, line): (usize, &str)| {
        file.violation_in_line(
            at + 1,
            format!("{} columns, at most {MAX_COLUMNS}", line.chars().count()),
        )
    };
    file.text
        .lines()
        .enumerate()
        .filter(long)
        .map(message)
        .collect()
}

fn missing_module_docs(file: &SourceFile) -> Vec<Violation> {
    let documented = file
        .text
        .lines()
        .next()
        .is_some_and(|line| line.starts_with("//! ") && line.len() > 10);
    if documented {
        Vec::new()
    } else {
        vec![file.violation_in_line(1, "begin with `//!` and what this file is for")]
    }
}

/// Tests inside production files: `#[cfg(test)]` may declare a module, not hold one.
fn inline_tests(file: &SourceFile) -> Vec<Violation> {
    if file.is_test() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for at in find_word(&file.code, "test") {
        let before = file.code[..at].trim_end();
        if before.ends_with("#[") || before.ends_with("tokio::") {
            found.push(file.violation(at, "tests stand in a tests/ module beside the layer"));
        }
    }
    for (at, _) in file.code.match_indices("#[cfg(") {
        let Some(len) = balanced_len(&file.code[at..], '[', ']') else {
            continue;
        };
        let (attribute, behind) = file.code[at..].split_at(len);
        let is_test = find_word(attribute, "test").next().is_some();
        if is_test && !declares_a_module(behind) {
            let line = line_of(&file.code, at);
            found.push(
                file.violation_in_line(line, "#[cfg(test)] only declares a module: `mod tests;`"),
            );
        }
    }
    found
}

fn declares_a_module(code: &str) -> bool {
    let item = &code[..code.find(['{', ';', '=']).map_or(code.len(), |end| end + 1)];
    item.ends_with(';') && find_word(item, "mod").next().is_some()
}

#[test]
fn no_file_is_longer_than_one_concept() {
    assert_clean(rust().iter().flat_map(long_files));
}

#[test]
fn no_function_is_longer_than_it_can_be_read() {
    assert_clean(rust().iter().flat_map(long_functions));
}

#[test]
fn no_line_is_wider_than_the_page() {
    assert_clean(
        rust()
            .iter()
            .chain(&files("proto", "proto"))
            .flat_map(long_lines),
    );
}

#[test]
fn every_file_says_what_it_is_for() {
    assert_clean(rust().iter().flat_map(missing_module_docs));
}

#[test]
fn production_files_hold_no_tests() {
    assert_clean(files("src", "rs").iter().flat_map(inline_tests));
}

#[test]
fn a_file_of_one_line_too_many_is_found() {
    let of_lines = |count: usize| SourceFile::new("src/a.rs", &"a\n".repeat(count));
    assert_eq!(lines_found(long_files(&of_lines(600))), []);
    assert_eq!(lines_found(long_files(&of_lines(601))), [1]);
}

#[test]
fn a_function_of_one_line_too_many_is_found() {
    let of_lines = |count: usize| {
        let body = "    a(\"}\"); // }\n".repeat(count - 2);
        SourceFile::new(
            "src/a.rs",
            &format!(
                "type A = fn(u8);\nfn b(a: [u8; 3]) -> [u8; 3] {{\n{body}}}\ntrait C {{ fn d(); }}\n"
            ),
        )
    };
    assert_eq!(lines_found(long_functions(&of_lines(100))), []);
    assert_eq!(lines_found(long_functions(&of_lines(101))), [2]);
}

#[test]
fn a_line_of_one_column_too_many_is_found() {
    let text = format!("{}\n{}\n", "ä".repeat(120), "ä".repeat(121));
    assert_eq!(
        lines_found(long_lines(&SourceFile::new("src/a.rs", &text))),
        [2]
    );
}

#[test]
fn a_file_without_a_purpose_is_found() {
    let found = |text| lines_found(missing_module_docs(&SourceFile::new("src/a.rs", text)));
    assert_eq!(found("use std::fmt;\n"), [1]);
    assert_eq!(found("//!\nuse std::fmt;\n"), [1]);
    assert_eq!(found("/// Not of the module.\n"), [1]);
    assert_eq!(found("//! Frames of the journal.\n"), []);
}

#[test]
fn tests_inside_production_files_are_found() {
    let found = |path, text| lines_found(inline_tests(&SourceFile::new(path, text)));
    assert_eq!(
        found(
            "src/a/b.rs",
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\npub(crate) mod faults;"
        ),
        []
    );
    assert_eq!(
        found("src/a/b.rs", "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;"),
        [1]
    );
    assert_eq!(
        found("src/a/b.rs", "fn a() {}\n#[cfg(test)]\nmod tests { }"),
        [2]
    );
    assert_eq!(
        found("src/a/b.rs", "#[cfg(all(test, unix))]\nfn a() {}"),
        [1]
    );
    assert_eq!(
        found(
            "src/a/b.rs",
            "#[test]\nfn a() {}\n#[tokio::test]\nasync fn b() {}"
        ),
        [1, 3]
    );
    assert_eq!(
        found(
            "src/a/b.rs",
            "#[cfg(feature = \"testing\")]\nmod testing { }"
        ),
        []
    );
    assert_eq!(found("src/a/tests/b.rs", "#[test]\nfn a() {}"), []);
}
