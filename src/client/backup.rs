//! Taking backups.

use bytes::Bytes;
use tonic::Streaming;

use super::{Client, Error, status::AtStake};
use crate::proto::{self, backup_response::Message};

/// How many files are listed in one request. With the longest paths this many still fit.
const FILES_PER_REQUEST: usize = 4_000;

/// A file that the client has from an earlier backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// The path, relative to the backup's directory.
    pub path: String,
    /// The length in bytes.
    pub length: u64,
    /// CRC-32 of its first 64 KiB and its last 64 KiB.
    pub ends_checksum: u32,
}

/// What a backup contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupBegun {
    /// The number of the last journal entry in it.
    pub commit: u64,
    /// The id of the data directory.
    pub directory_id: u64,
    /// When it was taken, in milliseconds since 1970.
    pub taken_ms: i64,
    /// How many files it has.
    pub files: u64,
    /// The size of all files, in bytes.
    pub bytes: u64,
}

/// A part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupPart {
    /// The path, relative to the backup's directory, and the length of the file that begins with
    /// this part; `None` if the part belongs to the same file as the one before.
    pub file: Option<(String, u64)>,
    /// The position of the bytes in the file. If the first part of a file begins behind 0, the
    /// client has the bytes before it.
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
    /// Takes a backup of everything that the broker has, except for what the client has already in
    /// `have`. [The protocol](crate::proto) describes the files.
    ///
    /// # Errors
    ///
    /// `BACKUP_UNDER_WAY`, or if the broker is not available.
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
    /// What the backup contains.
    #[must_use]
    pub fn begun(&self) -> BackupBegun {
        self.begun
    }

    /// The next part; `None` at the end.
    ///
    /// # Errors
    ///
    /// `BACKUP_ENDED`, or if the connection was lost. Another backup with the files received so far
    /// in `have` continues from there.
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
