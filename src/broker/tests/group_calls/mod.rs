//! Calls on groups from outside of their members' streams, and appends that commit offsets for
//! groups.

mod resets;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::world::{
    append_of, committed_by, create, describe_all, encode_record, fetch_all, now, open, read_all,
    send,
};
use crate::{
    broker::{
        Append, Broker, Error, Pending, TopicFilter,
        groups::{
            CommitOutcome, DescribeGroup, FetchOffsets, GroupOffset, ResetGroup, ResetOffset,
            ResetTo,
        },
    },
    catalog::{
        Change,
        groups::{Generation, Join, MemberId},
    },
    env::sim::{CrashMode, SimDisk},
    types::{GroupName, Offset, PartitionId, Position, TopicName, limits},
};

const GROUP: &str = "billing";

fn offset(topic: &str, partition: u32, next: u64) -> GroupOffset {
    GroupOffset {
        topic: topic.to_owned(),
        topic_id: None,
        partition: PartitionId(partition),
        next_offset: Offset(next),
        metadata: Bytes::new(),
        generation: None,
        member: None,
    }
}

fn settled<T>(broker: &Broker, pending: Result<Pending<T>, Error>) -> Result<T, Error> {
    let pending = pending?;
    broker.commit_all();
    now(pending).expect("what was committed is answered")
}

fn commit(broker: &Broker, offsets: Vec<GroupOffset>) -> Result<Vec<CommitOutcome>, Error> {
    settled(broker, broker.commit_offsets(GROUP, offsets, false))
}

/// The offsets that the group has committed, by topic and partition.
fn committed(broker: &Broker) -> BTreeMap<(String, u32), u64> {
    let mut committed = BTreeMap::new();
    for fetched in committed_by(broker, GROUP).unwrap_or_default() {
        let place = (fetched.topic.to_string(), fetched.place.1.0);
        committed.insert(place, fetched.committed.next.0);
    }
    committed
}

fn at(topic: &str, partition: u32) -> (String, u32) {
    (topic.to_owned(), partition)
}

/// A broker with a topic of two partitions, of ten records each, the first three of which are
/// trimmed.
fn broker() -> Broker {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create(&broker, "t", 2);
    for partition in 0..2 {
        for id in 0..10 {
            let append = append_of("t", Some(partition), &[encode_record(id, 30)]);
            send(&broker, append).expect("nothing fails");
        }
        let trimmed = broker.trim("t", PartitionId(partition), Offset(3));
        settled(&broker, trimmed).expect("nothing fails");
    }
    broker
}

fn reset(to: ResetTo) -> ResetGroup {
    ResetGroup {
        group: GROUP.to_owned(),
        to,
        topics: Vec::new(),
        among: TopicFilter::default(),
        partitions: Vec::new(),
        dry_run: false,
    }
}

fn do_reset(broker: &Broker, reset: ResetGroup) -> Result<Vec<(u32, Option<u64>, u64)>, Error> {
    let set: Vec<ResetOffset> = settled(broker, broker.reset_group(reset))?;
    let set = set.into_iter().map(|set| {
        let before = set.before.map(|before| before.0);
        (set.place.1.0, before, set.next.0)
    });
    Ok(set.collect())
}

/// A member joins, and is given all partitions of the topic in this generation.
fn join(broker: &Broker, id: u64, topic: &str) -> Generation {
    let shared = &broker.shared;
    let group = GroupName::new(GROUP).expect("it may be");
    let join = Join {
        fresh: MemberId(id),
        back: None,
        instance: None,
        name: "one".into(),
        topics: [TopicName::new(topic).expect("it may be")].into(),
        prefixes: BTreeSet::new(),
        session: std::time::Duration::from_secs(10),
        drain: std::time::Duration::from_secs(30),
        client: "".into(),
        is_ephemeral: false,
        at_ms: 1,
    };
    let mut planned = shared.sequencer.planned();
    let time = shared.env.clock.elapsed();
    let joined = shared.decide_on_groups(&planned, |groups, topics| {
        groups.decide_join(&group, join, topics, time)
    });
    let change = joined.expect("there is room").change;
    let generation = change.generation;
    let change = Change::Group { group, change };
    drop(shared.sequencer.plan(&mut planned, change, || Ok(())));
    drop(planned);
    broker.commit_all();
    generation
}

