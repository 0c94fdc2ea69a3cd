//! Errors in the command line: what is wrong, and what was most likely meant.
//!
//! Clap finds what is wrong. Its advice about values that begin with a dash is left out, because
//! somebody who gives a flag of another program does not mean a value.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{flags, hints::nearest};

/// The names that other programs have for our commands, by the command above them.
const ELSEWHERE: [(&str, &[&str], &str); 13] = [
    ("", &["ls"], "topic list"),
    (
        "",
        &["pub", "publish", "send", "append", "write"],
        "produce",
    ),
    ("", &["sub", "subscribe", "read", "tail", "cat"], "consume"),
    ("", &["start", "run", "server", "broker"], "serve"),
    ("", &["info"], "status"),
    ("topic", &["ls"], "list"),
    ("topic", &["rm", "remove", "del"], "delete"),
    ("topic", &["info", "show", "get"], "describe"),
    ("topic", &["add", "new"], "create"),
    ("topic", &["config", "set"], "alter"),
    ("group", &["ls"], "list"),
    ("group", &["rm", "remove", "del"], "delete"),
    ("group", &["info", "show", "get", "lag"], "describe"),
];

/// An error in the command line.
pub(super) struct Mistyped {
    pub(super) problem: String,
    pub(super) tip: Option<String>,
    /// The usage, and where to find help, for people.
    pub(super) usage: String,
}

impl Mistyped {
    pub(super) fn new(error: &clap::Error, words: &[OsString]) -> Self {
        let text = error.to_string();
        let end = ["\n\nUsage:", "\n\nFor more information"]
            .iter()
            .filter_map(|mark| text.find(mark))
            .min()
            .unwrap_or(text.len());
        let (said, usage) = text.split_at(end);
        let (problem, advice) = said.split_once("\n\n").unwrap_or((said, ""));
        let problem = problem.trim().trim_start_matches("error: ").to_owned();
        let command = Typed::of(words);
        let typed = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => Some(text.as_str()),
            _ => None,
        };
        let tip = match error.kind() {
            ErrorKind::UnknownArgument => {
                typed(ContextKind::InvalidArg).and_then(|flag| command.tip_for_flag(flag))
            }
            ErrorKind::InvalidSubcommand => {
                typed(ContextKind::InvalidSubcommand).and_then(|word| command.tip_for_command(word))
            }
            _ => Some(advice.trim().trim_start_matches("tip: ").to_owned()),
        };
        let problem = match (error.kind(), typed(ContextKind::InvalidValue)) {
            (ErrorKind::ValueValidation, Some(value)) if is_negative(value) => {
                let (before, _) = problem.split_once(": ").unwrap_or((&problem, ""));
                format!("{before}: it is below 0")
            }
            _ => problem,
        };
        Self {
            problem,
            tip: tip.filter(|tip| !tip.is_empty()),
            usage: usage.to_owned(),
        }
    }

    /// The error on one line, for programs.
    pub(super) fn line(&self) -> String {
        let words: Vec<&str> = self.problem.split_whitespace().collect();
        let problem = words.join(" ");
        match &self.tip {
            Some(tip) => format!("{problem}; {tip}"),
            None => problem,
        }
    }
}

fn is_negative(value: &str) -> bool {
    value
        .strip_prefix('-')
        .is_some_and(|rest| rest.parse::<f64>().is_ok())
}

/// The command that the words name, as far as they name one.
struct Typed {
    command: clap::Command,
    /// The name, such as `topic create`; empty for `taffrail` itself.
    name: String,
}

impl Typed {
    fn of(words: &[OsString]) -> Self {
        let mut command = flags::command();
        command.build();
        let mut name = String::new();
        for word in words.iter().skip(1) {
            let Some(word) = word.to_str() else {
                continue;
            };
            if let Some(within) = command.find_subcommand(word).cloned() {
                let space = if name.is_empty() { "" } else { " " };
                name = format!("{name}{space}{word}");
                command = within;
            }
        }
        Self { command, name }
    }

    fn flags(&self) -> Vec<String> {
        let named = self.command.get_arguments().filter_map(clap::Arg::get_long);
        named.map(|name| format!("--{name}")).collect()
    }

    fn takes_topic(&self) -> bool {
        let mut positional = self.command.get_positionals();
        positional.any(|word| word.get_id() == "topic")
    }

    fn tip_for_flag(&self, typed: &str) -> Option<String> {
        if matches!(typed, "-t" | "--topic") && self.takes_topic() {
            let name = &self.name;
            return Some(format!(
                "the topic is given without a flag: taffrail {name} TOPIC"
            ));
        }
        let flags = self.flags();
        let begins = |with: &str| {
            let mut found: Vec<String> = Vec::new();
            for flag in &flags {
                if flag.starts_with(with) {
                    found.push(flag.clone());
                }
            }
            found
        };
        if let Some(long) = typed.strip_prefix("--") {
            if let [whole] = &begins(typed)[..] {
                return Some(format!("did you mean {whole}?"));
            }
            let names = flags
                .iter()
                .map(|flag| flag.trim_start_matches('-').to_owned());
            return nearest(long, names).map(|name| format!("did you mean --{name}?"));
        }
        let letter = typed.strip_prefix('-')?.chars().next()?;
        match &begins(&format!("--{letter}"))[..] {
            [] => None,
            found => Some(format!("flags have long names: {}", found.join(", "))),
        }
    }

    fn tip_for_command(&self, typed: &str) -> Option<String> {
        for (within, words, meant) in ELSEWHERE {
            if within == self.name && words.contains(&typed) {
                return Some(self.meant(meant));
            }
        }
        let commands = self.command.get_subcommands();
        let names: Vec<String> = commands.map(|of| of.get_name().to_owned()).collect();
        let whole = names
            .iter()
            .find(|name| typed.starts_with(&***name) && name.len() > 3);
        let meant = whole.cloned().or_else(|| nearest(typed, names.into_iter()));
        meant.map(|meant| self.meant(&meant))
    }

    fn meant(&self, command: &str) -> String {
        let space = if self.name.is_empty() { "" } else { " " };
        format!("did you mean taffrail {}{space}{command}?", self.name)
    }
}
