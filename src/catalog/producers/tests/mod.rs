//! The state machine by cases, and against a naive model.

mod cases;
mod limits;
mod model;
mod remembered;
mod room;

use super::{Known, Producers};
use crate::types::{PartitionId, ProducerId, TopicId};

impl Producers {
    /// Everything that is known of all producers, in the order of their ids.
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

/// Producer 1 in this epoch, with the name "orders".
fn opened(epoch: u32) -> Producers {
    let mut producers = Producers::default();
    producers.apply_open(id(1), epoch, "orders");
    producers
}

/// Everything that is known, without the times for which producers have been idle: these differ
/// between the planned and the applied state.
fn without_idleness(producers: &Producers) -> Vec<Known> {
    let mut known = producers.snapshot();
    known
        .iter_mut()
        .for_each(|known| known.idle = std::time::Duration::ZERO);
    known
}
