//! Notes what has changed in producers since the last checkpoint, so that a checkpoint writes no
//! more than that.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Place, Producers, places_of};
use crate::types::{ProducerId, Sequence, TopicId};

/// The changes since a snapshot, or since earlier changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// How much longer all producers have been idle that are not listed.
    pub(crate) passed: Duration,
    /// Deleted topics, and with them the sequences of all producers.
    pub(crate) topics_gone: Vec<TopicId>,
    pub(crate) gone: Vec<ProducerId>,
    pub(crate) changed: Vec<Changed>,
}

/// A producer that is new, or did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) id: ProducerId,
    /// For how long it has been idle.
    pub(crate) idle: Duration,
    /// Its epoch and name, if it is new or has a new epoch. Then it has only the sequences listed
    /// below.
    pub(crate) anew: Option<(u32, String)>,
    /// The sequences that have changed, each with the batches that came since.
    pub(crate) sequences: Vec<Sequence>,
}

/// The producers and places that were changed. Looking these up gives all changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    producers: BTreeMap<ProducerId, Extent>,
    /// Each with its next sequence before the first change.
    places: BTreeMap<Place, u64>,
    topics_gone: BTreeSet<TopicId>,
    /// The time that producers had been told when noting began.
    since: Duration,
}

/// What has changed of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Only when it was last used.
    Used,
    /// It is new, was forgotten, or has lost sequences.
    Anew,
}

impl Noted {
    pub(super) fn used(&mut self, id: ProducerId) {
        self.producers.entry(id).or_insert(Extent::Used);
    }

    pub(super) fn anew(&mut self, id: ProducerId) {
        self.producers.insert(id, Extent::Anew);
        let places: Vec<Place> = places_of(&self.places, id)
            .map(|(place, _)| *place)
            .collect();
        for place in places {
            self.places.remove(&place);
        }
    }

    pub(super) fn appended(&mut self, place: Place, next_before: u64) {
        self.places.entry(place).or_insert(next_before);
    }

    pub(super) fn topic_gone(&mut self, gone: TopicId) {
        self.topics_gone.insert(gone);
        self.places.retain(|(_, topic, _), _| *topic != gone);
    }
}

impl Producers {
    /// Starts to note changes; what was noted before is in a snapshot.
    pub(crate) fn note_changes(&mut self) {
        self.noted = Some(Noted {
            since: self.now,
            ..Noted::default()
        });
    }

    /// Takes everything that was noted since the last call, or since
    /// [`note_changes`](Self::note_changes). [`look_up`](Self::look_up) then finds the current
    /// state of it, in parts.
    pub(crate) fn take_noted(&mut self) -> Taken {
        let noted = self.noted.take().unwrap_or_default();
        self.note_changes();
        Taken {
            noted,
            at: self.now,
        }
    }

    /// Looks up the current state of some noted producers, those with about `about` sequences.
    /// Changes may be applied between two calls. They are noted again, and the next changes make
    /// everything consistent.
    pub(crate) fn look_up(&self, taken: &mut Taken, about: usize, changes: &mut Changes) {
        let mut size = 0;
        while size < about
            && let Some((id, extent)) = taken.noted.producers.pop_first()
        {
            size += 1;
            let Some(incarnation) = self.known.get(&id) else {
                changes.gone.push(id);
                continue;
            };
            let mut sequences = Vec::new();
            let mut anew = None;
            if extent == Extent::Anew {
                anew = Some((incarnation.epoch, incarnation.name.as_ref().to_owned()));
                for (place, &next) in self.places(id) {
                    sequences.push(self.sequence(place, next, u64::MAX));
                }
            } else {
                for (place, &before) in places_of(&taken.noted.places, id) {
                    // `None` if the topic was deleted meanwhile, or the producer has begun a new
                    // epoch.
                    if let Some(&next) = self.next.get(place) {
                        let since = next.saturating_sub(before);
                        sequences.push(self.sequence(place, next, since));
                    }
                }
            }
            size += sequences.len();
            changes.changed.push(Changed {
                id,
                idle: taken.at.saturating_sub(incarnation.used),
                anew,
                sequences,
            });
        }
    }
}

/// Noted producers and places that are still to be looked up.
pub(crate) struct Taken {
    noted: Noted,
    /// The time that producers had been told when this was taken.
    at: Duration,
}

impl Taken {
    /// The changes without those that must be looked up.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            passed: self.at.saturating_sub(self.noted.since),
            topics_gone: self.noted.topics_gone.iter().copied().collect(),
            ..Changes::default()
        }
    }

    /// Whether everything was looked up.
    pub(crate) fn is_empty(&self) -> bool {
        self.noted.producers.is_empty()
    }
}
