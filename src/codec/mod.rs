//! Compression of bytes: the codecs that are built in, and bounds on what decompression may
//! allocate. Pure functions between slices; the callers decide what is compressed, and when.

#[cfg(test)]
mod tests;
mod wire;

pub(crate) use wire::{ENCODINGS, Encoding};

use zstd::bulk::{Compressor, Decompressor};

use crate::types::{Compression, TopicSettings};

/// How bytes are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// LZ4's block format.
    Lz4,
    /// A frame of Zstandard.
    Zstd,
}

/// How bytes are to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Method {
    pub(crate) codec: Codec,
    /// Higher is smaller and slower. LZ4 has one level only.
    pub(crate) level: i32,
}

impl Method {
    /// How a topic's segments are to be compressed, if they are.
    pub(crate) fn of(settings: &TopicSettings) -> Option<Self> {
        let codec = match settings.compression {
            Compression::None => return None,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        };
        let level = i32::try_from(settings.compression_level).unwrap_or(i32::MAX);
        Some(Self { codec, level })
    }
}

/// Compresses one piece after the other, and reuses its working memory.
pub(crate) struct Encoder {
    codec: Codec,
    /// The working memory of Zstandard, kept because it is larger than most pieces.
    zstd: Option<Compressor<'static>>,
}

impl Codec {
    /// The number that stands for the codec in files.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    /// The codec with this number; `None` if it is not built in.
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Lz4),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Decompresses `bytes`; `None` unless the result has exactly `len` bytes. Allocates no more
    /// than `len`, which the caller must bound.
    pub(crate) fn decompress(self, bytes: &[u8], len: usize) -> Option<Vec<u8>> {
        match self {
            Self::Lz4 => {
                let mut out = vec![0; len];
                let written = lz4_flex::block::decompress_into(bytes, &mut out).ok()?;
                (written == len).then_some(out)
            }
            Self::Zstd => {
                let mut out = Vec::with_capacity(len);
                let mut decompressor = Decompressor::new().ok()?;
                let written = decompressor.decompress_to_buffer(bytes, &mut out).ok()?;
                (written == len && out.len() == len).then_some(out)
            }
        }
    }
}

impl Encoder {
    pub(crate) fn new(method: Method) -> Self {
        let zstd = match method.codec {
            Codec::Lz4 => None,
            Codec::Zstd => Compressor::new(method.level).ok(),
        };
        Self {
            codec: method.codec,
            zstd,
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.codec
    }

    /// The bytes, compressed; `None` if there is no memory for it.
    pub(crate) fn compress(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        match self.codec {
            Codec::Lz4 => Some(lz4_flex::block::compress(bytes)),
            Codec::Zstd => self.zstd.as_mut()?.compress(bytes).ok(),
        }
    }
}
