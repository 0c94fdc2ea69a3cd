//! What only the real disk can do.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the tests of the door that the bans lead to"
)]

use std::{
    fs, io,
    os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};

use crate::env::{
    AlignedBuffer, Env, File, Lock, Open,
    disk::{DiskFile, available, write_all},
};

#[test]
fn room_is_taken_by_writing_zeros_where_it_cannot_be_reserved() {
    let file = DiskFile::buffered(tempfile::tempfile().unwrap());
    file.write_all_at(&[b"abc"], 0).unwrap();
    file.write_zeros(3, 600_000).unwrap();
    let mut content = vec![1; 600_000];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content[..3], b"abc");
    assert!(content[3..].iter().all(|&byte| byte == 0));
    file.write_zeros(600_000, 5).unwrap();
    assert_eq!(file.len().unwrap(), 600_000);
}

#[test]
fn only_their_owner_may_read_what_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let files = Env::system().files;
    let (inner, file) = (dir.path().join("inner"), dir.path().join("inner/file"));
    let lock = dir.path().join("lock");
    files.create_dir(&inner).unwrap();
    files.open(&file, Open::Create).unwrap();
    files.lock(&lock).unwrap();
    for path in [inner, file, lock] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

/// How many writes with direct I/O were refused.
static REFUSED: AtomicU32 = AtomicU32::new(0);

/// Writes no more than one block with direct I/O, as a file system in user space may do.
fn one_block(file: &fs::File, slices: &[&[u8]], position: u64) -> io::Result<()> {
    let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
    let flags = rustix::fs::fcntl_getfl(file)?;
    if flags.contains(OFlags::DIRECT) && bytes > 4096 {
        REFUSED.fetch_add(1, Ordering::Relaxed);
        return Err(rustix::io::Errno::INVAL.into());
    }
    write_all(file, slices, position)
}

#[test]
fn a_file_that_takes_no_large_direct_write_is_written_through_the_cache() {
    // Not every directory for temporary files supports direct I/O; the build directory does.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let path = dir.path().join("file");
    fs::write(&path, [0; 4096]).unwrap();
    let opened = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::DIRECT.bits().cast_signed())
        .open(&path)
        .unwrap();
    let file = DiskFile::direct(opened, &path, one_block);
    let blocks = |byte: u8, count: usize| {
        let mut blocks = AlignedBuffer::with_capacity(4096 * count);
        blocks.extend(&vec![byte; 4096 * count]);
        blocks
    };
    file.write_all_at(&[blocks(1, 1).as_slice()], 0).unwrap();
    file.write_all_at(&[blocks(2, 2).as_slice()], 4096).unwrap();
    file.write_all_at(&[blocks(3, 4).as_slice()], 12_288)
        .unwrap();
    file.sync_data().unwrap();
    assert_eq!(REFUSED.load(Ordering::Relaxed), 1, "it is not tried again");

    let mut content = vec![0; 28_672];
    file.read_exact_at(&mut content, 0).unwrap();
    let expected = [(1, 1), (2, 2), (3, 4)].map(|(byte, count)| vec![byte; 4096 * count]);
    assert_eq!(content, expected.concat());
    let mut odd = [0; 5];
    file.read_exact_at(&mut odd, 4094).unwrap();
    assert_eq!(odd, [1, 1, 2, 2, 2], "as any read through the cache");
    assert_eq!(file.read_vec_at(4094, 5).unwrap(), odd);
    let mut again = vec![0; 28_672];
    fs::File::open(&path)
        .unwrap()
        .read_exact_at(&mut again, 0)
        .unwrap();
    assert_eq!(again, expected.concat());
}

#[test]
fn a_file_system_that_counts_no_blocks_does_not_say_how_much_room_it_has() {
    let mut status = rustix::fs::statvfs("/").unwrap();
    (status.f_blocks, status.f_bavail, status.f_frsize) = (0, 0, 4096);
    assert_eq!(available(&status), None);
    (status.f_blocks, status.f_bavail) = (10, 3);
    assert_eq!(available(&status), Some(3 * 4096));
    status.f_bavail = 0;
    assert_eq!(available(&status), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn file_systems_that_forget_are_known() {
    use crate::env::volatile::{by_kind, is_volatile};

    assert!(by_kind(0x0102_1994).is_some_and(|why| why.contains("tmpfs")));
    assert!(by_kind(0x8584_58f6).is_some_and(|why| why.contains("ramfs")));
    assert_eq!(by_kind(0xef53), None, "ext4");

    let mounts = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw,discard
40 22 0:35 / /merged rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/volatile/u,workdir=/w
41 22 0:36 / /gone rw,relatime shared:9 - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w,volatile
";
    let newer =
        "42 22 0:40 / /m rw - overlay overlay rw,upperdir=/u,workdir=/w,uuid=on,fsync=volatile";
    assert!(is_volatile(mounts, (0, 36)) && is_volatile(newer, (0, 40)));
    assert!(!is_volatile(mounts, (0, 35)));
    assert!(!is_volatile(mounts, (254, 0)));
    let files = Env::system().files;
    assert_eq!(files.volatile("/proc".as_ref()).unwrap(), None);
}

#[test]
fn what_is_no_file_is_named_and_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (pipe, link) = (dir.path().join("a"), dir.path().join("b"));
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    symlink(&pipe, &link).unwrap();
    let files = Env::system().files;
    for path in [&pipe, &link] {
        for how in [Open::Read, Open::Write, Open::Direct] {
            let refused = files.open(path, how).err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::NotSeekable, "{how:?}");
            assert_eq!(refused.to_string(), "it is a named pipe (FIFO), not a file");
        }
        assert!(files.map(path).is_err());
        assert!(files.lock_there(path, Lock::Shared).is_err());
    }
    let entries = files.read_dir(dir.path()).unwrap();
    let special: Vec<_> = entries.iter().map(|entry| entry.special).collect();
    assert_eq!(
        special,
        [Some("a named pipe (FIFO)"), Some("a symbolic link")]
    );
}
