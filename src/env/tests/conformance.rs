//! The contract of [`FileSystem`], checked on the real disk and on the simulated one.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::env::{
    AlignedBuffer, DIRECT_ALIGNMENT, DirEntry, Env, FileSystem, Lock, Open, ToSync, sim::SimDisk,
};

/// A directory on a file system under test.
struct Place {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    simulated: bool,
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn put(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        self.files
            .open(&path, Open::Create)
            .unwrap()
            .write_all_at(&[content], 0)
            .unwrap();
        path
    }

    fn get(&self, path: &Path) -> Vec<u8> {
        let file = self.files.open(path, Open::Read).unwrap();
        let mut content = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut content, 0).unwrap();
        content
    }

    fn names(&self) -> Vec<String> {
        self.files
            .read_dir(&self.dir)
            .unwrap()
            .into_iter()
            .map(|entry| entry.name)
            .collect()
    }
}

/// Runs a test on each kind of file system.
fn everywhere(test: impl Fn(&Place)) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().to_owned();
    test(&Place {
        files: Env::system().files,
        dir,
        simulated: false,
        _temporary: Some(temporary),
    });

    let disk = SimDisk::new(1);
    let dir = PathBuf::from("/data");
    disk.create_dir(&dir).unwrap();
    test(&Place {
        files: Arc::new(disk),
        dir,
        simulated: true,
        _temporary: None,
    });
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("the operation should fail").kind()
}

#[test]
fn opening_a_file_that_is_not_there_says_so_unless_it_is_to_be_created() {
    everywhere(|place| {
        let path = place.path("file");
        for how in [Open::Read, Open::Write, Open::Direct] {
            assert_eq!(kind(place.files.open(&path, how)), ErrorKind::NotFound);
        }
        assert_eq!(kind(place.files.map(&path)), ErrorKind::NotFound);
        assert!(!place.files.exists(&path).unwrap());
        place.files.open(&path, Open::Create).unwrap();
        assert!(place.files.exists(&path).unwrap());
        assert_eq!(
            kind(place.files.open(&path, Open::Create)),
            ErrorKind::AlreadyExists
        );
    });
}

#[test]
fn opening_needs_a_parent_and_refuses_directories() {
    everywhere(|place| {
        assert_eq!(
            kind(place.files.open(&place.path("no/file"), Open::Create)),
            ErrorKind::NotFound
        );
        for how in [Open::Read, Open::Write, Open::Direct] {
            assert_eq!(
                kind(place.files.open(&place.dir, how)),
                ErrorKind::IsADirectory
            );
        }
        assert_eq!(kind(place.files.map(&place.dir)), ErrorKind::IsADirectory);
        let file = place.put("file", b"x");
        assert_eq!(
            kind(place.files.open(&file.join("below"), Open::Create)),
            ErrorKind::NotADirectory
        );
    });
}

#[test]
fn a_file_opened_to_read_takes_no_changes() {
    everywhere(|place| {
        let path = place.put("file", b"abc");
        let file = place.files.open(&path, Open::Read).unwrap();
        assert!(file.write_all_at(&[b"x"], 0).is_err());
        assert!(file.set_len(0).is_err());
        assert!(file.allocate(4096).is_err());
        assert_eq!(place.get(&path), b"abc");
    });
}

#[test]
fn what_is_written_at_a_position_is_read_there_through_every_handle() {
    everywhere(|place| {
        let path = place.path("file");
        let writer = place.files.open(&path, Open::Create).unwrap();
        writer
            .write_all_at(&[b"hello", b"", b", world"], 3)
            .unwrap();
        writer.write_all_at(&[b"H"], 3).unwrap();
        writer.write_all_at(&[], 100).unwrap();
        let reader = place.files.open(&path, Open::Read).unwrap();
        assert_eq!(reader.len().unwrap(), 15);
        let mut bytes = [9; 15];
        reader.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0\0Hello, world");
        let mut bytes = [0; 5];
        writer.read_exact_at(&mut bytes, 10).unwrap();
        assert_eq!(&bytes, b"world");
        assert_eq!(reader.read_vec_at(3, 12).unwrap(), b"Hello, world");
        assert_eq!(writer.read_vec_at(10, 2).unwrap(), b"wo");
        assert_eq!(writer.read_vec_at(15, 0).unwrap(), b"");
    });
}

