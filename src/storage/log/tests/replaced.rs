//! Segments that are replaced, or trimmed and removed, while they are being read: readers that hold
//! an old segment go on with it, and later readers do not see it.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::*;
use crate::env::{DirEntry, File, FileSystem, Lock, LockGuard, ToSync};
use crate::storage::log::remove_gone;

type Meanwhile = Box<dyn FnOnce() + Send>;

/// What happens in the middle of the next call of each kind.
#[derive(Default)]
struct Interruptions {
    after_map: Option<Meanwhile>,
    before_open: Option<Meanwhile>,
    before_rename: Option<Meanwhile>,
}

/// A disk on which something else happens during the opening of a file.
struct Interrupted {
    disk: Arc<dyn FileSystem>,
    next: Mutex<Interruptions>,
}

impl Interrupted {
    fn interrupt(&self, which: impl FnOnce(&mut Interruptions) -> &mut Option<Meanwhile>) {
        let meanwhile = which(&mut self.next.lock().unwrap_or_else(PoisonError::into_inner)).take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
    }
}

impl FileSystem for Interrupted {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        self.interrupt(|next| &mut next.before_open);
        self.disk.open(path, how)
    }

    fn map(&self, path: &Path) -> io::Result<Bytes> {
        let mapped = self.disk.map(path);
        self.interrupt(|next| &mut next.after_map);
        mapped
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.read_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.interrupt(|next| &mut next.before_rename);
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn sync_all(&self, these: &[ToSync<'_>]) -> Vec<io::Result<()>> {
        self.disk.sync_all(these)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.disk.lock(path)
    }

    fn lock_there(&self, path: &Path, lock: Lock) -> io::Result<Box<dyn LockGuard>> {
        self.disk.lock_there(path, lock)
    }

    fn volatile(&self, path: &Path) -> io::Result<Option<&'static str>> {
        self.disk.volatile(path)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        self.disk.available_bytes(path)
    }
}

/// A filled log on such a disk.
fn interrupted(mut bench: Bench) -> (Arc<Mutex<Bench>>, Arc<Shared>, Arc<Interrupted>) {
    let disk = Arc::new(Interrupted {
        disk: bench.env.files.clone(),
        next: Mutex::default(),
    });
    let env = Env {
        files: disk.clone(),
        ..bench.env.clone()
    };
    bench.segments.let_go();
    let log = std::mem::replace(
        &mut bench.log,
        LogLock::new(Log::new(IDENTITY, topic_dir(&bench.dir))),
    );
    let shared = Arc::new(Shared {
        log,
        segments: OpenSegments::new(env, 3),
    });
    (Arc::new(Mutex::new(bench)), shared, disk)
}

/// What readers and writers of a log share.
struct Shared {
    log: LogLock,
    segments: OpenSegments,
}

impl Shared {
    fn reader(&self) -> LogReader<'_> {
        LogReader {
            log: &self.log,
            segments: &self.segments,
            is_patient: false,
        }
    }

    /// Rewrites a segment with shorter records.
    fn rewrite(&self, base: u64) {
        let edit = |frame: &Frame| Some(shorter(frame.header().base));
        rewrite_segment(&self.log, &self.segments, Offset(base), edit).expect("the disk takes it");
    }

    fn read(&self, offset: u64) -> Frame {
        let read = self
            .reader()
            .read(&mut Cursor::new(Offset(offset)), 1)
            .expect("it is sound");
        read[0].clone()
    }

    fn value(&self, offset: u64) -> Vec<u8> {
        let found = self.reader().record_at(Offset(offset));
        let found = found.expect("it is sound").expect("it is there");
        found.view().value.expect("it has one").to_vec()
    }

    fn assert_shows_only_what_is_new(&self, offset: u64) {
        assert_eq!(self.value(offset), b"new", "a look-up of {offset}");
        let frame = self.read(offset);
        assert_eq!(frame, shorter(frame.header().base), "a read of {offset}");
    }

    /// Removes the trimmed segments that a checkpoint has released. Returns whether none are left.
    fn remove_trimmed(&self) -> bool {
        remove_trimmed(&self.log, &self.segments).expect("the files can be removed")
    }

    /// Removes the files that are in no view and that nobody reads. Returns whether none are left.
    fn remove_gone(&self) -> bool {
        remove_gone(&self.log, &self.segments).expect("the files can be removed")
    }
}

fn shorter(base: Offset) -> Frame {
    let time = i64::try_from(base.0).expect("small") + 1_000_000;
    frame_of(
        PartitionId(0),
        base,
        time,
        &[record(&b"new"[..], time), record(&b"new"[..], time + 1)],
    )
}

#[test]
fn a_reader_goes_on_with_the_segment_that_it_found_when_that_is_written_anew() {
    for with_index in [true, false] {
        for look_up in [true, false] {
            let bench = Bench::filled();
            if !with_index {
                bench.remove(&bench.index(8));
            }
            let old = bench.segment(8);
            let (bench, shared, disk) = interrupted(bench);
            let of = shared.clone();
            disk.next.lock().unwrap().after_map = Some(Box::new(move || of.rewrite(8)));
            if look_up {
                assert_eq!(shared.value(8), [7; 100]);
            } else {
                assert_eq!(shared.read(9), frame(8));
            }
            assert!(
                disk.next.lock().unwrap().after_map.is_none(),
                "it was interrupted"
            );
            let bench = bench.lock().unwrap();
            assert!(bench.exists(&old), "it was in use");
            assert!(bench.exists(&bench.segment(8)) && bench.segment(8) != old);
            for offset in 8..16 {
                shared.assert_shows_only_what_is_new(offset);
            }
            assert!(shared.remove_gone(), "nobody reads it");
            assert!(!bench.exists(&old) && !bench.exists(&old.with_extension("index")));
            let index = bench.bytes(&bench.index(8));
            assert!(!index.is_empty(), "that of the new one");
            for offset in 8..16 {
                shared.assert_shows_only_what_is_new(offset);
            }
        }
    }
}

