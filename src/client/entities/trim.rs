//! Trimming an entity.

use bytes::Bytes;

use super::Entities;
use crate::{
    client::{
        Error,
        status::{AtStake, answer},
    },
    proto,
    types::Version,
};

/// An entity that was trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimmedEntity {
    /// Its first version: records of lower versions are gone.
    pub first: Version,
    /// Its latest version; [`Version::NONE`] if it never had a record.
    pub latest: Version,
}

impl Entities {
    /// Trims an entity: once this returns, no read returns its records below this version any more.
    /// Versions continue as before. The bytes are removed later, when their segments are next
    /// written anew.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `PLAIN_TOPIC`, `VERSION_OUT_OF_RANGE` if the version is behind the one that
    /// the entity's next record gets, `TOO_MANY_KEY_TRIMS`, or the errors of any change.
    pub async fn trim(
        &self,
        topic: &str,
        key: impl AsRef<[u8]>,
        before: Version,
    ) -> Result<TrimmedEntity, Error> {
        let request = request(topic, key.as_ref(), before);
        self.call_trim(request, AtStake::Change).await
    }

    /// The first and the latest version of an entity, as a [`trim`](Self::trim) before this version
    /// would find them. Nothing is trimmed.
    ///
    /// # Errors
    ///
    /// As [`trim`](Self::trim).
    pub async fn preview_trim(
        &self,
        topic: &str,
        key: impl AsRef<[u8]>,
        before: Version,
    ) -> Result<TrimmedEntity, Error> {
        let request = proto::TrimKeyRequest {
            dry_run: true,
            ..request(topic, key.as_ref(), before)
        };
        self.call_trim(request, AtStake::Nothing).await
    }

    async fn call_trim(
        &self,
        request: proto::TrimKeyRequest,
        at_stake: AtStake,
    ) -> Result<TrimmedEntity, Error> {
        let mut calls = self.calls.clone();
        let response = answer(self.timeout, at_stake, calls.trim_key(request)).await?;
        Ok(TrimmedEntity {
            first: Version(response.first_version),
            latest: Version(response.latest_version),
        })
    }
}

fn request(topic: &str, key: &[u8], before: Version) -> proto::TrimKeyRequest {
    proto::TrimKeyRequest {
        topic: topic.to_owned(),
        key: Bytes::copy_from_slice(key),
        before_version: before.0,
        dry_run: false,
    }
}
