//! What has changed of producers since they were stored: a checkpoint writes no more than that.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Place, Producers, places_of};
use crate::types::{ProducerId, Sequence, TopicId};

/// What has changed since a snapshot, or since the changes before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// How much longer all producers have been idle that are not listed.
    pub(crate) passed: Duration,
    /// Topics that were deleted, and with them the sequences of all producers.
    pub(crate) topics_gone: Vec<TopicId>,
    pub(crate) gone: Vec<ProducerId>,
    pub(crate) changed: Vec<Changed>,
}

/// A producer that is new, or did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) id: ProducerId,
    /// For how long it has done nothing.
    pub(crate) idle: Duration,
    /// If it began anew, without sequences but those that follow: its epoch and name.
    pub(crate) anew: Option<(u32, String)>,
    /// Those that have changed, with the batches that came since.
    pub(crate) sequences: Vec<Sequence>,
}

/// What is noted of changes, so that nothing else has to be looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Noted {
    producers: BTreeMap<ProducerId, Extent>,
    /// With the sequence that was the next one.
    places: BTreeMap<Place, u64>,
    topics_gone: BTreeSet<TopicId>,
    /// How much time had been told of.
    since: Duration,
}

/// How much of a producer has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// It has done something.
    Used,
    /// It is new, forgotten, or lost sequences.
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
    /// Notes changes from here on; what has been noted so far is in a snapshot.
    pub(crate) fn note_changes(&mut self) {
        self.noted = Some(Noted {
            since: self.now,
            ..Noted::default()
        });
    }

    /// Takes what was noted since [`note_changes`](Self::note_changes) or since this was asked
    /// last, however much it is: what has become of it is [looked up](Self::look_up) in parts.
    pub(crate) fn take_noted(&mut self) -> Taken {
        let noted = self.noted.take().unwrap_or_default();
        self.note_changes();
        Taken {
            noted,
            at: self.now,
        }
    }

    /// Looks up what has become of some of what was noted: of producers with about so many
    /// sequences. Between two parts anything may be applied: that is noted again, and applying once
    /// more what has changed since the first part makes all of it whole.
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
                    // None where the topic is deleted meanwhile, or the producer begun anew.
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

/// What was noted and is to be looked up.
pub(crate) struct Taken {
    noted: Noted,
    /// How much time had been told of.
    at: Duration,
}

impl Taken {
    /// What has changed, without what is to be looked up.
    pub(crate) fn changes(&self) -> Changes {
        Changes {
            passed: self.at.saturating_sub(self.noted.since),
            topics_gone: self.noted.topics_gone.iter().copied().collect(),
            ..Changes::default()
        }
    }

    /// Whether all has been looked up.
    pub(crate) fn is_empty(&self) -> bool {
        self.noted.producers.is_empty()
    }
}
