//! A data directory as it is at one journal entry, while its broker goes on.
//!
//! The views of all partitions were taken between two journal entries, when all frames were in
//! segments, so their files are complete. The files stay as long as the image does: segments
//! because the views hold them, tables because they are open. Only the directory of a topic that is
//! deleted gets another name. The catalog is in the image's own checkpoint, which no journal
//! follows.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::ends_of;
use crate::{
    env::{File, FileSystem, Open},
    storage::{
        checkpoint::first_files,
        fault::Meaning,
        files::{Action, FileError, read_file},
        format::{
            RunningCrc32,
            checkpoint::{Checkpoint, Partition},
            identity::Identity,
        },
        journal::{KeptFile, is_beginning},
        keys::{Unread, sorted_table::SortedTable},
        log::View,
        ownership,
    },
};

/// A data directory at one journal entry.
pub(crate) struct Image {
    env_files: Arc<dyn FileSystem>,
    root: PathBuf,
    commit: u64,
    taken_ms: i64,
    directory: Identity,
    /// In the order of their paths.
    files: Vec<ImageFile>,
    /// Holds the segments' files.
    _views: Vec<Arc<View>>,
    /// The file that was read last.
    open: Option<(usize, Arc<dyn File>)>,
}

/// A file of an image.
pub(crate) struct ImageFile {
    /// The path, relative to the data directory.
    pub(crate) path: Box<str>,
    pub(crate) len: u64,
    content: Content,
}

enum Content {
    Held(Bytes),
    Table(Arc<SortedTable>),
    InPlace,
    /// Journal entries, from the first to the last.
    Kept(u64, u64),
}

/// The parts that an image is made of.
pub(crate) struct Parts {
    /// The catalog, and the end of each partition.
    pub(crate) checkpoint: Checkpoint,
    /// The partitions that have files.
    pub(crate) partitions: Vec<(Arc<View>, Partition)>,
    /// The files that describe topics, with their paths.
    pub(crate) topic_files: Vec<(PathBuf, Vec<u8>)>,
    /// Journal entries before the backup.
    pub(crate) kept: Vec<KeptFile>,
    pub(crate) taken_ms: i64,
}

impl Image {
    /// Lists the files of the directory at `root`.
    pub(crate) fn new(
        env_files: &Arc<dyn FileSystem>,
        root: &Path,
        directory: Identity,
        parts: Parts,
    ) -> Result<Self, FileError> {
        let mut image = Self {
            env_files: Arc::clone(env_files),
            root: root.to_owned(),
            commit: parts.checkpoint.applied,
            taken_ms: parts.taken_ms,
            directory,
            files: Vec::new(),
            _views: Vec::with_capacity(parts.partitions.len()),
            open: None,
        };
        let own = ownership::path(root);
        if let Some(bytes) = read_file(&**env_files, &own)? {
            image.hold(&own, bytes);
        }
        for (name, bytes) in first_files(parts.checkpoint, directory) {
            image.hold(&root.join(name), bytes);
        }
        for (path, bytes) in parts.topic_files {
            image.hold(&path, bytes);
        }
        for (view, at) in parts.partitions {
            image.add_partition(&view, &at)?;
            image._views.push(view);
        }
        for kept in parts.kept {
            let entries = Content::Kept(kept.first, kept.last);
            image.add(&kept.path, kept.bytes, entries);
        }
        image.files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(image)
    }

    fn hold(&mut self, path: &Path, bytes: Vec<u8>) {
        self.add(path, bytes.len() as u64, Content::Held(bytes.into()));
    }

    fn add(&mut self, path: &Path, len: u64, content: Content) {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        self.files.push(ImageFile {
            path: path.to_string_lossy().into(),
            len,
            content,
        });
    }

    fn add_partition(&mut self, view: &View, at: &Partition) -> Result<(), FileError> {
        for segment in view.segment_files(at) {
            match self.len_of(&segment.path)? {
                Some(len) => self.add(&segment.path, len.min(segment.bytes), Content::InPlace),
                // What is missing here is missing in the backup too, and a start reports it there
                // as here.
                None => tracing::error!(path = %segment.path.display(),
                    "a segment is missing; the backup lacks it too"),
            }
            if let Some(len) = self.len_of(&segment.index_path)? {
                self.add(&segment.index_path, len, Content::InPlace);
            }
        }
        for table in view.index().tables() {
            self.add(
                table.path(),
                table.bytes(),
                Content::Table(Arc::clone(table)),
            );
        }
        for path in view.index().earlier_paths() {
            if let Some(len) = self.len_of(path)? {
                self.add(path, len, Content::InPlace);
            }
        }
        Ok(())
    }

    fn len_of(&self, path: &Path) -> Result<Option<u64>, FileError> {
        match self.open_at(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => {
                let file = opened.map_err(FileError::when(Action::Open, path))?;
                let len = file.len().map_err(FileError::when(Action::Read, path))?;
                Ok(Some(len))
            }
        }
    }

