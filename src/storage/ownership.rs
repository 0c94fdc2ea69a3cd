//! Finds out which data directory a directory is: by its file `taffrail`, or if that is lost, by
//! other files.
//!
//! Checkpoints and segments name their data directory too. Files of older versions do not, and only
//! show that the directory is one of ours. If files name two different directories, the directory
//! is refused, because nobody can tell which one is right.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    checkpoint,
    data_dir::{Error, parse_topic},
    fault::Meaning,
    files::{Action, FileError, read_file},
    format::{
        VERSION,
        checkpoint::Checkpoint,
        entry::{BLOCK_BYTES, FileHeader},
        identity::{Identity, Unreadable},
        segment_file::{self, Header},
    },
};
use crate::env::{DirEntry, Env, Open};

/// What was found out about a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its own file says which one it is.
    Told {
        identity: Identity,
        /// The version of the formats in the directory.
        version: u32,
    },
    /// The file is lost, but the directory is one of ours.
    Lost {
        /// The identity that other files name, and one of these files.
        named: Option<(Identity, PathBuf)>,
        /// Whether any segment has compressed blocks.
        has_blocks: bool,
    },
    /// The directory is empty, or a first start was cut off.
    New,
}

/// The state of the file `taffrail`.
enum OwnFile {
    Whole(Identity, u32),
    /// It is ours, but damaged.
    Damaged,
    /// It is not there, or has lost its content.
    Lost,
}

/// A file that only our brokers write.
struct Witness {
    path: PathBuf,
    directory: Option<Identity>,
    /// Whether it is a segment with compressed blocks.
    has_blocks: bool,
}

/// The file that says which data directory `root` is.
pub(crate) fn path(root: &Path) -> PathBuf {
    root.join("taffrail")
}

/// Finds out which data directory this is, without writing.
///
/// # Errors
///
/// If it is not one of ours, of another version, or mixed up from several.
pub(crate) fn find(env: &Env, root: &Path) -> Result<Found, Error> {
    let is_ours = match own_file(env, root)? {
        OwnFile::Whole(identity, version) => return Ok(Found::Told { identity, version }),
        OwnFile::Damaged => true,
        OwnFile::Lost => false,
    };
    let witnesses = witnesses(env, root)?;
    let named = agreed(root, &witnesses)?;
    if is_ours || !witnesses.is_empty() {
        let has_blocks = witnesses.iter().any(|witness| witness.has_blocks);
        return Ok(Found::Lost { named, has_blocks });
    }
    if let Some(version) = other_version(env, root)? {
        let path = root.to_owned();
        return Err(Error::OtherVersion { path, version });
    }
    // An empty directory may have these: our first start may have been cut off, and file systems
    // make one of them.
    let ours = ["lock", "taffrail.new", "lost+found"];
    let entries = list(env, root)?;
    match entries.iter().all(|entry| ours.contains(&&entry.name[..])) {
        true => Ok(Found::New),
        false => Err(Error::Foreign {
            path: root.to_owned(),
        }),
    }
}

/// Checks that a file which names a directory belongs to this one.
pub(crate) fn check_same(
    root: &Path,
    identity: Identity,
    other: &Path,
    named: Option<Identity>,
) -> Result<(), Error> {
    match named {
        Some(named) if named != identity => Err(Error::MixedUp {
            path: root.to_owned(),
            one: path(root),
            one_id: identity.id,
            other: other.to_owned(),
            other_id: named.id,
        }),
        _ => Ok(()),
    }
}

fn own_file(env: &Env, root: &Path) -> Result<OwnFile, Error> {
    let Some(bytes) = read_file(&*env.files, &path(root))? else {
        return Ok(OwnFile::Lost);
    };
    // The file system may leave zeros in a file whose content a crash took.
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(OwnFile::Lost);
    }
    let root = root.to_owned();
    match Identity::decode(&bytes) {
        Ok(identity) => Ok(OwnFile::Whole(identity, Identity::version(&bytes))),
        Err(Unreadable::Damaged) => Ok(OwnFile::Damaged),
        Err(Unreadable::OtherVersion { version }) => Err(Error::OtherVersion {
            path: root,
            version,
        }),
        Err(Unreadable::Foreign) => Err(Error::Foreign { path: root }),
    }
}

