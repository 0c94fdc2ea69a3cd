//! The table of all settings, and the sources that use it.

use strsim::osa_distance;

use super::{
    Config, Error, Sources, environment::OF_COMMANDS, error::Problem, jwt, listen::HttpListen,
    telemetry, tls, web,
};
use crate::{
    budget::{self, Name},
    types::{TopicName, parse_bytes, parse_millis},
};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// The declaration of a setting. `set` returns what it expects if it cannot parse the text.
pub(super) struct Setting {
    /// The name of the table in the file and the key in it, such as `journal.file_bytes`.
    pub(super) name: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR_MS: u64 = 3_600_000;
const YEAR_MS: u64 = 365 * 24 * HOUR_MS;

/// Declares the setting for the size of one part of the memory.
macro_rules! part_setting {
    ($part:expr, $name:literal) => {
        Setting {
            name: $name,
            set: |config, text| set(&mut config.memory_parts[$part as usize], part($part, text)),
        }
    };
}

/// `config/taffrail.toml` documents each setting with its bounds and the reasons for them.
pub(super) const SETTINGS: [Setting; 52] = [
    Setting {
        name: "data_dir",
        set: |config, text| set(&mut config.data_dir, path(text)),
    },
    Setting {
        name: "listen",
        set: |config, text| set(&mut config.listen, Ok(text.to_owned())),
    },
    Setting {
        name: "insecure",
        set: |config, text| set(&mut config.insecure, boolean(text)),
    },
    Setting {
        name: "http.listen",
        set: |config, text| set(&mut config.http_listen, HttpListen::of(text)),
    },
    Setting {
        name: "http.calls",
        set: |config, text| set(&mut config.http_api.calls, number(text, 0, 1_000)),
    },
    Setting {
        name: "http.origins",
        set: |config, text| set(&mut config.http_api.origins, web::origins(text)),
    },
    Setting {
        name: "http.hosts",
        set: |config, text| set(&mut config.http_api.hosts, web::hosts(text)),
    },
    Setting {
        name: "http.topics",
        set: |config, text| set(&mut config.measured.topics, number(text, 0, 1_000)),
    },
    Setting {
        name: "http.groups",
        set: |config, text| set(&mut config.measured.groups, number(text, 0, 1_000)),
    },
    Setting {
        name: "tls.certificate",
        set: |config, text| set(&mut config.tls.certificate, Ok(file(text))),
    },
    Setting {
        name: "tls.key",
        set: |config, text| set(&mut config.tls.key, Ok(file(text))),
    },
    Setting {
        name: "tls.client_ca",
        set: |config, text| set(&mut config.tls.client_ca, Ok(file(text))),
    },
    Setting {
        name: "tls.client_required",
        set: |config, text| set(&mut config.tls.client_required, boolean(text)),
    },
    Setting {
        name: "tls.client_any_usage",
        set: |config, text| set(&mut config.tls.client_any_usage, boolean(text)),
    },
    Setting {
        name: "tls.principal",
        set: |config, text| set(&mut config.certificates, tls::names(text)),
    },
    Setting {
        name: "jwt.issuer",
        set: |config, text| set(&mut config.jwt.issuer, Ok(text.to_owned())),
    },
    Setting {
        name: "jwt.keys",
        set: |config, text| set(&mut config.jwt.keys, Ok(file(text))),
    },
    Setting {
        name: "jwt.audience",
        set: |config, text| set(&mut config.jwt.audience, Ok(text.to_owned())),
    },
    Setting {
        name: "jwt.algorithms",
        set: |config, text| set(&mut config.jwt.algorithms, jwt::algorithms(text)),
    },
    Setting {
        name: "jwt.claim",
        set: |config, text| set(&mut config.jwt.claim, jwt::claim(text)),
    },
    Setting {
        name: "jwt.roles_claim",
        set: |config, text| set(&mut config.jwt.roles_claim, jwt::roles_claim(text)),
    },
    Setting {
        name: "audit.topic",
        set: |config, text| set(&mut config.audit_topic, topic(text)),
    },
    Setting {
        name: "telemetry.otlp_endpoint",
        set: |config, text| {
            set(
                &mut config.telemetry.otlp_endpoint,
                telemetry::endpoint(text),
            )
        },
    },
    Setting {
        name: "telemetry.sample_ratio",
        set: |config, text| set(&mut config.telemetry.sample_ratio, telemetry::ratio(text)),
    },
    Setting {
        name: "log.format",
        set: |config, text| set(&mut config.log_format, log_format(text)),
    },
    Setting {
        name: "log.level",
        set: |config, text| set(&mut config.log_level, log_level(text)),
    },
    Setting {
        name: "journal.file_bytes",
        set: |config, text| set(&mut config.journal_file_bytes, journal_file_size(text)),
    },
    Setting {
        name: "journal.files",
        set: |config, text| set(&mut config.journal_files, number(text, 2, 64)),
    },
    Setting {
        name: "memory.bytes",
        set: |config, text| set(&mut config.memory_bytes, memory(text)),
    },
    part_setting!(Name::Requests, "memory.requests_bytes"),
    part_setting!(Name::Appends, "memory.appends_bytes"),
    part_setting!(Name::KeyIndex, "memory.key_index_bytes"),
    part_setting!(Name::Reads, "memory.reads_bytes"),
    part_setting!(Name::Windows, "memory.windows_bytes"),
    part_setting!(Name::Calls, "memory.calls_bytes"),
    part_setting!(Name::Catalog, "memory.catalog_bytes"),
    Setting {
        name: "memory.open_segments",
        set: |config, text| set(&mut config.open_segments, number(text, 16, 32_768)),
    },
    Setting {
        name: "disk.reserve_bytes",
        set: |config, text| {
            set(
                &mut config.disk_reserve_bytes,
                size(text, 64 * MIB, u64::MAX),
            )
        },
    },
    Setting {
        name: "producers.idle",
        set: |config, text| {
            set(
                &mut config.producer_idle_ms,
                duration(text, HOUR_MS, YEAR_MS),
            )
        },
    },
    Setting {
        name: "producers.remembered_batches",
        set: |config, text| set(&mut config.remembered_batches, number(text, 0, 16 << 20)),
    },
    Setting {
        name: "erasure.deadline",
        set: |config, text| {
            set(
                &mut config.erasure_deadline_ms,
                duration(text, 60_000, YEAR_MS),
            )
        },
    },
    Setting {
        name: "scrub.rate",
        set: |config, text| set(&mut config.scrub_rate, size(text, 0, 64 * GIB)),
    },
    Setting {
        name: "backup.rate",
        set: |config, text| set(&mut config.backup_rate, size(text, 0, 64 * GIB)),
    },
    Setting {
        name: "backup.journal",
        set: |config, text| set(&mut config.kept_journal_bytes, size(text, 0, 1 << 40)),
    },
    Setting {
        name: "groups.stalled",
        set: |config, text| set(&mut config.group_stalled_ms, duration(text, 1_000, YEAR_MS)),
    },
    Setting {
        name: "clock.jump",
        set: |config, text| set(&mut config.clock_jump_ms, duration(text, 60_000, YEAR_MS)),
    },
    Setting {
        name: "clock.settle",
        set: |config, text| set(&mut config.clock_settle_ms, duration(text, 60_000, YEAR_MS)),
    },
    Setting {
        name: "server.max_connections",
        set: |config, text| set(&mut config.max_connections, number(text, 1, 100_000)),
    },
    Setting {
        name: "server.handshake_timeout",
        set: |config, text| {
            set(
                &mut config.handshake_timeout_ms,
                duration(text, 100, HOUR_MS),
            )
        },
    },
    Setting {
        name: "server.request_timeout",
        set: |config, text| {
            set(
                &mut config.request_timeout_ms,
                duration(text, 1_000, HOUR_MS),
            )
        },
    },
    Setting {
        name: "reads.stalled",
        set: |config, text| set(&mut config.stalled_read_ms, duration(text, 1_000, YEAR_MS)),
    },
    Setting {
        name: "server.drain",
        set: |config, text| set(&mut config.drain_ms, duration(text, 0, HOUR_MS)),
    },
];

impl Setting {
    /// The environment variable for this setting.
    pub(super) fn variable(&self) -> String {
        format!("TAFFRAIL_{}", self.name.replace('.', "_").to_uppercase())
    }
}

impl Config {
    /// Sets one setting from text.
    pub(super) fn set(&mut self, name: &str, text: &str) -> Result<(), Problem> {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        let setting = setting.ok_or_else(|| Problem::Unknown {
            name: name.to_owned(),
            nearest: nearest(name),
        })?;
        let value = || text.to_owned();
        (setting.set)(self, text).map_err(|expected| Problem::Value {
            name: setting.name,
            value: value(),
            expected,
        })
    }

