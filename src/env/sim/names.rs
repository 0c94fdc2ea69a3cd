//! The tree of names: what the process sees, what the disk has, and the changes in between.
//!
//! This also decides which unsynced changes may survive a power cut without others. A change needs
//! every earlier unsynced change of the names that it touches. Changes within a directory need the
//! directory's creation. The removal of a directory needs the removals in it. A directory is moved
//! only after directories that were moved before it. Apart from that any subset may survive: more
//! than a file system with one ordered journal would allow, and no more than POSIX does.

use std::collections::{BTreeMap, BTreeSet};

use super::{crash::Fate, stats::CutEffect};

/// Identifies a file or directory, whatever its path.
pub(super) type NodeId = u64;

/// The root directory, which always exists.
pub(super) const ROOT: NodeId = 0;

/// A directory that is never synced.
const NEVER: NodeId = NodeId::MAX;

/// A place for a name: a directory and the name in it.
pub(super) type Slot = (NodeId, String);

type Entries = BTreeMap<String, NodeId>;
type Directories = BTreeMap<NodeId, Entries>;

/// All directories and their entries.
#[derive(Clone, Debug)]
pub(super) struct Names {
    visible: Directories,
    durable: Directories,
    unsynced: Vec<NameChange>,
}

/// A change of names that has not been synced.
#[derive(Clone, Debug)]
pub(super) struct NameChange {
    /// The number of the operation.
    pub(super) number: u64,
    action: Action,
    node: NodeId,
    is_dir: bool,
    /// The directories that must still be synced. For a rename between two directories these are
    /// both: POSIX promises no more.
    awaits: BTreeSet<NodeId>,
}

#[derive(Clone, Debug)]
enum Action {
    Link(Slot),
    Unlink(Slot),
    Rename { from: Slot, to: Slot },
}

impl Names {
    /// An empty root.
    pub(super) fn new() -> Self {
        let root = BTreeMap::from([(ROOT, Entries::new())]);
        Self {
            visible: root.clone(),
            durable: root,
            unsynced: Vec::new(),
        }
    }

    pub(super) fn is_dir(&self, node: NodeId) -> bool {
        self.visible.contains_key(&node)
    }

    /// What the process sees in a directory; `None` for a file.
    pub(super) fn entries(&self, dir: NodeId) -> Option<&Entries> {
        self.visible.get(&dir)
    }

    /// The node with this name.
    pub(super) fn get(&self, (dir, name): &Slot) -> Option<NodeId> {
        self.visible.get(dir)?.get(name).copied()
    }

    pub(super) fn unsynced(&self) -> &[NameChange] {
        &self.unsynced
    }

    /// Gives a new node a name. The slot must be free.
    pub(super) fn link(&mut self, number: u64, slot: Slot, node: NodeId, is_dir: bool) {
        if is_dir {
            self.visible.insert(node, Entries::new());
            self.durable.insert(node, Entries::new());
        }
        self.change(number, Action::Link(slot), node, is_dir);
    }

    /// Removes the name of a node. The slot must be taken.
    pub(super) fn unlink(&mut self, number: u64, slot: Slot, node: NodeId) {
        self.change(number, Action::Unlink(slot), node, self.is_dir(node));
    }

    /// Moves a node to another slot, whatever is there.
    pub(super) fn rename(&mut self, number: u64, from: Slot, to: Slot, node: NodeId) {
        self.change(number, Action::Rename { from, to }, node, self.is_dir(node));
    }

    fn change(&mut self, number: u64, action: Action, node: NodeId, is_dir: bool) {
        let mut change = NameChange {
            number,
            action,
            node,
            is_dir,
            awaits: BTreeSet::new(),
        };
        change.awaits = change.slots().map(|(dir, _)| *dir).collect();
        change.apply(&mut self.visible);
        self.unsynced.push(change);
    }

    /// Makes the names in a directory durable, and the changes that they need.
    pub(super) fn sync(&mut self, dir: NodeId) {
        let mut needed = Related::default();
        let mut durable = Vec::new();
        let mut unsynced = Vec::new();
        for mut change in std::mem::take(&mut self.unsynced).into_iter().rev() {
            change.awaits.remove(&dir);
            if change.awaits.is_empty() || needed.by_name(&change) {
                needed.add(&change);
                durable.push(change);
            } else {
                unsynced.push(change);
            }
        }
        for change in durable.iter().rev() {
            change.apply(&mut self.durable);
        }
        unsynced.reverse();
        self.unsynced = unsynced;
    }

    /// A sync of the names in a directory that fails: no later sync will make these changes
    /// durable.
    pub(super) fn fail_sync(&mut self, dir: NodeId) {
        for change in self
            .unsynced
            .iter_mut()
            .filter(|change| change.awaits.contains(&dir))
        {
            change.awaits.insert(NEVER);
        }
    }

