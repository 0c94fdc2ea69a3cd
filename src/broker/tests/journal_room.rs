//! Which appends wait for room in the journal, and for how much of a checkpoint.

use std::{collections::BTreeMap, thread};

use super::world::{append_of, create, encode_record, env, now, options};
use crate::{
    broker::{
        Broker, Flow, Load, Options,
        journal_room::{JournalRoom, Uncovered},
        lock,
    },
    budget::Name,
    env::sim::{OpKind, SimClock, SimDisk, SimRandom},
    types::Offset,
};

const PARTITIONS: u32 = 100;
const RECORD_BYTES: usize = 1_000;

/// A broker with far more memory for appends than journal.
fn broker() -> Broker {
    broker_on(&SimDisk::new(1), options())
}

fn broker_on(disk: &SimDisk, options: Options) -> Broker {
    let options = Options {
        memory: options.memory.with(Name::Appends, 256 << 20),
        ..options
    };
    let env = env(disk, &SimClock::new(0), &SimRandom::new(1));
    Broker::open_stepped(env, options).expect("nothing fails")
}

/// Appends a small record to a partition of `topic`. Returns whether the flow did not have to wait.
fn append(broker: &Broker, flow: &Flow, topic: &str, partition: u32) -> bool {
    append_bytes(broker, flow, topic, partition, RECORD_BYTES)
}

/// Appends a record of this size to a partition of `topic`. Returns whether the flow did not have
/// to wait.
fn append_bytes(broker: &Broker, flow: &Flow, topic: &str, partition: u32, bytes: usize) -> bool {
    let load = Load {
        bytes,
        batches: 1,
        records: 1,
    };
    let Some(admitted) = now(broker.admit(flow, load)) else {
        return false;
    };
    let records = [encode_record(1, bytes)];
    let append = append_of(topic, Some(partition), &records);
    let pending = broker.append(append, admitted.expect("nothing is closed"));
    broker.commit_all();
    now(pending.expect("it is a good append"))
        .expect("an answer")
        .expect("nothing fails");
    true
}

/// The number of journal files with entries that no checkpoint covers.
fn used_files(broker: &Broker) -> usize {
    broker.shared.committer.ring.fill().0
}

#[test]
fn who_fills_the_journal_waits_for_a_checkpoint_and_others_do_not() {
    let broker = broker();
    create(&broker, "wide", PARTITIONS);
    create(&broker, "polite", 1);
    broker.keep_house(true);
    let (greedy, polite) = (Flow::default(), Flow::default());
    let turns = (0..PARTITIONS).cycle().take(1_000);
    let appended = turns
        .take_while(|partition| append(&broker, &greedy, "wide", *partition))
        .count();
    assert!(
        appended < 1_000,
        "a checkpoint was waited for with everybody"
    );
    let most = options().journal_files as usize;
    assert!(
        appended as u64 > options().journal_file_bytes / 4096,
        "after {appended}"
    );
    assert!(used_files(&broker) <= most);
    for _ in 0..5 {
        assert!(
            append(&broker, &polite, "polite", 0),
            "there is room for a little"
        );
        assert!(!append(&broker, &greedy, "wide", 0));
    }
    // Does what the housekeeping thread would do by itself.
    broker.keep_house(false);
    assert!(
        append(&broker, &greedy, "wide", 0),
        "a checkpoint covers it all"
    );
}

#[test]
fn who_waits_for_a_checkpoint_goes_on_slowly_as_it_goes_on() {
    let mut room = JournalRoom::new(1_600);
    let mut flow = Uncovered::default();
    let fill = |room: &mut JournalRoom, flow: &mut Uncovered, used: &mut u64| {
        let before = *used;
        while *used < 10_000 && !room.is_over_share(flow) {
            room.add(flow, 1);
            *used += 1;
            room.set_used(*used);
        }
        *used - before
    };
    let mut used = 0;
    // Two thirds of the room, without the part reserved for work under way.
    assert_eq!(fill(&mut room, &mut flow, &mut used), 1_001);
    room.begin_checkpoint();
    assert_eq!(fill(&mut room, &mut flow, &mut used), 0);
    let mut steps = Vec::new();
    for done in 1..=4 {
        room.note_progress(done, 4);
        steps.push(fill(&mut room, &mut flow, &mut used));
    }
    assert!(
        steps.iter().all(|step| (80..90).contains(step)),
        "{steps:?}"
    );
    assert!(used < 1_500);
    used -= 1_001;
    room.end_checkpoint(used);
    assert!(fill(&mut room, &mut flow, &mut used) > 300);
}

