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
    /// Their numbers, each with the fields of the message that it holds, if it holds one.
    known: &'static [(u32, Option<&'static Fields>)],
}

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
        // An append bounds its own while it is decoded, and says which are too many.
        let room = match self.message {
            "AppendRequest" => usize::MAX,
            _ => MAX_ELEMENTS,
        };
        self.check_within(encoded, &mut { room })
    }

    fn check_within(&self, encoded: &[u8], room: &mut usize) -> Result<(), NotDecoded> {
        let mut rest = encoded;
        while !rest.is_empty() {
            let Ok((field, wire_type)) = encoding::decode_key(&mut rest) else {
                return Ok(());
            };
            let Some((_, within)) = self.known.iter().find(|(known, _)| *known == field) else {
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
                if let Some(within) = within {
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
