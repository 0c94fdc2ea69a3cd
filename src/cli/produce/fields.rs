//! Takes key, type and time from a line of JSON.
//!
//! A name with dots is a path: `order.id` is the field `id` of the object `order`. If there is a
//! field whose own name has the dots, that one counts.

use std::fmt;

use serde::{
    Deserializer as _,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::cli::time::{TimeUnit, parse_time, time_of_number};
use crate::types::limits::{MAX_KEY_BYTES, MAX_NAME_BYTES};

/// The fields to take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) key: Option<Field>,
    pub(super) event_type: Option<Field>,
    pub(super) time: Option<Field>,
    /// The unit of times that are numbers.
    pub(super) time_unit: TimeUnit,
}

/// A field, by its name or its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    /// Whether the field may be missing.
    pub(super) is_optional: bool,
}

/// The content of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extracted {
    pub(super) key: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) timestamp_ms: Option<i64>,
}

impl Fields {
    /// Whether no field is needed, so that lines need not be JSON.
    pub(super) fn is_empty(&self) -> bool {
        self.key.is_none() && self.event_type.is_none() && self.time.is_none()
    }

    /// Takes the fields of a line; fails with what is wrong in it, for example that a field is
    /// missing.
    pub(super) fn extract(&self, line: &[u8]) -> Result<Extracted, String> {
        if self.is_empty() {
            return Ok(Extracted::default());
        }
        let names = [&self.key, &self.event_type, &self.time]
            .map(|field| field.as_ref().map(|field| &*field.name));
        let mut json = serde_json::Deserializer::from_slice(line);
        let found = json
            .deserialize_map(Names(names))
            .map_err(|error| not_an_object(line, &error))?;
        json.end().map_err(|error| not_an_object(line, &error))?;
        let [key, event_type, time] = found;

        let key = content(self.key.as_ref(), key, "--key-optional")?;
        let event_type = content(self.event_type.as_ref(), event_type, "--type-optional")?;
        let time = content(self.time.as_ref(), time, "--time-optional")?;
        Ok(Extracted {
            key: key.map(|key| key.text(1, MAX_KEY_BYTES)).transpose()?,
            event_type: event_type
                .map(|event_type| event_type.text(0, MAX_NAME_BYTES))
                .transpose()?,
            timestamp_ms: time.map(|time| time.time(self.time_unit)).transpose()?,
        })
    }
}

fn not_an_object(line: &[u8], error: &serde_json::Error) -> String {
    if line.starts_with(b"\xff\xfe") || line.starts_with(b"\xfe\xff") {
        return "it is UTF-16; convert the file first: iconv -f UTF-16 -t UTF-8".to_owned();
    }
    // serde_json counts lines within the text, which is always one line here.
    let problem = error
        .to_string()
        .replace(" at line 1 column ", " at column ");
    format!("it is not a JSON object ({problem})")
}

/// The content of a field as JSON. `None` if it is null, or missing although optional.
fn content<'line>(
    field: Option<&'line Field>,
    found: Found<'line>,
    optional: &str,
) -> Result<Option<Content<'line>>, String> {
    let Some(Field { name, is_optional }) = field else {
        return Ok(None);
    };
    match found.follow(name) {
        Some(raw) if raw.get() == "null" => Ok(None),
        Some(raw) => Ok(Some(Content {
            name,
            json: raw.get(),
        })),
        None if *is_optional => Ok(None),
        None => Err(format!(
            "it has no field {name:?}; {optional} takes lines without it"
        )),
    }
}

/// The content of a field, other than null.
#[derive(Clone, Copy)]
struct Content<'line> {
    name: &'line str,
    json: &'line str,
}

impl Content<'_> {
    /// The content of a string, or the JSON text of a number or a boolean.
    fn text(self, min: usize, max: usize) -> Result<String, String> {
        let Self { name, json } = self;
        let text = match json.as_bytes().first() {
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
            len if len < min => Err(format!("field {name:?} is empty; make it null for no key")),
            len if len > max => Err(format!(
                "field {name:?} has {len} bytes; at most {max} are allowed"
            )),
            _ => Ok(text),
        }
    }

    /// Parses a time into milliseconds since 1970: a date, or a number, which may be in quotes.
    fn time(self, unit: TimeUnit) -> Result<i64, String> {
        let name = self.name;
        let text = self.text(0, usize::MAX)?;
        let is_string = self.json.starts_with('"');
        if is_string && let Some(time) = parse_time(&text) {
            return Ok(time);
        }
        let number = time_of_number(&text, unit).ok_or_else(|| {
            format!(
                "field {name:?} is {text:?}, not a time such as \"2013-01-01T05:17:00Z\", \
                 \"2013-01-01T05:17:00\" (UTC) or a number, in the unit of --time-unit"
            )
        })?;
        number.map_err(|problem| format!("field {name:?} is {problem}"))
    }
}

/// The part of a path that was found, and the value there.
#[derive(Clone, Copy, Debug, Default)]
struct Found<'line> {
    /// How many bytes of the path were matched.
    matched: usize,
    raw: Option<&'line RawValue>,
}

impl<'line> Found<'line> {
    /// The value of the field, after following the rest of the path.
    fn follow(self, name: &str) -> Option<&'line RawValue> {
        let raw = self.raw?;
        let Some(rest) = name.get(self.matched + 1..) else {
            return Some(raw);
        };
        let mut json = serde_json::Deserializer::from_str(raw.get());
        // Only objects have fields.
        let [within] = json.deserialize_map(Names([Some(rest)])).ok()?;
        within.follow(rest)
    }
}

/// Looks for several paths among the fields of an object at once. The longest match of each counts;
/// if a field repeats, the last one.
struct Names<'a, const N: usize>([Option<&'a str>; N]);

impl<'line, const N: usize> Visitor<'line> for Names<'_, N> {
    type Value = [Found<'line>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'line>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [Found::default(); N];
        while let Some(matched) = map.next_key_seed(Matching(&self.0))? {
            if matched == [None; N] {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            // One field may be wanted for several purposes.
            let raw = map.next_value::<&RawValue>()?;
            for (found, matched) in found.iter_mut().zip(matched) {
                if let Some(matched) = matched.filter(|matched| *matched >= found.matched) {
                    *found = Found {
                        matched,
                        raw: Some(raw),
                    };
                }
            }
        }
        Ok(found)
    }
}

/// Compares the name of a field with the paths: how many bytes of each it matches.
struct Matching<'a, const N: usize>(&'a [Option<&'a str>; N]);

impl<'de, const N: usize> DeserializeSeed<'de> for Matching<'_, N> {
    type Value = [Option<usize>; N];

    fn deserialize<D: serde::Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<const N: usize> Visitor<'_> for Matching<'_, N> {
    type Value = [Option<usize>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, found: &str) -> Result<Self::Value, E> {
        Ok(self.0.map(|name| {
            let rest = name?.strip_prefix(found)?;
            (rest.is_empty() || rest.starts_with('.')).then_some(found.len())
        }))
    }
}
