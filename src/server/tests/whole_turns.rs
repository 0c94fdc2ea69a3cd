//! The line of busy connections, without any connections.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::awake::Wakes;
use crate::server::http2::whole_turns::{Standing, WholeTurns};

const TURNS: usize = 2;

struct Connection {
    standing: Standing,
    woken: Arc<Wakes>,
}

impl Connection {
    fn of(line: &WholeTurns) -> Self {
        Self {
            standing: line.standing(),
            woken: Arc::default(),
        }
    }

    /// A connection that has used up its first turn.
    fn busy(line: &WholeTurns) -> Self {
        let mut connection = Self::of(line);
        assert!(connection.has_turn());
        connection.standing.end(true);
        connection
    }

    fn has_turn(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        let turn = self.standing.poll_turn(&Context::from_waker(&waker));
        turn == Poll::Ready(())
    }

    /// Whether it has its turn once it is polled as often as it was woken.
    fn is_called(&mut self) -> bool {
        while self.woken.take() > 0 {
            if self.has_turn() {
                return true;
            }
        }
        false
    }
}

#[test]
fn connections_that_are_no_more_than_the_turns_have_theirs_at_once() {
    let line = WholeTurns::new(TURNS);
    let mut busy: Vec<Connection> = (0..TURNS).map(|_| Connection::busy(&line)).collect();
    for _ in 0..3 {
        for connection in &mut busy {
            assert!(connection.has_turn());
        }
        for connection in &mut busy {
            connection.standing.end(true);
        }
    }
}

#[test]
fn few_of_many_busy_connections_are_called_at_a_time_and_in_order() {
    let line = WholeTurns::new(TURNS);
    let mut busy: Vec<Connection> = (0..5).map(|_| Connection::busy(&line)).collect();
    for connection in &mut busy {
        assert!(!connection.has_turn(), "it is behind those that go ahead");
    }
    for round in 0..10 {
        let called: Vec<usize> = (0..busy.len()).filter(|at| busy[*at].is_called()).collect();
        let first = round * TURNS;
        let in_order: Vec<usize> = (first..first + TURNS).map(|at| at % busy.len()).collect();
        let mut expected = in_order.clone();
        expected.sort_unstable();
        assert_eq!(called, expected);
        for at in in_order {
            busy[at].standing.end(true);
            assert!(!busy[at].has_turn(), "it stands behind the others again");
        }
    }
}

#[test]
fn a_connection_that_does_not_use_up_its_turns_never_waits() {
    let line = WholeTurns::new(TURNS);
    let mut busy: Vec<Connection> = (0..5).map(|_| Connection::busy(&line)).collect();
    for connection in &mut busy {
        assert!(!connection.has_turn());
    }
    let mut polite = Connection::of(&line);
    for _ in 0..3 {
        assert!(polite.has_turn());
        polite.standing.end(false);
    }
    // One that has become quiet while it waited has its turn in the line, and none behind.
    assert!(busy[0].is_called());
    busy[0].standing.end(false);
    assert!(busy[0].has_turn());
}

#[test]
fn connections_that_end_give_their_turns_to_those_that_wait() {
    let line = WholeTurns::new(TURNS);
    let mut busy: Vec<Connection> = (0..6).map(|_| Connection::busy(&line)).collect();
    for connection in &mut busy {
        assert!(!connection.has_turn());
    }
    // The first has its turn, the second was called, the third waits.
    assert!(busy[0].is_called());
    drop(busy.drain(..3));
    assert!(busy[0].is_called() && busy[1].is_called());
    assert!(!busy[2].is_called());
    drop(busy.drain(..2));
    assert!(busy[0].is_called());
}
