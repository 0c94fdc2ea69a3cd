//! Which changes are refused, and which are not.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    catalog::{Catalog, Change, Erasure, Planned, Refusal, Token, altered, producers::Room},
    types::{
        Offset, PartitionId, ProducerId, SettingError, TopicId, TopicName, TopicSettings, Version,
        limits::MAX_ERASURES,
    },
};

const NOW: Duration = Duration::ZERO;

fn name(name: &str) -> TopicName {
    TopicName::new(name).expect("a test gives names that may be")
}

fn create(topic: u64, of: &str, partitions: u32) -> Change {
    Change::Create {
        topic: TopicId(topic),
        seed: topic + 1,
        name: name(of),
        partitions,
        settings: TopicSettings::default(),
    }
}

fn erase(topic: u64, id: u64) -> Change {
    Change::Erase {
        topic: TopicId(topic),
        erasure: Erasure {
            id,
            partition: PartitionId(0),
            token: Token([7; Token::BYTES]),
            end: Offset(3),
            through: Version(2),
            requested_ms: 5,
        },
    }
}

fn with(changes: &[Change]) -> Catalog {
    let mut catalog = Catalog::new(Room::MOST);
    for change in changes {
        catalog.apply(change, NOW);
    }
    catalog
}

#[test]
fn a_name_is_taken_from_its_creation_to_its_deletion() {
    let mut catalog = with(&[create(1, "notes", 2)]);
    let taken = catalog.decide_create(&name("notes"), 1, 10);
    assert_eq!(taken, Err(Refusal::TopicExists));
    catalog.apply(&Change::Delete { topic: TopicId(1) }, NOW);
    assert_eq!(catalog.decide_create(&name("notes"), 1, 10), Ok(()));
    let deleted = catalog.decide_topic(TopicId(1)).cloned();
    assert_eq!(deleted, Err(Refusal::UnknownTopic));
}

#[test]
fn partitions_count_until_their_topic_is_deleted() {
    let mut catalog = with(&[create(1, "one", 6), create(2, "two", 3)]);
    let refused = catalog.decide_create(&name("three"), 2, 10);
    assert_eq!(refused, Err(Refusal::TooManyPartitions { existing: 9 }));
    assert_eq!(catalog.decide_create(&name("three"), 1, 10), Ok(()));
    catalog.apply(&Change::Delete { topic: TopicId(1) }, NOW);
    assert_eq!(catalog.topics().partitions(), 3);
    assert_eq!(catalog.decide_create(&name("three"), 7, 10), Ok(()));
}

