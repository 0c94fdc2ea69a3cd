//! Who has to wait because of the journal's room, and for how much of a checkpoint.

use super::world::{append_of, create, encode_record, env, now, options};
use crate::{
    broker::{
        Broker, Flow, Load, Options,
        journal_room::{JournalRoom, Uncovered},
    },
    budget::Name,
    env::sim::{SimClock, SimDisk, SimRandom},
};

const PARTITIONS: u32 = 100;
const RECORD_BYTES: usize = 1_000;

/// A broker with far more memory for appends than journal.
fn broker() -> Broker {
    let options = Options {
        memory: options().memory.with(Name::Appends, 64 << 20),
        ..options()
    };
    let env = env(&SimDisk::new(1), &SimClock::new(0), &SimRandom::new(1));
    Broker::open_stepped(env, options).expect("nothing fails")
}

/// Appends a record to a partition of `topic`, if the flow does not have to wait.
fn append(broker: &Broker, flow: &Flow, topic: &str, partition: u32) -> bool {
    let load = Load {
        bytes: RECORD_BYTES,
        batches: 1,
        records: 1,
    };
    let Some(admitted) = now(broker.admit(flow, load)) else {
        return false;
    };
    let records = [encode_record(1, RECORD_BYTES)];
    let append = append_of(topic, Some(partition), &records);
    let pending = broker.append(append, admitted.expect("nothing is closed"));
    broker.commit_all();
    now(pending.expect("it is a good append"))
        .expect("an answer")
        .expect("nothing fails");
    true
}

/// How many journal files hold what no checkpoint covers.
fn used_files(broker: &Broker) -> usize {
    broker.shared.ring.fill().0
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
    // As the housekeeping thread would by itself.
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
    // Two thirds of what is not left to what is under way.
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
    // What that one did not cover is not forgotten when the next begins.
    room.begin_checkpoint();
    room.end_checkpoint(1_200);
    assert!(!room.is_over_share(&flow), "the next one has covered it");
}