    /// Applies the variables that are settings; returns those that only look like settings.
    pub(super) fn apply_environment(
        &mut self,
        environment: impl Iterator<Item = (String, String)>,
        sources: &mut Sources,
    ) -> Result<Vec<String>, Error> {
        let mut unknown = Vec::new();
        for (variable, value) in environment {
            if !variable.starts_with("TAFFRAIL_") || OF_COMMANDS.contains(&&*variable) {
                continue;
            }
            match SETTINGS
                .iter()
                .find(|setting| setting.variable() == variable)
            {
                Some(setting) => {
                    let source = format!("environment variable {variable}");
                    self.set(setting.name, &value)
                        .map_err(|problem| problem.at(&source))?;
                    sources.given(setting.name, source);
                }
                None => unknown.push(variable),
            }
        }
        Ok(unknown)
    }
}

/// The setting with the most similar name, if it is similar enough for a typing error.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let key = |full: &'static str| full.rsplit('.').next().unwrap_or(full);
    let distance = |setting: &Setting| {
        let of_key = osa_distance(name, key(setting.name));
        osa_distance(name, setting.name).min(of_key)
    };
    let best = SETTINGS.iter().min_by_key(|setting| distance(setting))?;
    (distance(best) <= name.len() / 3 + 1).then_some(best.name)
}

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn path(text: &str) -> Result<std::path::PathBuf, String> {
    if text.is_empty() {
        Err("it is a directory's path".to_owned())
    } else {
        Ok(text.into())
    }
}

