//! The fields that all records have, from the flags.

use std::ffi::OsStr;

use crate::{
    cli::{Failure, flags::ProduceFlags},
    types::limits::{MAX_HEADERS, MAX_NAME_BYTES},
};

/// The fields that all records have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) key: Option<Vec<u8>>,
    pub(super) event_type: Option<String>,
    pub(super) headers: Vec<(String, Vec<u8>)>,
}

impl Fixed {
    pub(super) fn parse(flags: &ProduceFlags) -> Result<Self, Failure> {
        let mut headers = Vec::new();
        for text in &flags.header {
            let header = header(text);
            headers.push(header.map_err(|problem| Failure::Usage(format!("--header: {problem}")))?);
        }
        if headers.len() > MAX_HEADERS {
            let problem = format!("--header: a record has at most {MAX_HEADERS} headers");
            return Err(Failure::Usage(problem));
        }
        Ok(Self {
            key: flags
                .key
                .as_ref()
                .map(|key| key.as_encoded_bytes().to_vec()),
            event_type: flags.event_type.clone(),
            headers,
        })
    }
}

/// Splits `NAME=VALUE` at the first `=`. The value may be any bytes.
fn header(text: &OsStr) -> Result<(String, Vec<u8>), String> {
    let bytes = text.as_encoded_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=');
    let at = at.ok_or_else(|| format!("{text:?} is not of the form NAME=VALUE"))?;
    let name = String::from_utf8(bytes[..at].to_vec());
    let name = name.map_err(|_| format!("the name of {text:?} is not UTF-8"))?;
    match name.len() {
        0 => Err(format!("{text:?} has no name before the =")),
        len if len > MAX_NAME_BYTES => Err(format!(
            "a name has {len} bytes; at most {MAX_NAME_BYTES} are allowed"
        )),
        _ => Ok((name, bytes[at + 1..].to_vec())),
    }
}
