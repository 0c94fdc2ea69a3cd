//! Codecs: decompression returns what was compressed, and stays within the given bounds for any
//! input.

mod wire;

use super::*;

const CODECS: [Method; 3] = [
    Method {
        codec: Codec::Lz4,
        level: 1,
    },
    Method {
        codec: Codec::Zstd,
        level: 1,
    },
    Method {
        codec: Codec::Zstd,
        level: 19,
    },
];

fn samples() -> [Vec<u8>; 4] {
    let noise = (0..50_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
    [
        Vec::new(),
        b"x".to_vec(),
        b"the same again, ".repeat(5_000),
        noise.collect(),
    ]
}

fn compressed(method: Method, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(method);
    encoder.compress(bytes).expect("there is memory")
}

#[test]
fn what_is_compressed_comes_out_as_it_went_in() {
    for method in CODECS {
        for sample in samples() {
            let bytes = compressed(method, &sample);
            let again = method.codec.decompress(&bytes, sample.len());
            assert_eq!(again, Some(sample), "{method:?}");
        }
    }
}

#[test]
fn an_encoder_can_be_used_again() {
    for method in CODECS {
        let mut encoder = Encoder::new(method);
        for sample in samples() {
            let bytes = encoder.compress(&sample).expect("there is memory");
            let again = encoder.codec().decompress(&bytes, sample.len());
            assert_eq!(again, Some(sample), "{method:?}");
        }
    }
}

#[test]
fn another_length_than_it_had_is_refused() {
    let sample = b"the same again, ".repeat(5_000);
    for method in CODECS {
        let bytes = compressed(method, &sample);
        for len in [0, 1, sample.len() - 1, sample.len() + 1, 2 * sample.len()] {
            assert_eq!(method.codec.decompress(&bytes, len), None, "{len}");
        }
    }
}

#[test]
fn damage_is_refused_or_comes_out_as_other_bytes_and_never_panics() {
    let sample = b"the same again, but 0123456789 differ ".repeat(40);
    for method in CODECS {
        let bytes = compressed(method, &sample);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                method.codec.decompress(&damaged, sample.len());
            }
            method.codec.decompress(&bytes[..at], sample.len());
        }
    }
}

#[test]
fn a_number_that_is_not_built_in_is_no_codec() {
    for codec in [Codec::Lz4, Codec::Zstd] {
        assert_eq!(Codec::of_number(codec.number()), Some(codec));
    }
    for number in [0, 3, u32::MAX] {
        assert_eq!(Codec::of_number(number), None);
    }
}
