//! The configuration file: TOML, in which every value keeps its line for error messages.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config, Error, Sources,
    error::Problem,
    grants, quotas,
    settings::{SETTINGS, nearest},
};

/// A configuration file that is being read.
struct File<'a> {
    name: &'a str,
    text: &'a str,
}

/// The log format that the file asks for, if it can be found, even in a file with errors.
pub(super) fn log_format(text: &str) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    for (key, value) in table.get_ref() {
        if *key.get_ref() == "log" {
            return as_text(value.get_ref().get("format")?.get_ref());
        }
    }
    None
}

impl File<'_> {
    /// A place in the file, for people: the file's name and the line.
    fn place(&self, span: &Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        format!("{}, line {line}", self.name)
    }
}

impl Config {
    /// Applies the settings in the text of a file.
    pub(super) fn apply_file(
        &mut self,
        name: &str,
        text: &str,
        sources: &mut Sources,
    ) -> Result<(), Error> {
        let file = File { name, text };
        let table = DeTable::parse(text).map_err(|error| Error::NotToml {
            file: name.to_owned(),
            problem: error.to_string(),
        })?;
        for (key, value) in table.get_ref() {
            match value.get_ref() {
                _ if matches!(
                    &**key.get_ref(),
                    grants::ROLE | grants::GRANT | quotas::QUOTA
                ) => {}
                DeValue::Table(section) if is_section(key.get_ref()) => {
                    for (inner, value) in section {
                        let name = format!("{}.{}", key.get_ref(), inner.get_ref());
                        self.apply_value(&name, value, &file.place(&inner.span()), sources)?;
                    }
                }
                _ => self.apply_value(key.get_ref(), value, &file.place(&key.span()), sources)?,
            }
        }
        (self.grants, self.quotas) = grants::parse(name, text)?;
        Ok(())
    }

    fn apply_value(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        place: &str,
        sources: &mut Sources,
    ) -> Result<(), Error> {
        let Some(text) = as_text(value.get_ref()) else {
            return Err(no_value(name).at(place));
        };
        self.set(name, &text).map_err(|problem| problem.at(place))?;
        sources.given(name, place.to_owned());
        Ok(())
    }
}

/// A value as it would be written in a variable or a flag; `None` for lists and tables.
fn as_text(value: &DeValue<'_>) -> Option<String> {
    Some(match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) => number.to_string(),
            Err(_) => digits.to_string(),
        },
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => return None,
    })
}

fn no_value(name: &str) -> Problem {
    let name = name.to_owned();
    match SETTINGS.iter().any(|setting| setting.name == name) {
        true => Problem::NotAValue { name },
        false => Problem::Unknown {
            nearest: nearest(&name),
            name,
        },
    }
}

fn is_section(key: &str) -> bool {
    SETTINGS.iter().any(|setting| {
        setting
            .name
            .split_once('.')
            .is_some_and(|(section, _)| section == key)
    })
}
