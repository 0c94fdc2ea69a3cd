//! The sizes of the responses of a read.

use super::world::{append_of, create, encode_record, env, id_of, options, send};
use crate::{
    broker::{Broker, Error, Options, Read, ResponseLimit, Step},
    budget::Name,
    env::sim::{SimClock, SimDisk, SimRandom},
    types::{Offset, PartitionId, Position, RecordView, Records, limits::MAX_RESPONSE_BYTES},
};

/// A broker with a topic `t` that takes large appends.
fn broker() -> Broker {
    let options = Options {
        journal_file_bytes: 8 << 20,
        memory: options().memory.with(Name::Appends, 64 << 20),
        ..options()
    };
    let world = env(
        &SimDisk::new(1),
        &SimClock::new(1_700_000_000_000),
        &SimRandom::new(1),
    );
    let broker = Broker::open_stepped(world, options).expect("nothing fails");
    create(&broker, "t", 1);
    broker
}

#[test]
fn what_was_read_ahead_and_is_trimmed_since_is_not_returned() {
    let broker = broker();
    let records: Vec<Vec<u8>> = (0..40).map(|id| encode_record(id, 100_000)).collect();
    send(&broker, append_of("t", None, &records)).expect("nothing fails");
    let read = Read {
        topic: "t".into(),
        ..Read::default()
    };
    let mut reader = broker.read(read).expect("it is there");
    let Ok(Step::Batch(batch)) = reader.step() else {
        panic!("there are records");
    };
    assert!(batch.next_offset < Offset(20));
    let trimmed = broker.trim("t", PartitionId(0), Offset(30));
    broker.commit_all();
    drop(trimmed.expect("it may be"));
    let error = reader.step().err().expect("they are not there any more");
    assert_eq!(error.reason(), "OFFSET_OUT_OF_RANGE");
}

#[test]
fn a_response_is_no_larger_than_promised_however_large_an_append_was() {
    let broker = broker();
    // 4 MB in one frame; one record; the largest possible record, first alone and then with others.
    let appends: [&[usize]; 4] = [&[100_000; 40], &[10], &[1_048_000], &[10, 1_048_000, 10]];
    let mut count = 0;
    for lens in appends {
        let records: Vec<Vec<u8>> = (count..)
            .zip(lens)
            .map(|(id, len)| encode_record(id, *len))
            .collect();
        send(&broker, append_of("t", None, &records)).expect("nothing fails");
        count += lens.len() as u64;
    }
    for in_segments in [false, true] {
        if in_segments {
            broker.keep_house(true);
        }
        let mut reader = broker
            .read(Read {
                topic: "t".into(),
                ..Read::default()
            })
            .expect("it is there");
        let mut found = Vec::new();
        while let Step::Batch(batch) = reader.step().expect("it can be read") {
            let bytes: usize = batch.records.iter().map(bytes::Bytes::len).sum();
            let records: Vec<u64> = batch.records.iter().flat_map(ids).collect();
            assert!(
                bytes <= MAX_RESPONSE_BYTES || records.len() == 1,
                "{bytes} bytes, {} records",
                records.len()
            );
            found.extend(records);
        }
        assert_eq!(found, (0..count).collect::<Vec<_>>());
    }
}

fn ids(slice: &bytes::Bytes) -> Vec<u64> {
    let id = |encoded| {
        id_of(
            RecordView::parse(encoded)
                .expect("a record")
                .value
                .expect("a value"),
        )
    };
    Records::new(slice)
        .map(|element| id(element.expect("a record").1))
        .collect()
}

/// What a response has beside its records.
const HEAD: usize = 40;

/// What is read with this limit from an offset on: ids, and the error at the end.
fn read_with(broker: &Broker, response: ResponseLimit, from: Offset) -> (Vec<u64>, Option<Error>) {
    let read = Read {
        topic: "t".into(),
        start: Position::Offset(from),
        response,
        ..Read::default()
    };
    let mut reader = broker.read(read).expect("it is there");
    let mut found = Vec::new();
    loop {
        match reader.step() {
            Ok(Step::Batch(batch)) => {
                if let Err(error) = reader.check_response(HEAD, &batch) {
                    return (found, Some(error));
                }
                found.extend(batch.records.iter().flat_map(ids));
                assert_eq!(batch.next_offset, Offset(from.0 + found.len() as u64));
            }
            Ok(Step::Wait(_)) => panic!("it does not follow"),
            Ok(Step::End) => return (found, None),
            Err(error) => return (found, Some(error)),
        }
    }
}

#[test]
fn a_record_that_fits_no_response_of_the_client_ends_the_read_behind_those_before_it() {
    let small = ResponseLimit::of(65_536).expect("it is the least");
    let sizes: [&[usize]; 2] = [&[1_000, 60_000, 1_000, 65_600, 10], &[65_600]];
    for appends in [&sizes[..1], &sizes[1..]] {
        for in_segments in [false, true] {
            let broker = broker();
            for lens in appends {
                let numbered = (0..).zip(*lens);
                let records = numbered.map(|(id, len)| encode_record(id, *len));
                let records: Vec<Vec<u8>> = records.collect();
                send(&broker, append_of("t", None, &records)).expect("nothing fails");
            }
            broker.keep_house(in_segments);
            let before = appends[0].len().saturating_sub(2) as u64;

            let (found, error) = read_with(&broker, small, Offset(0));
            assert_eq!(found, (0..before).collect::<Vec<_>>());
            let error = error.expect("one does not fit");
            let Error::RecordExceedsResponse {
                offset,
                bytes,
                limit,
                ..
            } = error.clone()
            else {
                panic!("{error}");
            };
            assert_eq!((offset, limit), (Offset(before), 65_536));
            let text = error.to_string();
            assert!(
                text.contains(&bytes.to_string()) && text.contains("65536"),
                "{text}"
            );

            let enough = u32::try_from(bytes).expect("it is short");
            let enough = ResponseLimit::of(enough).expect("it is more");
            let (found, error) = read_with(&broker, enough, offset);
            assert_eq!(error, None);
            assert_eq!(found, (before..appends[0].len() as u64).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_client_that_takes_next_to_nothing_is_refused() {
    let refused = ResponseLimit::of(65_535).expect_err("a record has to fit");
    assert_eq!(refused.reason(), "MALFORMED_REQUEST");
    assert_eq!(ResponseLimit::of(0), Ok(ResponseLimit::default()));
}
