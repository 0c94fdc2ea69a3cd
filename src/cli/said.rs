//! Writes to standard error: remarks beside the results, and why the command has failed. As text
//! for people, or as one JSON object a line.

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use clap::error::ErrorKind;
use serde_json::json;

use super::{Failure, hints::Hint, mistyped::Mistyped, time::format_time};
use crate::{config, env::Env};

/// The format of remarks and errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Text for people.
    Text = 0,
    /// JSON for scripts, as `--json` asks for: `{"remark": …}` and `{"error": …}`.
    Json = 1,
    /// JSON like that of the log, with a level in each line.
    JsonLog = 2,
}

/// The format that this process uses.
static MANNER: AtomicU8 = AtomicU8::new(Manner::Text as u8);

/// Uses this format from now on.
pub(super) fn speak(manner: Manner) {
    MANNER.store(manner as u8, Relaxed);
}

/// The format that the words ask for, found out before they are parsed, so that errors in them have
/// the format, too.
pub(super) fn manner_of(words: &[OsString]) -> Option<Manner> {
    let mut before = None;
    for word in words.iter().take_while(|word| *word != "--") {
        let is_log = before.is_some_and(|before| before == "--log-format") && word == "json";
        if is_log || word == "--log-format=json" {
            return Some(Manner::JsonLog);
        }
        if word == "--json" {
            return Some(Manner::Json);
        }
        before = Some(word);
    }
    // The command is the first word that is not one of the flags before it.
    let is_serve = words.get(1).is_some_and(|word| word == "serve");
    let is_log = is_serve && config::asks_for_json(None, config::variables(), None);
    is_log.then_some(Manner::JsonLog)
}

/// Prints help, or an error in the command line.
pub(super) fn not_understood(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || is_help && manner() == Manner::Text {
        let text = error.render();
        let has_colours = match error.use_stderr() {
            true => has_colours(&io::stderr()),
            false => has_colours(&io::stdout()),
        };
        let text = match has_colours {
            true => text.ansi().to_string(),
            false => text.to_string(),
        };
        // If the output is closed, nobody can be told.
        let _ = match error.use_stderr() {
            true => io::stderr().write_all(text.as_bytes()),
            false => io::stdout().write_all(text.as_bytes()),
        };
        return code;
    }
    let mistyped = Mistyped::new(error, words);
    if manner() != Manner::Text {
        last_words(&Failure::Usage(mistyped.line()), &Hint::None);
        return code;
    }
    let Mistyped {
        problem,
        tip,
        usage,
    } = mistyped;
    let tip = tip.map_or(String::new(), |tip| format!("\n\n  tip: {tip}"));
    // If standard error is closed, nobody can be told.
    write!(io::stderr(), "{} {problem}{tip}{usage}", red("error:")).ok();
    code
}

fn manner() -> Manner {
    match MANNER.load(Relaxed) {
        1 => Manner::Json,
        2 => Manner::JsonLog,
        _ => Manner::Text,
    }
}

/// Prints a remark. It is no failure if standard error is closed.
pub(super) fn remark(text: impl Display) {
    let mut out = io::stderr();
    let _ = match manner() {
        Manner::Text => writeln!(out, "{text}"),
        Manner::Json => writeln!(out, "{}", json!({ "remark": text.to_string() })),
        Manner::JsonLog => writeln!(out, "{}", log_line("WARN", &text.to_string())),
    };
}

/// Prints why the command has failed, with a hint. If standard error is closed, nobody can be told.
pub(super) fn last_words(failure: &Failure, hint: &Hint) {
    let text = hint.added_to(failure);
    let mut out = io::stderr();
    let _ = match manner() {
        Manner::Text => writeln!(out, "{} {text}", red("error:")),
        Manner::Json => {
            let mut object = failure.json(&text);
            if let Hint::DidYouMean(name) = hint {
                object["error"]["did_you_mean"] = json!(name);
            }
            writeln!(out, "{object}")
        }
        Manner::JsonLog => writeln!(out, "{}", log_line("ERROR", &text)),
    };
}

/// Prints a panic as a line of a JSON log, before the log is started.
pub(super) fn mistake(panic: impl Display) {
    // If standard error is closed, nobody can be told.
    writeln!(io::stderr(), "{}", log_line("ERROR", &panic.to_string())).ok();
}

fn log_line(level: &str, message: &str) -> serde_json::Value {
    json!({
        "timestamp": format_time(Env::system().clock.now_ms()),
        "level": level,
        "message": message,
        "target": "taffrail",
    })
}

/// Whether to use colours on this output: it is a terminal, and the user has not turned them off.
pub(super) fn has_colours(out: &impl IsTerminal) -> bool {
    out.is_terminal() && config::wants_colours()
}

fn red(text: &str) -> String {
    match has_colours(&io::stderr()) {
        true => format!("\u{1b}[1;31m{text}\u{1b}[0m"),
        false => text.to_owned(),
    }
}
