//! `taffrail completions` and `taffrail man`: generated from clap's declaration of the commands.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{
    Failure,
    flags::{self, CompletionsFlags, ManFlags},
};

pub(super) fn completions(flags: &CompletionsFlags) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(flags.shell, &mut flags::command(), "taffrail", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

pub(super) fn pages(flags: &ManFlags) -> Result<(), Failure> {
    let mut command = flags::command();
    if let Some(dir) = &flags.dir {
        command = command.disable_help_subcommand(true);
        command.build();
        return write_all(&command, dir).map_err(|error| {
            Failure::General(format!(
                "cannot write pages into {}: {error}",
                dir.display()
            ))
        });
    }
    command.build();
    for word in &flags.words {
        let within = command.find_subcommand(word).cloned();
        command = within.ok_or_else(|| {
            let before = command.get_bin_name().unwrap_or("taffrail");
            Failure::Usage(format!("{before} has no command {word:?}"))
        })?;
    }
    Ok(io::stdout().write_all(page(command)?.as_bytes())?)
}

/// Writes the page of a command and those of its subcommands.
#[expect(
    clippy::disallowed_methods,
    reason = "the pages are the user's, not the broker's"
)]
fn write_all(command: &clap::Command, dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for within in command.get_subcommands() {
        write_all(within, dir)?;
    }
    let name = command.get_display_name().unwrap_or("taffrail");
    std::fs::write(dir.join(format!("{name}.1")), page(command.clone())?)
}

/// The page of a command, with the synopsis and the headings of its `--help`.
fn page(mut command: clap::Command) -> io::Result<String> {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().to_owned();
    let source = format!("taffrail {}", env!("CARGO_PKG_VERSION"));
    let man = clap_mangen::Man::new(command.override_usage(usage)).source(source);
    let mut page = Vec::new();
    man.render(&mut page)?;
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    Ok(page
        .replace(".SH EXTRA\nSettings:\n", ".SH SETTINGS\n")
        .replace(".SH EXTRA\nExit codes:\n", ".SH \"EXIT STATUS\"\n")
        .replace("\nExit codes:\n", "\n.SH \"EXIT STATUS\"\n"))
}