#[test]
fn a_gathered_write_may_have_more_slices_than_the_system_takes_at_once() {
    everywhere(|place| {
        let content: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        let slices: Vec<&[u8]> = content.chunks(3).collect();
        assert!(slices.len() > 2 * 1024);
        let path = place.path("file");
        place
            .files
            .open(&path, Open::Create)
            .unwrap()
            .write_all_at(&slices, 0)
            .unwrap();
        assert_eq!(place.get(&path), content);
    });
}

#[test]
fn reading_past_the_end_is_an_error() {
    everywhere(|place| {
        let path = place.put("file", b"abc");
        let file = place.files.open(&path, Open::Read).unwrap();
        assert_eq!(
            kind(file.read_exact_at(&mut [0; 4], 0)),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(
            kind(file.read_exact_at(&mut [0; 1], 3)),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(
            kind(file.read_exact_at(&mut [0; 1], 1 << 40)),
            ErrorKind::UnexpectedEof
        );
        file.read_exact_at(&mut [], 3).unwrap();
        for (position, len) in [(0, 4), (3, 1), (1 << 40, 1)] {
            let read = file.read_vec_at(position, len);
            assert_eq!(kind(read), ErrorKind::UnexpectedEof);
        }
    });
}

#[test]
fn a_set_length_cuts_and_extends_with_zeros() {
    everywhere(|place| {
        let path = place.put("file", &[7; 6000]);
        let file = place.files.open(&path, Open::Write).unwrap();
        file.set_len(5).unwrap();
        file.set_len(9000).unwrap();
        let mut expected = vec![0; 9000];
        expected[..5].fill(7);
        assert_eq!(place.get(&path), expected);
    });
}

#[test]
fn allocated_room_reads_as_zeros_and_never_makes_a_file_shorter() {
    everywhere(|place| {
        let path = place.put("file", b"abc");
        let file = place.files.open(&path, Open::Write).unwrap();
        file.allocate(0).unwrap();
        file.allocate(2).unwrap();
        assert_eq!(file.len().unwrap(), 3);
        file.allocate(10_000).unwrap();
        let mut expected = vec![0; 10_000];
        expected[..3].copy_from_slice(b"abc");
        assert_eq!(place.get(&path), expected);
    });
}

#[test]
fn allocating_more_than_there_is_leaves_the_file_as_it_was() {
    everywhere(|place| {
        let path = place.put("file", b"abc");
        let file = place.files.open(&path, Open::Write).unwrap();
        // So many bytes that a real file system refuses at once, without being full for a moment.
        let refusal = kind(file.allocate(1 << 62));
        assert!(
            matches!(refusal, ErrorKind::StorageFull | ErrorKind::FileTooLarge),
            "{refusal:?}"
        );
        assert_eq!(place.get(&path), b"abc");
    });
}

#[test]
fn syncs_succeed_on_files_and_directories_only() {
    everywhere(|place| {
        let path = place.put("file", b"abc");
        place
            .files
            .open(&path, Open::Write)
            .unwrap()
            .sync_data()
            .unwrap();
        place
            .files
            .open(&path, Open::Read)
            .unwrap()
            .sync_data()
            .unwrap();
        place.files.sync_dir(&place.dir).unwrap();
        assert_eq!(kind(place.files.sync_dir(&path)), ErrorKind::NotADirectory);
        assert_eq!(
            kind(place.files.sync_dir(&place.path("no"))),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn a_rename_replaces_and_open_handles_stay_with_their_files() {
    everywhere(|place| {
        let (old, new) = (place.put("old", b"old"), place.put("new", b"new"));
        let replaced = place.files.open(&old, Open::Read).unwrap();
        let moved = place.files.open(&new, Open::Write).unwrap();
        place.files.rename(&new, &old).unwrap();
        assert_eq!(place.names(), ["old"]);
        moved.write_all_at(&[b"!"], 3).unwrap();
        assert_eq!(place.get(&old), b"new!");
        let mut bytes = [0; 3];
        replaced.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"old");
        place.files.rename(&old, &old).unwrap();
        assert_eq!(place.names(), ["old"]);
    });
}

#[test]
fn a_rename_needs_its_file_and_respects_directories() {
    everywhere(|place| {
        let file = place.put("file", b"x");
        let dir = place.path("dir");
        place.files.create_dir(&dir).unwrap();
        assert_eq!(
            kind(place.files.rename(&place.path("no"), &file)),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(place.files.rename(&file, &place.path("no/file"))),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(place.files.rename(&file, &dir)),
            ErrorKind::IsADirectory
        );
        assert_eq!(
            kind(place.files.rename(&dir, &file)),
            ErrorKind::NotADirectory
        );
        assert_eq!(
            kind(place.files.rename(&dir, &dir.join("below"))),
            ErrorKind::InvalidInput
        );
        place.files.rename(&file, &dir.join("file")).unwrap();
        place.files.rename(&dir, &place.path("moved")).unwrap();
        assert_eq!(place.get(&place.path("moved/file")), b"x");
        assert_eq!(place.names(), ["moved"]);
    });
}

#[test]
fn a_removed_file_lives_on_in_its_handles_and_maps() {
    everywhere(|place| {
        let path = place.put("file", b"abc");
        let file = place.files.open(&path, Open::Write).unwrap();
        let map = place.files.map(&path).unwrap();
        place.files.remove_file(&path).unwrap();
        assert_eq!(kind(place.files.remove_file(&path)), ErrorKind::NotFound);
        assert_eq!(&map[..], b"abc");
        let part = map.slice(1..);
        drop(map);
        assert_eq!(&part[..], b"bc");
        drop(part);
        file.write_all_at(&[b"d"], 3).unwrap();
        assert_eq!(file.len().unwrap(), 4);
        place.put("file", b"another");
        assert_eq!(file.len().unwrap(), 4);
    });
}

#[test]
fn a_map_of_an_empty_file_is_empty() {
    everywhere(|place| {
        let path = place.put("file", b"");
        assert!(place.files.map(&path).unwrap().is_empty());
    });
}

#[test]
fn a_directory_lists_its_names_in_order() {
    everywhere(|place| {
        place.put("b", b"");
        place.put("a.x", b"");
        place.put("B", b"");
        place.files.create_dir(&place.path("a")).unwrap();
        let entry = |name: &str, is_dir| DirEntry {
            name: name.to_owned(),
            is_dir,
            special: None,
        };
        let expected = [
            entry("B", false),
            entry("a", true),
            entry("a.x", false),
            entry("b", false),
        ];
        assert_eq!(place.files.read_dir(&place.dir).unwrap(), expected);
        assert_eq!(
            kind(place.files.read_dir(&place.path("no"))),
            ErrorKind::NotFound
        );
        assert_eq!(
            kind(place.files.read_dir(&place.path("b"))),
            ErrorKind::NotADirectory
        );
    });
}

#[test]
fn directories_are_created_once_and_removed_empty() {
    everywhere(|place| {
        let dir = place.path("dir");
        assert_eq!(
            kind(place.files.create_dir(&dir.join("below"))),
            ErrorKind::NotFound
        );
        place.files.create_dir(&dir).unwrap();
        assert_eq!(kind(place.files.create_dir(&dir)), ErrorKind::AlreadyExists);
        assert_eq!(kind(place.files.remove_file(&dir)), ErrorKind::IsADirectory);
        let file = place.put("dir/file", b"");
        assert_eq!(
            kind(place.files.remove_dir(&dir)),
            ErrorKind::DirectoryNotEmpty
        );
        assert_eq!(
            kind(place.files.remove_dir(&file)),
            ErrorKind::NotADirectory
        );
        place.files.remove_file(&file).unwrap();
        place.files.remove_dir(&dir).unwrap();
        assert_eq!(kind(place.files.remove_dir(&dir)), ErrorKind::NotFound);
        assert!(place.names().is_empty());
    });
}

#[test]
fn what_is_there_can_be_locked_a_directory_too_and_shared_by_those_that_only_look() {
    everywhere(|place| {
        let file = place.put("file", b"");
        for path in [&place.dir, &file] {
            let lock = |how| place.files.lock_there(path, how);
            let exclusive = lock(Lock::Exclusive).unwrap();
            assert_eq!(kind(lock(Lock::Exclusive)), ErrorKind::WouldBlock);
            assert_eq!(kind(lock(Lock::Shared)), ErrorKind::WouldBlock);
            drop(exclusive);
            let shared = [lock(Lock::Shared).unwrap(), lock(Lock::Shared).unwrap()];
            assert_eq!(kind(lock(Lock::Exclusive)), ErrorKind::WouldBlock);
            drop(shared);
            let _again = lock(Lock::Exclusive).unwrap();
        }
        let exclusive = place.files.lock(&file).unwrap();
        assert_eq!(
            kind(place.files.lock_there(&file, Lock::Shared)),
            ErrorKind::WouldBlock
        );
        drop(exclusive);
        let none = place.path("none");
        assert_eq!(
            kind(place.files.lock_there(&none, Lock::Shared)),
            ErrorKind::NotFound
        );
        assert!(!place.files.exists(&none).unwrap());
    });
}

#[test]
fn a_lock_creates_its_file_excludes_others_and_ends_with_its_guard() {
    everywhere(|place| {
        let path = place.path("lock");
        let guard = place.files.lock(&path).unwrap();
        assert!(place.files.exists(&path).unwrap());
        assert_eq!(kind(place.files.lock(&path)), ErrorKind::WouldBlock);
        let other = place.files.lock(&place.path("other")).unwrap();
        drop(guard);
        let _again = place.files.lock(&path).unwrap();
        drop(other);
    });
}

#[test]
fn direct_writes_and_reads_work_when_everything_is_aligned() {
    everywhere(|place| {
        let path = place.put("file", &[1; 3 * DIRECT_ALIGNMENT]);
        let file = place.files.open(&path, Open::Direct).unwrap();
        let mut first = AlignedBuffer::with_capacity(DIRECT_ALIGNMENT);
        first.extend(b"first");
        first.pad();
        let mut second = AlignedBuffer::with_capacity(DIRECT_ALIGNMENT);
        second.extend(&[2; DIRECT_ALIGNMENT]);
        file.write_all_at(
            &[first.as_slice(), second.as_slice()],
            DIRECT_ALIGNMENT as u64,
        )
        .unwrap();
        file.sync_data().unwrap();
        let content = place.get(&path);
        assert_eq!(content[..DIRECT_ALIGNMENT], [1; DIRECT_ALIGNMENT]);
        assert_eq!(&content[DIRECT_ALIGNMENT..][..5], b"first");
        assert_eq!(content[2 * DIRECT_ALIGNMENT..], [2; DIRECT_ALIGNMENT]);
    });
}

#[test]
fn writes_past_the_cache_and_through_it_make_one_file() {
    everywhere(|place| {
        let path = place.put("file", b"head");
        let cached = place.files.open(&path, Open::Write).unwrap();
        let direct = place.files.open(&path, Open::Direct).unwrap();
        let blocks = |byte: u8, count: usize| {
            let mut blocks = AlignedBuffer::with_capacity(count * DIRECT_ALIGNMENT);
            blocks.extend(&vec![byte; count * DIRECT_ALIGNMENT]);
            blocks
        };
        let mut expected = b"head".to_vec();
        // Each time what is in front of the blocks, the blocks, and what is behind them.
        for (byte, before, count, behind) in [(1, 4_092, 2, 100), (4, 3_996, 1, 0), (7, 0, 3, 9)] {
            let begin = expected.len();
            expected.resize(begin + before, byte);
            cached
                .write_all_at(&[&expected[begin..]], begin as u64)
                .unwrap();
            direct
                .write_all_at(&[blocks(byte + 1, count).as_slice()], expected.len() as u64)
                .unwrap();
            expected.resize(expected.len() + count * DIRECT_ALIGNMENT, byte + 1);
            assert_eq!(place.get(&path), expected, "through the cache at once");
            let begin = expected.len();
            expected.resize(begin + behind, byte + 2);
            cached
                .write_all_at(&[&expected[begin..]], begin as u64)
                .unwrap();
            assert_eq!(place.get(&path), expected);
        }
        cached.sync_data().unwrap();
        assert_eq!(place.get(&path), expected);
        assert_eq!(place.files.map(&path).unwrap(), expected);
    });
}

#[test]
fn misaligned_direct_writes_are_refused_where_the_disk_is_direct() {
    everywhere(|place| {
        let path = place.put("file", &[1; 3 * DIRECT_ALIGNMENT]);
        let file = place.files.open(&path, Open::Direct).unwrap();
        let mut buffer = AlignedBuffer::with_capacity(2 * DIRECT_ALIGNMENT);
        buffer.extend(&[2; 2 * DIRECT_ALIGNMENT]);
        let bytes = buffer.as_slice();
        let attempts = [
            file.write_all_at(&[&bytes[..DIRECT_ALIGNMENT]], 1),
            file.write_all_at(&[&bytes[..100]], 0),
            file.write_all_at(&[&bytes[1..=DIRECT_ALIGNMENT]], 0),
            file.write_all_at(
                &[
                    &bytes[..DIRECT_ALIGNMENT],
                    &bytes[DIRECT_ALIGNMENT..][..100],
                ],
                0,
            ),
        ];
        for attempt in attempts {
            match attempt {
                Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidInput),
                // A real file system may allow what others refuse, or have no direct I/O.
                Ok(()) => assert!(!place.simulated),
            }
        }
        let mut bytes = [0; 100];
        let read = file.read_exact_at(&mut bytes, 1);
        assert!(read.is_err() || !place.simulated);
    });
}

#[test]
fn available_bytes_are_those_of_the_file_system_that_holds_the_path() {
    everywhere(|place| {
        assert!(place.files.available_bytes(&place.dir).unwrap() > Some(0));
        assert_eq!(
            kind(place.files.available_bytes(&place.path("no"))),
            ErrorKind::NotFound
        );
    });
}

#[test]
fn what_is_synced_together_is_answered_in_order_and_each_is_tried() {
    everywhere(|place| {
        let paths = ["a", "b", "c"].map(|name| place.put(name, b"content"));
        let files = paths.map(|path| place.files.open(&path, Open::Write).unwrap());
        let missing = place.path("missing");
        let mut these: Vec<_> = files.iter().map(|file| ToSync::File(&**file)).collect();
        these.insert(1, ToSync::Dir(&missing));
        these.push(ToSync::Dir(&place.dir));
        let synced = place.files.sync_all(&these);
        let kinds = synced
            .into_iter()
            .map(|one| one.err().map(|error| error.kind()));
        let expected = [None, Some(ErrorKind::NotFound), None, None, None];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
        assert!(place.files.sync_all(&[]).is_empty());
    });
}
