//! Taking backups.

use bytes::Bytes;
use tonic::Streaming;

use super::{Client, Error, status::AtStake};
use crate::proto::{self, backup_response::Message};

/// How many files are told in one message: few enough for the largest paths.
const FILES_PER_REQUEST: usize = 4_000;

/// A file that whoever takes a backup has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// From the top of the backup.
    pub path: String,
    /// In bytes.
    pub length: u64,
    /// CRC-32 of its first 64 KiB and its last 64 KiB.
    pub ends_checksum: u32,
}

/// What a backup is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupBegun {
    /// The last journal entry that is in it.
    pub commit: u64,
    /// Which data directory it is of.
    pub directory_id: u64,
    /// When it was taken, in milliseconds since 1970.
    pub taken_ms: i64,
    /// How many files it has.
    pub files: u64,
    /// How many bytes these have.
    pub bytes: u64,
}

/// A part of a file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPart {
    /// The file, from the top of the backup, and its length, where it begins; none where it goes
    /// on.
    pub file: Option<(String, u64)>,
    /// Where in the file the bytes belong; what is before the first part is there already.
    pub position: u64,
    /// CRC-32 of the bytes.
    pub checksum: u32,
    /// The bytes.
    pub data: Bytes,
}

/// A backup that is being taken; see [`Client::backup`].
#[derive(Debug)]
pub struct Backup {
    answers: Streaming<proto::BackupResponse>,
    begun: BackupBegun,
    is_done: bool,
}

impl Client {
    /// Takes a backup of all that the broker has, without what these files have of it. Which files
    /// there are, and what they have to do with each other, is told by
    /// [the protocol](crate::proto).
    ///
    /// # Errors
    ///
    /// `BACKUP_UNDER_WAY`, and that the broker is not available.
    pub async fn backup(&self, have: Vec<BackupFile>) -> Result<Backup, Error> {
        let mut requests = Vec::new();
        for some in have.chunks(FILES_PER_REQUEST) {
            let file = |file: &BackupFile| proto::BackupFile {
                path: file.path.clone(),
                length: file.length,
                ends_checksum: file.ends_checksum,
            };
            requests.push(proto::BackupRequest {
                have: some.iter().map(file).collect(),
            });
        }
        let mut calls = self.broker.clone();
        let answered = calls.backup(tokio_stream::iter(requests)).await;
        let mut answers = answered.map_err(lost)?.into_inner();
        match next(&mut answers).await? {
            Some(Message::Begun(begun)) => Ok(Backup {
                answers,
                begun: begun.into(),
                is_done: false,
            }),
            _ => Err(malformed("a backup has to begin with what it is of")),
        }
    }
}

impl Backup {
    /// What it is of.
    #[must_use]
    pub fn begun(&self) -> BackupBegun {
        self.begun
    }

    /// The next part; none when all has come.
    ///
    /// # Errors
    ///
    /// `BACKUP_ENDED`, or that the connection was lost: taken again with what has come, it goes on
    /// from there.
    pub async fn next(&mut self) -> Result<Option<BackupPart>, Error> {
        if self.is_done {
            return Ok(None);
        }
        match next(&mut self.answers).await? {
            Some(Message::Part(part)) => Ok(Some(part.into())),
            Some(Message::Done(_)) => {
                self.is_done = true;
                Ok(None)
            }
            Some(Message::Begun(_)) => Err(malformed("a backup begins once")),
            None => Err(malformed("the backup has no end")),
        }
    }
}

async fn next(answers: &mut Streaming<proto::BackupResponse>) -> Result<Option<Message>, Error> {
    match answers.message().await.map_err(lost)? {
        Some(answer) => match answer.message {
            Some(message) => Ok(Some(message)),
            None => Err(malformed("an answer of a backup says nothing")),
        },
        None => Ok(None),
    }
}

fn lost(status: tonic::Status) -> Error {
    Error::from_status(&status, AtStake::Nothing)
}

fn malformed(what: &str) -> Error {
    let message = format!("the broker has answered what is no backup: {what}");
    Error::Unavailable { message }
}

impl From<proto::BackupBegun> for BackupBegun {
    fn from(begun: proto::BackupBegun) -> Self {
        Self {
            commit: begun.commit,
            directory_id: begun.directory_id,
            taken_ms: begun.taken_ms,
            files: begun.files,
            bytes: begun.bytes,
        }
    }
}

impl From<proto::BackupPart> for BackupPart {
    fn from(part: proto::BackupPart) -> Self {
        Self {
            file: (!part.path.is_empty()).then_some((part.path, part.length)),
            position: part.position,
            checksum: part.checksum,
            data: part.data,
        }
    }
}
