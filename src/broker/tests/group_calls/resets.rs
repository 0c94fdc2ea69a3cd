//! Resets: which offsets are set, which resets are refused, and what happens to members.

use std::collections::BTreeMap;

use super::{GROUP, at, broker, commit, committed, do_reset, join, offset, reset, settled};
use crate::{
    broker::{
        Error, TopicFilter,
        groups::{CommitOutcome, GroupOffset, ResetGroup, ResetTo},
        tests::world::{committed_by, create},
    },
    catalog::groups::Generation,
    types::{Offset, PartitionId, Position},
};

#[test]
fn a_reset_sets_all_partitions_or_none_and_clamps_nothing() {
    let broker = broker();
    let of_topic = |to| ResetGroup {
        topics: vec!["t".to_owned()],
        ..reset(to)
    };
    let position = |position| ResetTo::Position(position);
    let new = do_reset(&broker, reset(position(Position::Earliest))).unwrap_err();
    assert_eq!(
        new.reason(),
        "MALFORMED_REQUEST",
        "a new group needs its topics named"
    );
    let unknown = do_reset(&broker, of_topic(ResetTo::Shift(1))).unwrap_err();
    assert_eq!(unknown.reason(), "UNKNOWN_GROUP", "it has no offsets");
    let dry = ResetGroup {
        dry_run: true,
        ..of_topic(position(Position::Latest))
    };
    let set = do_reset(&broker, dry).expect("it may be");
    assert_eq!(set, [(0, None, 10), (1, None, 10)]);
    assert_eq!(
        committed(&broker),
        BTreeMap::new(),
        "a dry run sets nothing"
    );
    for outside in [Offset(2), Offset(11)] {
        let refused = do_reset(&broker, of_topic(position(Position::Offset(outside))));
        assert_eq!(refused.unwrap_err().reason(), "OFFSET_OUT_OF_RANGE");
    }
    assert_eq!(committed(&broker), BTreeMap::new());
    let set = do_reset(&broker, of_topic(position(Position::Offset(Offset(8)))));
    assert_eq!(set.expect("it may be"), [(0, None, 8), (1, None, 8)]);
    let set = do_reset(&broker, reset(ResetTo::Shift(-5))).expect("it may be");
    assert_eq!(set, [(0, Some(8), 3), (1, Some(8), 3)]);
    for by in [-1, 8, i64::MIN, i64::MAX] {
        let refused = do_reset(&broker, reset(ResetTo::Shift(by))).unwrap_err();
        assert_eq!(refused.reason(), "OFFSET_OUT_OF_RANGE", "{by}");
        let says = format!("{by} records from offset 3 of partition 0");
        assert!(refused.to_string().contains(&says), "{refused}");
        assert!(
            refused.to_string().ends_with("shift by 0 to 7"),
            "{refused}"
        );
    }
    let one = ResetGroup {
        partitions: vec![PartitionId(1)],
        ..of_topic(position(Position::Latest))
    };
    let set = do_reset(&broker, one).expect("it may be");
    assert_eq!(set, [(1, Some(3), 10)]);
    let given = ResetTo::Offsets(vec![offset("t", 1, 4)]);
    let set = do_reset(&broker, reset(given)).expect("it may be");
    assert_eq!(set, [(1, Some(10), 4)]);
    let copied = ResetGroup {
        group: "copy".to_owned(),
        ..reset(ResetTo::Group(GROUP.to_owned()))
    };
    let set = do_reset(&broker, copied).expect("it may be");
    assert_eq!(set, [(0, None, 3), (1, None, 4)]);
    let given = ResetTo::Offsets(vec![offset("t", 0, 5), offset("t", 1, 99)]);
    let refused = do_reset(&broker, reset(given)).unwrap_err();
    assert_eq!(refused.reason(), "OFFSET_OUT_OF_RANGE");
    assert_eq!(
        committed(&broker),
        [(at("t", 0), 3), (at("t", 1), 4)].into()
    );
}

