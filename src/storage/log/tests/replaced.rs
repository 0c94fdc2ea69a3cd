//! A segment that is written anew while others open it: nobody goes on with the old file.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::*;
use crate::env::{DirEntry, File, FileSystem, Lock, LockGuard, ToSync};

type Meanwhile = Box<dyn FnOnce() + Send>;

/// What the next call of a kind is interrupted by.
#[derive(Default)]
struct Interruptions {
    after_map: Option<Meanwhile>,
    before_open: Option<Meanwhile>,
}

/// A disk on which something else happens while a file is being opened.
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
        }
    }

    /// Writes a segment anew with shorter records.
    fn rewrite(&self, base: u64) {
        let edit = |frame: &Frame| Some(shorter(frame.header().base));
        rewrite_segment(&self.log, &self.segments, Offset(base), edit).expect("the disk takes it");
    }

    fn assert_shows_only_what_is_new(&self, offset: u64) {
        let found = self
            .reader()
            .record_at(Offset(offset))
            .expect("it is sound")
            .expect("it is there");
        assert_eq!(
            found.view().value,
            Some(&b"new"[..]),
            "a look-up of {offset}"
        );
        let frames = self
            .reader()
            .read(&mut Cursor::new(Offset(offset)), 1)
            .expect("it is sound");
        assert_eq!(
            frames[0],
            shorter(frames[0].header().base),
            "a read of {offset}"
        );
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
fn a_map_of_a_file_that_was_replaced_while_it_was_mapped_is_neither_kept_nor_used() {
    for with_index in [true, false] {
        let bench = Bench::filled();
        if !with_index {
            bench.remove(&bench.index(8));
        }
        let (_bench, shared, disk) = interrupted(bench);
        let of = shared.clone();
        disk.next.lock().unwrap().after_map = Some(Box::new(move || of.rewrite(8)));
        shared.assert_shows_only_what_is_new(9);
        assert!(
            disk.next.lock().unwrap().after_map.is_none(),
            "it was interrupted"
        );
        for offset in 8..16 {
            shared.assert_shows_only_what_is_new(offset);
        }
    }
}

#[test]
fn an_index_that_was_built_of_a_replaced_file_is_not_left_beside_the_new_one() {
    let bench = Bench::filled();
    bench.remove(&bench.index(8));
    let (bench, shared, _) = interrupted(bench);
    let bench = bench.lock().unwrap();
    let old = shared
        .segments
        .sealed(&bench.dir, Offset(8))
        .expect("it can be mapped");
    let rows = shared
        .reader()
        .build_rows(&old, Offset(8))
        .expect("it is sound");
    shared.rewrite(8);
    let index = bench.bytes(&bench.index(8));
    assert!(
        shared
            .segments
            .give_rows(&bench.dir, Offset(8), &old, rows)
            .is_none()
    );
    assert_eq!(bench.bytes(&bench.index(8)), index);
    let new = shared
        .segments
        .sealed(&bench.dir, Offset(8))
        .expect("it can be mapped");
    assert!(new.rows.is_some() && new.content.len() < old.content.len());
    shared.assert_shows_only_what_is_new(9);
}

#[test]
fn a_file_that_is_replaced_in_part_only_is_not_used_any_more_either() {
    let (bench, shared, _) = interrupted(Bench::filled());
    let dir = bench.lock().unwrap().dir.clone();
    let before = shared
        .segments
        .sealed(&dir, Offset(8))
        .expect("it can be mapped");
    // As after an error between the rename and its sync.
    drop(shared.segments.replacing(&dir, Offset(8)));
    let after = shared
        .segments
        .sealed(&dir, Offset(8))
        .expect("it can be mapped");
    assert!(!Arc::ptr_eq(&before, &after));
}

#[test]
fn who_finds_the_active_segment_sealed_and_replaced_reads_it_as_it_is_now() {
    let (bench, shared, disk) = interrupted(Bench::filled());
    let base = shared
        .log
        .lock()
        .active
        .as_ref()
        .expect("there is one")
        .base;
    let (of, with) = (shared.clone(), bench.clone());
    let seal_and_rewrite = move || {
        let writer = &mut with.lock().unwrap().writer;
        writer
            .seal_before(&of.log, &of.segments, Offset(u64::MAX))
            .expect("the disk takes it");
        of.rewrite(base.0);
    };
    disk.next.lock().unwrap().before_open = Some(Box::new(seal_and_rewrite));
    let last = Offset(shared.log.lock().end().0 - 1);
    let frames = shared
        .reader()
        .read(&mut Cursor::new(last), 1)
        .expect("it is not damaged");
    assert_eq!(frames, [shorter(frames[0].header().base)]);
    assert!(
        disk.next.lock().unwrap().before_open.is_none(),
        "it was interrupted"
    );
    shared.assert_shows_only_what_is_new(last.0);
    // The directory goes with it.
    drop(bench);
}
