//! Parses the command line.

use std::ffi::OsString;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use super::{
    Command, ConnectionFlags, Flags,
    connection::{WITH_VALUE, is_connection_flag, takes_next_word},
};
use crate::cli::failure::{Failure, exit_codes};

/// A parsed command line.
#[derive(Debug)]
pub(in crate::cli) struct Typed {
    pub(in crate::cli) command: Command,
    /// The name of the command, such as `topic trim`.
    pub(in crate::cli) name: String,
    /// The connection flags that were given before the command.
    before: ConnectionFlags,
}

/// Parses the words of a command line.
pub(in crate::cli) fn parse(words: impl Iterator<Item = OsString>) -> Result<Typed, clap::Error> {
    let matches = command().try_get_matches_from(arguments(words))?;
    let Flags {
        connection,
        command,
    } = Flags::from_arg_matches(&matches)?;
    Ok(Typed {
        command,
        name: name(&matches),
        before: connection,
    })
}

impl Typed {
    /// Passes the connection flags that were given before the command on to it.
    pub(in crate::cli) fn join(&mut self) -> Result<(), Failure> {
        if let Some(connection) = self.command.connection() {
            connection.take_from(&self.before);
            return Ok(());
        }
        let mut before = self.before.clone();
        if let Some(json) = self.command.json_alone() {
            *json |= std::mem::take(&mut before.json);
        }
        match before.first() {
            None => Ok(()),
            Some(flag) => Err(Failure::Usage(format!(
                "{flag} is for commands that ask a broker or print JSON; {} is none",
                self.name
            ))),
        }
    }

    /// The flags for the connection, if the command needs a broker.
    pub(in crate::cli) fn connection(&mut self) -> Option<ConnectionFlags> {
        self.command
            .connection()
            .map(|connection| connection.clone())
    }

    /// Whether the command prints JSON.
    pub(in crate::cli) fn is_json(&mut self) -> bool {
        match self.command.connection() {
            Some(connection) => connection.json,
            None => self.command.json_alone().is_some_and(|json| *json),
        }
    }
}

/// The declaration of all commands for clap. To the help of each command it adds the exit codes,
/// and puts the connection flags behind the command's own.
pub(in crate::cli) fn command() -> clap::Command {
    // Flags that may come before the command are not passed to commands that do not have them.
    let command = Flags::command().mut_args(|flag| flag.global(false));
    described(command, "")
}

/// The heading for the connection flags in help.
const CONNECTION: &str = "Connection";

/// Completes the declaration of a command and its subcommands; `first` is the first word of its
/// name.
fn described(command: clap::Command, first: &str) -> clap::Command {
    let codes = exit_codes(first);
    let help = match command.get_after_help() {
        Some(help) => format!("{help}\n\n{codes}"),
        None => codes,
    };
    let asks_a_broker = command
        .get_arguments()
        .any(|flag| flag.get_id() == "server");
    let command = command.after_help(help).mut_args(|flag| {
        let name = format!("--{}", flag.get_long().unwrap_or_default());
        let is_about_the_broker = asks_a_broker && WITH_VALUE.contains(&&*name);
        let flag = match is_about_the_broker {
            true => flag.help_heading(CONNECTION),
            false => flag,
        };
        // Numbers below 0 are accepted as values here, so that the command's own error is shown for
        // them.
        let takes_value = flag.get_long().is_some() && flag.get_action().takes_values();
        match takes_value && !flag.is_allow_hyphen_values_set() {
            true => flag.allow_negative_numbers(true),
            false => flag,
        }
    });
    command.mut_subcommands(|within| {
        let first = match first {
            "" => within.get_name().to_owned(),
            first => first.to_owned(),
        };
        described(within, &first)
    })
}

fn name(matches: &ArgMatches) -> String {
    let mut words = Vec::new();
    let mut within = matches.subcommand();
    while let Some((word, matches)) = within {
        words.push(word);
        within = matches.subcommand();
    }
    words.join(" ")
}

/// The words of the command line, with `--` added before the keys of `entity latest`, so that a key
/// that begins with a dash is not taken for a flag. (If clap allowed such keys in a list, it would
/// take flags behind them for keys, too.)
pub(in crate::cli) fn arguments(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut typed: Vec<OsString> = typed.collect();
    let Some(before) = words_before_keys(&typed) else {
        return typed;
    };
    let mut words = typed.split_off(before).into_iter();
    let mut values = vec!["--".into()];
    while let Some(word) = words.next() {
        if word == "--" {
            values.extend(words.by_ref());
        } else if is_connection_flag(&word) {
            let value = if takes_next_word(&word) {
                words.next()
            } else {
                None
            };
            typed.push(word);
            typed.extend(value);
        } else if word == "--help" || word == "-h" {
            typed.push(word);
        } else {
            values.push(word);
        }
    }
    typed.extend(values);
    typed
}

/// How many words there are up to and including `entity latest`, if this is the command.
fn words_before_keys(typed: &[OsString]) -> Option<usize> {
    let mut wanted = ["entity", "latest"].iter().peekable();
    let mut words = typed.iter().enumerate().skip(1);
    while let Some((at, word)) = words.next() {
        if wanted.peek().is_some_and(|wanted| word == *wanted) {
            wanted.next();
            if wanted.peek().is_none() {
                return Some(at + 1);
            }
        } else if !is_connection_flag(word) {
            return None;
        } else if takes_next_word(word) {
            words.next();
        }
    }
    None
}
