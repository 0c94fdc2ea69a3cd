//! Tests of the values, one file for each kind.

mod group_name;
mod ids;
mod key_partition;
mod later_fields;
mod malformed_record;
mod quantity;
mod record;
mod settings;
mod topic_name;
