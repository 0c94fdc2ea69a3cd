//! Short calls, which have their turns in the task of their connection.
//!
//! A runtime serves its tasks in turn. Where each call is a task, a client with one call waits
//! behind all that another one has, each time that its call moves on. So the runtime has one task
//! for all short calls of a connection, and that task polls few of them before others have their
//! turn.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// A call, until it is answered.
pub(super) type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The short calls of a connection.
#[derive(Default)]
pub(super) struct ShortCalls {
    /// By number.
    slots: Vec<Slot>,
    /// The numbers of those without a call.
    free: Vec<usize>,
    awake: Arc<Awake>,
}

/// A place for a call. The next call in it has the same wake-up: one that comes too late polls a
/// call that did not ask for it, which does no harm.
struct Slot {
    call: Option<Call>,
    wakeup: Arc<Wakeup>,
    waker: Waker,
}

/// What a call is woken with.
struct Wakeup {
    number: usize,
    /// It is among those that are to be polled.
    is_awake: AtomicBool,
    awake: Arc<Awake>,
}

/// The numbers of calls that are to be polled, in the order in which they were woken.
#[derive(Default)]
struct Awake(Mutex<Line>);

#[derive(Default)]
struct Line {
    numbers: VecDeque<usize>,
    /// The connection's task, while it waits for the first.
    connection: Option<Waker>,
}

impl ShortCalls {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a call, which is to be polled. Returns its number.
    pub(super) fn add(&mut self, call: Call) -> usize {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::new(self.slots.len(), &self.awake));
            self.slots.len() - 1
        });
        let slot = &mut self.slots[number];
        slot.call = Some(call);
        slot.wakeup.wake_by_ref();
        number
    }

    /// Gives a call up, for whoever polls it from here on.
    pub(super) fn remove(&mut self, number: usize) -> Option<Call> {
        let call = self.slots.get_mut(number)?.call.take()?;
        self.free.push(number);
        if self.len() == 0 {
            // A connection without calls costs little.
            (self.slots, self.free) = (Vec::new(), Vec::new());
            self.awake.forget();
        }
        Some(call)
    }

    /// Polls calls that are awake, at most as many as there are turns left.
    pub(super) fn poll(&mut self, turns: &mut usize) {
        while *turns > 0
            && let Some(number) = self.awake.next()
        {
            *turns -= 1;
            self.poll_call(number);
        }
    }

    /// Lets the connection's task be woken when a call is awake: if one is already, behind the
    /// tasks of others.
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
        if call.as_mut().poll(&mut cx).is_ready() {
            self.remove(number);
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

    /// The next one. The connection's task has its turn, and is not woken before it waits.
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
