//! gRPC's own compression of messages: each message is compressed by itself.
//!
//! The size of a message is known, or bounded, before it is decompressed, and one beyond the bound
//! is refused. So a few bytes cannot make the receiver allocate without end.

use std::io::{Read as _, Write as _};

use flate2::{bufread::GzDecoder, write::GzEncoder};
use zstd::bulk::Decompressor;

/// How the messages of a call are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

/// The first bytes of every gzip stream.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A low level, for speed: clients wait while messages are compressed.
const ZSTD_LEVEL: i32 = 1;

/// The built-in encodings as a header lists them, with the one that stands for no compression.
pub(crate) const ENCODINGS: &str = "identity,gzip,zstd";

impl Encoding {
    /// The encoding with this name; `None` if it is not built in.
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

    /// The most bytes that `bytes` decompress to, as they say themselves; `None` if they are not of
    /// this encoding.
    pub(crate) fn bound(self, bytes: &[u8]) -> Option<usize> {
        match self {
            // A gzip stream ends with the uncompressed length.
            Self::Gzip => {
                bytes.strip_prefix(&GZIP)?;
                let len = u32::from_le_bytes(*bytes.last_chunk()?);
                usize::try_from(len).ok()
            }
            Self::Zstd if bytes.is_empty() => None,
            Self::Zstd => Decompressor::upper_bound(bytes),
        }
    }

    /// Decompresses `bytes`; `None` if they are damaged, or the result has more than `most` bytes.
    /// Allocates no more than `most`.
    pub(crate) fn decompress(self, bytes: &[u8], most: usize) -> Option<Vec<u8>> {
        match self {
            Self::Gzip => {
                let len = self.bound(bytes).filter(|len| *len <= most)?;
                let mut out = vec![0; len];
                let mut decoder = GzDecoder::new(bytes);
                decoder.read_exact(&mut out).ok()?;
                // The decoder compares the checksum when it reaches the end.
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

    /// The slices, one behind the other, compressed as one; equal input gives equal output. `None`
    /// if there is no memory for it.
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
                // The receiver allocates by their number.
                encoder.set_pledged_src_size(Some(bytes as u64)).ok()?;
                for slice in slices {
                    encoder.write_all(slice.as_ref()).ok()?;
                }
                encoder.finish().ok()
            }
        }
    }
}
