//! The places that connections take, and which connection must leave when a new one finds none.
//!
//! A client that says at once that it speaks HTTP/2 must get in, however many connections only hold
//! a place. So the connection that has been in its handshake for longest leaves first; then the one
//! that has been without a call for longest, if that is long enough. It is closed with GOAWAY,
//! after which gRPC clients reconnect when they have a call to make.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::notices::Notice;
use crate::{
    budget::{Held, Holder},
    env::Clock,
};

/// The places of all connections.
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// Notified when a place is free again, including its memory.
    freed: Arc<Notify>,
    /// The memory in which the windows count, and the bytes of each; `None` if they have their own
    /// memory.
    memory: Option<(Holder, usize)>,
    /// How long a connection must be without a call before another one may have its place.
    idle: Duration,
    clock: Arc<dyn Clock>,
    taken: Mutex<Taken>,
}

/// The connections that have a place, by number, so that the first has had it for longest.
#[derive(Default)]
struct Taken {
    next: u64,
    in_handshake: BTreeMap<u64, Arc<Seat>>,
    served: BTreeMap<u64, Arc<Seat>>,
}

struct Seat {
    leave: Notify,
    /// When it became idle, in milliseconds of the clock; [`BUSY`] while it has calls.
    idle_since: AtomicU64,
}

const BUSY: u64 = u64::MAX;

/// A connection's place, which is free again when this is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
    _permit: OwnedSemaphorePermit,
    _memory: Option<Held>,
    /// The last field, so that the others are dropped before the notification.
    _freed: Freed,
}

/// Notifies the waiting connection when it is dropped.
struct Freed(Arc<Notify>);

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Places {
    pub(super) fn new(
        count: usize,
        idle: Duration,
        memory: Option<(Holder, usize)>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            free: Arc::new(Semaphore::new(count)),
            freed: Arc::default(),
            memory,
            idle,
            clock,
            taken: Mutex::default(),
        }
    }

    /// A place for a connection whose handshake begins; `None` if all are taken.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        self.place(permit)
    }

    /// Waits for a place and its memory. Only one connection waits at a time.
    pub(super) async fn take(self: Arc<Self>) -> Option<Place> {
        loop {
            let permit = Arc::clone(&self.free).acquire_owned().await;
            if let Some(place) = self.place(permit.ok()?) {
                return Some(place);
            }
            self.freed.notified().await;
        }
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Option<Place> {
        let memory = match &self.memory {
            Some((holder, bytes)) => Some(holder.take_within_bound(*bytes).ok()?),
            None => None,
        };
        let seat = Arc::new(Seat {
            leave: Notify::new(),
            idle_since: AtomicU64::new(BUSY),
        });
        let mut taken = self.taken();
        taken.next += 1;
        let number = taken.next;
        taken.in_handshake.insert(number, Arc::clone(&seat));
        drop(taken);
        Some(Place {
            places: Arc::clone(self),
            number,
            seat,
            _permit: permit,
            _memory: memory,
            _freed: Freed(Arc::clone(&self.freed)),
        })
    }

    /// Asks the connection that is needed least to leave. Returns the notice to log.
    pub(super) fn make_room(&self) -> Option<Notice> {
        let mut taken = self.taken();
        let (seat, notice) = match taken.in_handshake.pop_first() {
            Some((_, seat)) => (seat, Notice::TooManyConnections),
            None => (self.idle_longest(&mut taken)?, Notice::IdleConnectionClosed),
        };
        drop(taken);
        seat.leave.notify_one();
        Some(notice)
    }

    fn idle_longest(&self, taken: &mut Taken) -> Option<Arc<Seat>> {
        let since = |(number, seat): (&u64, &Arc<Seat>)| (seat.idle_since.load(Relaxed), *number);
        let (since, number) = taken.served.iter().map(since).min()?;
        let is_long = since != BUSY && self.now() - since >= as_ms(self.idle);
        is_long.then(|| taken.served.remove(&number)).flatten()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        as_ms(self.clock.elapsed())
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Place {
    /// The handshake is complete.
    pub(super) fn served(&self) {
        let mut taken = self.places.taken();
        if let Some(seat) = taken.in_handshake.remove(&self.number) {
            taken.served.insert(self.number, seat);
        }
    }

    /// The connection has a call.
    pub(super) fn busy(&self) {
        self.seat.idle_since.store(BUSY, Relaxed);
    }

    /// The connection has no call any more.
    pub(super) fn idle(&self) {
        self.seat.idle_since.store(self.places.now(), Relaxed);
    }

    /// The time of the monotonic clock.
    pub(super) fn now(&self) -> Duration {
        self.places.clock.elapsed()
    }

    /// Resolves when another connection needs the place.
    pub(super) fn wanted(&self) -> impl Future<Output = ()> + Send + 'static {
        let seat = Arc::clone(&self.seat);
        async move { seat.leave.notified().await }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.in_handshake.remove(&self.number);
        taken.served.remove(&self.number);
    }
}
