//! Locks with a fixed order, which debug builds check: a thread that holds one may only take locks
//! that come behind it in the order. So no two threads ever wait for each other, whatever the
//! timing.
//!
//! [`rank`] is the order. Locks that are not listed there come behind all that are.

use std::{
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
    },
};

/// The rank of a lock.
#[cfg_attr(
    not(debug_assertions),
    allow(dead_code, reason = "only a debug build checks the order")
)]
pub(crate) trait Rank {
    const AT: u8;
    const NAME: &'static str;
    /// Whether a thread may hold several locks of this rank, which then have an order of their own.
    const SEVERAL: bool = false;
}

macro_rules! ranks {
    ($($(#[$doc:meta])* $name:ident = $at:literal $(, $several:ident)?;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) enum $name {}

            impl Rank for $name {
                const AT: u8 = $at;
                const NAME: &'static str = stringify!($name);
                $(const $several: bool = true;)?
            }
        )*
    };
}

/// The ranks, in the order in which locks are taken.
pub(crate) mod rank {
    pub(crate) use super::Rank;

    ranks! {
        /// The state of housekeeping. Its holder removes and renames files.
        Housekeeper = 10;
        /// The writing end of the journal.
        Committer = 20;
        /// Keeps a topic from being deleted. Several topics are locked in the order of their ids.
        Open = 30, SEVERAL;
        /// The commit barrier: held while commits are applied, and to see several partitions at one
        /// moment.
        CommitBarrier = 40;
        /// The files of a partition's key index.
        Upkeep = 50;
        /// What the next append to a partition gets. Several are locked in the order of topic and
        /// partition.
        Next = 60, SEVERAL;
        /// The planned catalog.
        Planned = 70;
        /// The progress of erasures.
        Erasures = 80;
        /// The applied catalog.
        Applied = 90;
        /// The open topics.
        Topics = 100;
        /// The writer of a partition's active segment. Several are locked in the order of topic and
        /// partition.
        Writer = 110, SEVERAL;
        /// A partition's log: frames that no segment has, and changes of its view.
        Log = 120;
    }
}

/// A mutex with a rank.
pub(crate) struct OrderedMutex<T, R> {
    mutex: Mutex<T>,
    rank: PhantomData<fn() -> R>,
}

/// A reader-writer lock with a rank.
#[derive(Debug)]
pub(crate) struct OrderedRwLock<T, R> {
    lock: RwLock<T>,
    rank: PhantomData<fn() -> R>,
}

/// A guard of a lock with a rank.
#[derive(Debug)]
pub(crate) struct Ordered<G> {
    guard: G,
    /// Dropped after the guard.
    _held: held::Held,
}

/// A guard of an [`OrderedMutex`].
pub(crate) type OrderedGuard<'a, T> = Ordered<MutexGuard<'a, T>>;

impl<T, R: Rank> OrderedMutex<T, R> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            mutex: Mutex::new(value),
            rank: PhantomData,
        }
    }

    /// Locks the mutex. A panic of another thread leaves nothing half done that matters here.
    pub(crate) fn lock(&self) -> OrderedGuard<'_, T> {
        let held = held::take::<R>();
        Ordered {
            guard: self.mutex.lock().unwrap_or_else(PoisonError::into_inner),
            _held: held,
        }
    }
}

impl<T, R: Rank> fmt::Debug for OrderedMutex<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_held = matches!(self.mutex.try_lock(), Err(TryLockError::WouldBlock));
        write!(f, "{}: {}", R::NAME, if is_held { "held" } else { "free" })
    }
}

impl<T, R: Rank> OrderedRwLock<T, R> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            lock: RwLock::new(value),
            rank: PhantomData,
        }
    }

    /// Locks it for reading, together with other readers.
    pub(crate) fn read(&self) -> Ordered<RwLockReadGuard<'_, T>> {
        let held = held::take::<R>();
        Ordered {
            guard: self.lock.read().unwrap_or_else(PoisonError::into_inner),
            _held: held,
        }
    }

    /// Locks it for writing, alone.
    pub(crate) fn write(&self) -> Ordered<RwLockWriteGuard<'_, T>> {
        let held = held::take::<R>();
        Ordered {
            guard: self.lock.write().unwrap_or_else(PoisonError::into_inner),
            _held: held,
        }
    }
}

impl<G: Deref> Deref for Ordered<G> {
    type Target = G::Target;

    fn deref(&self) -> &G::Target {
        &self.guard
    }
}

impl<G: DerefMut> DerefMut for Ordered<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        &mut self.guard
    }
}

/// The locks that this thread holds; recorded in debug builds only.
#[cfg(debug_assertions)]
mod held {
    use std::cell::RefCell;

    use super::Rank;

    thread_local! {
        static HELD: RefCell<Vec<(u8, &'static str)>> = const { RefCell::new(Vec::new()) };
    }

    /// A record that a lock is held, or about to be.
    #[derive(Debug)]
    pub(super) struct Held(u8);

    pub(super) fn take<R: Rank>() -> Held {
        HELD.with_borrow_mut(|held| {
            for &(at, name) in held.iter() {
                assert!(
                    at < R::AT || (at == R::AT && R::SEVERAL),
                    "{} is locked by a thread that holds {name}, which comes behind it",
                    R::NAME
                );
            }
            held.push((R::AT, R::NAME));
        });
        Held(R::AT)
    }

    impl Drop for Held {
        fn drop(&mut self) {
            HELD.with_borrow_mut(|held| {
                if let Some(at) = held.iter().rposition(|(at, _)| *at == self.0) {
                    held.remove(at);
                }
            });
        }
    }
}

#[cfg(not(debug_assertions))]
mod held {
    use super::Rank;

    #[derive(Debug)]
    pub(super) struct Held;

    pub(super) fn take<R: Rank>() -> Held {
        Held
    }
}
