//! The version, the manual, completions, and colours.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use super::{assert_fails, binary, objects, run, started, temporary, text};

#[test]
fn it_says_its_version_and_the_commit_that_it_was_built_from() {
    let version = env!("CARGO_PKG_VERSION");
    let commit = env!("BUILT_FROM_COMMIT");
    let said = objects(&run(&["version", "--json"], b"").stdout).remove(0);
    assert_eq!(said["version"], version);
    let expected = match commit {
        "" => format!("taffrail {version}\n"),
        _ => format!("taffrail {version} (commit {commit})\n"),
    };
    assert_eq!(said["commit"].as_str().unwrap_or_default(), commit);
    for words in [&["version"][..], &["--version"], &["-V"]] {
        assert_eq!(text(&run(words, b"").stdout), expected, "{words:?}");
    }
}

#[test]
fn shells_are_told_how_to_complete() {
    for (shell, has) in [
        ("bash", "complete -F _taffrail"),
        ("zsh", "#compdef taffrail"),
        ("fish", "complete -c taffrail"),
        ("elvish", "taffrail"),
        ("powershell", "taffrail"),
    ] {
        let script = text(&run(&["completions", shell], b"").stdout);
        assert!(
            script.contains(has) && script.contains("until"),
            "{shell}: {script}"
        );
    }
    assert_fails(
        &run(&["completions", "sh"], b""),
        2,
        &["bash", "zsh", "fish"],
    );
}

#[test]
fn there_is_a_page_of_the_manual_for_every_command() {
    let whole = text(&run(&["man"], b"").stdout);
    assert!(whole.contains(".TH taffrail 1"), "{whole}");
    let trim = text(&run(&["man", "topic", "trim"], b"").stdout);
    assert!(
        trim.contains("taffrail\\-topic\\-trim") && trim.contains("\\-\\-before"),
        "{trim}"
    );
    assert!(trim.contains(".SH \"EXIT STATUS\""), "{trim}");
    let version = env!("CARGO_PKG_VERSION");
    let footer = format!("\"taffrail {version}\"");
    assert!(trim.contains(&footer), "{trim}");
    assert!(trim.contains("\\-\\-before <PLACE>"), "{trim}");
    assert_fails(&run(&["man", "topic", "nonsense"], b""), 2, &["nonsense"]);

    let dir = temporary();
    let dir = dir.path().join("made");
    let path = dir.to_str().expect("UTF-8");
    assert_eq!(run(&["man", "--dir", path], b"").status.code(), Some(0));
    assert!(!dir.join("taffrail-bench-help-help.1").exists());
    for page in ["taffrail.1", "taffrail-consume.1", "taffrail-topic-trim.1"] {
        assert!(dir.join(page).is_file(), "{page}");
    }
}

/// A pseudo-terminal. What is written to it comes back, with ^[ in place of each escape character.
#[expect(clippy::disallowed_types, reason = "a terminal is no file of a broker")]
fn terminal() -> std::fs::File {
    let terminal = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/ptmx");
    terminal.expect("there are terminals")
}

/// What a terminal shows of a command's standard output, or of its standard error.
fn shown(command: &mut Command, is_error: bool) -> String {
    let mut terminal = terminal();
    let end = terminal.try_clone().expect("it can be cloned");
    match is_error {
        true => command.stdout(Stdio::null()).stderr(end),
        false => command.stdout(end).stderr(Stdio::null()),
    };
    let mut process = command
        .stdin(Stdio::null())
        .spawn()
        .expect("the binary is there");
    process.wait().expect("it was started here");
    let mut bytes = [0; 4096];
    let read = terminal.read(&mut bytes).expect("it has said something");
    text(&bytes[..read])
}

#[test]
fn there_are_colours_on_a_terminal_only_and_not_where_they_are_not_wanted() {
    let (_dir, broker) = started();
    let list = |command: &mut Command| {
        command.args(["topic", "list", "--server", &broker.url]);
        shown(command.env("TERM", "xterm"), false)
    };
    let wrong = |command: &mut Command| {
        command.args(["consume", "nothing", "--server", &broker.url]);
        shown(command.env("TERM", "xterm"), true)
    };
    let (table, error) = (list(&mut binary()), wrong(&mut binary()));
    assert!(table.contains("^[[1mTOPIC"), "{table:?}");
    assert!(error.contains("^[[1;31merror:^[[0m"), "{error:?}");
    let plain = || {
        let mut command = binary();
        command.env("NO_COLOR", "1");
        command
    };
    let (table, error) = (list(&mut plain()), wrong(&mut plain()));
    assert!(
        table.contains("TOPIC") && !table.contains("^["),
        "{table:?}"
    );
    assert!(
        error.contains("error:") && !error.contains("^["),
        "{error:?}"
    );

    for words in [&["consume", "t", "--bogus"][..], &["--help"], &["topic"]] {
        let mut forced = binary();
        let forced = forced.args(words).env("CLICOLOR_FORCE", "1");
        let output = forced
            .stdin(Stdio::null())
            .output()
            .expect("the binary is there");
        assert!(
            !output.stderr.contains(&0x1b) && !output.stdout.contains(&0x1b),
            "{words:?}"
        );
    }
    let piped = broker.run(&["topic", "list"]);
    assert!(!piped.stdout.contains(&0x1b));
    assert!(!broker.run(&["consume", "nothing"]).stderr.contains(&0x1b));
}
