//! The source as the rules see it: files, with a view of each that holds code alone.

#![expect(
    clippy::disallowed_methods,
    reason = "the source is read from the disk that it is on"
)]

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// A file of the repository.
pub(crate) struct SourceFile {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// With every comment and the content of every string and character blanked: the same lines,
    /// the same columns.
    pub(crate) code: String,
}

/// Where a rule is broken, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    path: String,
    pub(crate) line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

impl SourceFile {
    /// A file of this content. Only Rust has a view of its code; of other files it is the text.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") {
            code_of(text)
        } else {
            text.to_owned()
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    /// Whether it is compiled for tests alone.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/")
    }

    /// The folder below `src` that it is in; none for `src/lib.rs` and `src/main.rs`, and outside
    /// of `src`.
    pub(crate) fn layer(&self) -> Option<&str> {
        self.path
            .strip_prefix("src/")?
            .split_once('/')
            .map(|(layer, _)| layer)
    }

    /// What is wrong at a byte position of the text or the code.
    pub(crate) fn violation(&self, at: usize, message: impl Into<String>) -> Violation {
        self.violation_in_line(line_of(&self.code, at), message)
    }

    /// What is wrong in a line, counted from 1.
    pub(crate) fn violation_in_line(&self, line: usize, message: impl Into<String>) -> Violation {
        Violation {
            path: self.path.clone(),
            line,
            message: message.into(),
        }
    }
}

/// Every file below a folder of the repository that ends in `.extension`; there is one at least.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<SourceFile> {
    let found = files_if_any(folder, extension);
    assert!(
        !found.is_empty(),
        "no {extension} files below {folder}: this test looks in the wrong place"
    );
    found
}

fn files_if_any(folder: &str, extension: &str) -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths.iter().map(|path| read(root, path)).collect()
}

/// All Rust of the repository: the library, its tests, its benchmarks.
pub(crate) fn rust() -> Vec<SourceFile> {
    ["src", "tests", "benches", "examples"]
        .iter()
        .flat_map(|folder| files_if_any(folder, "rs"))
        .collect()
}

/// One file of the repository.
pub(crate) fn file(path: &str) -> SourceFile {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    read(root, &root.join(path))
}

/// Whether the repository has a file or folder of this path, which may also be from `src`.
pub(crate) fn is_there(path: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(path).exists() || root.join("src").join(path).exists()
}

/// Fails and lists the violations, if there are any.
pub(crate) fn assert_clean(violations: impl IntoIterator<Item = Violation>) {
    let lines: Vec<String> = violations
        .into_iter()
        .map(|violation| violation.to_string())
        .collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The lines, counted from 1, in which a rule finds something in a sample.
pub(crate) fn lines_found(violations: Vec<Violation>) -> Vec<usize> {
    violations.iter().map(|violation| violation.line).collect()
}

/// Each place of `word` in `code` that is not a part of a longer identifier.
pub(crate) fn find_word<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = code[..at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            !before.is_some_and(is_identifier) && !after.is_some_and(is_identifier)
        })
}

pub(crate) fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The identifier at the beginning of `code`, after white space.
pub(crate) fn leading_identifier(code: &str) -> &str {
    let code = code.trim_start();
    &code[..code.find(|c| !is_identifier(c)).unwrap_or(code.len())]
}

/// The byte length of the text from the first `open` to the `close` that belongs to it.
pub(crate) fn balanced_len(code: &str, open: char, close: char) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at + 1);
            }
        }
    }
    None
}

pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn read(root: &Path, path: &Path) -> SourceFile {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let relative = path
        .strip_prefix(root)
        .expect("it was found below the root");
    SourceFile::new(&relative.to_string_lossy().replace('\\', "/"), &text)
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry
            .expect("a folder of the repository can be read")
            .path();
        if path.is_dir() {
            collect(&path, into);
        } else {
            into.push(path);
        }
    }
}

/// Blanks comments, strings and characters. Knows as much of Rust's grammar as that takes, and no
/// more.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment_len(rest)
        } else if c == '"' {
            quoted_len(rest)
        } else if c == '\'' {
            character_len(rest)
        } else if code.chars().next_back().is_some_and(is_identifier) {
            0
        } else {
            raw_string_len(rest)
        };
        let (taken, blank) = if skipped == 0 {
            (c.len_utf8(), false)
        } else {
            (skipped, true)
        };
        code.extend(
            rest[..taken]
                .bytes()
                .zip(std::iter::repeat(blank))
                .filter_map(|(byte, blank)| match byte {
                    b'\n' => Some('\n'),
                    _ if blank => Some(' '),
                    _ => None,
                }),
        );
        if !blank && c != '\n' {
            code.push(c);
        }
        rest = &rest[taken..];
    }
    code
}

fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn quoted_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; 0 for a lifetime.
fn character_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((escaped, _))) => {
            let behind = text[escaped + 1..]
                .find('\'')
                .map(|end| escaped + 1 + end + 1);
            behind.unwrap_or(text.len())
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// The length of a raw string that begins here; 0 if none does.
fn raw_string_len(text: &str) -> usize {
    let Some(behind) = text.strip_prefix("br").or_else(|| text.strip_prefix('r')) else {
        return 0;
    };
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    if !behind[hashes..].starts_with('"') {
        return 0;
    }
    let opened = text.len() - behind.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    text[opened..]
        .find(&end)
        .map_or(text.len(), |at| opened + at + end.len())
}

#[test]
fn comments_strings_and_characters_are_blanked_and_code_stays_in_place() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ \n d */ e", "a              \n      e"),
        (r#"a("b\"c", d)"#, r#"a(      , d)"#),
        ("a(r#\"b\"c\"#, d)", "a(        , d)"),
        (
            r"a('\'', 'b', '\n') 'c: loop",
            r"a(    ,    ,     ) 'c: loop",
        ),
        ("fn a<'b>(c: &'b str)", "fn a<'b>(c: &'b str)"),
        ("var\"x\"", "var   "),
        ("\"ä\" b", "     b"),
    ] {
        assert_eq!(code_of(text), code, "{text}");
    }
}

#[test]
fn a_word_is_found_whole() {
    assert_eq!(
        find_word("a ab a_ a::b (a)", "a").collect::<Vec<_>>(),
        [0, 8, 14]
    );
}
