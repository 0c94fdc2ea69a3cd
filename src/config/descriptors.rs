//! Divides the process' file descriptors between files and connections. Files come first: a file
//! that cannot be opened stops every client, a connection that is refused stops one.

/// For the journal, the lock, checkpoints, index files being written, directories being synced, the
/// async runtime, and files that are opened to be mapped and closed again: 64. Then the
/// administrators' socket with its 16 connections, and the HTTP port with the 16 connections that
/// are not for calls.
const RESERVED: usize = 64 + 2 * (1 + 16);

/// How the process's file descriptors are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// For segments that are being written. Others are mapped, which takes no descriptor.
    pub(crate) segments: usize,
    /// For client connections.
    pub(crate) connections: usize,
}

impl Descriptors {
    /// Divides a limit of `limit` descriptors, less the reserved ones. If not all that is `wanted`
    /// fits, segments get at least half.
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
