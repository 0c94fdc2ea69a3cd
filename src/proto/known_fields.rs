//! Which fields the messages have that the broker receives, so that it can refuse all others.
//!
//! Protobuf leaves out what it does not know. For a request that is wrong: a condition, a filter or
//! a bound that a newer client has put there would be left out, and more would be stored, returned
//! or deleted than it asked for. So the bytes of every request are looked over before they are
//! decoded. Answers are not: a newer broker may tell a client more than it knows.

use prost::encoding::{self, DecodeContext, WireType};

use crate::types::limits::MAX_ELEMENTS;

/// A message that can be received.
pub trait Received {
    /// The fields that it has, if it may have no others: it is a request to the broker.
    const FIELDS: Option<&'static Fields>;
}

/// The fields of a message.
#[derive(Debug)]
pub struct Fields {
    /// The message's name.
    message: &'static str,
    /// What it takes when it is decoded, in bytes, without what it refers to.
    size: usize,
    /// Their numbers.
    known: &'static [(u32, Holds)],
}

/// What a field holds.
#[derive(Debug)]
enum Holds {
    /// A message with these fields.
    Message(&'static Fields),
    /// A text or bytes.
    Text,
    /// A number, or several.
    Numbers,
}

/// What a text takes beside its bytes: its place in a list, which doubles when it grows, and an
/// allocation.
const TEXT_BYTES: usize = 96;

/// What a number takes in such a list.
const NUMBER_BYTES: usize = 16;

/// Why a request is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecoded {
    /// It has a field that its message does not have.
    #[error(
        "field {field} of {message} is unknown to this broker; the client's .proto files are newer"
    )]
    UnknownField {
        /// The message's name.
        message: &'static str,
        /// The number of the field.
        field: u32,
    },
    /// It has more texts, byte strings and messages than any request needs. Each takes many times
    /// its bytes when it is decoded.
    #[error("{message} has more than {MAX_ELEMENTS} elements; split it")]
    TooManyElements {
        /// The message's name.
        message: &'static str,
    },
}

impl Fields {
    /// Looks over an encoded message, and the messages in it.
    ///
    /// What is no protobuf passes: decoding it says what is wrong.
    ///
    /// # Errors
    ///
    /// The first field that is not known, or that there are too many elements.
    pub fn check(&self, encoded: &[u8]) -> Result<(), NotDecoded> {
        self.check_within(encoded, &mut { MAX_ELEMENTS })
    }

    /// About how many bytes an encoded message takes when it is decoded, beside those that it has.
    /// Elements of two bytes each take a hundred, and the lists that they are in double when they
    /// grow. One that has too many is not decoded.
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

/// A length and that many bytes.
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = encoding::decode_varint(rest).ok()?;
    let (bytes, behind) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    *rest = behind;
    Some(bytes)
}

include!(concat!(env!("OUT_DIR"), "/known_fields.rs"));
