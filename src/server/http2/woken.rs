//! Tells what has woken a call: its requests alone, or something else.
//!
//! A commit of a group's member wakes its call, which takes it, and has nothing to send before the
//! commit is durable. Everything else that the call waits for is then not looked at again: the end
//! of the call, its session, the client's window and several more. Commits are many.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// The waker for everything that a call waits for besides its requests.
pub(super) struct Others {
    noted: Arc<Noted>,
    waker: Waker,
}

struct Noted {
    were_woken: AtomicBool,
    /// Wakes the task that polls the call.
    task: Mutex<Waker>,
}

impl Others {
    pub(super) fn new() -> Self {
        let noted = Arc::new(Noted {
            were_woken: AtomicBool::new(true),
            task: Mutex::new(Waker::noop().clone()),
        });
        let waker = Waker::from(Arc::clone(&noted));
        Self { noted, waker }
    }

    /// The waker, which wakes the task of this context from now on.
    pub(super) fn waker(&self, cx: &Context<'_>) -> Waker {
        let mut task = self
            .noted
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !task.will_wake(cx.waker()) {
            task.clone_from(cx.waker());
            self.noted.were_woken.store(true, Ordering::Release);
        }
        drop(task);
        self.waker.clone()
    }

    /// Whether it was woken since the last call, or the call has another task.
    pub(super) fn take(&self) -> bool {
        self.noted.were_woken.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.were_woken.store(true, Ordering::Release);
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        task.wake();
    }
}