#[test]
fn a_commit_is_answered_partition_by_partition_and_never_lowers() {
    let broker = broker();
    let both = vec![offset("t", 0, 5), offset("t", 1, 11)];
    let outcomes = commit(&broker, both).expect("it is answered");
    let end = Offset(10);
    assert_eq!(
        outcomes,
        [CommitOutcome::Done, CommitOutcome::BeyondEnd { end }]
    );
    assert_eq!(committed(&broker), [(at("t", 0), 5)].into());
    let lower = commit(&broker, vec![offset("t", 0, 4)]).expect("it is answered");
    let unchanged = CommitOutcome::Unchanged {
        committed: Offset(5),
    };
    assert_eq!(lower, [unchanged]);
    assert_eq!(committed(&broker), [(at("t", 0), 5)].into());
}

#[test]
fn what_a_commit_may_not_be_is_refused_and_nothing_stored() {
    let broker = broker();
    let too_long = GroupOffset {
        metadata: vec![0; limits::MAX_OFFSET_METADATA_BYTES + 1].into(),
        ..offset("t", 0, 5)
    };
    let other_id = GroupOffset {
        topic_id: Some(crate::types::TopicId(7)),
        ..offset("t", 0, 5)
    };
    let most = GroupOffset {
        metadata: vec![0; limits::MAX_OFFSET_METADATA_BYTES].into(),
        ..offset("t", 0, 5)
    };
    for (offsets, reason) in [
        (vec![offset("none", 0, 5)], "UNKNOWN_TOPIC"),
        (vec![offset("t", 2, 5)], "UNKNOWN_PARTITION"),
        (vec![other_id], "TOPIC_RECREATED"),
        (vec![too_long], "REQUEST_TOO_LARGE"),
        (
            vec![offset("t", 0, 5), offset("t", 0, 6)],
            "MALFORMED_REQUEST",
        ),
        (
            vec![offset("t", 0, 5); limits::MAX_OFFSETS_PER_COMMIT + 1],
            "REQUEST_TOO_LARGE",
        ),
    ] {
        let refused = commit(&broker, offsets).expect_err("it may not be");
        assert_eq!(refused.reason(), reason);
    }
    let named = settled(&broker, broker.commit_offsets("", Vec::new(), false));
    assert_eq!(named.unwrap_err().reason(), "INVALID_GROUP_NAME");
    let unknown = committed_by(&broker, GROUP).unwrap_err();
    assert_eq!(unknown.reason(), "UNKNOWN_GROUP");
    assert_eq!(
        commit(&broker, vec![most]).expect("4 KiB are allowed"),
        [CommitOutcome::Done]
    );
}

#[test]
fn a_group_with_members_takes_commits_from_outside_only_by_force_and_fences_its_members_then() {
    let broker = broker();
    let generation = join(&broker, 1, "t");
    let refused = commit(&broker, vec![offset("t", 0, 5)]).unwrap_err();
    assert_eq!(refused.reason(), "GROUP_HAS_MEMBERS");
    let forced = broker.commit_offsets(GROUP, vec![offset("t", 0, 5)], true);
    let forced = settled(&broker, forced).expect("it is forced");
    assert_eq!(forced, [CommitOutcome::Done]);
    let of_member = |partition| GroupOffset {
        generation: Some(generation),
        ..offset("t", partition, 7)
    };
    let outcomes = commit(&broker, vec![of_member(0), of_member(1)]).expect("it is answered");
    let current = Some(Generation(generation.0 + 1));
    assert_eq!(
        outcomes,
        [CommitOutcome::Fenced { current }, CommitOutcome::Done]
    );
    let gone = GroupOffset {
        topic: "gone".to_owned(),
        ..of_member(0)
    };
    let outcomes = commit(&broker, vec![gone, of_member(1)]).expect("it is answered");
    let committed = Offset(7);
    assert_eq!(
        outcomes,
        [
            CommitOutcome::UnknownPartition,
            CommitOutcome::Unchanged { committed }
        ]
    );
}

#[test]
fn refusals_name_the_group_and_the_topic_and_say_what_to_do() {
    let broker = broker();
    let twice = vec![offset("t", 0, 5), offset("t", 0, 6)];
    let twice = commit(&broker, twice).unwrap_err().to_string();
    assert!(
        twice.contains("partition 0 of topic \"t\" is named twice"),
        "{twice}"
    );

    let beyond = ResetTo::Position(Position::Offset(Offset(99)));
    let beyond = ResetGroup {
        topics: vec!["t".to_owned()],
        ..reset(beyond)
    };
    let beyond = do_reset(&broker, beyond).unwrap_err().to_string();
    assert!(!beyond.contains("read from"), "{beyond}");
    assert!(beyond.contains("set it to 3 to 10"), "{beyond}");
}

