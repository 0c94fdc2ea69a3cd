//! How windows grow and shrink.

use std::{sync::Arc, time::Duration};

use crate::{
    budget::{Name, Part},
    server::{
        http2::window::Window,
        limits::{FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES},
    },
};

const MIB: usize = 1 << 20;

fn part(bytes: usize) -> Arc<Part> {
    Arc::new(Part::new(Name::Windows, bytes))
}

/// A connection whose client sends as fast as it may, and whose calls take everything at once.
struct Busy {
    window: Window,
    now: Duration,
    taken: u64,
}

impl Busy {
    fn new(part: &Arc<Part>) -> Self {
        let now = Duration::from_secs(7);
        Self {
            window: Window::new(part.holder(), now),
            now,
            taken: 0,
        }
    }

    /// Uses up the whole window within this time.
    fn use_up(&mut self, time: Duration) {
        let bytes = self.window.bytes();
        self.now += time;
        self.taken += bytes as u64;
        self.window.came(bytes, self.taken, self.now);
    }

    fn use_up_often(&mut self) {
        for _ in 0..20 {
            self.use_up(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_client_alone_gets_the_largest_window() {
    let part = part(64 * MIB);
    let mut client = Busy::new(&part);
    assert_eq!(client.window.bytes(), FIRST_WINDOW_BYTES);
    client.use_up_often();
    assert_eq!(client.window.bytes(), MAX_WINDOW_BYTES);
    assert_eq!(part.used(), MAX_WINDOW_BYTES - FIRST_WINDOW_BYTES);
    drop(client);
    assert_eq!(part.used(), 0);
}

#[test]
fn windows_shrink_as_clients_become_more_and_never_pass_the_bound() {
    let part = part(64 * MIB);
    let mut clients = vec![Busy::new(&part)];
    clients[0].use_up_often();
    let alone = clients[0].window.bytes();
    for _ in 0..150 {
        clients.push(Busy::new(&part));
        for client in &mut clients {
            client.use_up(Duration::from_millis(100));
        }
        let granted = |client: &Busy| client.window.bytes() - FIRST_WINDOW_BYTES;
        assert!(clients.iter().map(granted).sum::<usize>() <= part.bound());
        assert!(part.used() <= part.bound());
    }
    clients.iter_mut().for_each(Busy::use_up_often);
    assert!(clients[0].window.bytes() * 8 < alone);
    let last = clients.last().expect("there are some");
    assert!(last.window.bytes() > FIRST_WINDOW_BYTES);
}

#[test]
fn a_client_that_is_slow_gets_less_and_it_counts_until_it_is_used() {
    let part = part(64 * MIB);
    let mut client = Busy::new(&part);
    client.use_up_often();
    let (before, counted) = (client.window.bytes(), part.used());
    client.use_up(Duration::from_secs(10));
    assert_eq!(client.window.bytes(), before / 2);
    assert_eq!(part.used(), counted, "the client may still send that much");

    let half = before / 2;
    client
        .window
        .came(1, client.taken + half as u64 - 1, client.now);
    assert_eq!(part.used(), counted);
    client
        .window
        .came(1, client.taken + half as u64, client.now);
    assert_eq!(part.used(), counted - half);
}

#[test]
fn a_window_that_is_used_at_leisure_stays_as_it_is() {
    let part = part(64 * MIB);
    let mut client = Busy::new(&part);
    client.use_up(Duration::from_secs(2));
    assert_eq!(client.window.bytes(), FIRST_WINDOW_BYTES);
    client.use_up_often();
    client.use_up(Duration::from_secs(2));
    assert_eq!(client.window.bytes(), MAX_WINDOW_BYTES);
}