#[test]
fn a_reset_that_may_mean_more_than_it_names_is_refused_and_sets_nothing() {
    let broker = broker();
    create(&broker, "other", 2);
    commit(&broker, vec![offset("t", 0, 9), offset("other", 0, 0)]).expect("it may be");
    let named = |topics: &[&str], partitions: &[u32], to: ResetTo| ResetGroup {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        partitions: partitions.iter().copied().map(PartitionId).collect(),
        ..reset(to)
    };
    let earliest = || ResetTo::Position(Position::Earliest);
    let with_generation = GroupOffset {
        generation: Some(Generation(1)),
        ..offset("t", 0, 4)
    };
    for (request, says) in [
        (named(&[], &[0], earliest()), "`topics` names 0"),
        (named(&[], &[0], ResetTo::Shift(-1)), "`topics` names 0"),
        (named(&["t", "other"], &[0], earliest()), "`topics` names 2"),
        (named(&["t"], &[0, 0], earliest()), "partition 0"),
        (
            named(&[], &[], ResetTo::Offsets(vec![with_generation])),
            "generation",
        ),
    ] {
        let refused = do_reset(&broker, request).unwrap_err();
        assert_eq!(refused.reason(), "MALFORMED_REQUEST", "{says}");
        assert!(refused.to_string().contains(says), "{refused}");
    }
    let before = [(at("t", 0), 9), (at("other", 0), 0)];
    assert_eq!(committed(&broker), before.into());
}

#[test]
fn a_reset_that_sets_nothing_of_what_it_names_is_refused_and_says_what_to_do() {
    let broker = broker();
    create(&broker, "other", 1);
    commit(&broker, vec![offset("t", 0, 5)]).expect("it may be");
    let named = |topics: &[&str], partitions: &[u32], to: ResetTo| ResetGroup {
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        partitions: partitions.iter().copied().map(PartitionId).collect(),
        ..reset(to)
    };
    let shift = || ResetTo::Shift(1);
    let of_group = || ResetTo::Group(GROUP.to_owned());
    let given = || ResetTo::Offsets(vec![offset("t", 0, 4)]);
    let nowhere = "NO_OFFSET";
    let malformed = "MALFORMED_REQUEST";
    for (request, reason, says) in [
        (
            named(&["other"], &[], shift()),
            nowhere,
            "nothing in topic \"other\"",
        ),
        (
            named(&["t", "other"], &[], shift()),
            nowhere,
            "nothing in topic \"other\"",
        ),
        (
            named(&["t"], &[1], shift()),
            nowhere,
            "nothing in partition 1 of topic \"t\"",
        ),
        (
            named(&["other"], &[], of_group()),
            nowhere,
            "nothing in topic \"other\"",
        ),
        (
            named(&["t"], &[1], of_group()),
            nowhere,
            "nothing in partition 1 of topic \"t\"",
        ),
        (
            named(&["t"], &[9], of_group()),
            "UNKNOWN_PARTITION",
            "no partition 9",
        ),
        (named(&["typo"], &[], given()), "UNKNOWN_TOPIC", "\"typo\""),
        (
            named(&["other"], &[], given()),
            malformed,
            "partition 0 of topic \"t\" is not among",
        ),
        (
            named(&["t"], &[1], given()),
            malformed,
            "partition 0 of topic \"t\" is not among",
        ),
        (
            named(&["t", "other"], &[], given()),
            malformed,
            "no offset of topic \"other\"",
        ),
        (
            named(&["t"], &[], ResetTo::Offsets(Vec::new())),
            malformed,
            "no offset",
        ),
    ] {
        let refused = do_reset(&broker, request).expect_err(says);
        assert_eq!(refused.reason(), reason, "{refused}");
        assert!(refused.to_string().contains(says), "{refused}");
    }
    let of_none = ResetGroup {
        group: "none".to_owned(),
        ..reset(shift())
    };
    let of_none = do_reset(&broker, of_none).unwrap_err();
    assert_eq!(of_none.reason(), "UNKNOWN_GROUP", "it has no offsets");
    assert_eq!(committed(&broker), [(at("t", 0), 5)].into());
    // A partition without a committed offset is not shifted, beside one that has an offset.
    let set = do_reset(&broker, reset(shift())).expect("it may be");
    assert_eq!(set, [(0, Some(5), 6)]);
}

#[test]
fn a_group_that_reads_nothing_is_not_reset_without_a_topic() {
    let broker = broker();
    join(&broker, 1, "typo");
    for to in [
        ResetTo::Position(Position::Earliest),
        ResetTo::Position(Position::Timestamp(0)),
        ResetTo::Shift(1),
        ResetTo::Group(GROUP.to_owned()),
    ] {
        let refused = do_reset(&broker, reset(to)).expect_err("nothing would be set");
        assert!(refused.to_string().contains(GROUP), "{refused}");
    }
}

