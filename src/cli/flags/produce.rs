//! What can be typed behind `produce`.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;

use super::ConnectionFlags;
use crate::cli::time::TimeUnit;

/// Append lines of files, or of standard input, to a topic.
///
/// Every line is one record; its value is the line's bytes without the newline. With --key-field,
/// --type-field or --time-field each line must be a JSON object, from which key, type and time are
/// taken; the value is still the whole line. A byte order mark and empty lines, which are no JSON,
/// are passed over then. A field's name may have dots: order.id is the field id of the object
/// order, unless there is a field that is called order.id. The first line that lacks a field, or is
/// no JSON, ends it: nothing of that line or behind it is stored.
///
/// A line is stored exactly once, also when the broker is killed and started again in between:
/// produce connects again and sends what was not answered, and the broker knows what it has
/// already. However it ends, it says how many lines are stored. On Ctrl-C or SIGTERM it reads no
/// more and waits for what it has sent; --skip goes on there.
///
/// With --expect-version all lines are one append: all are stored, or, if the entity is at another
/// version, none, and the exit code is 3.
#[derive(Args, Debug)]
pub(in crate::cli) struct ProduceFlags {
    #[command(flatten)]
    pub(in crate::cli) connection: ConnectionFlags,
    /// The topic
    pub(in crate::cli) topic: String,
    /// The file with the lines, or - for standard input; may be given again, and then the lines of
    /// one follow those of the one before [default: standard input]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(in crate::cli) file: Vec<PathBuf>,
    /// Lines at the beginning to pass over, because they are stored already; those of all files
    /// count
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(in crate::cli) skip: u64,
    /// The key of all lines
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    pub(in crate::cli) key: Option<OsString>,
    /// Append only if the entity of --key is at this version; 0: if it never had a record
    #[arg(long, value_name = "N", requires = "key", conflicts_with = "partition")]
    pub(in crate::cli) expect_version: Option<u64>,
    /// The field whose content is the record's key; null gives a record without one
    #[arg(
        long,
        value_name = "F",
        allow_hyphen_values = true,
        conflicts_with = "key"
    )]
    pub(in crate::cli) key_field: Option<String>,
    /// Lines may lack the field of --key-field: they become records without a key
    #[arg(long, requires = "key_field")]
    pub(in crate::cli) key_optional: bool,
    /// The field whose content is the record's type; null gives a record without one
    #[arg(long, value_name = "F", allow_hyphen_values = true)]
    pub(in crate::cli) type_field: Option<String>,
    /// The type of all lines
    #[arg(
        long = "type",
        value_name = "T",
        allow_hyphen_values = true,
        conflicts_with = "type_field"
    )]
    pub(in crate::cli) event_type: Option<String>,
    /// A header of all lines; may be given again
    #[arg(long, value_name = "NAME=VALUE", allow_hyphen_values = true)]
    pub(in crate::cli) header: Vec<OsString>,
    /// Lines may lack the field of --type-field: they become records without a type
    #[arg(long, requires = "type_field")]
    pub(in crate::cli) type_optional: bool,
    /// The field that says when it happened: RFC 3339, a date and time in UTC, or a number; null
    /// leaves it to the broker's clock
    #[arg(long, value_name = "F", allow_hyphen_values = true)]
    pub(in crate::cli) time_field: Option<String>,
    /// Lines may lack the field of --time-field: their time is the broker's
    #[arg(long, requires = "time_field")]
    pub(in crate::cli) time_optional: bool,
    /// What a number of --time-field counts since 1970; only the years 1990 to 2100 are taken
    #[arg(
        long,
        value_enum,
        value_name = "UNIT",
        default_value_t,
        requires = "time_field"
    )]
    pub(in crate::cli) time_unit: TimeUnit,
    /// The partition [default: that of the key; lines without a key go where the broker likes]
    #[arg(long, value_name = "P")]
    pub(in crate::cli) partition: Option<u32>,
    /// How long the broker may be away, at the start too, or make no progress [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) retry_for: Option<String>,
}
