//! Possible histories: clients act at random on one store that does one thing at a time.

use std::collections::BTreeMap;

use super::{
    super::world::below,
    entity::{Answer, Expected, Key, Op},
    history::History,
    plain::Plain,
    recorder::{CallId, Recorder},
};
use crate::env::sim::SimRandom;

/// The kind of history to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) clients: u32,
    pub(super) calls: usize,
    pub(super) keys: u32,
    /// Whether a call may concern several entities.
    pub(super) several: bool,
    /// One step in this many is a crash; 0 means none.
    pub(super) crash_every: u64,
    /// One call in this many is given up; 0 means none.
    pub(super) give_up_every: u64,
}

/// A client, and the call it is waiting for.
#[derive(Clone, Debug)]
enum Client {
    Idle,
    /// The call has not been executed yet.
    Called(CallId, Op),
    /// The call has been executed, and the answer is on its way.
    Answering(CallId, Answer),
}

struct Run {
    shape: Shape,
    chance: SimRandom,
    recorder: Recorder,
    store: Plain,
    clients: Vec<Client>,
    /// Calls that were given up and are still to be executed or lost.
    late: Vec<Op>,
    made: usize,
}

/// Makes a correct history: each call takes effect at one moment while it is under way. A call that
/// was given up does so later or never; a call under way at a crash does so before the crash or
/// never.
pub(super) fn correct_history(seed: u64, shape: Shape) -> History {
    let mut run = Run {
        shape,
        chance: SimRandom::new(seed),
        recorder: Recorder::default(),
        store: Plain::default(),
        clients: vec![Client::Idle; shape.clients as usize],
        late: Vec::new(),
        made: 0,
    };
    while run.made < shape.calls
        || run
            .clients
            .iter()
            .any(|client| !matches!(client, Client::Idle))
    {
        run.step();
    }
    let ends: BTreeMap<Key, Vec<u64>> = (0..shape.keys)
        .map(|key| (Key(key), run.store.ids(Key(key)).to_vec()))
        .collect();
    run.recorder.finish(ends)
}

impl Run {
    fn one_in(&self, count: u64) -> bool {
        count > 0 && below(&self.chance, count) == 0
    }

    fn step(&mut self) {
        if self.one_in(self.shape.crash_every) {
            self.crash();
        }
        if !self.late.is_empty() && self.one_in(4) {
            let op = self
                .late
                .swap_remove(below(&self.chance, self.late.len() as u64) as usize);
            if self.one_in(2) {
                self.store.apply(&op);
            }
        }
        let who = below(&self.chance, self.clients.len() as u64) as usize;
        self.clients[who] = match std::mem::replace(&mut self.clients[who], Client::Idle) {
            Client::Idle if self.made == self.shape.calls => Client::Idle,
            Client::Idle => {
                self.made += 1;
                let op = self.any_op();
                let call = self.recorder.invoke(who as u32, op.clone());
                Client::Called(call, op)
            }
            Client::Called(call, _) if self.one_in(50) => {
                self.recorder.refused(call);
                Client::Idle
            }
            Client::Called(_, op) if self.one_in(self.shape.give_up_every) => {
                self.late.push(op);
                Client::Idle
            }
            Client::Called(call, op) => Client::Answering(call, self.store.apply(&op)),
            Client::Answering(..) if self.one_in(self.shape.give_up_every) => Client::Idle,
            Client::Answering(call, answer) => {
                self.recorder.answered(call, answer);
                Client::Idle
            }
        };
    }

    /// Executes half of the calls under way, in any order, without answering them.
    fn crash(&mut self) {
        let called = self.clients.drain(..).filter_map(|client| match client {
            Client::Called(_, op) => Some(op),
            Client::Idle | Client::Answering(..) => None,
        });
        let mut out: Vec<Op> = called.chain(self.late.drain(..)).collect();
        while !out.is_empty() {
            let op = out.swap_remove(below(&self.chance, out.len() as u64) as usize);
            if self.one_in(2) {
                self.store.apply(&op);
            }
        }
        self.clients = vec![Client::Idle; self.shape.clients as usize];
        self.recorder.crashed();
    }

    fn any_key(&self) -> Key {
        Key(below(&self.chance, u64::from(self.shape.keys)) as u32)
    }

    /// Two different keys.
    fn two_keys(&self) -> (Key, Key) {
        let one = self.any_key();
        let step = 1 + below(&self.chance, u64::from(self.shape.keys) - 1) as u32;
        (one, Key((one.0 + step) % self.shape.keys))
    }

    /// A condition, mostly the one of a client that has just read the entity.
    fn any_expected(&self, key: Key) -> Expected {
        let version = self.store.ids(key).len() as u64;
        match below(&self.chance, 16) {
            0 => Expected::Absent,
            1 => Expected::Exists,
            2 => Expected::At(below(&self.chance, version + 2)),
            _ => Expected::At(version),
        }
    }

    fn any_op(&mut self) -> Op {
        let count = 1 + below(&self.chance, 2);
        if self.shape.several && self.one_in(3) {
            let (one, other) = self.two_keys();
            return match below(&self.chance, 5) {
                0 => Op::Latest {
                    keys: vec![one, other],
                },
                // A condition on an entity that the append does not write.
                1 => Op::Append {
                    conditions: vec![(other, self.any_expected(other))],
                    records: vec![(one, self.recorder.fresh_ids(count))],
                },
                _ => Op::Append {
                    conditions: vec![
                        (one, self.any_expected(one)),
                        (other, self.any_expected(other)),
                    ],
                    records: vec![
                        (one, self.recorder.fresh_ids(count)),
                        (other, self.recorder.fresh_ids(1)),
                    ],
                },
            };
        }
        let key = self.any_key();
        match below(&self.chance, 8) {
            0 => Op::Latest { keys: vec![key] },
            1 => Op::read(key),
            2 => Op::Read {
                key,
                from: below(&self.chance, self.store.ids(key).len() as u64 + 3),
                backward: self.one_in(2),
                max: below(&self.chance, 4),
            },
            3 => Op::append(key, None, &self.recorder.fresh_ids(count)),
            _ => Op::append(
                key,
                Some(self.any_expected(key)),
                &self.recorder.fresh_ids(count),
            ),
        }
    }
}
