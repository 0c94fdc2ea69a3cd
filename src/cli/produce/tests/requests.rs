//! Lines into requests.

use std::io::{self, Read};

use crate::{
    cli::produce::{
        fields::Fields,
        marker::Marker,
        requests::{Request, Requests, Target},
    },
    types::PartitionId,
};

fn requests<R: Read>(input: R, fields: Fields) -> Requests<R> {
    let target = Target { topic: "t".to_owned(), partitions: 6, partition: None };
    Requests::new(input, "input", fields, target, Marker::before_first(9))
}

fn keyed() -> Fields {
    Fields { key: Some("k".to_owned()), ..Fields::default() }
}

fn all(input: &[u8], fields: Fields) -> (Vec<Request>, Option<String>) {
    let (mut requests, mut made) = (requests(input, fields), Vec::new());
    loop {
        match requests.next() {
            Ok(Some(request)) => made.push(request),
            Ok(None) => return (made, None),
            Err(bad) => return (made, Some(bad.to_string())),
        }
    }
}

#[test]
fn every_line_is_a_record_also_an_empty_one_and_the_last_without_a_newline() {
    let (made, bad) = all(b"one\n\ntwo\r\n\xff", Fields::default());
    assert_eq!((made.len(), bad), (1, None));
    assert_eq!((made[0].lines, made[0].records(), made[0].keyless), ((1, 4), 4, 4));
    assert!(all(b"", Fields::default()).0.is_empty());
    assert_eq!(all(b"\n", Fields::default()).0[0].records(), 1);
}

#[test]
fn a_request_is_bounded_by_records_and_by_bytes() {
    let lines = |made: Vec<Request>| made.iter().map(|request| request.lines).collect::<Vec<_>>();
    assert_eq!(lines(all(&b"x\n".repeat(2500), Fields::default()).0), [(1, 1000), (1001, 2000), (2001, 2500)]);
    let long = [vec![b'x'; 700_000], vec![b'\n']].concat().repeat(5);
    assert_eq!(lines(all(&long, Fields::default()).0), [(1, 2), (3, 4), (5, 5)]);
}

#[test]
fn what_comes_before_a_bad_line_is_returned_first() {
    let (made, bad) = all(b"{\"k\":1}\n{}\nnot json\n{}\n", keyed());
    assert_eq!(made.iter().map(|request| request.lines).collect::<Vec<_>>(), [(1, 2)]);
    assert!(bad.as_ref().unwrap().starts_with("input, line 3: it is not a JSON object"), "{bad:?}");
    let (made, bad) = all(b"\n", keyed());
    assert!(made.is_empty() && bad.unwrap().starts_with("input, line 1: "));
}

#[test]
fn an_input_that_fails_is_a_bad_line_after_what_was_read() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the cable is out"))
        }
    }
    let mut requests = requests(b"one\ntwo".chain(Failing), Fields::default());
    assert_eq!(requests.next().unwrap().unwrap().lines, (1, 1));
    assert_eq!(requests.next().unwrap_err().to_string(), "input, line 2: cannot read on: the cable is out");
}

#[test]
fn a_line_longer_than_any_record_is_refused_before_it_is_read_whole() {
    let endless = b"fine\n".chain(io::repeat(b'x'));
    let mut requests = requests(endless, Fields::default());
    assert_eq!(requests.next().unwrap().unwrap().lines, (1, 1));
    assert!(requests.next().unwrap_err().to_string().contains("longer than 8388608 bytes"));
}

#[test]
fn lines_that_are_there_do_not_wait_for_lines_that_are_not() {
    /// Gives one line a call, and panics when it is asked for one that is not there yet.
    struct Interactive(Vec<&'static [u8]>);
    impl Read for Interactive {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let line = self.0.remove(0);
            into[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }
    let mut requests = requests(Interactive(vec![b"one\n", b"two\nthree\n"]), Fields::default());
    assert_eq!(requests.next().unwrap().unwrap().lines, (1, 1));
    assert_eq!(requests.next().unwrap().unwrap().lines, (2, 3));
}

#[test]
fn the_partitions_of_keys_are_known_without_the_broker() {
    let (made, _) = all(b"{\"k\":\"N14228\"}\n{\"k\":\"N14228\"}\n{}\n", keyed());
    let partition = crate::types::partition_of_key(b"N14228", 6);
    assert_eq!(made[0].keyed.iter().collect::<Vec<_>>(), [(&partition, &2)]);
    assert_eq!(made[0].keyless, 1);
}

#[test]
fn a_named_partition_takes_everything() {
    let target = Target { topic: "t".to_owned(), partitions: 6, partition: Some(PartitionId(5)) };
    let input = b"{\"k\":1}\n{\"k\":2}\n";
    let mut requests = Requests::new(&input[..], "input", keyed(), target, Marker::before_first(9));
    assert_eq!(requests.next().unwrap().unwrap().keyed.iter().collect::<Vec<_>>(), [(&PartitionId(5), &2)]);
}

#[test]
fn every_request_has_a_marker_of_its_own_that_an_event_id_carries() {
    let (made, _) = all(&b"x\n".repeat(2000), Fields::default());
    assert_ne!(made[0].marker, made[1].marker);
    let id = made[1].marker.as_event_id();
    assert_eq!(Marker::from_event_id(&id), Some(made[1].marker));
    assert_eq!(Marker::from_event_id(&id[1..]), None);
    assert_eq!(Marker::from_event_id(b""), None);
}
