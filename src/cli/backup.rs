//! `taffrail backup` and `taffrail restore`.

use std::sync::Arc;

use serde_json::json;
use tokio::task::block_in_place;

use super::{
    Failure,
    connection::{Ending, Server},
    flags::{BackupFlags, RestoreFlags},
    output, time,
};
use crate::{
    client::{self, BackupFile, BackupPart},
    env::Env,
    storage::backup::{self, Had, Receiver, Summary},
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
    let done = done?;
    if flags.connection.json {
        return Ok(output::json(&json!({
            "commit": done.commit,
            "taken_ms": begun.taken_ms,
            "files": done.files,
            "bytes": done.bytes,
            "received_bytes": done.received,
        }))?);
    }
    let Summary {
        commit,
        files,
        bytes,
        received,
    } = done;
    Ok(output::line(format_args!(
        "backup of journal entry {commit}: {}, {}; {} of them received",
        output::counted(files, "file"),
        output::counted(bytes, "byte"),
        output::count(received),
    ))?)
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

pub(super) fn restore(flags: &RestoreFlags, env: &Env) -> Result<(), Failure> {
    let restored = backup::restore(
        &*env.files,
        &flags.dir,
        &flags.to,
        flags.erasures_of.as_deref(),
    )?;
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
    if restored.erased > 0 {
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

impl From<backup::Error> for Failure {
    fn from(error: backup::Error) -> Self {
        let message = error.to_string();
        match error {
            backup::Error::Foreign { .. }
            | backup::Error::InUse { .. }
            | backup::Error::NoMark { .. }
            | backup::Error::OtherDirectory { .. }
            | backup::Error::Special { .. }
            | backup::Error::Occupied { .. } => Self::Unusable(message),
            backup::Error::Damaged { .. } => Self::DataLoss(message),
            backup::Error::Unfit(_) | backup::Error::File(_) => Self::General(message),
        }
    }
}