/// The directory that the witnesses name, and the first that names it; fails if they name different
/// ones.
fn agreed(root: &Path, witnesses: &[Witness]) -> Result<Option<(Identity, PathBuf)>, Error> {
    let mut named: Option<(Identity, PathBuf)> = None;
    for witness in witnesses {
        match (&named, witness.directory) {
            (_, None) => {}
            (None, Some(directory)) => named = Some((directory, witness.path.clone())),
            (Some((first, _)), Some(directory)) if *first == directory => {}
            (Some((first, path)), Some(directory)) => {
                return Err(Error::MixedUp {
                    path: root.to_owned(),
                    one: path.clone(),
                    one_id: first.id,
                    other: witness.path.clone(),
                    other_id: directory.id,
                });
            }
        }
    }
    Ok(named)
}

/// All files that show that the directory is ours, except the file `taffrail`.
fn witnesses(env: &Env, root: &Path) -> Result<Vec<Witness>, Error> {
    let mut witnesses = Vec::new();
    for path in checkpoint::copies(&root.join("checkpoint")) {
        let bytes = unless_damaged(read_file(&*env.files, &path))?.flatten();
        if let Some(found) = bytes.and_then(|bytes| Checkpoint::decode(&bytes)) {
            let directory = found.directory;
            witnesses.push(Witness {
                path,
                directory,
                has_blocks: false,
            });
        }
    }
    add_segments(env, &root.join("topics"), &mut witnesses)?;
    let journal = root.join("journal");
    for entry in list(env, &journal)? {
        let path = journal.join(&entry.name);
        if entry.name.ends_with(".journal")
            && begin(env, &path, BLOCK_BYTES)?
                .and_then(|block| FileHeader::decode(&block))
                .is_some()
        {
            witnesses.push(Witness {
                path,
                directory: None,
                has_blocks: false,
            });
        }
    }
    Ok(witnesses)
}

fn add_segments(env: &Env, topics: &Path, witnesses: &mut Vec<Witness>) -> Result<(), Error> {
    for topic in list(env, topics)? {
        if !topic.is_dir || parse_topic(&topic.name).is_none() {
            continue;
        }
        let topic = topics.join(topic.name);
        for partition in list(env, &topic)?.into_iter().filter(|entry| entry.is_dir) {
            let partition = topic.join(partition.name);
            for file in list(env, &partition)? {
                let path = partition.join(&file.name);
                let is_segment = file.name.ends_with(".log");
                let header = match is_segment {
                    true => begin(env, &path, segment_file::HEADER_BYTES)?,
                    false => None,
                };
                if let Some(header) = header.and_then(|header| Header::decode(&header)) {
                    witnesses.push(Witness {
                        path,
                        directory: header.directory,
                        has_blocks: header.compressed.is_some(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// The version of the formats, if a checkpoint has another version than this one.
fn other_version(env: &Env, root: &Path) -> Result<Option<u32>, Error> {
    for path in checkpoint::copies(&root.join("checkpoint")) {
        let bytes = unless_damaged(read_file(&*env.files, &path))?.flatten();
        let version = bytes.and_then(|bytes| Checkpoint::version(&bytes));
        if let Some(version) = version.filter(|version| *version != VERSION) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// The first bytes of a file; `None` if it is shorter or damaged.
fn begin(env: &Env, path: &Path, len: u64) -> Result<Option<Vec<u8>>, FileError> {
    let read = || {
        let file = env
            .files
            .open(path, Open::Read)
            .map_err(FileError::when(Action::Open, path))?;
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)
            .map_err(FileError::when(Action::Read, path))?;
        Ok(bytes)
    };
    unless_damaged(read())
}

/// The entries of a directory; none if it does not exist.
fn list(env: &Env, dir: &Path) -> Result<Vec<DirEntry>, FileError> {
    match env.files.read_dir(dir) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        listed => listed.map_err(FileError::when(Action::List, dir)),
    }
}

/// What was read; `None` if it is damaged, because damage proves nothing.
fn unless_damaged<T>(read: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match read {
        Err(error) if error.meaning() == Meaning::Damage => Ok(None),
        read => read.map(Some),
    }
}
