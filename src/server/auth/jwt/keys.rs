//! The keys of an issuer, from its JWK set (RFC 7517).

use std::{fmt, sync::Arc};

use jsonwebtoken::{
    DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde_json::Value;

use super::JwtAlgorithm;

/// Most keys of an issuer. It has one or two, and some more while it replaces them.
const MAX_KEYS: usize = 100;

/// The sizes of an RSA key's modulus, in bytes: 2048 to 8192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// A point of P-256: a byte that says how it is written, and two coordinates.
const P256_BYTES: usize = 1 + 2 * 32;

const ED25519_BYTES: usize = 32;

/// A public key that signatures are verified with.
pub(in crate::server::auth) struct Key {
    jwk: Jwk,
    algorithm: JwtAlgorithm,
    decoding: DecodingKey,
}

/// All keys of an issuer.
#[derive(Debug)]
pub(in crate::server::auth) struct Keys(Vec<Arc<Key>>);

impl Keys {
    /// Parses a set of keys. Keys that cannot verify signatures are left out, as RFC 7517 demands;
    /// at least one must be left.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(text)
            .map_err(|error| format!("it is no JWK set, which is JSON: {error}"))?;
        let Some(found) = set.get("keys").and_then(Value::as_array) else {
            return Err("it is no JWK set: there is no list \"keys\" in it".to_owned());
        };
        if found.len() > MAX_KEYS {
            return Err(format!("it has more than {MAX_KEYS} keys"));
        }
        let (mut keys, mut unused) = (Vec::new(), Vec::new());
        for (nth, value) in found.iter().enumerate() {
            if value.get("d").is_some() {
                return Err(format!(
                    "key {} is private: whoever reads this file could make tokens; put the public \
                     keys there alone",
                    nth + 1
                ));
            }
            match Key::of(value) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => unused.push(format!("key {} {why}", nth + 1)),
            }
        }
        if let Some(id) = twice(&keys) {
            return Err(format!(
                "two keys of one algorithm have the id {id:?} (kid)"
            ));
        }
        match keys.is_empty() {
            true => Err(format!(
                "there is no key in it that signatures are checked with: {}",
                match unused.is_empty() {
                    true => "it has none at all".to_owned(),
                    false => unused.join("; "),
                }
            )),
            false => Ok(Self(keys)),
        }
    }

    /// The key with this id, for an algorithm; without an id, the only key for the algorithm.
    pub(super) fn find(&self, id: Option<&str>, algorithm: JwtAlgorithm) -> Option<&Arc<Key>> {
        let mut keys = self.0.iter().filter(|key| key.algorithm == algorithm);
        match id {
            Some(id) => keys.find(|key| key.jwk.common.key_id.as_deref() == Some(id)),
            None => {
                let only = keys.next();
                only.filter(|_| keys.next().is_none())
            }
        }
    }

    pub(super) fn has(&self, key: &Key) -> bool {
        self.0.iter().any(|one| one.jwk == key.jwk)
    }

    /// Whether there is a key for any of these algorithms.
    pub(super) fn are_for_any(&self, algorithms: &[JwtAlgorithm]) -> bool {
        let mut keys = self.0.iter();
        keys.any(|key| algorithms.contains(&key.algorithm))
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// An id that two keys of one algorithm share.
fn twice(keys: &[Arc<Key>]) -> Option<&str> {
    for (nth, key) in keys.iter().enumerate() {
        let Some(id) = key.jwk.common.key_id.as_deref() else {
            continue;
        };
        let is_same = |other: &Arc<Key>| {
            other.algorithm == key.algorithm && other.jwk.common.key_id.as_deref() == Some(id)
        };
        if keys[..nth].iter().any(is_same) {
            return Some(id);
        }
    }
    None
}

impl Key {
    /// Parses one key of a set; fails with why it cannot verify signatures.
    fn of(value: &Value) -> Result<Self, String> {
        let jwk: Jwk = serde_json::from_value(value.clone())
            .map_err(|error| format!("cannot be understood: {error}"))?;
        let (algorithm, named) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (JwtAlgorithm::Rs256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (JwtAlgorithm::Es256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (JwtAlgorithm::EdDsa, KeyAlgorithm::EdDSA)
            }
            AlgorithmParameters::OctetKey(_) => {
                return Err("is a secret (oct), which this broker does not take".to_owned());
            }
            _ => return Err("is of no kind for RS256, ES256 or EdDSA".to_owned()),
        };
        let common = &jwk.common;
        if common.key_algorithm.is_some_and(|other| other != named) {
            return Err(format!("is not for {}", algorithm.name()));
        }
        let is_for_signatures = common
            .public_key_use
            .as_ref()
            .is_none_or(|for_what| *for_what == PublicKeyUse::Signature);
        let verifies = common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !is_for_signatures || !verifies {
            return Err("is not for signatures".to_owned());
        }
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
        check_size(algorithm, &decoding)?;
        Ok(Self {
            jwk,
            algorithm,
            decoding,
        })
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

fn check_size(algorithm: JwtAlgorithm, key: &DecodingKey) -> Result<(), String> {
    let is_right = match (algorithm, key.kind()) {
        (JwtAlgorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
            RSA_BYTES.contains(&n.len())
        }
        (JwtAlgorithm::Es256, DecodingKeyKind::SecretOrDer(point)) => point.len() == P256_BYTES,
        (JwtAlgorithm::EdDsa, DecodingKeyKind::SecretOrDer(point)) => point.len() == ED25519_BYTES,
        _ => false,
    };
    match is_right {
        true => Ok(()),
        false => {
            Err("does not have the size that it must have (RSA: 2048 to 8192 bits)".to_owned())
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.jwk.common.key_id.fmt(f)
    }
}
