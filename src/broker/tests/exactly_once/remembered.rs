//! What is remembered of batches, without the help of an index.

use super::{PARTITIONS, World, append_of, forgotten, small_tables};
use crate::{
    broker::{
        Appended, Error, Options, Producer,
        tests::world::{now, send},
    },
    env::sim::{CrashMode, SimDisk},
};

/// The extensions of key index files.
const INDEX: [&str; 3] = [".keys", ".versions", ".retired"];

/// The files of a key index.
fn index(disk: &SimDisk) -> Vec<String> {
    let mut found = Vec::new();
    for path in disk.files() {
        let path = path.to_string_lossy().into_owned();
        if INDEX.iter().any(|end| path.ends_with(end)) {
            found.push(path);
        }
    }
    found
}

/// A broker whose topic has plain keys, without versions.
fn plain(options: Options) -> World {
    let world = World::on(SimDisk::new(5), 5, options).expect("nothing fails");
    let settings = [("keys", "plain"), ("segment.bytes", "64KiB")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let created = world
        .broker
        .create_topic("t", PARTITIONS, &settings.into())
        .expect("it is a good name");
    world.broker.commit_all();
    now(created).expect("an answer").expect("nothing fails");
    world
}

/// Appends this many batches to partition 0, with housekeeping in between. Returns the answers.
fn fill(world: &World, producer: Producer, batches: u64) -> Vec<Appended> {
    let mut answers = Vec::new();
    for sequence in 0..batches {
        let answer = send(&world.broker, append_of(producer, 0, &[(0, sequence)]));
        answers.push(answer.expect("it is the next"));
        if sequence % 50 == 49 {
            world.keep_house(true);
        }
    }
    answers
}

#[test]
fn a_topic_without_versions_has_no_index_and_its_batches_are_known_again() {
    let mut world = plain(small_tables());
    let producer = world.open("orders");
    let answers = fill(&world, producer, 300);
    let check = |world: &World, when: &str| {
        let again = send(&world.broker, append_of(producer, 0, &[(0, 299)]));
        assert_eq!(again.as_ref(), Ok(&answers[299]), "{when}");
        let long_ago = send(&world.broker, append_of(producer, 0, &[(0, 3)]));
        assert_eq!(long_ago, Ok(forgotten()), "{when}");
        assert_eq!(index(&world.disk), Vec::<String>::new(), "{when}");
    };
    check(&world, "at first");
    world.trim_everything();
    check(&world, "when all is trimmed");
    world = world.restart(None);
    check(&world, "after a restart");
    world = world.restart(Some(CrashMode::LoseUnsynced));
    check(&world, "after a power cut");
}

#[test]
fn where_many_share_what_is_remembered_each_has_its_last_batch() {
    const PRODUCERS: u64 = 40;
    let few = Options {
        remembered_batches: 16,
        ..small_tables()
    };
    let mut world = World::new(&SimDisk::new(6), 6, few).expect("nothing fails");
    let producers: Vec<Producer> = (0..PRODUCERS).map(|_| world.open("")).collect();
    let mut last = Vec::new();
    for sequence in 0..4 {
        last.clear();
        for (number, producer) in (0..).zip(&producers) {
            let append = append_of(*producer, number, &[(0, sequence)]);
            last.push(send(&world.broker, append).expect("it is the next"));
        }
        world.keep_house(true);
    }
    for cut in [None, Some(CrashMode::LoseUnsynced)] {
        for (number, producer) in (0..).zip(&producers) {
            let again = send(&world.broker, append_of(*producer, number, &[(0, 3)]));
            assert_eq!(again.as_ref(), Ok(&last[number as usize]));
            let before = send(&world.broker, append_of(*producer, number, &[(0, 2)]));
            assert_eq!(before, Ok(forgotten()));
        }
        world = world.restart(cut);
    }
}

#[test]
fn without_the_deltas_of_its_checkpoint_a_broker_stores_no_batch_twice() {
    for journal_files in [3, 64] {
        let options = Options {
            journal_files,
            ..small_tables()
        };
        let world = World::new(&SimDisk::new(7), 7, options.clone()).expect("nothing fails");
        let producer = world.open("orders");
        let answers = fill(&world, producer, 250);
        world.keep_house(true);
        let lost = world.disk.fork();
        let deltas = lost.files().into_iter().filter(|path| {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            name.starts_with("checkpoint.") && name != "checkpoint.copy"
        });
        let mut damaged = 0;
        for path in deltas {
            let len = lost.content(&path).expect("it is there").len() as u64;
            lost.flip_bit(&path, len - 1, 0).expect("it is that long");
            damaged += 1;
        }
        assert_eq!(damaged, 2);
        let world = World::on(lost, 8, options).expect("it can be opened");
        let there = world.ids();
        assert!(there.values().all(|count| *count == 1));
        for (sequence, answer) in (0..).zip(&answers) {
            let again = send(&world.broker, append_of(producer, 0, &[(0, sequence)]));
            match again {
                Ok(again) => assert_eq!(again, *answer),
                Err(Error::UnknownProducer { .. }) => {}
                Err(error) => panic!("sequence {sequence}: {error}"),
            }
        }
        assert_eq!(world.ids(), there);
    }
}
