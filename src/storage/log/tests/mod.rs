//! A partition's log on a real directory.

mod compressed;
mod damage;
mod find_time;
mod index;
mod kept;
mod merging;
mod model;
mod opening;
mod past_cache;
mod present;
mod reading;
mod replaced;
mod rewriting;
mod rolling;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use super::{
    Cursor, Identity, Log, LogLock, LogReader, Name, OpenSegments, ReadError, Rewrite, Writer,
    name::list, remove_trimmed, segment::Segment,
};
use crate::{
    codec::{Codec, Method},
    env::{Env, Open},
    proto::Record,
    storage::{
        files::{FileError, read_file, remove_file},
        format::{
            checkpoint,
            frame::Frame,
            tests::samples::{TOPIC, frame_of, record},
        },
    },
    types::{Offset, PartitionId, RecordView, Records, TopicSettings},
};

const IDENTITY: Identity = Identity {
    topic: TOPIC,
    partition: PartitionId(0),
};

/// Rewrites a sealed segment, if it exists and needs that.
fn rewrite_segment(
    log: &LogLock,
    segments: &OpenSegments,
    base: Offset,
    edit: impl Fn(&Frame) -> Option<Frame>,
) -> Result<(), FileError> {
    let Some(rewrite) = Rewrite::of(log, segments, base)? else {
        return Ok(());
    };
    if rewrite.is_needed(&edit)? {
        rewrite.write(&edit)?.install(log)
    } else {
        Ok(())
    }
}

const LZ4: Method = Method {
    codec: Codec::Lz4,
    level: 1,
};

const ZSTD: Method = Method {
    codec: Codec::Zstd,
    level: 3,
};

/// Rewrites a sealed segment with its frames compressed, or as they were appended.
fn compress(
    log: &LogLock,
    segments: &OpenSegments,
    base: Offset,
    method: Option<Method>,
) -> Result<(), FileError> {
    let Some(rewrite) = Rewrite::of(log, segments, base)? else {
        return Ok(());
    };
    let rewrite = rewrite.compressed(method);
    rewrite.write(|_| None)?.install(log)
}

/// A log with everything that it needs, on the real disk.
struct Bench {
    _temp: TempDir,
    env: Env,
    dir: PathBuf,
    segments: OpenSegments,
    log: LogLock,
    writer: Writer,
    settings: TopicSettings,
    /// Every frame that was applied.
    frames: Vec<Frame>,
}

/// The directory of the topic whose first partition is here.
fn topic_dir(dir: &Path) -> Arc<Path> {
    dir.parent().expect("a topic's directory").into()
}

impl Bench {
    /// A new log with segments of this size.
    fn new(segment_bytes: u64) -> Self {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let env = Env::system();
        let dir = temp.path().join("0");
        Self {
            _temp: temp,
            segments: OpenSegments::new(env.clone(), 3),
            log: LogLock::new(Log::new(IDENTITY, topic_dir(&dir))),
            writer: Writer::default(),
            // The log does not check the bounds of a setting, and small segments make short tests.
            settings: TopicSettings {
                segment_bytes,
                segment_ms: u64::MAX,
                ..TopicSettings::default()
            },
            frames: Vec::new(),
            env,
            dir,
        }
    }

    /// A log with the frames of [`Bench::apply_all`], four to a segment: offsets 0 to 40 in frames
    /// of two records.
    fn filled() -> Self {
        let mut bench = Self::new(64 + 4 * frame(0).bytes().len() as u64);
        bench.apply_all(20);
        bench.write_out();
        bench
    }

    /// Applies this many more frames of two records each, of the same size; their times are their
    /// offsets.
    fn apply_all(&mut self, frames: usize) {
        for _ in 0..frames {
            let base = self.end();
            self.apply(frame(base.0));
        }
    }

    fn apply(&mut self, frame: Frame) {
        self.log.lock().apply(frame.clone(), None);
        self.frames.push(frame);
    }

    fn write_some(&mut self, end: Offset) -> usize {
        self.writer
            .write_some(&self.log, &self.segments, &self.settings, end, u64::MAX)
            .expect("the disk takes it")
    }

    fn write_out(&mut self) {
        let end = self.end();
        while self.write_some(end) > 0 {}
    }

    /// Writes everything to segments and returns the log's entry in a checkpoint.
    fn checkpoint(&mut self) -> checkpoint::Partition {
        self.write_out();
        self.writer
            .sync(&self.log, &self.segments)
            .expect("the disk takes it");
        self.log.lock().checkpoint()
    }

    /// Opens the log anew, cut back to a checkpoint.
    fn reopen(&mut self, at: checkpoint::Partition) {
        self.segments = OpenSegments::new(self.env.clone(), 3);
        let log = Log::cut(IDENTITY, topic_dir(&self.dir), at, &self.segments)
            .expect("the files can be read");
        (self.log, self.writer) = (LogLock::new(log), Writer::default());
    }

    /// Opens the log anew without a checkpoint.
    fn scan(&mut self, start: Offset) {
        self.segments = OpenSegments::new(self.env.clone(), 3);
        let log = Log::scan(IDENTITY, topic_dir(&self.dir), start, None, &self.segments)
            .expect("the files can be read");
        (self.log, self.writer) = (LogLock::new(log), Writer::default());
    }

