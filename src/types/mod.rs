//! Values that every layer shares: identities, offsets, settings, limits, and the view of an
//! encoded record.
//!
//! Nothing here does I/O, reads a clock or allocates for more than what it returns.

mod group_name;
mod ids;
mod key_partition;
pub mod limits;
mod position;
mod printable;
mod quantity;
mod record;
mod sequence;
mod settings;
mod topic_name;

#[cfg(test)]
mod tests;

pub use group_name::{GroupName, GroupNameError};
pub use ids::{Offset, PartitionId, ProducerId, TopicId, Version};
pub use key_partition::{murmur2, partition_of_key};
pub use position::Position;
pub(crate) use printable::{steering, steers};
pub use quantity::{QuantityError, parse_bytes, parse_millis};
pub use record::{HeaderIter, MalformedRecord, RecordView, Records};
pub(crate) use sequence::{Sequence, StoredBatch};
pub use settings::{
    AppendsFrom, CleanupPolicy, Compression, Durability, Keys, LimitPolicy, RetentionHold,
    SettingError, TopicSettings,
};
pub(crate) use settings::{TOPIC_SETTINGS, TopicSetting, shown_setting, topic_settings_text};
pub use topic_name::{TopicName, TopicNameError};

/// The name of the administrators' socket in the data directory.
pub(crate) const ADMIN_SOCKET: &str = "admin.sock";
