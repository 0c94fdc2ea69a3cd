//! `taffrail completions` and `taffrail man`: what clap knows of the flags, as shells and `man`
//! read it.

use std::io::{self, Write};

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
    command.build();
    if let Some(dir) = &flags.dir {
        return clap_mangen::generate_to(command, dir).map_err(|error| {
            Failure::General(format!(
                "cannot write pages into {}: {error}",
                dir.display()
            ))
        });
    }
    for word in &flags.words {
        let within = command.find_subcommand(word).cloned();
        command = within.ok_or_else(|| {
            let before = command.get_bin_name().unwrap_or("taffrail");
            Failure::Usage(format!("{before} has no command {word:?}"))
        })?;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(io::stdout().write_all(&page)?)
}