    fn reader(&self) -> LogReader<'_> {
        LogReader {
            log: &self.log,
            segments: &self.segments,
            is_patient: false,
        }
    }

    fn start(&self) -> Offset {
        self.log.lock().start()
    }

    fn end(&self) -> Offset {
        self.log.lock().end()
    }

    /// Removes the trimmed segments, as if their keys' last versions were kept and a checkpoint
    /// covered them. Returns whether none are left.
    fn remove_trimmed(&self) -> bool {
        {
            let mut log = self.log.lock();
            if let Some(trimmed) = log.trimmed() {
                log.retire(trimmed.end, 0);
            }
            log.begin_leaving();
        }
        remove_trimmed(&self.log, &self.segments).expect("the files can be removed")
    }

    /// The sealed segment with this offset, as it is now.
    fn sealed(&self, offset: u64) -> Arc<Segment> {
        let view = self.log.view();
        let found = view.find(Offset(offset)).expect("there is one");
        Arc::clone(&found.segment)
    }

    /// The names of the segments that count, and of all other files in the directory.
    fn names(&self) -> Vec<String> {
        let entries = self.env.files.read_dir(&self.dir).expect("it can be read");
        entries.into_iter().map(|entry| entry.name).collect()
    }

    fn segment_count(&self) -> usize {
        self.log.lock().size().0
    }

    /// Reads one response from an offset.
    fn read_at(&self, from: u64, max_bytes: usize) -> Result<Vec<Frame>, ReadError> {
        self.reader()
            .read(&mut Cursor::new(Offset(from)), max_bytes)
    }

    /// The base offset of the first frame that a read from `from` returns, or the damaged range.
    fn first_at(&self, from: u64) -> Result<u64, (u64, u64)> {
        match self.read_at(from, 1) {
            Ok(frames) => Ok(frames[0].header().base.0),
            Err(ReadError::Damaged { from, to, .. }) => Err((from.0, to.0)),
            Err(error) => panic!("{from} cannot be read: {error:?}"),
        }
    }

    /// Reads from an offset to the end with one cursor, stepping over damage. Returns the frames
    /// and the damaged ranges, which are the same for a patient reader.
    fn read_through(&self, from: u64, max_bytes: usize) -> (Vec<Frame>, Vec<(u64, u64)>) {
        let read = Self::read_by(&self.reader(), from, max_bytes);
        let patient = LogReader {
            is_patient: true,
            ..self.reader()
        };
        assert_eq!(Self::read_by(&patient, from, max_bytes), read);
        read
    }

    fn read_by(
        reader: &LogReader<'_>,
        from: u64,
        max_bytes: usize,
    ) -> (Vec<Frame>, Vec<(u64, u64)>) {
        let (mut frames, mut damaged) = (Vec::new(), Vec::new());
        let mut cursor = Cursor::new(Offset(from));
        loop {
            match reader.read(&mut cursor, max_bytes) {
                Ok(more) if more.is_empty() => return (frames, damaged),
                Ok(more) => frames.extend(more),
                Err(ReadError::Damaged { from, to, .. }) => {
                    assert!(
                        from == cursor.next && from < to,
                        "damage from {from} to {to} at {}",
                        cursor.next
                    );
                    damaged.push((from.0, to.0));
                    cursor = Cursor::new(to);
                }
                Err(error) => panic!("{} cannot be read: {error:?}", cursor.next),
            }
        }
    }

    /// The file of the segment with this base.
    fn segment(&self, base: u64) -> PathBuf {
        let listed = list(&*self.env.files, &self.dir).expect("it can be read");
        let mut names = listed.segments.iter().map(|(name, _)| *name);
        let found = names.find(|name| name.base() == Offset(base));
        found.unwrap_or(Name::first(Offset(base))).path(&self.dir)
    }

    fn index(&self, base: u64) -> PathBuf {
        self.segment(base).with_extension("index")
    }

    fn exists(&self, path: &Path) -> bool {
        self.env
            .files
            .exists(path)
            .expect("the directory can be read")
    }

    fn bytes(&self, path: &Path) -> Vec<u8> {
        read_file(&*self.env.files, path)
            .expect("the file can be read")
            .expect("there is one")
    }

    fn remove(&self, path: &Path) {
        remove_file(&*self.env.files, path).expect("it can be removed");
    }

    fn set_len(&self, path: &Path, len: u64) {
        self.env
            .files
            .open(path, Open::Write)
            .and_then(|file| file.set_len(len))
            .expect("the file can be cut");
    }

    fn overwrite(&self, path: &Path, position: u64, bytes: &[u8]) {
        let file = self
            .env
            .files
            .open(path, Open::Write)
            .expect("there is one");
        file.write_all_at(&[bytes], position).expect("room");
    }

    fn flip(&self, path: &Path, position: u64) {
        let byte = self.bytes(path)[usize::try_from(position).expect("small")];
        self.overwrite(path, position, &[byte ^ 0x04]);
    }

    /// The position of the `n`th frame in a segment of [`Bench::filled`].
    fn position(&self, n: u64) -> u64 {
        64 + n * self.frames[0].bytes().len() as u64
    }
}

/// A frame of two records at this offset; their times are their offsets.
fn frame(base: u64) -> Frame {
    let time = |offset: u64| i64::try_from(offset).expect("small");
    let records = [
        record(vec![7; 100], time(base) + 1_000_000),
        record(vec![8; 50], time(base) + 1_000_001),
    ];
    frame_of(
        PartitionId(0),
        Offset(base),
        time(base) + 1_000_000,
        &records,
    )
}

/// The offsets and timestamps of a frame's records.
fn times(frame: &Frame) -> Vec<(Offset, i64)> {
    let records = frame.records();
    let parse = |record: &[u8]| {
        let record = RecordView::parse(record).expect("a sound record");
        (
            Offset(record.offset.expect("assigned")),
            record.timestamp_ms.expect("given"),
        )
    };
    Records::new(&records)
        .map(|record| parse(record.expect("a sound run").1))
        .collect()
}
