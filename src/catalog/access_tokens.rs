//! Access tokens: a caller proves who it is by a secret, of which the broker keeps a hash only.
//!
//! A token is a text, `taffrail_ID_SECRET`: 64 bits by which the broker finds it, and 256 random
//! bits that nobody can guess. The whole text is hashed. Because the secret is random, one round of
//! SHA-256 is enough: no dictionary would help to guess it.

use std::{collections::BTreeMap, hint::black_box};

use sha2::{Digest, Sha256};

use crate::types::limits;

const PREFIX: &str = "taffrail_";
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;

/// What the broker keeps of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessToken {
    pub(crate) id: u64,
    /// The name of the principal. Several tokens may have the same one, so that one token can be
    /// replaced by another without a gap.
    pub(crate) name: String,
    pub(crate) hash: [u8; 32],
    /// In milliseconds since 1970, like `expires_ms`.
    pub(crate) created_ms: i64,
    /// From this time on the token is not accepted.
    pub(crate) expires_ms: i64,
}

/// The text of a new token.
pub(crate) fn text(id: u64, secret: [u64; 4]) -> String {
    let [a, b, c, d] = secret;
    format!("{PREFIX}{id:016x}_{a:016x}{b:016x}{c:016x}{d:016x}")
}

/// The hash of a token's text.
pub(crate) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The id in a text that looks like a token; `None` for any other text.
pub(crate) fn id_in(text: &str) -> Option<u64> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hex = |text: &str, digits| {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.len() == digits && text.bytes().all(is_digit)
    };
    let is_right = is_hex(id, ID_DIGITS) && is_hex(secret, SECRET_DIGITS);
    is_right.then(|| u64::from_str_radix(id, 16).ok()).flatten()
}

impl AccessToken {
    /// Whether `text` is this token's. How long that takes does not depend on how much of the text
    /// is right.
    pub(crate) fn is(&self, text: &str) -> bool {
        let mut differences = 0;
        for (kept, given) in self.hash.iter().zip(hash(text)) {
            differences |= black_box(kept ^ given);
        }
        differences == 0
    }

    pub(crate) fn is_expired(&self, now_ms: i64) -> bool {
        self.expires_ms <= now_ms
    }
}

/// All tokens, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AccessTokens(BTreeMap<u64, AccessToken>);

impl AccessTokens {
    pub(crate) fn get(&self, id: u64) -> Option<&AccessToken> {
        self.0.get(&id)
    }

    /// All tokens, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AccessToken> {
        self.0.values()
    }

    /// Whether there is room for another token.
    pub(super) fn have_room(&self, now_ms: i64) -> bool {
        let mut count = 0;
        for token in self.0.values() {
            count += usize::from(!token.is_expired(now_ms));
        }
        count < limits::MAX_ACCESS_TOKENS
    }

    /// Adds a token. If there are many, forgets those that had expired when the new one was made;
    /// until then, callers who use an expired token are told so.
    pub(super) fn add(&mut self, token: AccessToken) {
        if self.0.len() >= limits::MAX_ACCESS_TOKENS {
            let now_ms = token.created_ms;
            self.0.retain(|_, token| !token.is_expired(now_ms));
        }
        self.0.insert(token.id, token);
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.0.remove(&id);
    }
}

impl FromIterator<AccessToken> for AccessTokens {
    fn from_iter<I: IntoIterator<Item = AccessToken>>(tokens: I) -> Self {
        Self(tokens.into_iter().map(|token| (token.id, token)).collect())
    }
}