#[test]
fn nobody_waits_for_a_checkpoint_that_cannot_be_written() {
    let mut room = JournalRoom::new(1_600);
    let mut flow = Uncovered::default();
    room.add(&mut flow, 1_200);
    room.set_used(1_200);
    assert!(room.is_over_share(&flow));
    room.begin_checkpoint();
    room.fail_checkpoint();
    assert!(!room.is_over_share(&flow));
    // Bytes that the first checkpoint did not cover still count when the next one begins.
    room.begin_checkpoint();
    room.end_checkpoint(1_200);
    assert!(!room.is_over_share(&flow), "the next one has covered it");
}

#[test]
fn a_checkpoint_begins_as_soon_as_a_quarter_of_the_journal_is_full() {
    let broker = broker();
    create(&broker, "t", 1);
    broker.keep_house(true);
    let (flow, before) = (Flow::default(), used_files(&broker));
    while used_files(&broker) == before {
        assert!(append(&broker, &flow, "t", 0));
    }
    assert!(
        broker.shared.maintenance.housekeeping.take().is_some(),
        "nobody waits for its next round"
    );
    broker.keep_house(false);
    assert_eq!(
        used_files(&broker),
        1,
        "all but the file that is written to"
    );
}

#[test]
fn a_checkpoint_leaves_what_is_appended_while_it_is_written_to_the_next() {
    let disk = SimDisk::new(1);
    let broker = broker_on(&disk, options());
    create(&broker, "t", 1);
    broker.keep_house(true);
    let flow = Flow::default();
    assert!(append(&broker, &flow, "t", 0));
    let covered = || {
        let topic = broker.shared.partitions.all_topics().remove(0);
        lock(&topic.partitions[0].log).checkpoint().end
    };
    thread::scope(|scope| {
        // The directory of the segment is about to be created.
        let held = disk.hold(OpKind::CreateDir);
        let writing = scope.spawn(|| broker.keep_house(true));
        held.wait_for(1);
        for _ in 0..3 {
            assert!(append(&broker, &flow, "t", 0));
        }
        drop(held);
        writing.join().expect("it does not panic");
    });
    assert_eq!(covered(), Offset(1));
    broker.keep_house(true);
    assert_eq!(covered(), Offset(4));
}

#[test]
fn who_waits_for_a_checkpoint_goes_on_when_much_of_few_partitions_is_durable() {
    let disk = SimDisk::new(1);
    let options = Options {
        journal_file_bytes: 16 << 20,
        open_files: 64,
        ..options()
    };
    let broker = broker_on(&disk, options);
    let created = broker.create_topic("t", 2, &BTreeMap::new());
    broker.commit_all();
    drop(created.expect("it is a good name"));
    let greedy = Flow::default();
    let append_large = |partition| append_bytes(&broker, &greedy, "t", partition, 900_000);
    assert!(append_large(0));
    broker.keep_house(true);
    let appended = (0..1_000).take_while(|nth| append_large(u32::from(*nth >= 25)));
    assert!((30..50).contains(&appended.count()));
    thread::scope(|scope| {
        // The directory of the second partition is about to be created; the first partition's
        // records are written.
        let held = disk.hold(OpKind::CreateDir);
        let writing = scope.spawn(|| broker.keep_house(false));
        held.wait_for(1);
        let goes_on = append_large(1);
        drop(held);
        writing.join().expect("it does not panic");
        assert!(goes_on, "most of what it waits for is done");
    });
}
