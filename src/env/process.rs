//! What this process uses of the machine, as far as the system tells.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where the system is asked; what it says is no file of the broker's"
)]

#[cfg(feature = "cli")]
use std::collections::BTreeMap;
use std::{fs, time::Duration};

#[cfg(feature = "cli")]
use rustix::process::{Pid, getppid};
use rustix::process::{Resource, getrlimit};

/// What the process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// Resident memory, in bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Files and sockets that are open.
    pub(crate) open_files: Option<u64>,
    /// How many there may be open.
    pub(crate) open_files_limit: Option<u64>,
    /// How many mappings of files and memory there are.
    pub(crate) maps: Option<u64>,
    /// Processor time so far, with a resolution of 10 ms.
    pub(crate) cpu_time: Option<Duration>,
}

impl Process {
    /// What the process uses now. Takes milliseconds if there is much to count.
    pub(crate) fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").ok();
        let files = fs::read_dir("/proc/self/fd").ok();
        let maps = fs::read_to_string("/proc/self/maps").ok();
        let stat = fs::read_to_string("/proc/self/stat").ok();
        Self {
            resident_bytes: status.and_then(|text| resident(&text)),
            // The directory itself was open while it was read.
            open_files: files.map(|files| (files.count() as u64).saturating_sub(1)),
            open_files_limit: getrlimit(Resource::Nofile).current,
            maps: maps.map(|maps| maps.lines().count() as u64),
            cpu_time: stat.and_then(|stat| cpu_time(&stat)),
        }
    }
}

/// The process that started this one, or the one that had adopted it before it was found; `None` if
/// that is outside of this process's namespace.
#[cfg(feature = "cli")]
#[derive(Clone, Copy)]
pub(crate) struct Parent(Option<Pid>);

#[cfg(feature = "cli")]
impl Parent {
    pub(crate) fn find() -> Self {
        Self(getppid())
    }

    /// Whether another process has adopted this one since.
    pub(crate) fn has_ended(self) -> bool {
        getppid() != self.0
    }
}

/// The processor time of a process so far, with a resolution of 10 ms.
#[cfg(feature = "cli")]
pub(crate) fn cpu_time_of(process: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    cpu_time(&stat)
}

/// `utime` and `stime` in /proc/PID/stat, the 14th and 15th field, in hundredths of a second. The
/// second field is a name in parentheses, which may contain any characters.
pub(super) fn cpu_time(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis(10 * (user + system)))
}

/// A thread of a process: its name, and its processor time.
#[cfg(feature = "cli")]
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) name: String,
    pub(crate) cpu_time: Duration,
}

/// The threads of a process by their numbers, with processor times in nanoseconds if the system
/// counts them.
#[cfg(feature = "cli")]
pub(crate) fn threads_of(process: u32) -> Option<BTreeMap<u32, Thread>> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let task = task.ok()?;
        let (number, path) = (task.file_name().to_str()?.parse().ok()?, task.path());
        let text = |name| fs::read_to_string(path.join(name)).ok();
        // The thread has ended meanwhile.
        let (Some(name), Some(stat)) = (text("comm"), text("schedstat")) else {
            continue;
        };
        let found = Thread {
            name: name.trim_end().to_owned(),
            cpu_time: scheduled(&stat)?,
        };
        threads.insert(number, found);
    }
    Some(threads)
}

/// The first field of /proc/PID/schedstat, in nanoseconds.
#[cfg(feature = "cli")]
pub(super) fn scheduled(stat: &str) -> Option<Duration> {
    let nanos = stat.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// `VmRSS` of /proc/self/status, which is in KiB.
pub(super) fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