#[test]
fn a_reader_of_a_trimmed_segment_goes_on_and_its_file_goes_behind_it() {
    let bench = Bench::filled();
    let path = bench.segment(8);
    let (bench, shared, disk) = interrupted(bench);
    let of = shared.clone();
    let trim_and_remove = move || {
        let mut log = of.log.lock();
        log.trim(Offset(20));
        log.retire(Offset(16), 0);
        assert!(log.begin_leaving());
        drop(log);
        let removed = remove_trimmed(&of.log, &of.segments).expect("they can be removed");
        assert!(!removed, "they are in use");
    };
    disk.next.lock().unwrap().after_map = Some(Box::new(trim_and_remove));
    assert_eq!(shared.read(9), frame(8));
    let bench = bench.lock().unwrap();
    assert!(bench.exists(&bench.segment(0)) && bench.exists(&path));
    let read = shared.reader().read(&mut Cursor::new(Offset(9)), 1);
    assert!(matches!(read, Err(ReadError::BelowStart)));
    assert_eq!(shared.log.lock().first_kept(), Offset(16));
    assert!(shared.remove_gone(), "nobody reads it");
    assert!(!bench.exists(&bench.segment(0)) && !bench.exists(&path));
}

#[test]
fn a_reader_of_the_active_segment_goes_on_when_that_is_sealed_and_written_anew() {
    let (bench, shared, disk) = interrupted(Bench::filled());
    let old = bench.lock().unwrap().segment(32);
    let (of, with) = (shared.clone(), bench.clone());
    let seal_and_rewrite = move || {
        let writer = &mut with.lock().unwrap().writer;
        writer
            .seal_before(&of.log, &of.segments, Offset(u64::MAX))
            .expect("the disk takes it");
        of.rewrite(32);
    };
    disk.next.lock().unwrap().before_open = Some(Box::new(seal_and_rewrite));
    assert_eq!(shared.read(39), frame(38));
    assert!(
        disk.next.lock().unwrap().before_open.is_none(),
        "it was interrupted"
    );
    shared.assert_shows_only_what_is_new(39);
    let bench = bench.lock().unwrap();
    assert!(bench.exists(&old), "it was in use");
    assert!(shared.remove_gone(), "nobody reads it");
    assert!(!bench.exists(&old));
}

#[test]
fn what_is_kept_of_a_segment_that_is_trimmed_while_it_becomes_another_is_kept_once_more() {
    let (_bench, shared, disk) = interrupted(Bench::filled());
    let of = shared.clone();
    let trim_and_retire = move || {
        let mut log = of.log.lock();
        log.trim(Offset(10));
        assert_eq!(log.trimmed(), Some(Offset(0)..Offset(8)));
        log.retire(Offset(8), 1);
        assert!(log.begin_leaving());
    };
    disk.next.lock().unwrap().before_rename = Some(Box::new(trim_and_retire));
    let offsets = Offset(0)..Offset(16);
    let rewrite = Rewrite::of_several(&shared.log, &shared.segments, &offsets)
        .expect("they can be read")
        .expect("they are there");
    let rewritten = rewrite.write(|frame| Some(shorter(frame.header().base)));
    let rewritten = rewritten.expect("there is room");
    rewritten.install(&shared.log).expect("nothing fails");
    assert_eq!(shared.log.lock().trimmed(), None);
    assert!(shared.remove_trimmed(), "nothing of it goes yet");
    shared.assert_shows_only_what_is_new(10);
    let mut log = shared.log.lock();
    log.trim(Offset(20));
    assert_eq!(log.trimmed(), Some(Offset(0)..Offset(16)));
    log.retire(Offset(16), 2);
    assert!(log.begin_leaving());
    assert_eq!(log.first_kept(), Offset::ZERO);
    drop(log);
    assert!(shared.remove_trimmed(), "nobody reads it");
    assert_eq!(shared.log.lock().first_kept(), Offset(16));
}

#[test]
fn a_cursor_does_not_go_on_at_a_position_of_another_file() {
    let (_bench, shared, _) = interrupted(Bench::filled());
    let mut cursor = Cursor::new(Offset(8));
    let read = |cursor: &mut Cursor| {
        let read = shared.reader().read(cursor, 1);
        read.expect("it is sound")[0].clone()
    };
    assert_eq!(read(&mut cursor), frame(8));
    let parts = cursor.parts(&[frame(8)]);
    let part = parts[0].expect("it came from a file");
    let read_part = || {
        let view = shared.log.view();
        shared
            .reader()
            .read_part(&view, &part)
            .expect("it is sound")
    };
    assert_eq!(read_part().as_ref(), Some(frame(8).bytes()));
    shared.rewrite(8);
    assert_eq!(read_part(), None, "its place is in another file");
    assert_eq!(read(&mut cursor), shorter(Offset(10)));
    assert_eq!(read(&mut cursor), shorter(Offset(12)));
}