    /// Opens a file, also if its topic was deleted meanwhile.
    fn open_at(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let files = &*self.env_files;
        match files.open(path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let moved = self.moved(path).ok_or(error)?;
                files.open(&moved, Open::Read)
            }
            opened => opened,
        }
    }

    /// The path of a file after its topic was deleted.
    fn moved(&self, path: &Path) -> Option<PathBuf> {
        let topics = self.root.join("topics");
        let below = path.strip_prefix(&topics).ok()?;
        let mut names = below.iter();
        let topic = names.next()?.to_str()?;
        Some(
            topics
                .join(format!("{topic}.deleted"))
                .join(names.as_path()),
        )
    }

    /// Leaves out the journal entries before those that the client has: it needs them from its
    /// earlier backup on. Without one it needs no entries, but the end, for the next backup to go
    /// on from, and where they began, if that is why it has no earlier ones.
    pub(crate) fn leave_out_kept(&mut self, has: impl Fn(&str) -> bool) {
        let (mut first, mut end) = (None, None);
        for file in &self.files {
            let Some(entries) = file.entries() else {
                continue;
            };
            end = end.max(Some(entries));
            if has(&file.path) && first.is_none_or(|first| entries < first) {
                first = Some(entries);
            }
        }
        let from = first.or(end);
        self.files.retain(|file| match file.entries() {
            Some(_) if first.is_none() && is_beginning(&file.path) => true,
            entries => entries.is_none() || entries >= from,
        });
    }

    /// The number of the last journal entry in the image.
    pub(crate) fn commit(&self) -> u64 {
        self.commit
    }

    /// The id of the data directory.
    pub(crate) fn directory(&self) -> u64 {
        self.directory.id
    }

    /// When the image was taken, by the broker's clock.
    pub(crate) fn taken_ms(&self) -> i64 {
        self.taken_ms
    }

    pub(crate) fn files(&self) -> &[ImageFile] {
        &self.files
    }

    /// The size of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }

    /// About how much memory it takes.
    pub(crate) fn memory(&self) -> usize {
        let mut bytes = self._views.len() * size_of::<View>();
        for file in &self.files {
            bytes += size_of::<ImageFile>() + file.path.len();
            if let Content::Held(held) = &file.content {
                bytes += held.len();
            }
        }
        bytes
    }

    /// Reads bytes of a file. Where the disk cannot read it, the backup gets zeros, which are found
    /// as damage there as they would be here.
    pub(crate) fn read(&mut self, at: usize, position: u64, len: u64) -> Result<Bytes, FileError> {
        let within = |at: u64| usize::try_from(at).expect("what is held fits memory");
        let path = self.root.join(&*self.files[at].path);
        match &self.files[at].content {
            Content::Held(bytes) => Ok(bytes.slice(within(position)..within(position + len))),
            Content::Table(table) => match table.read(position, len) {
                Ok(bytes) => Ok(bytes),
                Err(Unread::Damaged(_)) => Ok(self.lost(&path, position, len)),
                Err(Unread::Unavailable(error)) => Err(error),
            },
            // They are removed when the disk is short of room; the backup is then to be taken
            // again.
            Content::Kept(..) => self.read_in_place(at, &path, position, len),
            Content::InPlace => match self.read_in_place(at, &path, position, len) {
                Err(error) if error.meaning() == Meaning::Damage => {
                    Ok(self.lost(&path, position, len))
                }
                read => read,
            },
        }
    }

    fn read_in_place(
        &mut self,
        at: usize,
        path: &Path,
        position: u64,
        len: u64,
    ) -> Result<Bytes, FileError> {
        let file = match &self.open {
            Some((open, file)) if *open == at => Arc::clone(file),
            _ => {
                let opened = self.open_at(path);
                let file = opened.map_err(FileError::when(Action::Open, path))?;
                self.open = Some((at, Arc::clone(&file)));
                file
            }
        };
        let bytes = file.read_vec_at(position, len as usize);
        Ok(bytes.map_err(FileError::when(Action::Read, path))?.into())
    }

    fn lost(&self, path: &Path, position: u64, len: u64) -> Bytes {
        tracing::error!(path = %path.display(), position, len,
            "a part of a file cannot be read; the backup has zeros in its place");
        vec![0; len as usize].into()
    }

    /// The position from which a client lacks the file, if it has one of this length and with this
    /// checksum of its two ends; 0 if it has none, or a different one.
    pub(crate) fn missing_from(
        &mut self,
        at: usize,
        had: Option<(u64, u32)>,
    ) -> Result<u64, FileError> {
        match had {
            Some((len, ends)) if len <= self.files[at].len && self.ends(at, len)? == ends => {
                Ok(len)
            }
            _ => Ok(0),
        }
    }

    /// The checksum of both ends of the first `len` bytes of a file.
    fn ends(&mut self, at: usize, len: u64) -> Result<u32, FileError> {
        let mut checksum = RunningCrc32::default();
        for (position, bytes) in ends_of(len) {
            checksum.update(&self.read(at, position, bytes)?);
        }
        Ok(checksum.value())
    }
}

impl ImageFile {
    fn entries(&self) -> Option<(u64, u64)> {
        match self.content {
            Content::Kept(first, last) => Some((first, last)),
            _ => None,
        }
    }
}
