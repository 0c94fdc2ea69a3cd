//! The command line. Each command is parsed, calls the client or runs a broker, and prints the
//! results.
//!
//! Reading order: `flags/` declares flags and arguments; each command has a module that interprets
//! and runs it; `failure.rs` is why commands fail and with which exit code, `hints.rs` what to do
//! about it, and `mistyped.rs` errors in the command line; `signals.rs` is how commands are
//! stopped; `question.rs` asks before something is destroyed; `output.rs` prints results, and
//! `said.rs` remarks and errors. Results go to standard output; progress, remarks, logs and errors
//! to standard error.

mod backup;
mod bench;
mod clock;
mod connection;
mod consume;
mod dashboard;
mod entity;
mod ephemeral;
mod export;
mod failure;
mod flags;
mod group;
mod hints;
mod import;
mod inspect;
mod listening;
mod logging;
mod manual;
mod mistyped;
mod otlp;
mod output;
mod parent;
mod produce;
mod producer;
mod question;
mod record;
mod reload;
mod said;
mod serve;
mod signals;
mod status;
mod supervisor;
mod template;
mod time;
mod token;
mod top;
mod topic;
mod trim;
mod version;

#[cfg(test)]
mod tests;

use std::{ffi::OsString, process::ExitCode};

use crate::env::Env;
use failure::Failure;
use flags::Command;
use hints::Hints;
use said::Manner;

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(manner) = said::manner_of(&words) {
        said::speak(manner);
    }
    let mut typed = match flags::parse(words.iter().cloned()) {
        Ok(typed) => typed,
        Err(error) => return said::not_understood(&error, &words),
    };
    let joined = typed.join();
    if typed.is_json() {
        said::speak(Manner::Json);
    }
    let hints = Hints {
        command: typed.name.clone(),
        connection: typed.connection(),
    };
    match joined.and_then(|()| run(typed.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is_broken_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            said::last_words(&failure, &hints.of(&failure));
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(flags) => serve::run(&flags),
        Command::Status(flags) => run_async(status::run(flags)),
        Command::Top(flags) => run_async(top::run(flags, Env::system())),
        Command::Topic(flags) => run_async(topic::run(flags, Env::system())),
        Command::Produce(flags) => run_async(produce::run(flags, Env::system())),
        Command::Consume(flags) => run_async(consume::run(flags, Env::system())),
        Command::Group(flags) => run_async(group::run(flags, Env::system())),
        Command::Entity(flags) => run_async(entity::run(flags)),
        Command::Producer(flags) => run_async(producer::run(flags)),
        Command::Token(flags) => run_async(token::run(flags)),
        Command::Clock(flags) => run_async(clock::run(flags)),
        Command::Backup(flags) => run_async(backup::run(flags, Env::system())),
        Command::Export(flags) => run_async(export::run(flags)),
        Command::Import(flags) => run_async(import::run(flags)),
        Command::Restore(flags) => run_async(backup::restore(flags, Env::system())),
        Command::Inspect(flags) => inspect::run(&flags),
        Command::Dashboard(flags) => dashboard::run(&flags),
        Command::Bench(flags) => run_async(bench::run(flags, Env::system())),
        Command::Completions(flags) => manual::completions(&flags),
        Command::Man(flags) => manual::pages(&flags),
        Command::Version(flags) => version::run(&flags),
    }
}

/// Runs a command on two threads: one for the connection, one for the command, which may block on
/// input or output.
fn run_async(
    command: impl Future<Output = Result<(), Failure>> + Send + 'static,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Failure::General(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(async {
        tokio::spawn(command)
            .await
            .expect("a command does not panic")
    });
    // A thread may still be waiting for input that never comes.
    runtime.shutdown_background();
    result
}
