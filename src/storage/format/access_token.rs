//! An access token, without its secret.
//!
//! ```text
//!  0  u64  id
//!  8  32 bytes SHA-256 of its text
//! 40  i64  created, milliseconds since 1970
//! 48  i64  expires, the same
//! 56  string name
//! ```

use super::fields::{Fields, put_count, put_string};
use crate::catalog::AccessToken;

/// The fewest bytes that an encoded token takes.
const MIN_TOKEN_BYTES: usize = 60;

impl AccessToken {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        out.extend_from_slice(&self.expires_ms.to_le_bytes());
        put_string(out, &self.name);
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            id: fields.u64()?,
            hash: fields.array()?,
            created_ms: fields.i64()?,
            expires_ms: fields.i64()?,
            name: fields.string()?.to_owned(),
        })
    }
}

/// Writes several tokens: a count, then each.
pub(super) fn put_access_tokens(out: &mut Vec<u8>, tokens: &[AccessToken]) {
    put_count(out, tokens.len());
    tokens.iter().for_each(|token| token.put(out));
}

pub(super) fn take_access_tokens(fields: &mut Fields<'_>) -> Option<Vec<AccessToken>> {
    let mut tokens = Vec::new();
    for _ in 0..fields.count(MIN_TOKEN_BYTES)? {
        tokens.push(AccessToken::take(fields)?);
    }
    Some(tokens)
}
