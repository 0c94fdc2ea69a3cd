//! Locks that must be taken in a fixed order.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::env::{OrderedMutex, OrderedRwLock, rank};

fn panics(act: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(act)).is_err()
}

#[test]
fn locks_are_taken_in_their_order_and_no_other() {
    let planned = OrderedMutex::<_, rank::Planned>::new(1);
    let topics = OrderedRwLock::<_, rank::Topics>::new(2);
    {
        let first = planned.lock();
        assert_eq!(*first + *topics.read(), 3);
    }
    assert!(panics(|| {
        let _topics = topics.read();
        drop(planned.lock());
    }));
    // The panic has released every lock.
    drop(planned.lock());
    let last = topics.write();
    drop(last);
    drop(planned.lock());
}

#[test]
fn guards_may_be_dropped_in_any_order() {
    let planned = OrderedMutex::<_, rank::Planned>::new(());
    let applied = OrderedMutex::<_, rank::Applied>::new(());
    let first = planned.lock();
    let second = applied.lock();
    drop(first);
    assert!(panics(|| drop(planned.lock())), "the second is still held");
    drop(second);
    drop(planned.lock());
}

#[test]
fn a_lock_is_taken_once_unless_there_are_several_with_an_order_of_their_own() {
    let topics = OrderedRwLock::<_, rank::Topics>::new(());
    assert!(
        panics(|| {
            let _first = topics.read();
            drop(topics.read());
        }),
        "a writer between the two would wait for the first, and the second for the writer"
    );
    let next = [(); 2].map(OrderedMutex::<_, rank::Next>::new);
    let both = next.each_ref().map(OrderedMutex::lock);
    drop(both);
}
