//! The query parameters of a request. Unknown ones are refused: ignoring one could mean ignoring a
//! bound that the client relies on.

use std::{fmt::Display, str::FromStr};

use super::problem::Problem;
use crate::broker::Error;

/// The decoded parameters, in the order of the query.
pub(super) struct Query(Vec<(String, String)>);

/// The error for a request that cannot be understood.
pub(super) fn malformed(reason: impl Into<String>) -> Problem {
    let reason = reason.into();
    Error::MalformedRequest { reason }.into()
}

/// Decodes percent-encoding; `None` if it is malformed.
pub(super) fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(bytes)
}

impl Query {
    /// Parses a query; fails if it has parameters that are not among `known`.
    pub(super) fn of(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = Vec::new();
        for pair in query.unwrap_or_default().split('&') {
            if pair.is_empty() {
                continue;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (text(name)?, text(value)?);
            if !known.contains(&&*name) {
                let known = known.join(", ");
                return Err(malformed(format!(
                    "there is no parameter {name:?} here; there are {known}"
                )));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(found, _)| found == name);
        named.map(|(_, value)| &**value)
    }

    /// The value of a parameter that may occur once.
    pub(super) fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a str>, Problem> {
        let mut values = self.all(name);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(malformed(format!("{name} is there more than once"))),
        }
    }

    /// The value of a parameter as a number.
    pub(super) fn number<T: FromStr<Err: Display>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        self.one(name)?.map(|text| number(name, text)).transpose()
    }

    /// Whether a flag is set: it is written without a value.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.one(name)? {
            None | Some("false") => Ok(false),
            Some("" | "true") => Ok(true),
            Some(other) => Err(malformed(format!("{name} is {other:?}, not true or false"))),
        }
    }
}

/// Parses the value of a parameter as a number.
pub(super) fn number<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Problem> {
    let number = text.parse();
    number.map_err(|error| malformed(format!("{name} is {text:?}, which is no number: {error}")))
}

fn text(encoded: &str) -> Result<String, Problem> {
    let spaced = encoded.replace('+', " ");
    let bytes =
        decoded(&spaced).ok_or_else(|| malformed("a parameter has a % without two digits"))?;
    String::from_utf8(bytes).map_err(|_| malformed("a parameter is not UTF-8"))
}
