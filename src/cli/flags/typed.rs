//! What was typed, understood: the words, the command, and what was typed before it.

use std::ffi::OsString;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use super::{
    Command, ConnectionFlags, Flags,
    connection::{WITH_VALUE, is_connection_flag, takes_next_word},
};
use crate::cli::failure::{Failure, exit_codes};

/// A command that was typed.
#[derive(Debug)]
pub(in crate::cli) struct Typed {
    pub(in crate::cli) command: Command,
    /// Its name, such as `topic trim`.
    pub(in crate::cli) name: String,
    /// What was typed before it, of the flags that most commands have.
    before: ConnectionFlags,
}

/// Understands the words of a command line.
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
    /// Gives the command what was typed before it.
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

    /// Which broker it is about, if about any.
    pub(in crate::cli) fn connection(&mut self) -> Option<ConnectionFlags> {
        self.command
            .connection()
            .map(|connection| connection.clone())
    }

    /// Whether it prints JSON.
    pub(in crate::cli) fn is_json(&mut self) -> bool {
        match self.command.connection() {
            Some(connection) => connection.json,
            None => self.command.json_alone().is_some_and(|json| *json),
        }
    }
}

/// All that can be typed. Every command says which codes it ends with, and its own flags ahead of
/// those by which it finds its broker.
pub(in crate::cli) fn command() -> clap::Command {
    // What may be typed before the command as well is no flag of those that do not have it.
    let command = Flags::command().mut_args(|flag| flag.global(false));
    described(command, "")
}

/// The heading of the flags that most commands have.
const CONNECTION: &str = "Connection";

/// Completes what is declared of a command, of which this is the first word, and of those below it.
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
        // So that what is wrong with a number below 0 is said of the number.
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

/// What was typed, with the keys of `entity latest` behind `--`: one that begins with a dash is
/// none of its flags. (An argument that takes many values, with dashes or without, would take the
/// flags behind it as well.)
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

/// How many words there are up to and with `entity latest`, if that is what is typed.
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
