//! When a connection is not read for a moment: while its members have commits under way.
//!
//! What a turn of a connection's task costs is mostly the same for one commit and for ten. Those
//! that come while earlier ones are written and synced would wait for the next write anyhow. So
//! they stay in the socket, and are read in the turn that responds to the earlier ones. That is
//! done only on connections that have had nothing but members for some turns, whose messages are
//! small: no other call waits for a commit.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Context,
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// For how long a connection is not read at most: storage may stand still.
const MOST: Duration = Duration::from_millis(200);

/// After this many turns without other calls a connection counts as one of members alone.
const TURNS: u32 = 16;

/// How many commits of a connection's members are under way.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Commits(Arc<AtomicUsize>);

/// A commit that is under way until this is dropped.
pub(in crate::server) struct UnderWay(Commits);

impl Commits {
    /// Counts a commit.
    pub(in crate::server) fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Relaxed);
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// Whether a connection is read.
pub(super) struct Reading {
    commits: Commits,
    /// How many turns there have been since the last one with other calls than those of members.
    turns: u32,
    /// Until when it may be left unread.
    until: Option<Pin<Box<Sleep>>>,
}

impl Reading {
    pub(super) fn new(commits: Commits) -> Self {
        Self {
            commits,
            turns: 0,
            until: None,
        }
    }

    /// Begins a turn. Returns whether the connection may be left unread at its end.
    pub(super) fn begin_turn(&mut self, has_members_alone: bool) -> bool {
        self.turns = match has_members_alone {
            true => self.turns.saturating_add(1),
            false => 0,
        };
        self.turns > TURNS
    }

    /// Whether the connection is left unread until the next turn. The response to a commit wakes
    /// the task, and so does the timer.
    pub(super) fn pauses(&mut self, cx: &mut Context<'_>) -> bool {
        if self.commits.0.load(Relaxed) == 0 {
            return false;
        }
        let until = self.until.get_or_insert_with(|| Box::pin(sleep(MOST)));
        if until.as_mut().poll(cx).is_ready() {
            self.until = None;
            return false;
        }
        true
    }
}