/// Parses the path of a file; empty for none.
fn file(text: &str) -> Option<std::path::PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

/// Parses the name of a topic; empty for none.
fn topic(text: &str) -> Result<Option<TopicName>, String> {
    match text.is_empty() {
        true => Ok(None),
        false => TopicName::new(text)
            .map(Some)
            .map_err(|error| error.to_string()),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "it is true or false".to_owned())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is \"text\" or \"json\"".to_owned()),
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Checks a level, or levels by module. A misspelt level would be taken for the name of a module,
/// so it is refused.
fn log_level(text: &str) -> Result<String, String> {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let is_ours = |word: &str| word == "taffrail" || word.starts_with("taffrail::");
    let is_right = |directive: &str| match directive.rsplit_once('=') {
        // A filter by a field ends with a bracket, and may contain an = of its own.
        Some((module, level)) if !level.ends_with(']') => {
            is_module(module.trim()) && is_level(level.trim())
        }
        _ => {
            let is_known = is_ours(directive) || directive.contains('[');
            is_level(directive) || is_module(directive) && is_known
        }
    };
    let mut directives = directives(text).peekable();
    if directives.peek().is_some() && directives.all(is_right) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "it is one of {}, or such a level by module, as in \"info,taffrail::server=debug\"",
        LEVELS.join(", ")
    ))
}

/// Whether it is the path of a module, a span in brackets, or both.
fn is_module(text: &str) -> bool {
    let (path, span) = text.split_at(text.find('[').unwrap_or(text.len()));
    let is_path_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
    !text.is_empty()
        && path.chars().all(is_path_character)
        && (span.is_empty() || span.ends_with(']'))
}

/// Splits at commas, except within braces.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let parts = text.split(move |character| {
        depth += i32::from(character == '{') - i32::from(character == '}');
        character == ',' && depth == 0
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

fn number<T: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Result<T, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (min..=max).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("it is a number from {min} to {max}"))
}

/// The word for sizes that the broker determines itself.
const AUTO: &str = "auto";

/// Parses the memory of all parts together. If it is too small for that, the user may have meant
/// the memory for appends.
fn memory(text: &str) -> Result<Option<usize>, String> {
    let bytes = or_auto(text, budget::MIN_BYTES as u64);
    bytes.map_err(|expected| {
        format!(
            "{expected}; it is the memory that all parts share, and room for appends alone is \
             memory.appends_bytes"
        )
    })
}

fn part(part: Name, text: &str) -> Result<Option<usize>, String> {
    or_auto(text, part.min_bytes() as u64)
}

fn or_auto(text: &str, min: u64) -> Result<Option<usize>, String> {
    match text {
        AUTO => Ok(None),
        _ => size(text, min, 64 * GIB)
            .map(Some)
            .map_err(|expected| format!("{expected}, or \"{AUTO}\"")),
    }
}

/// Parses the size of journal files: whole pages, because direct I/O needs them.
fn journal_file_size(text: &str) -> Result<u64, String> {
    let bytes: u64 = size(text, 64 * MIB, GIB)?;
    if bytes.is_multiple_of(4096) {
        Ok(bytes)
    } else {
        Err("it is a multiple of 4096 bytes".to_owned())
    }
}

fn size<T: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Result<T, String> {
    within(
        parse_bytes(text).map_err(|error| error.to_string())?,
        min,
        max,
        "bytes",
    )
}

fn duration(text: &str, min: u64, max: u64) -> Result<u64, String> {
    within(
        parse_millis(text).map_err(|error| error.to_string())?,
        min,
        max,
        "milliseconds",
    )
}

fn within<T: TryFrom<u64>>(value: u64, min: u64, max: u64, unit: &str) -> Result<T, String> {
    let value = Some(value).filter(|value| (min..=max).contains(value));
    value
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| match max {
            u64::MAX => format!("it is at least {min} {unit}"),
            _ => format!("it is from {min} to {max} {unit}"),
        })
}
