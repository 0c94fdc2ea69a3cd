//! `taffrail backup` and `taffrail restore`.

use std::{
    path::{Path, absolute},
    sync::Arc,
};

use serde_json::{Value, json};
use tokio::task::{block_in_place, spawn_blocking};

use super::{
    Failure,
    connection::{Ending, Server},
    flags::{BackupFlags, RestoreFlags},
    output, said,
    signals::Stop,
    time,
};
use crate::{
    broker::{self, Broker},
    client::{self, BackupFile, BackupPart},
    config::Config,
    env::Env,
    storage::backup::{self, Had, Halt, Kept, Range, Receiver, Restored, Summary, Until},
};

pub(super) async fn run(flags: BackupFlags, env: Env) -> Result<(), Failure> {
    let client = Server::new(&flags.connection)?.connect().await?;
    let opened = block_in_place(|| {
        let receiver = Receiver::open(Arc::clone(&env.files), &flags.dir)?;
        let had = receiver.had()?;
        Ok::<_, backup::Error>((receiver, had))
    });
    let (mut receiver, had) = opened?;
    let had: Vec<BackupFile> = had.into_iter().map(file).collect();
    let mut ending = Ending::of("BACKUP_UNDER_WAY");
    let mut taken = loop {
        match client.backup(had.clone()).await {
            Ok(taken) => break taken,
            Err(error) => ending.wait(error).await?,
        }
    };
    let begun = taken.begun();
    receiver.begin(begun.directory_id)?;
    while let Some(part) = taken.next().await.map_err(cut_off)? {
        block_in_place(|| take(&mut receiver, &part))?;
    }
    let done = block_in_place(|| receiver.finish(begun.commit, begun.taken_ms, begun.directory_id));
    print(&done?, begun.taken_ms, flags.connection.json)
}

fn print(done: &Summary, taken_ms: i64, json: bool) -> Result<(), Failure> {
    let (range, none) = match done.range {
        Some(Ok(range)) => (Some(range), None),
        Some(Err(none)) => (None, Some(none)),
        None => (None, None),
    };
    if let Some(none) = none.filter(|none| none.is_lost()) {
        said::remark(format_args!(
            "this backup can be restored as of its own moment alone: {none}"
        ));
    }
    if json {
        return Ok(output::json(&json!({
            "commit": done.commit,
            "taken_ms": taken_ms,
            "files": done.files,
            "bytes": done.bytes,
            "received_bytes": done.received,
            "range": range.as_ref().map(range_json),
            "no_range": none.map(|none| none.to_string()),
        }))?);
    }
    output::line(format_args!(
        "backup of journal entry {}: {}, {}; {} of them received",
        done.commit,
        output::counted(done.files, "file"),
        output::counted(done.bytes, "byte"),
        output::count(done.received),
    ))?;
    match range {
        Some(range) => Ok(output::line(format_args!("it {}", range_text(&range)))?),
        None => Ok(()),
    }
}

pub(super) fn range_text(range: &Range) -> String {
    let (from, to) = (range.from.1, range.to.1);
    let (from, to) = (time::format_time(from), time::format_time(to));
    format!("{range}, or any time from {from} to {to}")
}

pub(super) fn range_json(range: &Range) -> Value {
    let [from, to] = [range.from, range.to]
        .map(|(commit, taken_ms)| json!({ "commit": commit, "taken_ms": taken_ms }));
    json!({ "from": from, "to": to })
}

fn take(receiver: &mut Receiver, part: &BackupPart) -> Result<(), backup::Error> {
    if let Some((path, length)) = &part.file {
        receiver.begin_file(path, *length, part.position)?;
    }
    match part.data.is_empty() {
        true => Ok(()),
        false => receiver.take(&part.data, part.checksum),
    }
}

fn file(had: Had) -> BackupFile {
    BackupFile {
        path: had.path,
        length: had.len,
        ends_checksum: had.ends,
    }
}

fn cut_off(source: client::Error) -> Failure {
    Failure::CallIn {
        message: format!(
            "the backup was cut off: {source}; given again, the command goes on from what has come"
        ),
        source,
    }
}

pub(super) async fn restore(flags: RestoreFlags, env: Env) -> Result<(), Failure> {
    let mut stop = Stop::on_signals()?;
    refuse_within(&flags.dir, &flags.to)?;
    let until = flags.until.as_deref().map(parse_until).transpose()?;
    let halt = Arc::new(Halt::default());
    let (asked, told) = (flags.clone(), Arc::clone(&halt));
    let mut restoring = spawn_blocking(move || make(&asked, until, &env, &told));
    let mut signal = None;
    let restored = tokio::select! {
        restored = &mut restoring => restored,
        by = stop.told() => {
            signal = Some(by);
            halt.tell();
            restoring.await
        }
    };
    match (restored.expect("a restore does not panic"), signal) {
        (Ok(restored), _) => print_restored(&restored, &flags),
        (Err(error @ backup::Error::Stopped { .. }), Some(signal)) => Err(Failure::Stopped {
            message: error.to_string(),
            signal,
        }),
        (Err(error), _) => Err(failed(error, until)),
    }
}

