//! The meaning of the operating system's error numbers: `std` has no portable names for most of
//! them.

use std::io;

use rustix::io::Errno;

/// Whether the disk, or the file system's checksums, report that stored bytes cannot be read: EIO,
/// or EUCLEAN and EBADMSG, by which Linux file systems report wrong structures or checksums.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    #[cfg(target_os = "linux")]
    let is_corrupted = errno == Some(Errno::UCLEAN.raw_os_error());
    #[cfg(not(target_os = "linux"))]
    let is_corrupted = false;
    let is_wrong = |wrong: Errno| errno == Some(wrong.raw_os_error());
    is_wrong(Errno::IO) || is_wrong(Errno::BADMSG) || is_corrupted
}

/// Whether a file system reports that it has no locks.
pub(crate) fn has_no_locks(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP]
        .iter()
        .any(|unknown| errno == Some(unknown.raw_os_error()))
}

/// Whether a file system reports that it cannot map files.
pub(crate) fn has_no_maps(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

/// Whether the process or the machine has run out of a resource other than disk space: file
/// descriptors, memory or maps.
pub(crate) fn is_out_of_resources(error: &io::Error) -> bool {
    const RESOURCES: [Errno; 5] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::AGAIN,
    ];
    let errno = error.raw_os_error();
    RESOURCES
        .iter()
        .any(|resource| errno == Some(resource.raw_os_error()))
}