#[test]
fn a_fork_is_one_commit_and_a_deleted_group_is_gone() {
    let broker = broker();
    commit(&broker, vec![offset("t", 0, 5), offset("t", 1, 6)]).expect("it may be");
    let fork = |from, to, replay| {
        settled(
            &broker,
            broker.fork_group(from, to, replay, &TopicFilter::default()),
        )
    };
    fork(GROUP, "same", false).expect("it may be");
    let same = committed_by(&broker, "same").expect("it is there");
    let nexts: Vec<u64> = same
        .iter()
        .map(|fetched| fetched.committed.next.0)
        .collect();
    assert_eq!(nexts, [5, 6]);
    let again = fork(GROUP, "same", false).unwrap_err();
    assert_eq!(again.reason(), "GROUP_EXISTS");
    let unknown = fork("none", "new", true).unwrap_err();
    assert_eq!(unknown.reason(), "UNKNOWN_GROUP");
    fork(GROUP, "again", true).expect("it may be");
    assert_eq!(committed_by(&broker, "again"), Ok(Vec::new()));

    settled(&broker, broker.delete_group("same")).expect("it has no members");
    assert!(committed_by(&broker, "same").is_err());
    let gone = settled(&broker, broker.delete_group("same")).unwrap_err();
    assert_eq!(gone.reason(), "UNKNOWN_GROUP");
    join(&broker, 1, "t");
    let refused = settled(&broker, broker.delete_group(GROUP)).unwrap_err();
    assert_eq!(refused.reason(), "GROUP_HAS_MEMBERS");
}

#[test]
fn committed_offsets_are_told_of_one_topic_or_of_all() {
    let broker = broker();
    create(&broker, "other", 1);
    commit(&broker, vec![offset("t", 0, 5), offset("other", 0, 0)]).expect("it may be");
    let topics = |topic: Option<&str>| {
        let fetch = FetchOffsets {
            topic: topic.map(str::to_owned),
            ..fetch_all(GROUP)
        };
        let (fetched, more) = broker.committed_offsets(&fetch)?;
        assert!(!more);
        let names = fetched.iter().map(|fetched| fetched.topic.to_string());
        Ok::<_, Error>(names.collect::<Vec<_>>())
    };
    assert_eq!(topics(None), Ok(vec!["other".to_owned(), "t".to_owned()]));
    assert_eq!(topics(Some("t")), Ok(vec!["t".to_owned()]));
    assert_eq!(topics(Some("typo")).unwrap_err().reason(), "UNKNOWN_TOPIC");
}

#[test]
fn committed_offsets_come_in_pages_of_so_many_and_of_so_many_bytes() {
    let broker = broker();
    for topic in ["a", "b", "c"] {
        create(&broker, topic, 4);
    }
    let metadata = Bytes::from(vec![0; limits::MAX_OFFSET_METADATA_BYTES]);
    let mut all = Vec::new();
    for topic in ["a", "b", "c"] {
        for partition in 0..4 {
            let of = GroupOffset {
                metadata: metadata.clone(),
                ..offset(topic, partition, 0)
            };
            commit(&broker, vec![of]).expect("it may be");
            all.push(at(topic, partition));
        }
    }
    let page = |after: Option<&(String, u32)>, most, only: Option<&str>| {
        let only = only.map(str::to_owned);
        let fetch = FetchOffsets {
            after: after.map(|(topic, partition)| (topic.clone(), PartitionId(*partition))),
            most,
            among: match only {
                Some(only) => TopicFilter::new(move |name| name == only),
                None => TopicFilter::default(),
            },
            ..fetch_all(GROUP)
        };
        let (fetched, more) = broker.committed_offsets(&fetch).expect("it is there");
        let places = fetched.iter().map(|of| at(of.topic.as_str(), of.place.1.0));
        (places.collect::<Vec<_>>(), more)
    };
    // Pages of three end within topics and between them; the last one says that it is.
    let (mut told, mut pages) = (Vec::new(), 0);
    loop {
        let (places, more) = page(told.last(), 3, None);
        told.extend(places);
        pages += 1;
        if !more {
            break;
        }
    }
    assert_eq!((told, pages), (all.clone(), 4));
    // What the caller may not see takes no place in a page.
    let of_b = &all[4..8];
    assert_eq!(page(None, 4, Some("b")), (of_b.to_vec(), false));
    assert_eq!(
        page(Some(&at("a", 7)), 4, Some("b")),
        (of_b.to_vec(), false)
    );
    // A partition that sorts behind all there is.
    assert_eq!(page(Some(&at("c", u32::MAX)), 4, None), (Vec::new(), false));
    assert_eq!(page(Some(&at("z", 0)), 4, None), (Vec::new(), false));
}

