//! File systems in which a sync makes nothing durable.

#![expect(
    clippy::disallowed_methods,
    reason = "this is one of the doors that the bans lead to"
)]

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Linux's numbers for kinds of file systems (`statfs(2)`).
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;
const OVERLAY: i64 = 0x794c_7630;

/// Why a sync makes nothing durable in the file system of `path`, if that is known.
pub(super) fn of(path: &Path) -> io::Result<Option<&'static str>> {
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        reason = "its type depends on the architecture"
    )]
    let kind = rustix::fs::statfs(path)?.f_type as i64;
    let kind = kind & 0xffff_ffff;
    if kind != OVERLAY {
        return Ok(by_kind(kind));
    }
    let device = fs::metadata(path)?.dev();
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(is_volatile(&mounts, device).then_some("an overlay file system mounted with \"volatile\""))
}

/// As [`of`], if the kind of the file system decides it.
pub(super) fn by_kind(kind: i64) -> Option<&'static str> {
    match kind {
        TMPFS => Some("a tmpfs, which is in memory"),
        RAMFS => Some("a ramfs, which is in memory"),
        _ => None,
    }
}

/// Whether the mount of this device has the option `volatile`, which newer kernels show as
/// `fsync=volatile`. `mounts` are the lines of `mountinfo` (`proc(5)`): in each, the third field is
/// the device, and the last ones are the options of the file system.
pub(super) fn is_volatile(mounts: &str, (major, minor): (u32, u32)) -> bool {
    let device = format!("{major}:{minor}");
    mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some(&device))
        .filter_map(|line| line.rsplit(' ').next())
        .flat_map(|options| options.split(','))
        .any(|option| matches!(option, "volatile" | "fsync=volatile"))
}
