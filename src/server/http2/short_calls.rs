//! Short calls, which are polled in the task of their connection.
//!
//! A runtime polls its tasks in turn. If each call was a task, a client with one call would wait
//! behind all calls of another client, each time its own call makes progress. So all short calls of
//! a connection share one task, which polls only a few of them before other tasks have their turn.
//! The calls of group members are among them as long as what they do is short (`home.rs`).

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::home::{Call, Done};

/// The short calls of a connection.
#[derive(Default)]
pub(super) struct ShortCalls {
    /// The slots by number.
    slots: Vec<Slot>,
    /// The numbers of the free slots.
    free: Vec<usize>,
    awake: Arc<Awake>,
    /// Calls that need a task of their own.
    leaving: Vec<Call>,
}

/// A slot for a call. The next call in a slot has the same wake-up: a late wake-up of the previous
/// call polls the new one for nothing, which does no harm.
struct Slot {
    call: Option<Call>,
    wakeup: Arc<Wakeup>,
    waker: Waker,
}

/// The wake-up of a call.
struct Wakeup {
    number: usize,
    /// Whether the call is among those to be polled.
    is_awake: AtomicBool,
    awake: Arc<Awake>,
}

/// The numbers of the calls to be polled, in the order in which they were woken.
#[derive(Default)]
struct Awake(Mutex<Line>);

#[derive(Default)]
struct Line {
    numbers: VecDeque<usize>,
    /// Wakes the connection's task while it waits for the first call.
    connection: Option<Waker>,
}

impl ShortCalls {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a call, which will be polled. Returns its number.
    pub(super) fn add(&mut self, call: Call) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::new(self.slots.len(), &self.awake));
            self.slots.len() - 1
        });
        let slot = &mut self.slots[number];
        call.share();
        slot.call = Some(call);
        slot.wakeup.wake_by_ref();
        number
    }

    /// Removes a call, which the caller polls from now on.
    pub(super) fn remove(&mut self, number: usize) -> Option<Call> {
        let call = self.slots.get_mut(number)?.call.take()?;
        self.free.push(number);
        if self.len() == 0 {
            // A connection without calls should cost little.
            (self.slots, self.free) = (Vec::new(), Vec::new());
            self.awake.forget();
        }
        Some(call)
    }

    /// Polls calls that were woken, at most as many as there are turns left.
    pub(super) fn poll(&mut self, turns: &mut usize) {
        while *turns > 0
            && let Some(number) = self.awake.next()
        {
            *turns -= 1;
            self.poll_call(number);
        }
    }

    /// Takes the calls that need a task of their own, which polls them at once.
    pub(super) fn take_leaving(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.leaving)
    }

    /// Lets a call that is woken wake the connection's task. If one is woken already, the task is
    /// woken at once, behind other tasks.
    pub(super) fn wait(&self, cx: &Context<'_>) {
        self.awake.wait(cx.waker());
    }

    fn poll_call(&mut self, number: usize) {
        let Some(slot) = self.slots.get_mut(number) else {
            return;
        };
        slot.wakeup.is_awake.store(false, Ordering::Release);
        let Some(call) = &mut slot.call else {
            return;
        };
        let mut cx = Context::from_waker(&slot.waker);
        let Poll::Ready(done) = call.poll(&mut cx) else {
            return;
        };
        let call = self.remove(number);
        if done == Done::Moves {
            self.leaving.extend(call);
        }
    }
}

impl Slot {
    fn new(number: usize, awake: &Arc<Awake>) -> Self {
        let wakeup = Arc::new(Wakeup {
            number,
            is_awake: AtomicBool::new(false),
            awake: Arc::clone(awake),
        });
        Self {
            call: None,
            waker: Waker::from(Arc::clone(&wakeup)),
            wakeup,
        }
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_awake.swap(true, Ordering::AcqRel) {
            self.awake.push(self.number);
        }
    }
}

impl Awake {
    fn push(&self, number: usize) {
        let mut line = self.lock();
        line.numbers.push_back(number);
        let connection = line.connection.take();
        drop(line);
        if let Some(connection) = connection {
            connection.wake();
        }
    }

    /// The next call to poll. The connection's task has its turn, and is not woken until it waits.
    fn next(&self) -> Option<usize> {
        let mut line = self.lock();
        line.connection = None;
        line.numbers.pop_front()
    }

    fn wait(&self, connection: &Waker) {
        let mut line = self.lock();
        if line.numbers.is_empty() {
            line.connection = Some(connection.clone());
            return;
        }
        drop(line);
        connection.wake_by_ref();
    }

    fn forget(&self) {
        self.lock().numbers = VecDeque::new();
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