#[test]
fn a_page_of_committed_offsets_is_no_larger_than_its_metadata_lets_it_be() {
    let broker = broker();
    let partitions = 300;
    create(&broker, "wide", partitions);
    let large = |partition| GroupOffset {
        metadata: vec![0; limits::MAX_OFFSET_METADATA_BYTES].into(),
        ..offset("wide", partition, 0)
    };
    for first in (0..partitions).step_by(10) {
        let offsets = (first..first + 10).map(large);
        commit(&broker, offsets.collect()).expect("it may be");
    }
    let fetch = fetch_all(GROUP);
    let (page, more) = broker.committed_offsets(&fetch).expect("it is there");
    let bytes: usize = page.iter().map(|of| of.committed.metadata.len()).sum();
    assert!(more, "{}", page.len());
    let most = limits::FETCHED_BYTES_PER_PAGE;
    assert!(bytes <= most, "{bytes}");
    assert!(
        bytes > most - 4 * limits::MAX_OFFSET_METADATA_BYTES,
        "{bytes}"
    );
}

#[test]
fn a_group_is_described_in_pages_of_so_many_partitions() {
    let broker = broker();
    for topic in ["b", "a", "c"] {
        create(&broker, topic, 4);
    }
    // One offset is enough: all partitions of the topic are still to be read.
    for topic in ["a", "b", "c"] {
        commit(&broker, vec![offset(topic, 3, 0)]).expect("it may be");
    }
    let page = |after: Option<(String, u32)>, most, only: Option<&'static str>| {
        let describe = DescribeGroup {
            after: after.map(|(topic, partition)| (topic, PartitionId(partition))),
            most,
            among: match only {
                Some(only) => TopicFilter::new(move |name| name == only),
                None => TopicFilter::default(),
            },
            ..describe_all(GROUP)
        };
        let group = broker.describe_group(&describe).expect("it is there");
        let partitions = group.partitions.iter();
        let places = partitions.map(|of| at(of.topic.as_str(), of.place.1.0));
        (places.collect::<Vec<_>>(), group.more)
    };
    let (all, more) = page(None, usize::MAX, None);
    assert!(!more);
    let mut sorted = all.clone();
    sorted.sort();
    assert_eq!((all.len(), &all), (12, &sorted));
    // Pages end within topics and between them; the last one says that it is.
    for most in [1, 3, 4, 5, 11, 12] {
        let mut told: Vec<(String, u32)> = Vec::new();
        loop {
            let (places, more) = page(told.last().cloned(), most, None);
            assert!(places.len() <= most && !places.is_empty(), "{most}");
            told.extend(places);
            if !more {
                break;
            }
        }
        assert_eq!(told, all, "{most}");
    }
    // What the caller may not see takes no place in a page.
    let of_b = all[4..8].to_vec();
    assert_eq!(page(None, 4, Some("b")), (of_b, false));
    assert_eq!(page(Some(at("b", 3)), 4, Some("b")), (Vec::new(), false));
    // A place where there is no partition.
    assert_eq!(page(Some(at("aa", 7)), 1, None), (vec![at("b", 0)], true));
    assert_eq!(page(Some(at("z", 0)), 4, None), (Vec::new(), false));
}

#[test]
fn offsets_do_not_pass_on_to_a_topic_that_is_created_anew() {
    let broker = broker();
    commit(&broker, vec![offset("t", 0, 5)]).expect("it may be");
    settled(&broker, broker.delete_topic("t")).expect("nothing fails");
    create(&broker, "t", 2);
    assert_eq!(committed_by(&broker, GROUP), Ok(Vec::new()));
}

/// The append with which a member transforms record `read` of topic `in`.
fn transformed(read: u64, generation: Generation) -> Append {
    let commit = GroupOffset {
        generation: Some(generation),
        ..offset("in", 0, read + 1)
    };
    Append {
        group_offsets: vec![(GROUP.to_owned(), vec![commit])],
        ..append_of("out", Some(0), &[encode_record(read, 30)])
    }
}

