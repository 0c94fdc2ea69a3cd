//! Divides the process' file descriptors between files and connections. Files come first: a file
//! that cannot be opened stops every client, a connection that is refused stops one.

/// Journal, lock, checkpoint, indexes that are written, directories that are synced, the runtime's
/// own, and files that are opened to be mapped and closed again: 64. The administrators' socket and
/// its 16 connections, and as many for HTTP that are not for calls.
const RESERVED: usize = 64 + 2 * (1 + 16);

/// How many descriptors there are for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// For segments that are written to; the others are mapped, which takes none.
    pub(crate) segments: usize,
    /// For connections.
    pub(crate) connections: usize,
}

impl Descriptors {
    /// Divides what a process that may have `limit` of them has left. Where that is not enough for
    /// what is `wanted`, segments get at least half of it.
    pub(crate) fn divide(limit: u64, wanted: Self) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let left = limit - RESERVED.min(limit / 2);
        let segments = wanted.segments.min(left - wanted.connections.min(left / 2));
        Self {
            segments: segments.max(1),
            connections: wanted.connections.min(left - segments).max(1),
        }
    }
}
