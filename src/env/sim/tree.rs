//! Everything on the simulated disk: names, files, and the space that they take.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path},
    sync::Arc,
};

use super::{
    content::PAGE,
    crash::{Candidates, Fate},
    names::{Names, NodeId, ROOT, Slot},
    node::Node,
    stats::CutEffect,
};

/// The largest file. Each page has an entry in a table, and a wrong position must not use up all
/// memory.
const MAX_FILE_LEN: u64 = 1 << 36;

/// The names and files of a disk, and which handles have them open.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    names: Names,
    files: BTreeMap<NodeId, Arc<Node>>,
    /// Files without a name, which take space until they are closed.
    nameless: BTreeSet<NodeId>,
    open: BTreeMap<NodeId, u64>,
    next_node: NodeId,
    pages_used: u64,
    capacity: u64,
}

impl Tree {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            names: Names::new(),
            files: BTreeMap::new(),
            nameless: BTreeSet::new(),
            open: BTreeMap::new(),
            next_node: ROOT + 1,
            pages_used: 0,
            capacity,
        }
    }

    pub(super) fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    /// How many bytes of space are free.
    pub(super) fn available(&self) -> u64 {
        (self.capacity / PAGE).saturating_sub(self.pages_used) * PAGE
    }

    // Names.

    /// The node at a path.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in components(path)? {
            let entries = self
                .names
                .entries(node)
                .ok_or(io::ErrorKind::NotADirectory)?;
            node = *entries.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The file at a path.
    pub(super) fn find_file(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.find(path)?;
        if self.names.is_dir(node) {
            Err(io::ErrorKind::IsADirectory.into())
        } else {
            Ok(node)
        }
    }

    /// The slot of a path whose parent exists.
    fn slot(&self, path: &Path) -> io::Result<Slot> {
        let mut names = components(path)?;
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let mut dir = ROOT;
        for parent in names {
            let entries = self
                .names
                .entries(dir)
                .ok_or(io::ErrorKind::NotADirectory)?;
            dir = *entries.get(parent).ok_or(io::ErrorKind::NotFound)?;
        }
        if self.names.is_dir(dir) {
            Ok((dir, name.to_owned()))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// The names in a directory, sorted, and whether each is a directory.
    pub(super) fn entries(&self, path: &Path) -> io::Result<Vec<(String, bool)>> {
        let entries = self
            .names
            .entries(self.find(path)?)
            .ok_or(io::ErrorKind::NotADirectory)?;
        Ok(entries
            .iter()
            .map(|(name, &node)| (name.clone(), self.names.is_dir(node)))
            .collect())
    }

    pub(super) fn create(&mut self, number: u64, path: &Path, is_dir: bool) -> io::Result<NodeId> {
        let slot = self.slot(path)?;
        if self.names.get(&slot).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.available() == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = self.next_node;
        self.next_node += 1;
        if !is_dir {
            self.files.insert(node, Arc::default());
        }
        self.names.link(number, slot, node, is_dir);
        Ok(node)
    }

    pub(super) fn remove_file(&mut self, number: u64, path: &Path) -> io::Result<()> {
        let node = self.find_file(path)?;
        self.names.unlink(number, self.slot(path)?, node);
        self.lose_name(node);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, number: u64, path: &Path) -> io::Result<()> {
        let slot = self.slot(path)?;
        let node = self.find(path)?;
        let entries = self
            .names
            .entries(node)
            .ok_or(io::ErrorKind::NotADirectory)?;
        if !entries.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.names.unlink(number, slot, node);
        Ok(())
    }

    pub(super) fn rename(&mut self, number: u64, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let (from_slot, to_slot) = (self.slot(from)?, self.slot(to)?);
        let replaced = self.names.get(&to_slot);
        if replaced == Some(node) {
            return Ok(());
        }
        match (
            self.names.is_dir(node),
            replaced.map(|node| self.names.is_dir(node)),
        ) {
            (true, None) if components(to)?.starts_with(&components(from)?) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            (_, None) | (false, Some(false)) => {}
            (false, Some(true)) => return Err(io::ErrorKind::IsADirectory.into()),
            (true, Some(false)) => return Err(io::ErrorKind::NotADirectory.into()),
            // Real systems allow this if the directory is empty; nothing here needs it.
            (true, Some(true)) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
        }
        self.names.rename(number, from_slot, to_slot, node);
        if let Some(replaced) = replaced {
            self.lose_name(replaced);
        }
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.find_dir(path)?;
        self.names.sync(dir);
        self.forget_unreachable();
        Ok(())
    }

    /// A sync of a directory that fails.
    pub(super) fn fail_sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.find_dir(path)?;
        self.names.fail_sync(dir);
        Ok(())
    }

    fn find_dir(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.find(path)?;
        if self.names.is_dir(node) {
            Ok(node)
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    // Files.

    pub(super) fn file(&self, node: NodeId) -> &Node {
        self.files
            .get(&node)
            .expect("a file is kept as long as it has a name or is open")
    }

    pub(super) fn file_mut(&mut self, node: NodeId) -> &mut Node {
        Arc::make_mut(
            self.files
                .get_mut(&node)
                .expect("a file is kept as long as it has a name or is open"),
        )
    }

    /// Writes the bytes, or as many as there is space for.
    pub(super) fn write(
        &mut self,
        number: u64,
        node: NodeId,
        bytes: &[u8],
        position: u64,
    ) -> io::Result<()> {
        let end = position
            .checked_add(bytes.len() as u64)
            .filter(|&end| end <= MAX_FILE_LEN);
        let mut end = end.ok_or(io::ErrorKind::FileTooLarge)?;
        let room = self.available() / PAGE;
        let mut pages = self.file(node).pages_to_write(position..end);
        let fits = pages <= room;
        while pages > room {
            end = ((end - 1) / PAGE * PAGE).max(position);
            pages = self.file(node).pages_to_write(position..end);
        }
        self.pages_used += pages;
        self.file_mut(node)
            .write(number, &bytes[..(end - position) as usize], position);
        if fits {
            Ok(())
        } else {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    pub(super) fn set_len(&mut self, number: u64, node: NodeId, len: u64) {
        self.change_size(node, |file| file.set_len(number, len));
    }

    pub(super) fn allocate(&mut self, number: u64, node: NodeId, len: u64) -> io::Result<()> {
        if len > MAX_FILE_LEN {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if self.file(node).pages_to_write(0..len) > self.available() / PAGE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.change_size(node, |file| file.allocate(number, len));
        Ok(())
    }

    fn change_size(&mut self, node: NodeId, change: impl FnOnce(&mut Node)) {
        let file = self.file_mut(node);
        let before = file.pages();
        change(file);
        let after = file.pages();
        self.pages_used = self.pages_used + after - before;
    }

    pub(super) fn opened(&mut self, node: NodeId) {
        *self.open.entry(node).or_default() += 1;
    }

    pub(super) fn closed(&mut self, node: NodeId) {
        let handles = self.open.get_mut(&node).expect("what is closed was open");
        *handles -= 1;
        if *handles == 0 {
            self.open.remove(&node);
            if self.nameless.contains(&node) {
                self.pages_used -= self.file(node).pages();
                self.forget_unreachable();
            }
        }
    }

    fn lose_name(&mut self, node: NodeId) {
        self.nameless.insert(node);
        if !self.open.contains_key(&node) {
            self.pages_used -= self.file(node).pages();
        }
    }

    /// Forgets nodes that have no name, cannot get one by a power cut, and are not open.
    fn forget_unreachable(&mut self) {
        let mut referenced = self.names.referenced();
        self.names.retain(&referenced);
        referenced.extend(self.open.keys());
        self.files.retain(|node, _| referenced.contains(node));
        self.nameless.retain(|node| self.files.contains_key(node));
    }

    // Crashes.

    /// The disk after its process has died: nothing is open, everything else is unchanged.
    pub(super) fn after_kill(&self) -> Self {
        let mut survived = self.clone();
        for &node in self.open.keys().filter(|node| self.nameless.contains(node)) {
            survived.pages_used -= self.file(node).pages();
        }
        survived.open.clear();
        survived.forget_unreachable();
        survived
    }

    /// The disk after a power cut, given what `fate` lets survive.
    pub(super) fn after_cut(&self, fate: &mut Fate, effect: &mut CutEffect) -> Self {
        let names = self.names.after_cut(fate, effect);
        let referenced = names.referenced();
        let mut survived = Self {
            names,
            next_node: self.next_node,
            ..Self::new(self.capacity)
        };
        for (&node, file) in self
            .files
            .iter()
            .filter(|(node, _)| referenced.contains(node))
        {
            let file = if file.is_settled() {
                Arc::clone(file)
            } else {
                Arc::new(file.after_cut(fate, effect))
            };
            survived.pages_used += file.pages();
            survived.files.insert(node, file);
        }
        survived
    }

    /// The changes from which a crash mode chooses that loses a single one.
    pub(super) fn candidates(&self) -> Candidates {
        let mut candidates = Candidates::default();
        candidates
            .single
            .extend(self.names.unsynced().iter().map(|change| change.number));
        for file in self
            .files
            .iter()
            .filter(|(node, _)| !self.nameless.contains(node))
            .map(|(_, file)| file)
        {
            let changes = file.unsynced();
            // Only the last length can be lost without others.
            let last = changes.last().filter(|change| !change.is_write());
            let mut writes = changes.iter().filter(|change| change.is_write());
            candidates
                .single
                .extend(writes.clone().chain(last).map(|change| change.number));
            if let Some(write) = writes.next_back()
                && candidates
                    .last_write
                    .as_ref()
                    .is_none_or(|(number, _)| *number < write.number)
            {
                candidates.last_write = Some((write.number, write.sectors()));
            }
        }
        candidates
    }
}

/// The names on the path from the root. There is no working directory: relative paths start at the
/// root too.
fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?);
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}
