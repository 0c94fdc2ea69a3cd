//! Questions to the machine rather than the disk: how much memory there is, and what a pipe
//! contains.

#![expect(
    clippy::disallowed_methods,
    reason = "this is where the system is asked; what it says is no file of the broker's"
)]

use std::{fs, path::Path};

const MEMORY: &str = "/proc/meminfo";
const OWN_GROUPS: &str = "/proc/self/cgroup";
const GROUPS: &str = "/sys/fs/cgroup";

/// The memory of the machine, or of the container that this process is in if that is less; `None`
/// if the system does not say.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = fs::read_to_string(MEMORY)
        .ok()
        .and_then(|text| total(&text));
    let groups = fs::read_to_string(OWN_GROUPS).unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| {
        let text = fs::read_to_string(Path::new(GROUPS).join(file)).ok()?;
        // "No limit" is `max`, or in version 1 a number larger than any memory.
        text.trim().parse::<u64>().ok()
    });
    limits.chain(machine).min()
}

/// `MemTotal` of /proc/meminfo, which is in KiB.
pub(super) fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The files that may limit the memory of a process in these control groups, below [`GROUPS`]:
/// those of its group and of all groups around it. In a container its own group appears as the
/// outermost.
pub(super) fn limit_files(groups: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("memory/", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let mut group = path.trim_matches('/');
        loop {
            let slash = if group.is_empty() { "" } else { "/" };
            files.push(format!("{root}{group}{slash}{file}"));
            match group.rsplit_once('/') {
                Some((outer, _)) => group = outer,
                None if group.is_empty() => break,
                None => group = "",
            }
        }
    }
    files
}

/// Reads everything at a path. It may be a pipe, whose length is not known.
pub(crate) fn read_all(path: &Path) -> std::io::Result<Vec<u8>> {
    fs::read(path)
}
