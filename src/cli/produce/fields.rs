//! Key, type and time out of a line of JSON.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::cli::time::parse_time;
use crate::types::limits::{MAX_KEY_BYTES, MAX_NAME_BYTES};

/// Which fields to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) key: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) time: Option<String>,
}

/// What they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extracted {
    pub(super) key: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) timestamp_ms: Option<i64>,
}

impl Fields {
    /// Whether lines are taken as they are, without being JSON.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the fields of a line; says what is wrong with the line if it has none.
    pub(super) fn extract(&self, line: &[u8]) -> Result<Extracted, String> {
        if self.is_empty() {
            return Ok(Extracted::default());
        }
        let mut json = serde_json::Deserializer::from_slice(line);
        let found = json
            .deserialize_map(FieldVisitor(self))
            .map_err(|error| not_an_object(&error))?;
        json.end().map_err(|error| not_an_object(&error))?;

        Ok(Extracted {
            key: text(self.key.as_deref(), found.key, 1, MAX_KEY_BYTES)?,
            event_type: text(
                self.event_type.as_deref(),
                found.event_type,
                0,
                MAX_NAME_BYTES,
            )?,
            timestamp_ms: time(self.time.as_deref(), found.time)?,
        })
    }
}

fn not_an_object(error: &serde_json::Error) -> String {
    // serde_json counts lines within the text, which is always one line here.
    let problem = error
        .to_string()
        .replace(" at line 1 column ", " at column ");
    format!("it is not a JSON object ({problem})")
}

/// The content of a field as text: a string's content, or the JSON text of a number or a boolean.
/// Null is no content.
fn text(
    name: Option<&str>,
    raw: Option<&RawValue>,
    min: usize,
    max: usize,
) -> Result<Option<String>, String> {
    let (Some(name), Some(raw)) = (name, raw) else {
        return Ok(None);
    };
    let json = raw.get();
    let text = match json.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => serde_json::from_str(json)
            .map_err(|error| format!("field {name:?} is no text: {error}"))?,
        Some(b'{' | b'[') => {
            return Err(format!(
                "field {name:?} is a list or an object; it must be one value"
            ));
        }
        _ => json.to_owned(),
    };
    match text.len() {
        len if len < min => Err(format!(
            "field {name:?} is empty; leave it out or make it null for no key"
        )),
        len if len > max => Err(format!(
            "field {name:?} has {len} bytes; at most {max} are allowed"
        )),
        _ => Ok(Some(text)),
    }
}

fn time(name: Option<&str>, raw: Option<&RawValue>) -> Result<Option<i64>, String> {
    let Some(text) = text(name, raw, 0, usize::MAX)? else {
        return Ok(None);
    };
    let is_string = raw.is_some_and(|raw| raw.get().starts_with('"'));
    let time = if is_string {
        parse_time(&text)
    } else {
        text.parse().ok()
    };
    time.map(Some).ok_or_else(|| {
        format!(
            "field {:?} is {text:?}, not a time such as \"2013-01-01T05:17:00Z\", \"2013-01-01T05:17:00\" (UTC) or \
             1357017420000 (milliseconds)",
            name.unwrap_or_default()
        )
    })
}

/// The raw fields of one object; where a name repeats, the last one counts.
#[derive(Default)]
struct Found<'line> {
    key: Option<&'line RawValue>,
    event_type: Option<&'line RawValue>,
    time: Option<&'line RawValue>,
}

struct FieldVisitor<'a>(&'a Fields);

impl<'line> Visitor<'line> for FieldVisitor<'_> {
    type Value = Found<'line>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'line>>(self, mut map: A) -> Result<Found<'line>, A::Error> {
        let mut found = Found::default();
        while let Some(wanted) = map.next_key_seed(NameSeed(self.0))? {
            if !wanted.any() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            // One field may serve for more than one thing.
            let raw = Some(map.next_value::<&RawValue>()?);
            found.key = if wanted.key { raw } else { found.key };
            found.event_type = if wanted.event_type {
                raw
            } else {
                found.event_type
            };
            found.time = if wanted.time { raw } else { found.time };
        }
        Ok(found)
    }
}

/// What a field is wanted for.
struct Wanted {
    key: bool,
    event_type: bool,
    time: bool,
}

impl Wanted {
    fn any(&self) -> bool {
        self.key || self.event_type || self.time
    }
}

/// Compares a field's name without keeping it.
struct NameSeed<'a>(&'a Fields);

impl<'line> DeserializeSeed<'line> for NameSeed<'_> {
    type Value = Wanted;

    fn deserialize<D: serde::Deserializer<'line>>(self, json: D) -> Result<Wanted, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Wanted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Wanted, E> {
        let is = |field: &Option<String>| field.as_deref() == Some(name);
        Ok(Wanted {
            key: is(&self.0.key),
            event_type: is(&self.0.event_type),
            time: is(&self.0.time),
        })
    }
}
