//! Messages that clients compress, well-formed and hostile.

use std::io::Write as _;

use super::*;

const ENCODINGS: [Encoding; 2] = [Encoding::Gzip, Encoding::Zstd];

#[test]
fn a_message_comes_out_as_it_went_in_and_is_no_larger_than_it_says() {
    for encoding in ENCODINGS {
        for sample in samples() {
            let bytes = encoding.compress(&[&sample]).expect("there is memory");
            assert_eq!(encoding.bound(&bytes), Some(sample.len()), "{encoding:?}");
            let again = encoding.decompress(&bytes, sample.len());
            assert_eq!(again.as_ref(), Some(&sample), "{encoding:?}");
            let again = encoding.compress(&[&sample]).expect("there is memory");
            assert_eq!(again, bytes, "the same each time");
        }
    }
}

#[test]
fn what_is_larger_than_it_may_be_is_refused_whatever_it_says() {
    let large = vec![7; 1 << 20];
    for encoding in ENCODINGS {
        let bytes = encoding.compress(&[&large]).expect("there is memory");
        assert!(bytes.len() < 10_000, "{encoding:?}");
        assert_eq!(encoding.decompress(&bytes, large.len() - 1), None);
    }
    // A message whose trailer gives a smaller length than its content has.
    let mut bytes = Encoding::Gzip.compress(&[&large]).expect("there is memory");
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&100u32.to_le_bytes());
    assert_eq!(Encoding::Gzip.bound(&bytes), Some(100));
    assert_eq!(Encoding::Gzip.decompress(&bytes, 1 << 20), None);
}

#[test]
fn a_stream_that_does_not_say_its_length_is_bounded_all_the_same() {
    let sample = b"the same again, ".repeat(5_000);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("memory");
    for part in sample.chunks(1_000) {
        encoder.write_all(part).expect("memory");
    }
    let bytes = encoder.finish().expect("memory");
    let bound = Encoding::Zstd.bound(&bytes).expect("it is bounded");
    assert!(
        (sample.len()..sample.len() + (256 << 10)).contains(&bound),
        "{bound}"
    );
    assert_eq!(Encoding::Zstd.decompress(&bytes, bound), Some(sample));
}

#[test]
fn what_is_of_another_encoding_cut_off_or_followed_by_more_is_refused() {
    let sample = b"the same again, ".repeat(50);
    for (encoding, other) in [
        (Encoding::Gzip, Encoding::Zstd),
        (Encoding::Zstd, Encoding::Gzip),
    ] {
        let bytes = encoding.compress(&[&sample]).expect("there is memory");
        let try_it = |bytes: &[u8]| {
            let most = encoding.bound(bytes)?.min(1 << 20);
            encoding.decompress(bytes, most)
        };
        assert_eq!(try_it(&bytes).as_ref(), Some(&sample));
        assert_eq!(try_it(&other.compress(&[&sample]).expect("memory")), None);
        for cut in 0..bytes.len() {
            assert_eq!(try_it(&bytes[..cut]), None, "{encoding:?} cut at {cut}");
        }
        assert_eq!(try_it(&[&bytes[..], b"more"].concat()), None);
    }
    assert_eq!(Encoding::named("deflate"), None);
    for encoding in ENCODINGS {
        assert_eq!(Encoding::named(encoding.name()), Some(encoding));
        assert!(super::super::ENCODINGS.contains(encoding.name()));
    }
}
