//! `Broker.Backup`: sends the files of the data directory, as they are at one journal entry.

use std::{
    collections::HashMap,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tokio_stream::StreamExt;
use tonic::Status;

use super::{
    answers::Source, blocking::blocking, incoming::Incoming, limits::RETRY_AFTER_MS, status,
    stop::Stopped, turns::Long,
};
use crate::{
    broker::{Backup, BackupRefused, Broker, Error},
    budget::{Held, Holder},
    proto::{
        BackupBegun, BackupDone, BackupPart, BackupRequest, BackupResponse,
        backup_response::Message, wire,
    },
    storage::format::crc32,
    types::{
        Offset, PartitionId,
        limits::{BACKUP_STALLED_MS, MAX_BACKUP_FILES},
    },
};

/// How many bytes of a file are sent in one message.
const CHUNK_BYTES: u64 = 512 << 10;

/// The memory for a file that the client has, without its path.
const HAD_BYTES: usize = 64;

/// Appends count as going on until none has come for this long.
const APPENDS_PAUSE: Duration = Duration::from_secs(1);

/// The files that the client has from an earlier backup.
#[derive(Default)]
pub(super) struct Had {
    files: HashMap<Box<str>, HadFile>,
    bytes: usize,
    _held: Option<Held>,
}

struct HadFile {
    len: u64,
    ends: u32,
}

impl Had {
    /// Receives the list of the client's files, and counts its memory.
    pub(super) async fn take(
        mut requests: Incoming<BackupRequest>,
        memory: &Holder,
        mut stopped: Stopped,
    ) -> Result<Self, Status> {
        let mut had = Self::default();
        loop {
            let request = tokio::select! {
                request = requests.next() => request,
                () = &mut stopped => return Err(Error::ShuttingDown.into()),
            };
            match request {
                None => return Ok(had),
                Some(Err(status)) => return Err(status::of_undecoded(status)),
                Some(Ok(request)) => had.add(request, memory)?,
            }
        }
    }

    fn add(&mut self, request: BackupRequest, memory: &Holder) -> Result<(), Error> {
        let count = self.files.len() + request.have.len();
        if count > MAX_BACKUP_FILES {
            return Err(Error::RequestTooLarge {
                what: "files",
                count,
                limit: MAX_BACKUP_FILES,
            });
        }
        let paths = request.have.iter().map(|file| file.path.len() + HAD_BYTES);
        let bytes = self.bytes + paths.sum::<usize>();
        // The list so far is counted twice for a moment.
        let held = memory.take_beyond_share(bytes);
        self._held = Some(held.map_err(|_| Error::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        })?);
        self.bytes = bytes;
        self.insert(request);
        Ok(())
    }

    /// Adds the files in a request, without counting their memory.
    pub(super) fn insert(&mut self, request: BackupRequest) {
        for file in request.have {
            let had = HadFile {
                len: file.length,
                ends: file.ends_checksum,
            };
            self.files.insert(file.path.into(), had);
        }
    }
}

/// Begins a backup. If one is under way, its client may have gone without the broker having
/// noticed, so its end is waited for, at most `patience`.
pub(super) async fn begin(
    broker: &Broker,
    long: &Long,
    patience: Duration,
) -> Result<Backup, Error> {
    let mut patience = pin!(sleep(patience));
    loop {
        let ended = broker.backup_ended();
        let turn = long.turn().await;
        let begun = blocking(|| broker.begin_backup());
        drop(turn);
        match begun {
            Err(Error::Backup(BackupRefused::UnderWay)) => {}
            begun => return begun,
        }
        tokio::select! {
            () = ended => {}
            () = &mut patience => return Err(BackupRefused::UnderWay.into()),
        }
    }
}

/// The limits of a backup.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// The most bytes a second while others append; 0 for no limit.
    pub(super) rate: u64,
    /// How long the client may take nothing.
    pub(super) patience: Duration,
}

impl Limits {
    pub(super) fn at_rate(rate: u64) -> Self {
        Self {
            rate,
            patience: Duration::from_millis(BACKUP_STALLED_MS),
        }
    }
}

/// Slows a backup down to a rate while others append.
struct Pace {
    /// In bytes a second; 0 for no limit.
    rate: u64,
    broker: Arc<Broker>,
    /// The number of appends when it was last looked at.
    appended: u64,
    /// When that number was last seen to have grown.
    appended_at: Option<Duration>,
    /// The earliest time for the next part.
    next: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    fn new(rate: u64, broker: Arc<Broker>) -> Self {
        Self {
            rate,
            appended: broker.counts().appends.stored.get(),
            broker,
            appended_at: None,
            next: Duration::ZERO,
            waiting: None,
        }
    }

    /// Notes that this many bytes were sent.
    fn sent(&mut self, bytes: u64) {
        let now = self.broker.system_clock().elapsed();
        let appended = self.broker.counts().appends.stored.get();
        if appended != self.appended {
            (self.appended, self.appended_at) = (appended, Some(now));
        }
        let is_alone = self
            .appended_at
            .is_none_or(|at| now.saturating_sub(at) > APPENDS_PAUSE);
        if self.rate == 0 || is_alone {
            return;
        }
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.next = self.next.max(now) + takes;
        self.waiting = Some(Box::pin(sleep(self.next.saturating_sub(now))));
    }

    /// Ready when the next part may be sent.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(waiting) = &mut self.waiting {
            ready!(waiting.as_mut().poll(cx));
            self.waiting = None;
        }
        Poll::Ready(())
    }
}

/// The next message of a backup.
enum Next {
    Begun,
    /// The file with this index, from this position on; `None` until it is known which part the
    /// client has.
    File(usize, Option<u64>),
    Done,
    Nothing,
}

