//! What pages name exists, and what commands print is explained in `docs/WORDS.md`.

use crate::source::{
    SourceFile, Violation, assert_clean, file, files, is_there, line_of, lines_found,
};

/// How the headings of a table begin in the source of a command.
const HEADINGS: [&str; 2] = ["output::table(", "let headings = "];

/// The headings of all tables in a file, each with its place.
fn headings(source: &SourceFile) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for begins in HEADINGS {
        for (at, _) in source.text.match_indices(begins) {
            let at = at + begins.len();
            let rest = &source.text[at..];
            let Some(list) = rest.trim_start().strip_prefix('[') else {
                continue;
            };
            let list = &list[..list.find(']').unwrap_or(list.len())];
            for heading in list.split('"').skip(1).step_by(2) {
                if !heading.is_empty() {
                    found.push((at, heading.to_owned()));
                }
            }
        }
    }
    found
}

/// The words that a table of a page explains, in the first column of its rows.
fn explained(page: &SourceFile, section: &str) -> Vec<String> {
    let begins = format!("## {section}\n");
    let Some(at) = page.text.find(&begins) else {
        return Vec::new();
    };
    let section = &page.text[at + begins.len()..];
    let section = &section[..section.find("\n## ").unwrap_or(section.len())];
    let mut words = Vec::new();
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cell = row.split('|').nth(1).unwrap_or_default();
        words.extend(cell.split(',').map(|word| word.trim().to_owned()));
    }
    words
}

fn unexplained(source: &SourceFile, columns: &[String]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (at, heading) in headings(source) {
        if !columns.contains(&heading) {
            let problem = format!("{heading}: explain the column in docs/WORDS.md");
            found.push(source.violation_in_line(line_of(&source.text, at), problem));
        }
    }
    found
}

/// Whether a name in a page is meant as a path: it has folders, and begins with one of ours.
fn is_path(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let Some((first, rest)) = name.split_once('/') else {
        return false;
    };
    !rest.is_empty() && name.chars().all(is_plain) && (is_there(first) || first == "src")
}

fn missing_paths(page: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for (number, line) in page.text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2) {
            if is_path(name) && !is_there(name) {
                found.push(page.violation_in_line(number + 1, format!("there is no {name}")));
            }
        }
    }
    found
}

#[test]
fn every_column_that_a_command_prints_is_explained() {
    let columns = explained(&file("docs/WORDS.md"), "Columns");
    let commands = files("src/cli", "rs");
    assert!(commands.iter().any(|source| headings(source).len() > 5));
    assert_clean(
        commands
            .iter()
            .flat_map(|source| unexplained(source, &columns)),
    );
}

#[test]
fn the_words_of_the_map_are_explained_to_users_too() {
    let known = explained(&file("docs/WORDS.md"), "Words");
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let words = explained(&file("ARCHITECTURE.md"), "Words");
    assert!(words.len() > 10, "the words are elsewhere: {words:?}");
    for word in words {
        assert!(known.contains(&&*word), "{word} is not in docs/WORDS.md");
    }
}

#[test]
fn the_map_names_files_that_there_are() {
    assert_clean(missing_paths(&file("ARCHITECTURE.md")));
}

#[test]
fn columns_that_are_not_explained_are_found() {
    let text = "output::table([\"A\", \"\", \"B C\"], &rows)\nlet headings = [\n    \"D\",\n];\n\
                output::table(headings, &rows)";
    let source = SourceFile::new("src/cli/a.rs", text);
    let columns = ["A".to_owned(), "D".to_owned()];
    assert_eq!(lines_found(unexplained(&source, &columns)), [1]);
    assert_eq!(lines_found(unexplained(&source, &[])), [1, 1, 2]);
}

#[test]
fn words_are_read_from_the_first_column_of_their_section() {
    let text =
        "## Words\n\n| Word | Means |\n|---|---|\n| a, b c | x |\n\n## Columns\n\n| D | y |\n";
    let page = SourceFile::new("docs/a.md", text);
    assert_eq!(explained(&page, "Words"), ["Word", "a", "b c"]);
    assert_eq!(explained(&page, "Columns"), ["D"]);
    assert_eq!(explained(&page, "Other"), Vec::<String>::new());
}

#[test]
fn paths_that_there_are_not_are_found() {
    let text = "`src/lib.rs`\n`broker/nowhere.rs`, `types/mod.rs`\n`a/b` `GET /v1` `tests/nothing`";
    let page = SourceFile::new("a.md", text);
    assert_eq!(lines_found(missing_paths(&page)), [2, 3]);
}
