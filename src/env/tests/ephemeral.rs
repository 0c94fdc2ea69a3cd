//! The disk and clock in memory.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crate::env::{Alarm, Ephemeral, Open};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    let world = Ephemeral::new();
    let files = world.env().files;
    let path = Path::new("/f");
    let file = files.open(path, Open::Create).expect("it is new");
    file.write_all_at(&[b"synced"], 0).expect("there is room");
    file.sync_data().expect("nothing fails");
    files.sync_dir(Path::new("/")).expect("nothing fails");
    file.write_all_at(&[b" and not"], 6).expect("there is room");
    files
        .open(Path::new("/g"), Open::Create)
        .expect("it is new");

    world.cut_power();
    file.sync_data().expect_err("its power is off");
    let files = world.env().files;
    let left = files.open(path, Open::Read).expect("its name was synced");
    let len = left.len().expect("it says so");
    let len = usize::try_from(len).expect("it is short");
    assert_eq!(left.read_vec_at(0, len).expect("it can be read"), b"synced");
    assert!(!files.exists(Path::new("/g")).expect("it says so"));
}

#[test]
fn what_is_written_to_memory_has_a_bound() {
    let files = Ephemeral::new().env().files;
    let file = files.open(Path::new("/f"), Open::Create);
    let file = file.expect("it is new");
    let filled = file.allocate(2 << 30);
    let error = filled.expect_err("it is too large");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_clock_that_is_moved_goes_on_from_there_and_wakes_who_waits_for_it() {
    let world = Ephemeral::new();
    let clock = world.env().clock;
    let machine = crate::env::Env::system().clock;
    let before = (clock.now_ms(), clock.elapsed(), clock.since_boot());
    assert!((machine.now_ms() - before.0).abs() < 60_000);

    let alarm = Alarm::new(Arc::clone(&clock));
    let moment = clock.elapsed() + HOUR;
    let has_come = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Each move of the clock wakes it.
            while clock.elapsed() < moment {
                alarm.wait_until(Some(moment));
            }
            has_come.store(true, Relaxed);
        });
        while !has_come.load(Relaxed) {
            world.advance(HOUR / 4);
            thread::yield_now();
        }
    });
    assert!(clock.now_ms() - before.0 >= 3_600_000);
    assert!(clock.elapsed() - before.1 >= HOUR);
    assert!(clock.since_boot() - before.2 >= HOUR);
    assert_eq!(clock.boot(), machine.boot());
}
