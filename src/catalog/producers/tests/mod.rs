//! The state machine by cases, and against a naive model.

mod cases;
mod limits;
mod model;
mod remembered;
mod room;

use super::{Known, Producers};
use crate::types::{PartitionId, ProducerId, TopicId};

impl Producers {
    /// All that is known, in the order of the ids.
    pub(crate) fn snapshot(&self) -> Vec<Known> {
        self.snapshot_behind(ProducerId(0), usize::MAX)
    }
}

const TOPIC: TopicId = TopicId(7);
const P0: PartitionId = PartitionId(0);
const P1: PartitionId = PartitionId(1);

fn id(number: u64) -> ProducerId {
    ProducerId(number)
}

/// Producers 1 in this epoch, under the name "orders".
fn opened(epoch: u32) -> Producers {
    let mut producers = Producers::default();
    producers.apply_open(id(1), epoch, "orders");
    producers
}

/// What is known, apart from how long each has done nothing: that differs between what is planned
/// and what is applied.
fn without_idleness(producers: &Producers) -> Vec<Known> {
    let mut known = producers.snapshot();
    known
        .iter_mut()
        .for_each(|known| known.idle = std::time::Duration::ZERO);
    known
}
