//! The descriptions of settings that users see: in the help of commands, the README and the
//! comments of the API.

use std::fmt::Write as _;

use super::{
    TOPIC_SETTINGS,
    declared::{Kind, TopicSetting, Unit},
};

/// The column at which descriptions begin, behind the names.
const COLUMN: usize = 24;

/// All settings, one below the other, in lines of at most `width` characters.
pub(crate) fn topic_settings_text(width: usize) -> String {
    let mut listed = String::new();
    for declared in &TOPIC_SETTINGS {
        let mut line = format!("{:<COLUMN$}", format!("  {}", declared.name));
        let text = format!("{}: {}", declared.values(), declared.explained());
        for word in text.split(' ') {
            if line.len() + 1 + word.len() > width {
                let _ = writeln!(listed, "{line}");
                line = " ".repeat(COLUMN);
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(listed, "{line}");
    }
    listed
}

impl TopicSetting {
    /// The values that the setting may have, and its default.
    pub(crate) fn values(&self) -> String {
        match &self.kind {
            Kind::Word { words, .. } => {
                let others = words[1..].join(", ");
                format!("{} (default), {others}", words[0])
            }
            Kind::Number { unit, bounds, .. } => {
                let [min, default, max] = [bounds.0, bounds.1, bounds.2].map(|n| unit.told(n));
                format!("{min} to {max}, default {default}")
            }
            Kind::Limit { unit, bounds, .. } => {
                let [min, max] = [bounds.0, bounds.2].map(|n| unit.told(n));
                match bounds.1 {
                    None => format!("-1 (default, no limit), {min} to {max}"),
                    Some(default) => {
                        let default = unit.told(default);
                        format!("-1 (no limit), {min} to {max}, default {default}")
                    }
                }
            }
        }
    }

    /// What the setting does.
    pub(crate) fn explained(&self) -> String {
        let fixed = match self.is_fixed {
            true => ". Settled when the topic is created",
            false => "",
        };
        format!("{}{fixed}", self.meaning)
    }
}

/// The value of a setting as people type it: `30d` for 2592000000. What is no such value stays.
pub(crate) fn shown_setting(name: &str, value: &str) -> String {
    let declared = TOPIC_SETTINGS.iter().find(|declared| declared.name == name);
    let unit = match declared.map(|declared| &declared.kind) {
        Some(Kind::Number { unit, .. } | Kind::Limit { unit, .. }) => *unit,
        _ => return value.to_owned(),
    };
    match value.parse() {
        Ok(number) => unit.typed(number),
        Err(_) => value.to_owned(),
    }
}

impl Unit {
    /// A number in the largest unit that divides it, as it can be typed.
    pub(super) fn typed(self, number: u64) -> String {
        let units: &[(u64, &str)] = match self {
            Self::Bytes => &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
            Self::Millis => &[
                (86_400_000, "d"),
                (3_600_000, "h"),
                (60_000, "m"),
                (1_000, "s"),
                (1, "ms"),
            ],
            Self::Plain => &[],
        };
        let whole = units.iter().find(|(unit, _)| number.is_multiple_of(*unit));
        match whole {
            Some((unit, name)) if number > 0 => format!("{}{name}", number / unit),
            _ => number.to_string(),
        }
    }

    /// A number in the largest unit that divides it.
    fn told(self, number: u64) -> String {
        const DAY: u64 = 86_400_000;
        let units: &[(u64, &str)] = match self {
            Self::Bytes => &[
                (1 << 50, "PiB"),
                (1 << 30, "GiB"),
                (1 << 20, "MiB"),
                (1 << 10, "KiB"),
                (1, "bytes"),
            ],
            Self::Millis => &[
                (36_525 * DAY / 100, "years"),
                (DAY, "days"),
                (3_600_000, "h"),
                (60_000, "min"),
                (1_000, "s"),
                (1, "ms"),
            ],
            Self::Plain => &[],
        };
        if number == 0 {
            return "0".to_owned();
        }
        let whole = units.iter().find(|(unit, _)| number.is_multiple_of(*unit));
        let Some((unit, name)) = whole.copied() else {
            return number.to_string();
        };
        let count = number / unit;
        // "1 day", but "7 days".
        let name = match count {
            1 if name.len() > 3 => name.trim_end_matches('s'),
            _ => name,
        };
        format!("{count} {name}")
    }
}
