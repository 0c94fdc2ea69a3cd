//! A record to append, and its encoding.

use prost::encoding::encoded_len_varint;

use crate::proto::wire::RECORD_TAG;

/// A record to append. It borrows its content; [`Batch::push`](super::Batch::push) encodes it at
/// once.
///
/// ```
/// use taffrail::client::Record;
///
/// let id = format!("order-{}", 4711);
/// let record = Record::new().key(&id).event_type("placed").value(b"\x00any bytes").header("source", "web");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Record<'a> {
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    event_type: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    timestamp_ms: Option<i64>,
    event_id: &'a [u8],
}

impl<'a> Record<'a> {
    /// A record without a key and with an empty value.
    pub fn new() -> Self {
        Self {
            value: Some(&[]),
            ..Self::default()
        }
    }

    /// A record without a value: it marks the end of the entity with this key.
    pub fn tombstone<K: AsRef<[u8]> + ?Sized>(key: &'a K) -> Self {
        Self {
            key: Some(key.as_ref()),
            ..Self::default()
        }
    }

    /// The key, of 1 to 65,535 bytes. Records with the same key are in the same partition, in
    /// order.
    pub fn key<K: AsRef<[u8]> + ?Sized>(self, key: &'a K) -> Self {
        Self {
            key: Some(key.as_ref()),
            ..self
        }
    }

    /// The content.
    pub fn value<V: AsRef<[u8]> + ?Sized>(self, value: &'a V) -> Self {
        Self {
            value: Some(value.as_ref()),
            ..self
        }
    }

    /// The type of the event, by which reads can be filtered. At most 255 bytes.
    pub fn event_type(self, event_type: &'a str) -> Self {
        Self { event_type, ..self }
    }

    /// Adds a header; names may repeat. At most 64.
    pub fn header<V: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a V) -> Self {
        self.headers.push((name, value.as_ref()));
        self
    }

    /// When the event happened, in milliseconds since 1970-01-01T00:00:00Z. Without it the broker
    /// uses the append time.
    pub fn timestamp_ms(self, timestamp_ms: i64) -> Self {
        Self {
            timestamp_ms: Some(timestamp_ms),
            ..self
        }
    }

    /// Your id for this event, of at most 64 bytes.
    pub fn event_id<I: AsRef<[u8]> + ?Sized>(self, event_id: &'a I) -> Self {
        Self {
            event_id: event_id.as_ref(),
            ..self
        }
    }

    /// The size of the record in a batch, with its tag and length.
    pub(super) fn run_len(&self) -> usize {
        let len = self.encoded_len();
        1 + encoded_len_varint(len as u64) + len
    }

    /// Appends the record to `run`: tag, length and fields. The bytes are those of the generated
    /// `Record`, but made in one pass and without copying the content into such a value first.
    pub(crate) fn encode(&self, run: &mut Vec<u8>) {
        let len = self.encoded_len();
        run.reserve(len + 11);
        run.push(RECORD_TAG);
        put_varint(run, len as u64);
        if let Some(key) = self.key {
            put_bytes(run, 1, key);
        }
        if let Some(value) = self.value {
            put_bytes(run, 2, value);
        }
        if !self.event_type.is_empty() {
            put_bytes(run, 3, self.event_type.as_bytes());
        }
        for (name, value) in &self.headers {
            run.push(tag(4, LENGTH_DELIMITED));
            put_varint(run, header_len(name, value) as u64);
            put_nonempty(run, 1, name.as_bytes());
            put_nonempty(run, 2, value);
        }
        if let Some(timestamp) = self.timestamp_ms {
            run.push(tag(5, VARINT));
            put_varint(run, timestamp.cast_unsigned());
        }
        put_nonempty(run, 6, self.event_id);
    }

    fn encoded_len(&self) -> usize {
        self.key.map_or(0, bytes_len)
            + self.value.map_or(0, bytes_len)
            + nonempty_len(self.event_type.as_bytes())
            + self
                .headers
                .iter()
                .map(|(name, value)| delimited_len(header_len(name, value)))
                .sum::<usize>()
            + self.timestamp_ms.map_or(0, |timestamp| {
                1 + encoded_len_varint(timestamp.cast_unsigned())
            })
            + nonempty_len(self.event_id)
    }
}

const VARINT: u8 = 0;
const LENGTH_DELIMITED: u8 = 2;

/// A tag takes one byte, because all of a record's fields have numbers below 16.
const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

fn header_len(name: &str, value: &[u8]) -> usize {
    nonempty_len(name.as_bytes()) + nonempty_len(value)
}

fn bytes_len(bytes: &[u8]) -> usize {
    delimited_len(bytes.len())
}

fn nonempty_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() {
        0
    } else {
        bytes_len(bytes)
    }
}

fn delimited_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn put_nonempty(buffer: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_bytes(buffer, field, bytes);
    }
}

fn put_bytes(buffer: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    buffer.push(tag(field, LENGTH_DELIMITED));
    put_varint(buffer, bytes.len() as u64);
    buffer.extend_from_slice(bytes);
}

fn put_varint(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    buffer.push(value.to_le_bytes()[0]);
}
