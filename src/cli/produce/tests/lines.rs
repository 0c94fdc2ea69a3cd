//! Lines are read from inputs.

use std::{
    io::{self, Read},
    ops::RangeInclusive,
};

use crate::{
    cli::produce::{
        fields::{Field, Fields},
        fixed::Fixed,
        lines::{Line, Lines},
    },
    client::Record,
};

fn lines<R: Read>(input: R, fields: Fields) -> Lines<R> {
    Lines::new(input, "input", fields, 0)
}

fn keyed() -> Fields {
    Fields {
        key: Some(Field {
            name: "k".to_owned(),
            is_optional: true,
        }),
        ..Fields::default()
    }
}

fn all(input: &[u8], fields: Fields) -> (Vec<Vec<Line>>, Option<String>) {
    let (mut lines, mut made) = (lines(input, fields), Vec::new());
    loop {
        match lines.next() {
            Ok(Some(chunk)) => made.push(chunk),
            Ok(None) => return (made, None),
            Err(bad) => return (made, Some(bad.to_string())),
        }
    }
}

/// The numbers of each chunk's lines.
fn numbers(chunks: &[Vec<Line>]) -> Vec<RangeInclusive<u64>> {
    let range = |chunk: &Vec<Line>| chunk.first().unwrap().number..=chunk.last().unwrap().number;
    chunks.iter().map(range).collect()
}

#[test]
fn every_line_is_a_record_also_an_empty_one_and_the_last_without_a_newline() {
    let (made, bad) = all(b"one\n\ntwo\r\n\xff", Fields::default());
    // The last line could go on until the input ends, so it comes by itself.
    assert_eq!((numbers(&made), bad), (vec![1..=3, 4..=4], None));
    let made: Vec<&Line> = made.iter().flatten().collect();
    let values: [&[u8]; 4] = [b"one", b"", b"two\r", b"\xff"];
    for (line, value) in made.iter().zip(values) {
        assert_eq!(line.record(&Fixed::default()), Record::new().value(value));
    }
    assert_eq!(
        made.iter().map(|line| line.bytes).collect::<Vec<_>>(),
        [4, 1, 5, 1]
    );
    assert!(all(b"", Fields::default()).0.is_empty());
    assert_eq!(numbers(&all(b"\n", Fields::default()).0), [1..=1]);
}

#[test]
fn what_is_handed_on_at_once_is_bounded_by_lines_and_by_bytes() {
    assert_eq!(
        numbers(&all(&b"x\n".repeat(2500), Fields::default()).0),
        [1..=1000, 1001..=2000, 2001..=2500]
    );
    // As many complete lines as one read of a MiB has.
    let long = [vec![b'x'; 400_000], vec![b'\n']].concat().repeat(5);
    let chunks = all(&long, Fields::default()).0;
    assert!(
        chunks.iter().all(|chunk| chunk.len() <= 3),
        "{:?}",
        numbers(&chunks)
    );
    assert_eq!(chunks.iter().map(Vec::len).sum::<usize>(), 5);
}

#[test]
fn a_key_is_out_of_the_line_or_the_one_for_all() {
    let (made, _) = all(b"{\"k\":\"a\"}\n", keyed());
    let line = || Record::new().value("{\"k\":\"a\"}");
    assert_eq!(made[0][0].record(&Fixed::default()), line().key("a"));
    let fixed = Fixed {
        key: Some(b"\xff".to_vec()),
        ..Fixed::default()
    };
    assert_eq!(made[0][0].record(&fixed), line().key(b"\xff"));
}

#[test]
fn what_comes_before_a_bad_line_is_returned_first() {
    let (made, bad) = all(b"{\"k\":1}\n{}\nnot json\n{}\n", keyed());
    assert_eq!(numbers(&made), [1..=2]);
    assert!(
        bad.as_ref()
            .unwrap()
            .starts_with("input, line 3: it is not a JSON object"),
        "{bad:?}"
    );
}

#[test]
fn an_input_that_fails_is_a_bad_line_after_what_was_read() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the cable is out"))
        }
    }
    let mut lines = lines(b"one\ntwo".chain(Failing), Fields::default());
    assert_eq!(numbers(&[lines.next().unwrap().unwrap()]), [1..=1]);
    assert_eq!(
        lines.next().unwrap_err().to_string(),
        "input, line 2: cannot read on: the cable is out"
    );
}

#[test]
fn a_line_longer_than_any_record_is_refused_before_it_is_read_whole() {
    let endless = b"fine\n".chain(io::repeat(b'x'));
    let mut lines = lines(endless, Fields::default());
    assert_eq!(numbers(&[lines.next().unwrap().unwrap()]), [1..=1]);
    assert!(
        lines
            .next()
            .unwrap_err()
            .to_string()
            .contains("longer than 8388608 bytes")
    );
}

#[test]
fn lines_that_are_there_do_not_wait_for_lines_that_are_not() {
    /// An input that returns one line at a time, and panics if it is read when it has none.
    struct Interactive(Vec<&'static [u8]>);
    impl Read for Interactive {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let line = self.0.remove(0);
            into[..line.len()].copy_from_slice(line);
            Ok(line.len())
        }
    }
    let mut lines = lines(
        Interactive(vec![b"one\n", b"two\nthree\nfo", b"ur\n"]),
        Fields::default(),
    );
    assert_eq!(numbers(&[lines.next().unwrap().unwrap()]), [1..=1]);
    assert_eq!(numbers(&[lines.next().unwrap().unwrap()]), [2..=3]);
    assert_eq!(numbers(&[lines.next().unwrap().unwrap()]), [4..=4]);
}

#[test]
fn lines_of_several_inputs_are_counted_together_and_named_in_their_own() {
    let all = |skip| {
        let first = Lines::new(&b"one\ntwo"[..], "a", keyed(), skip);
        let mut lines = first.and(b"", "empty").and(b"{}\n{}\n", "b");
        let (mut made, mut bad) = (Vec::new(), None);
        while let Some(chunk) = lines.next().transpose() {
            match chunk {
                Ok(chunk) => made.extend(chunk.iter().map(|line| line.number)),
                Err(found) => {
                    bad = Some(found.to_string());
                    break;
                }
            }
        }
        (made, bad)
    };
    let said = |bad: Option<String>| bad.expect("a line is bad");
    let (made, bad) = all(0);
    assert_eq!((made, said(bad).starts_with("a, line 1: ")), (vec![], true));
    assert!(said(all(1).1).starts_with("a, line 2: "));
    assert_eq!(all(2), (vec![3, 4], None));
    assert_eq!(all(3), (vec![4], None));
    assert_eq!(all(4), (vec![], None));
    assert!(said(all(5).1).contains("4 lines, and --skip 5"));

    let mut lines = Lines::new(&b"{}\n"[..], "a", keyed(), 1).and(b"{}\nx\n", "b");
    assert_eq!(lines.next().expect("a good line").expect("a line").len(), 1);
    let bad = lines.next().expect_err("a bad line").to_string();
    assert!(bad.starts_with("b, line 2 (3 of all): "), "{bad}");
}