fn make(
    flags: &RestoreFlags,
    until: Option<Until>,
    env: &Env,
    halt: &Halt,
) -> Result<Restored, backup::Error> {
    let files = &*env.files;
    let (from, to) = (&flags.dir, &flags.to);
    let erasures_of = flags.erasures_of.as_deref();
    let Some(until) = until else {
        return backup::restore(files, from, to, erasures_of, halt);
    };
    let mut apply = |dir: &Path, kept: &Kept<'_>| apply(env, dir, kept);
    let asked = (until, erasures_of);
    backup::restore_until(files, from, to, asked, &mut apply, halt)
}

/// Adds what the number of a commit would be as a time, if there is no such commit.
fn failed(error: backup::Error, until: Option<Until>) -> Failure {
    let time = match (&error, until) {
        (backup::Error::OutOfRange { .. }, Some(Until::Commit(commit))) => {
            time::as_time(&commit.to_string()).map(|time| (commit, time))
        }
        _ => None,
    };
    match (Failure::from(error), time) {
        (Failure::Unusable(message), Some((commit, time))) => Failure::Unusable(format!(
            "{message}; {commit} is taken for the number of a commit, not for a time: {time}"
        )),
        (failure, _) => failure,
    }
}

fn print_restored(restored: &Restored, flags: &RestoreFlags) -> Result<(), Failure> {
    if flags.json {
        return Ok(output::json(&json!({
            "commit": restored.commit,
            "taken_ms": restored.taken_ms,
            "files": restored.files,
            "bytes": restored.bytes,
            "erased": restored.erased,
        }))?);
    }
    output::line(format_args!(
        "restored journal entry {} of {}: {}, {}, every checksum right",
        restored.commit,
        time::format_time(restored.taken_ms),
        output::counted(restored.files, "file"),
        output::counted(restored.bytes, "byte"),
    ))?;
    if restored.erased > 0 || flags.erasures_of.is_some() {
        output::line(format_args!(
            "{} of the later backup to be carried out when it is served",
            output::counted(restored.erased, "erasure")
        ))?;
    }
    Ok(output::line(format_args!(
        "serve it with: taffrail serve --data-dir {}",
        flags.to.display()
    ))?)
}

/// Refuses to restore to a place in the backup itself, which is not to be changed.
fn refuse_within(dir: &Path, to: &Path) -> Result<(), Failure> {
    let (Ok(from), Ok(target)) = (absolute(dir), absolute(to)) else {
        return Ok(());
    };
    match target.starts_with(&from) {
        true => Err(Failure::Unusable(format!(
            "directory {} is in the backup {}, which a restore does not change; choose one outside of it",
            to.display(),
            dir.display()
        ))),
        false => Ok(()),
    }
}

/// Brings a restored directory to the commit where the restore is to end.
fn apply(env: &Env, dir: &Path, kept: &Kept<'_>) -> Result<(), String> {
    let mut config = Config::default();
    let memory = config.divide_memory(None);
    memory.map_err(|error| error.to_string())?;
    let options = broker::Options {
        data_dir: dir.to_owned(),
        disk_reserve_bytes: 0,
        ..config.broker()
    };
    let applied = Broker::apply_kept(env, &options, kept);
    applied.map_err(|error| {
        let takes = 2 * options.journal_file_bytes;
        match env.files.available_bytes(dir) {
            Ok(Some(free)) if free < takes => format!(
                "{error}. It takes a journal, of files with {} bytes, and {free} bytes are free in {}: make \
                 room there, or choose another disk",
                options.journal_file_bytes,
                dir.display()
            ),
            _ => error,
        }
    })
}

fn parse_until(text: &str) -> Result<Until, Failure> {
    if let Ok(commit) = text.parse() {
        return Ok(Until::Commit(commit));
    }
    time::parse_time(text).map(Until::TimeMs).ok_or_else(|| {
        Failure::Usage(format!(
            "--until {text:?} is neither the number of a commit nor a time such as 2026-11-29T12:00:00Z"
        ))
    })
}

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Self {
        let message = match &error {
            backup::Error::OutOfRange { path, range } => {
                let (path, range) = (path.display(), range_text(range));
                format!("there is no such moment in directory {path}, which {range}")
            }
            _ => error.to_string(),
        };
        match error {
            backup::Error::Foreign { .. }
            | backup::Error::NoRange { .. }
            | backup::Error::OutOfRange { .. }
            | backup::Error::InUse { .. }
            | backup::Error::NoMark { .. }
            | backup::Error::OtherDirectory { .. }
            | backup::Error::Special { .. }
            | backup::Error::NotDirectory { .. }
            | backup::Error::CutOff { .. }
            | backup::Error::NoParent { .. }
            | backup::Error::Earlier { .. }
            | backup::Error::Occupied { .. }
            | backup::Error::Stopped { .. } => Self::Unusable(message),
            backup::Error::Damaged { .. } => Self::DataLoss(message),
            backup::Error::Unfit(_) | backup::Error::NotApplied(_) | backup::Error::File(_) => {
                Self::General(message)
            }
        }
    }
}
