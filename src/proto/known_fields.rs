//! The fields of the messages that the broker receives, so that it can refuse unknown ones.
//!
//! Protobuf skips unknown fields, which is wrong for a request: if a newer client sets a condition,
//! a filter or a bound that the broker skips, more is stored, returned or deleted than the client
//! asked for. So every request's bytes are checked before they are decoded. Responses are not
//! checked: a newer broker may tell a client more than it understands.

use prost::encoding::{self, DecodeContext, WireType};

use crate::types::limits::MAX_ELEMENTS;

/// A message that can be received.
pub trait Received {
    /// The message's fields if unknown ones are refused, which is so for requests to the broker.
    const FIELDS: Option<&'static Fields>;
}

/// The fields of a message.
#[derive(Debug)]
pub struct Fields {
    /// The message's name.
    message: &'static str,
    /// The size of the decoded struct in bytes, without what it points to.
    size: usize,
    /// The fields by number.
    known: &'static [(u32, Holds)],
}

/// The type of a field.
#[derive(Debug)]
enum Holds {
    /// A message with these fields.
    Message(&'static Fields),
    /// A string or bytes.
    Text,
    /// One or more numbers.
    Numbers,
}

/// The memory of a string beside its bytes: its place in a list, whose capacity doubles when it
/// grows, and an allocation.
const TEXT_BYTES: usize = 96;

/// The memory of a number in such a list.
const NUMBER_BYTES: usize = 16;

/// Why a request is refused before decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecoded {
    /// The message has a field that it should not have.
    #[error(
        "field {field} of {message} is unknown to this broker; the client's .proto files are newer"
    )]
    UnknownField {
        /// The message's name.
        message: &'static str,
        /// The number of the field.
        field: u32,
    },
    /// The request has more strings, byte strings and messages than any request needs. Decoded,
    /// each takes many times its encoded bytes.
    #[error("{message} has more than {MAX_ELEMENTS} elements; split it")]
    TooManyElements {
        /// The message's name.
        message: &'static str,
    },
}

impl Fields {
    /// Checks an encoded message and the messages in it.
    ///
    /// Bytes that are no protobuf pass this check; decoding them fails with the reason.
    ///
    /// # Errors
    ///
    /// The first unknown field, or that there are too many elements.
    pub fn check(&self, encoded: &[u8]) -> Result<(), NotDecoded> {
        self.check_within(encoded, &mut { MAX_ELEMENTS })
    }

    /// About how many bytes a message takes when it is decoded, beside its encoded bytes. An
    /// element of two bytes takes a hundred, and lists double their capacity when they grow. A
    /// message with too many elements is not counted to its end, as it will not be decoded.
    pub(crate) fn decoded_bytes(&self, encoded: &[u8]) -> usize {
        self.decoded_bytes_within(encoded, &mut { MAX_ELEMENTS })
    }

    fn decoded_bytes_within(&self, encoded: &[u8], room: &mut usize) -> usize {
        let mut bytes = 0;
        let mut rest = encoded;
        while !rest.is_empty() {
            let Ok((field, wire_type)) = encoding::decode_key(&mut rest) else {
                return bytes;
            };
            let holds = self.holds(field);
            if wire_type == WireType::LengthDelimited {
                let (Some(element), Some(left)) = (take_bytes(&mut rest), room.checked_sub(1))
                else {
                    return bytes;
                };
                *room = left;
                bytes += match holds {
                    Some(Holds::Message(of)) => {
                        2 * of.size + of.decoded_bytes_within(element, room)
                    }
                    Some(Holds::Text) => TEXT_BYTES,
                    Some(Holds::Numbers) => element.len() * NUMBER_BYTES,
                    None => 0,
                };
            } else {
                let skipped =
                    encoding::skip_field(wire_type, field, &mut rest, DecodeContext::default());
                if skipped.is_err() {
                    return bytes;
                }
                bytes += NUMBER_BYTES;
            }
        }
        bytes
    }

    fn holds(&self, field: u32) -> Option<&'static Holds> {
        let known = self.known.iter().find(|(known, _)| *known == field);
        known.map(|(_, holds)| holds)
    }

    fn check_within(&self, encoded: &[u8], room: &mut usize) -> Result<(), NotDecoded> {
        let mut rest = encoded;
        while !rest.is_empty() {
            let Ok((field, wire_type)) = encoding::decode_key(&mut rest) else {
                return Ok(());
            };
            let Some(holds) = self.holds(field) else {
                let message = self.message;
                return Err(NotDecoded::UnknownField { message, field });
            };
            if wire_type == WireType::LengthDelimited {
                let Some(bytes) = take_bytes(&mut rest) else {
                    return Ok(());
                };
                *room = room.checked_sub(1).ok_or(NotDecoded::TooManyElements {
                    message: self.message,
                })?;
                if let Holds::Message(within) = holds {
                    within.check_within(bytes, room)?;
                }
            } else if encoding::skip_field(wire_type, field, &mut rest, DecodeContext::default())
                .is_err()
            {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Takes a length and that many bytes.
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = encoding::decode_varint(rest).ok()?;
    let (bytes, behind) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = behind;
    Some(bytes)
}

include!(concat!(env!("OUT_DIR"), "/known_fields.rs"));