/// The part that was sent last.
struct Last {
    head: Bytes,
    file: usize,
    position: u64,
    len: u64,
}

/// The stream of responses of a backup.
pub(super) struct BackupAnswers {
    /// `None` once the backup was ended.
    backup: Option<Backup>,
    had: Had,
    next: Next,
    last: Last,
    /// When the backup began, and how many bytes were sent since.
    begun: Duration,
    sent: u64,
    pace: Pace,
    /// Resolves when the client has taken nothing for too long.
    stalled: Pin<Box<Sleep>>,
    patience: Duration,
    stopped: Stopped,
}

impl BackupAnswers {
    /// Sends `backup`, without the files that the client has.
    pub(super) fn new(
        mut backup: Backup,
        had: Had,
        broker: Arc<Broker>,
        pace: Limits,
        stopped: Stopped,
    ) -> Self {
        backup.leave_out_kept(|path| had.files.contains_key(path));
        Self {
            backup: Some(backup),
            had,
            next: Next::Begun,
            last: Last {
                head: Bytes::new(),
                file: 0,
                position: 0,
                len: 0,
            },
            begun: broker.system_clock().elapsed(),
            sent: 0,
            pace: Pace::new(pace.rate, broker),
            stalled: Box::pin(sleep(pace.patience)),
            patience: pace.patience,
            stopped,
        }
    }

    fn message(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let Some(backup) = &mut self.backup else {
            return Err(BackupRefused::Ended.into());
        };
        let image = backup.image();
        let files = image.files().len();
        match self.next {
            Next::Begun => {
                let begun = BackupBegun {
                    commit: image.commit(),
                    directory_id: image.directory(),
                    taken_ms: image.taken_ms(),
                    files: files as u64,
                    bytes: image.bytes(),
                };
                self.next = Next::File(0, None);
                Ok(Some(vec![self.keep(Message::Begun(begun))]))
            }
            Next::File(at, _) if at == files => {
                let (commit, taken_ms) = (image.commit(), image.taken_ms());
                let bytes = [image.bytes(), self.sent];
                let broker = &self.pace.broker;
                let took = broker.system_clock().elapsed().saturating_sub(self.begun);
                broker
                    .counts()
                    .backup
                    .note(taken_ms, (self.begun, took), bytes);
                self.next = Next::Done;
                Ok(Some(vec![self.keep(Message::Done(BackupDone { commit }))]))
            }
            Next::File(at, position) => self.part(at, position).map(Some),
            Next::Done | Next::Nothing => {
                self.next = Next::Nothing;
                Ok(None)
            }
        }
    }

    /// Remembers the message, which is sent again if the client stalls, without the bytes of its
    /// file.
    fn keep(&mut self, message: Message) -> Bytes {
        let response = BackupResponse {
            message: Some(message),
        };
        self.last = Last {
            head: wire::encode(&response),
            file: 0,
            position: 0,
            len: 0,
        };
        self.last.head.clone()
    }

    /// The next part of the file with index `at`.
    fn part(&mut self, at: usize, position: Option<u64>) -> Result<Vec<Bytes>, Error> {
        let backup = self.backup.as_mut().ok_or(BackupRefused::Ended)?;
        let file = &backup.image().files()[at];
        let (path, whole) = (file.path.to_string(), file.len);
        let (from, mut part) = match position {
            Some(from) => (from, BackupPart::default()),
            None => {
                let had = self.had.files.get(&*path);
                let had = had.map(|had| (had.len, had.ends));
                let from = backup.missing_from(at, had)?;
                let part = BackupPart {
                    path,
                    length: whole,
                    ..BackupPart::default()
                };
                (from, part)
            }
        };
        let len = (whole - from).min(CHUNK_BYTES);
        let bytes = match len {
            0 => Bytes::new(),
            _ => backup.read(at, from, len)?,
        };
        part.position = from;
        part.checksum = crc32(&[&bytes]);
        self.last = Last {
            head: wire::backup_part_head(&part, bytes.len()),
            file: at,
            position: from,
            len,
        };
        self.next = match from + len == whole {
            true => Next::File(at + 1, None),
            false => Next::File(at, Some(from + len)),
        };
        self.sent += len;
        self.pace.sent(len);
        Ok(vec![self.last.head.clone(), bytes])
    }
}

impl Source for BackupAnswers {
    fn take_requests(&mut self, cx: &mut Context<'_>) {
        if self.stalled.as_mut().poll(cx).is_ready() {
            // The files are released at once, even if the client learns of it only later.
            self.backup = None;
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(Error::ShuttingDown.into()));
        }
        self.stalled.set(sleep(self.patience));
        ready!(self.pace.poll_next(cx));
        let message = blocking(|| self.message());
        Poll::Ready(message.map_err(Status::from))
    }

    fn is_light(&self) -> bool {
        false
    }

    fn is_complete(&self) -> bool {
        matches!(self.next, Next::Done | Next::Nothing)
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        let mut slices = vec![self.last.head.clone()];
        if self.last.len > 0 {
            let Last {
                file,
                position,
                len,
                ..
            } = self.last;
            let backup = self.backup.as_mut().ok_or(BackupRefused::Ended)?;
            slices.push(backup.read(file, position, len)?);
        }
        Ok(slices)
    }

    fn memory(&self) -> usize {
        let image = self
            .backup
            .as_ref()
            .map_or(0, |backup| backup.image().memory());
        image + CHUNK_BYTES as usize
    }

    fn let_go(&mut self) {}

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        Vec::new()
    }
}
