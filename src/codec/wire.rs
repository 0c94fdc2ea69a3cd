//! gRPC's own compression of messages: each of them is compressed by itself.
//!
//! How large a message will be is known, or bounded, before it is taken apart: what does not stay
//! within that is refused. So a few bytes cannot make the receiver allocate without end.

use std::io::{Read as _, Write as _};

use flate2::{bufread::GzDecoder, write::GzEncoder};
use zstd::bulk::Decompressor;

/// How the messages of a call are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

/// How every file of gzip begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// For speed: messages are compressed while clients wait for them.
const ZSTD_LEVEL: i32 = 1;

/// The names of those that are built in, as headers list them, with that of none.
pub(crate) const ENCODINGS: &str = "identity,gzip,zstd";

impl Encoding {
    /// The encoding with this name; none if it is not built in.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Gzip, Self::Zstd]
            .into_iter()
            .find(|encoding| encoding.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// How many bytes come out of these at most, as they say themselves; none if they are not of
    /// this encoding.
    pub(crate) fn bound(self, bytes: &[u8]) -> Option<usize> {
        match self {
            // The length is their end.
            Self::Gzip => {
                bytes.strip_prefix(&GZIP)?;
                let len = u32::from_le_bytes(*bytes.last_chunk()?);
                usize::try_from(len).ok()
            }
            Self::Zstd if bytes.is_empty() => None,
            Self::Zstd => Decompressor::upper_bound(bytes),
        }
    }

    /// What was compressed to `bytes`, unless that is more than `most`, or damaged. No more than
    /// that is allocated.
    pub(crate) fn decompress(self, bytes: &[u8], most: usize) -> Option<Vec<u8>> {
        match self {
            Self::Gzip => {
                let len = self.bound(bytes).filter(|len| *len <= most)?;
                let mut out = vec![0; len];
                let mut decoder = GzDecoder::new(bytes);
                decoder.read_exact(&mut out).ok()?;
                // Its checksum is compared where nothing follows.
                let is_whole = matches!(decoder.read(&mut [0]), Ok(0));
                (is_whole && decoder.into_inner().is_empty()).then_some(out)
            }
            Self::Zstd => {
                let mut out = Vec::with_capacity(most);
                let mut decompressor = Decompressor::new().ok()?;
                decompressor.decompress_to_buffer(bytes, &mut out).ok()?;
                Some(out)
            }
        }
    }

    /// The slices, one behind the other, compressed: the same each time. None if there is no memory
    /// for it.
    pub(crate) fn compress<S: AsRef<[u8]>>(self, slices: &[S]) -> Option<Vec<u8>> {
        match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                for slice in slices {
                    encoder.write_all(slice.as_ref()).ok()?;
                }
                encoder.finish().ok()
            }
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                let bytes: usize = slices.iter().map(|slice| slice.as_ref().len()).sum();
                // Their number tells the receiver what to allocate.
                encoder.set_pledged_src_size(Some(bytes as u64)).ok()?;
                for slice in slices {
                    encoder.write_all(slice.as_ref()).ok()?;
                }
                encoder.finish().ok()
            }
        }
    }
}
