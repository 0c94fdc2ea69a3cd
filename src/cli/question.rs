//! Asks before something is destroyed, if somebody can answer.

use std::io::{self, BufRead, IsTerminal, Write};

use super::Failure;

/// Where answers are read, and where questions are written.
pub(super) struct Console<R, W> {
    pub(super) input: R,
    /// Whether answers come from a terminal. A script is never asked, because it would wait for
    /// ever.
    pub(super) is_terminal: bool,
    pub(super) output: W,
    /// Whether the question can be seen.
    pub(super) is_seen: bool,
}

/// Asks on standard error, if standard input is a terminal and `yes` is not set. `what` is
/// something like `delete topic orders`.
///
/// # Errors
///
/// If the answer is not yes, or if the question cannot be seen.
pub(super) fn confirm(yes: bool, what: &str, consequence: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let (input, output) = (io::stdin(), io::stderr());
    let console = Console {
        is_terminal: input.is_terminal(),
        is_seen: output.is_terminal(),
        input: input.lock(),
        output,
    };
    console.ask(what, consequence)
}

impl<R: BufRead, W: Write> Console<R, W> {
    pub(super) fn ask(mut self, what: &str, consequence: &str) -> Result<(), Failure> {
        if !self.is_terminal {
            return Ok(());
        }
        if !self.is_seen {
            return Err(Failure::Usage(format!(
                "it would have to be asked whether to {what}, and standard error is no terminal; \
                 say --yes if that is meant"
            )));
        }
        let not_done = |why: &str| Failure::General(format!("{why}; nothing was changed"));
        let question = format!("{what}? {consequence} [y/N] ");
        let mut answer = String::new();
        let asked = self.output.write_all(question.as_bytes());
        asked
            .and_then(|()| self.output.flush())
            .and_then(|()| self.input.read_line(&mut answer))
            .map_err(|error| not_done(&format!("cannot ask: {error}")))?;
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(not_done("the answer was not yes")),
        }
    }
}