#[test]
fn a_group_that_is_to_replay_is_reset_in_the_topics_that_it_replays() {
    let broker = broker();
    commit(&broker, vec![offset("t", 0, 5)]).expect("it may be");
    settled(
        &broker,
        broker.fork_group(GROUP, "again", true, &TopicFilter::default()),
    )
    .expect("it may be");
    let latest = ResetGroup {
        group: "again".to_owned(),
        ..reset(ResetTo::Position(Position::Latest))
    };
    let set = do_reset(&broker, latest).expect("it may be");
    assert_eq!(set, [(0, None, 10), (1, None, 10)]);
}

#[test]
fn a_reset_is_of_what_is_there_when_it_is_carried_out() {
    let broker = broker();
    let shared = &broker.shared;
    commit(&broker, vec![offset("t", 0, 4), offset("t", 1, 4)]).expect("it may be");
    let shift = shared.look_up(reset(ResetTo::Shift(1)));
    let earliest = shared.look_up(reset(ResetTo::Position(Position::Earliest)));
    let at_time = shared.look_up(reset(ResetTo::Position(Position::Timestamp(0))));
    commit(&broker, vec![offset("t", 0, 9)]).expect("it may be");
    // The trim is queued, and not applied yet.
    drop(broker.trim("t", PartitionId(1), Offset(5)));
    let carry_out = |looked_up: Result<_, Error>| {
        let set = settled(&broker, shared.set_offsets(looked_up.expect("it may be")))?;
        Ok::<_, Error>(set.iter().map(|set| set.next.0).collect::<Vec<_>>())
    };
    assert_eq!(carry_out(at_time), Ok(vec![3, 5]));
    assert_eq!(carry_out(earliest), Ok(vec![3, 5]));
    commit(&broker, vec![offset("t", 0, 9)]).expect("it may be");
    assert_eq!(carry_out(shift), Ok(vec![10, 6]));
}

#[test]
fn what_was_read_before_a_reset_is_not_committed_after_it() {
    let broker = broker();
    let generation = join(&broker, 1, "t");
    let one = ResetGroup {
        topics: vec!["t".to_owned()],
        partitions: vec![PartitionId(0)],
        ..reset(ResetTo::Position(Position::Earliest))
    };
    do_reset(&broker, one).expect("also while it has members");
    let of_member = |partition| GroupOffset {
        generation: Some(generation),
        ..offset("t", partition, 9)
    };
    let outcomes = commit(&broker, vec![of_member(0), of_member(1)]).expect("it is answered");
    let current = Some(Generation(generation.0 + 1));
    assert_eq!(
        outcomes,
        [CommitOutcome::Fenced { current }, CommitOutcome::Done]
    );
}

#[test]
fn a_reset_keeps_what_clients_keep_with_the_offsets_that_they_give_or_that_are_copied() {
    let broker = broker();
    let given = GroupOffset {
        metadata: b"snapshot-16".as_slice().into(),
        ..offset("t", 1, 4)
    };
    do_reset(&broker, reset(ResetTo::Offsets(vec![given]))).expect("it may be");
    let copied = ResetGroup {
        group: "copy".to_owned(),
        ..reset(ResetTo::Group(GROUP.to_owned()))
    };
    do_reset(&broker, copied).expect("it may be");
    for group in [GROUP, "copy"] {
        let fetched = committed_by(&broker, group).expect("it is there");
        assert_eq!(
            &fetched[0].committed.metadata[..],
            b"snapshot-16",
            "{group}"
        );
    }
}

#[test]
fn an_offset_that_is_trimmed_is_not_committed_from_outside() {
    let broker = broker();
    let refused = commit(&broker, vec![offset("t", 0, 2)]).unwrap_err();
    assert_eq!(refused.reason(), "OFFSET_OUT_OF_RANGE");
    assert_eq!(committed(&broker), BTreeMap::new());
    let done = commit(&broker, vec![offset("t", 0, 3)]);
    assert_eq!(done, Ok(vec![CommitOutcome::Done]));
}