    /// The names after a power cut, given what `fate` lets survive.
    pub(super) fn after_cut(&self, fate: &mut Fate, effect: &mut CutEffect) -> Self {
        let mut dirs = self.durable.clone();
        let mut lost = Related::default();
        for change in &self.unsynced {
            if !lost.before(change) && fate.name_survives(change.number) {
                change.apply(&mut dirs);
                effect.names_kept += 1;
            } else {
                lost.add(change);
                effect.names_lost += 1;
            }
        }
        let mut reached = Directories::new();
        take_reachable(ROOT, &mut dirs, &mut reached);
        Self {
            visible: reached.clone(),
            durable: reached,
            unsynced: Vec::new(),
        }
    }

    /// The nodes that have a name now or may have one after a power cut.
    pub(super) fn referenced(&self) -> BTreeSet<NodeId> {
        let entries = self
            .visible
            .values()
            .chain(self.durable.values())
            .flat_map(Entries::values);
        entries
            .copied()
            .chain(self.unsynced.iter().map(|change| change.node))
            .chain([ROOT])
            .collect()
    }

    /// Forgets directories that have no name any more.
    pub(super) fn retain(&mut self, referenced: &BTreeSet<NodeId>) {
        self.visible.retain(|node, _| referenced.contains(node));
        self.durable.retain(|node, _| referenced.contains(node));
    }
}

/// Moves a directory and everything in it from `dirs` to `reached`; what cannot be reached stays in
/// `dirs`.
fn take_reachable(dir: NodeId, dirs: &mut Directories, reached: &mut Directories) {
    let Some(entries) = dirs.remove(&dir) else {
        return;
    };
    for &node in entries.values() {
        take_reachable(node, dirs, reached);
    }
    reached.insert(dir, entries);
}

impl NameChange {
    fn slots(&self) -> impl Iterator<Item = &Slot> {
        let (first, second) = match &self.action {
            Action::Link(slot) | Action::Unlink(slot) => (slot, None),
            Action::Rename { from, to } => (from, Some(to)),
        };
        std::iter::once(first).chain(second)
    }

    fn apply(&self, dirs: &mut Directories) {
        if let Action::Unlink((dir, name))
        | Action::Rename {
            from: (dir, name), ..
        } = &self.action
            && let Some(entries) = dirs.get_mut(dir)
        {
            entries.remove(name);
        }
        if let Action::Link((dir, name))
        | Action::Rename {
            to: (dir, name), ..
        } = &self.action
            && let Some(entries) = dirs.get_mut(dir)
        {
            entries.insert(name.clone(), self.node);
        }
    }

    /// The directory that the change creates, removes or moves.
    fn subject_dir(&self) -> Option<NodeId> {
        self.is_dir.then_some(self.node)
    }

    fn moves_dir(&self) -> bool {
        matches!(self.action, Action::Rename { .. }) && self.is_dir
    }
}

/// What a set of changes touches, to find the changes that depend on each other.
#[derive(Default)]
struct Related {
    slots: BTreeSet<Slot>,
    /// The directories of these slots.
    dirs: BTreeSet<NodeId>,
    created_dirs: BTreeSet<NodeId>,
    removed_dirs: BTreeSet<NodeId>,
    moved_dirs: BTreeSet<NodeId>,
}

impl Related {
    fn add(&mut self, change: &NameChange) {
        self.slots.extend(change.slots().cloned());
        self.dirs.extend(change.slots().map(|(dir, _)| *dir));
        match &change.action {
            Action::Link(_) => self.created_dirs.extend(change.subject_dir()),
            Action::Unlink(_) => self.removed_dirs.extend(change.subject_dir()),
            Action::Rename { .. } => self.moved_dirs.extend(change.subject_dir()),
        }
    }

    /// Whether these changes need an earlier one for their names to make sense.
    fn by_name(&self, earlier: &NameChange) -> bool {
        earlier
            .slots()
            .any(|slot| self.slots.contains(slot) || self.removed_dirs.contains(&slot.0))
            || earlier.moves_dir() && !self.moved_dirs.is_empty()
    }

    /// Whether a later change needs one of these.
    fn before(&self, later: &NameChange) -> bool {
        let removes = matches!(later.action, Action::Unlink(_))
            .then_some(later.subject_dir())
            .flatten();
        later
            .slots()
            .any(|slot| self.slots.contains(slot) || self.created_dirs.contains(&slot.0))
            || removes.is_some_and(|dir| self.dirs.contains(&dir))
            || later.moves_dir() && !self.moved_dirs.is_empty()
    }
}