fn set(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn settings_that_are_refused_today_stay_in_topics_that_have_them() {
    let lag = set(&[("min.compaction.lag.ms", "2d")]);
    let refused = altered(&TopicSettings::default(), &lag, &[]);
    assert!(
        matches!(refused, Err(SettingError::Together { .. })),
        "{refused:?}"
    );
    let mut settings = TopicSettings::default();
    let put = settings.set("min.compaction.lag.ms", "3d");
    put.expect("it is within its bounds");
    let catalog = with(&[Change::Create {
        topic: TopicId(1),
        seed: 2,
        name: name("notes"),
        partitions: 1,
        settings,
    }]);
    let other = catalog.decide_alter(TopicId(1), &set(&[("segment.ms", "5s")]), &[]);
    assert_eq!(other.map(|settings| settings.segment_ms), Ok(5_000));
    let lower = catalog.decide_alter(TopicId(1), &lag, &[]);
    assert!(matches!(lower, Err(Refusal::Setting(_))), "{lower:?}");
}

#[test]
fn settings_are_altered_all_or_none_and_keys_never() {
    let catalog = with(&[create(1, "notes", 1)]);
    let altered = catalog.decide_alter(TopicId(1), &set(&[("segment.ms", "5s")]), &[]);
    assert_eq!(altered.map(|settings| settings.segment_ms), Ok(5_000));
    let keys = catalog.decide_alter(TopicId(1), &set(&[("keys", "plain")]), &[]);
    let fixed = Refusal::Setting(SettingError::Fixed { name: "keys" });
    assert_eq!(keys, Err(fixed));
    let unknown = catalog.decide_alter(TopicId(2), &set(&[]), &[]);
    assert_eq!(unknown, Err(Refusal::UnknownTopic));
}

#[test]
fn a_log_never_starts_further_back() {
    let trim = |before| Change::Trim {
        topic: TopicId(1),
        partition: PartitionId(1),
        before: Offset(before),
    };
    let catalog = with(&[create(1, "notes", 2), trim(7), trim(5)]);
    let topic = catalog.topics().get(TopicId(1)).expect("it was created");
    assert_eq!(topic.starts, [Offset(0), Offset(7)]);
}

#[test]
fn so_many_erasures_wait_and_no_more() {
    let mut changes = vec![create(1, "notes", 1)];
    changes.extend((0..MAX_ERASURES as u64).map(|id| erase(1, id)));
    let mut catalog = with(&changes);
    let refused = catalog.decide_erase(TopicId(1));
    assert_eq!(refused, Err(Refusal::TooManyErasures));
    catalog.apply(&Change::ErasureComplete { id: 4 }, NOW);
    assert_eq!(catalog.decide_erase(TopicId(1)), Ok(()));
}

#[test]
fn of_those_that_are_complete_the_oldest_are_forgotten_also_behind_a_restart() {
    let most = MAX_ERASURES as u64;
    let mut catalog = with(&[create(1, "notes", 1)]);
    for id in (0..most).rev() {
        catalog.apply(&erase(1, id), NOW);
        catalog.apply(&Change::ErasureComplete { id }, NOW);
    }
    let mut restored = Catalog::restore(catalog.snapshot(), Room::MOST, NOW);
    for catalog in [&mut catalog, &mut restored] {
        catalog.apply(&erase(1, most), NOW);
        catalog.apply(&Change::ErasureComplete { id: most }, NOW);
        assert!(catalog.erasures().get(most - 1).is_none());
        assert!(catalog.erasures().get(0).is_some());
    }
}

#[test]
fn an_erasure_is_complete_with_its_topic_and_none_is_of_a_partition_that_is_not_there() {
    let mut catalog = with(&[create(1, "notes", 1), erase(1, 4), erase(2, 5)]);
    let is_complete = |catalog: &Catalog, id| {
        let known = catalog.erasures().get(id);
        known.map(|known| known.complete)
    };
    assert_eq!(is_complete(&catalog, 4), Some(false));
    assert_eq!(is_complete(&catalog, 5), None);
    let mut without_topic = catalog.snapshot();
    without_topic.topics.clear();
    catalog.apply(&Change::Delete { topic: TopicId(1) }, NOW);
    let restored = Catalog::restore(catalog.snapshot(), Room::MOST, NOW);
    // A start may find the topic's files gone before it replays the deletion.
    let before = Catalog::restore(without_topic, Room::MOST, NOW);
    for catalog in [catalog, restored, before] {
        assert_eq!(is_complete(&catalog, 4), Some(true));
        assert_eq!(catalog.erasures().waiting().count(), 0);
    }
}

/// If the planned deletion had removed the sequences, the batch would now be stored twice.
#[test]
fn a_deletion_that_is_refused_leaves_producers_what_they_have_sent() {
    let (topic, partition, producer) = (TopicId(1), PartitionId(0), ProducerId(9));
    let open = Change::OpenProducer {
        producer,
        epoch: 1,
        name: String::new(),
    };
    let mut applied = with(&[create(1, "notes", 1), open]);
    applied
        .producers
        .apply_batch(producer, 1, topic, partition, 0);
    let mut planned = Planned::of(&applied);
    planned.plan(&Change::Delete { topic }, NOW);
    assert!(planned.topics().get(topic).is_none());
    planned.take_back(&applied, &[], NOW);
    assert!(planned.topics().get(topic).is_some());
    let again = planned
        .producers
        .decide_append(producer, 1, &[(topic, partition, 0)], None);
    assert_eq!(again, Ok(crate::catalog::producers::Decision::Duplicate));
}