#[test]
fn an_append_that_commits_for_who_has_lost_a_partition_stores_nothing() {
    let broker = broker();
    create(&broker, "in", 1);
    create(&broker, "out", 1);
    let records: Vec<Vec<u8>> = (0..4).map(|id| encode_record(id, 30)).collect();
    send(&broker, append_of("in", Some(0), &records)).expect("nothing fails");
    let first = join(&broker, 1, "in");
    send(&broker, transformed(0, first)).expect("it has the partition");
    let second = join(&broker, 2, "in");
    let mut of_none = transformed(1, first);
    of_none.group_offsets[0].0 = "none".to_owned();
    let of_none = send(&broker, of_none).unwrap_err();
    assert_eq!(of_none.reason(), "UNKNOWN_GROUP");
    let refused = send(&broker, transformed(1, first)).unwrap_err();
    assert_eq!(refused.reason(), "COMMIT_FENCED");
    for says in [
        format!("generation {}", first.0),
        format!("has generation {}", second.0),
        format!("group {GROUP:?}"),
    ] {
        assert!(refused.to_string().contains(&says), "{refused}");
    }
    let beyond = send(&broker, transformed(4, second)).unwrap_err();
    assert_eq!(beyond.reason(), "OFFSET_OUT_OF_RANGE");
    let says = "offset 5 of partition 0 of topic \"in\" is above the end";
    assert!(beyond.to_string().contains(says), "{beyond}");
    let mut of_another = transformed(1, second);
    of_another.group_offsets[0].1[0].member = Some(MemberId(77));
    let of_another = send(&broker, of_another).unwrap_err();
    assert_eq!(of_another.reason(), "COMMIT_FENCED");
    let says = "is not member 000000000000004d's";
    assert!(of_another.to_string().contains(says), "{of_another}");
    let mut without = transformed(1, second);
    without.group_offsets[0].1[0].generation = None;
    let without = send(&broker, without).unwrap_err();
    assert_eq!(without.reason(), "MALFORMED_REQUEST");
    let mut twice = transformed(1, second);
    twice.group_offsets.push((GROUP.to_owned(), Vec::new()));
    let twice = send(&broker, twice).unwrap_err();
    assert_eq!(twice.reason(), "MALFORMED_REQUEST");
    assert_eq!(read_all(&broker, "out", PartitionId(0)).len(), 1);
    assert_eq!(committed(&broker), [(at("in", 0), 1)].into());
    send(&broker, transformed(1, second)).expect("it has the partition now");
    assert_eq!(committed(&broker), [(at("in", 0), 2)].into());
}

/// Transforms all remaining records, until the power fails. Returns how many appends were answered.
fn transform_all(broker: &Broker, most: u64) -> u64 {
    let generation = join(broker, 1, "in");
    let mut next = committed(broker).get(&at("in", 0)).copied().unwrap_or(0);
    while next < most {
        let append = transformed(next, generation);
        let bytes = append.batches[0].records.len();
        let Some(Ok(admission)) = now(broker.admit_alone(bytes)) else {
            break;
        };
        let Ok(pending) = broker.append(append, admission) else {
            break;
        };
        drop(broker.commit_queued(4));
        let Some(Ok(_)) = now(pending) else { break };
        next += 1;
    }
    next
}

#[test]
fn whenever_the_power_goes_what_was_made_of_records_and_what_is_committed_of_them_agree() {
    const RECORDS: u64 = 6;
    let disk = SimDisk::new(5);
    let broker = open(&disk, 1).expect("nothing fails");
    create(&broker, "in", 1);
    create(&broker, "out", 1);
    let records: Vec<Vec<u8>> = (0..RECORDS).map(|id| encode_record(id, 30)).collect();
    send(&broker, append_of("in", Some(0), &records)).expect("nothing fails");
    broker.close().expect("nothing fails");
    let mut crashes = 0;
    for operation in 1.. {
        let disk = disk.fork();
        let broker = open(&disk, 2).expect("nothing fails");
        disk.crash_at(disk.operations() + operation);
        let answered = transform_all(&broker, RECORDS);
        if disk.is_on() {
            assert_eq!(answered, RECORDS);
            break;
        }
        drop(broker);
        for mode in CrashMode::ALL {
            let survived = disk.power_cut(operation, mode);
            let broker = open(&survived, 3).expect("it starts");
            let made: Vec<u64> = read_all(&broker, "out", PartitionId(0))
                .into_iter()
                .map(|(_, id)| id)
                .collect();
            let next = committed(&broker).get(&at("in", 0)).copied().unwrap_or(0);
            let context = format!("operation {operation}, {mode:?}");
            assert_eq!(made, (0..next).collect::<Vec<u64>>(), "{context}");
            assert!((answered..=answered + 1).contains(&next), "{context}");
            assert_eq!(transform_all(&broker, RECORDS), RECORDS, "{context}");
            let made = read_all(&broker, "out", PartitionId(0));
            assert_eq!(made.len() as u64, RECORDS, "{context}");
        }
        crashes += 1;
    }
    assert!(crashes > 5, "{crashes}");
}
