//! Callers who are known by a JWT (RFC 7519) of one issuer.
//!
//! A JWT is checked from the outside to the inside: its algorithm, its key, its signature, and only
//! then its claims. If its signature is wrong, its claims are not read, and what its sender is told
//! does not depend on them. `signatures.rs` verifies signatures, `keys.rs` parses the issuer's
//! keys, and `file.rs` reads them.

mod file;
mod keys;
mod signatures;

use std::{path::PathBuf, sync::Arc};

use jsonwebtoken::{Algorithm, TokenData, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::Value;
use tokio::sync::watch;

use super::{Principal, Unauthenticated};
use crate::types::limits::MAX_CALLER_ROLES;

pub(crate) use self::file::JwtKeys;
pub(super) use self::{
    keys::{Key, Keys},
    signatures::fingerprint,
};

/// By how many seconds an issuer's clock may be ahead of the broker's.
const LEEWAY_S: f64 = 30.0;

/// The longest name of a caller or a role, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Algorithms by which JWTs may be signed. Those with a secret that issuer and broker share are not
/// among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JwtAlgorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl JwtAlgorithm {
    pub(crate) const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The name of the algorithm, in the setting and in JWTs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256 => Some(Self::Rs256),
            Algorithm::ES256 => Some(Self::Es256),
            Algorithm::EdDSA => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// Which JWTs are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JwtRules {
    /// Who must have issued them (claim `iss`).
    pub(crate) issuer: String,
    /// The file with the issuer's keys: a JWK set (RFC 7517).
    pub(crate) keys: PathBuf,
    /// The audience that they must be for (claim `aud`).
    pub(crate) audience: String,
    pub(crate) algorithms: Vec<JwtAlgorithm>,
    /// The claim with the caller's name.
    pub(crate) claim: String,
    /// The claim with the caller's roles, or a JSON pointer to it; empty if there are no roles.
    pub(crate) roles_claim: String,
}

/// An issuer of JWTs, with its current keys.
#[derive(Debug)]
pub(crate) struct Issuer {
    rules: JwtRules,
    keys: watch::Sender<Arc<Keys>>,
}

/// What a verified JWT says of its caller.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) principal: Principal,
    pub(super) roles: Arc<[Principal]>,
    /// When it expires, in milliseconds since 1970.
    pub(super) expires_ms: i64,
    pub(super) key: Arc<Key>,
}

/// Whether a text has the form of a JWT: three parts with dots between them. No other token has it.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

impl Issuer {
    fn new(rules: JwtRules, keys: Keys) -> Self {
        Self {
            rules,
            keys: watch::Sender::new(Arc::new(keys)),
        }
    }

    fn replace(&self, keys: Keys) {
        self.keys.send_replace(Arc::new(keys));
    }

    /// Tells when the issuer's keys change.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Keys>> {
        self.keys.subscribe()
    }

    /// Whether the issuer still has this key, so that JWTs signed with it are accepted.
    pub(super) fn still_has(&self, key: &Key) -> bool {
        self.keys.borrow().has(key)
    }

    /// Verifies a JWT at this time, in milliseconds since 1970, and returns its caller.
    pub(super) fn verify(&self, token: &str, now_ms: i64) -> Result<Verified, Unauthenticated> {
        let header = decode_header(token).map_err(|error| of_header(error.kind()))?;
        let algorithm = JwtAlgorithm::of(header.alg);
        let algorithm = algorithm.filter(|one| self.rules.algorithms.contains(one));
        let algorithm = algorithm.ok_or(Unauthenticated::Algorithm)?;
        let keys = Arc::clone(&self.keys.borrow());
        let key = keys.find(header.kid.as_deref(), algorithm);
        let key = key.ok_or(Unauthenticated::NoKey)?;
        let decoded = decode::<Value>(token, key.decoding(), &self.validation(header.alg));
        let TokenData { claims, .. } = decoded.map_err(|error| of_claims(error.kind()))?;
        let expires_ms = in_time(&claims, now_ms)?;
        let name = claims.get(&self.rules.claim).and_then(Value::as_str);
        let name = name.filter(|name| is_a_name(name));
        Ok(Verified {
            principal: Principal::jwt(name.ok_or(Unauthenticated::NoName)?),
            roles: self.roles(&claims)?,
            expires_ms,
            key: Arc::clone(key),
        })
    }

    /// What the library checks with the signature. Times are not among it, because they are
    /// compared with the broker's time and not with the machine's.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        signatures::install();
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        validation.set_issuer(&[&self.rules.issuer]);
        validation.set_audience(&[&self.rules.audience]);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }

    fn roles(&self, claims: &Value) -> Result<Arc<[Principal]>, Unauthenticated> {
        let claim = self.rules.roles_claim.as_str();
        let value = match claim.starts_with('/') {
            true => claims.pointer(claim),
            false => claims.get(claim),
        };
        let mut names = Vec::new();
        match value {
            Some(Value::String(text)) => names.extend(text.split_whitespace()),
            Some(Value::Array(array)) => names.extend(array.iter().filter_map(Value::as_str)),
            _ => {}
        }
        if names.len() > MAX_CALLER_ROLES {
            return Err(Unauthenticated::TooManyRoles { roles: names.len() });
        }
        let names = names.into_iter().filter(|name| is_a_name(name));
        Ok(names.map(Principal::role).collect())
    }
}

fn is_a_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

/// What it means that a header cannot be parsed. If only its algorithm is unknown, or is `none`,
/// that is said.
fn of_header(kind: &ErrorKind) -> Unauthenticated {
    match kind {
        ErrorKind::Json(error) if error.is_data() => Unauthenticated::Algorithm,
        _ => Unauthenticated::Malformed,
    }
}

fn of_claims(kind: &ErrorKind) -> Unauthenticated {
    let of_claim = |claim: &str| match claim {
        "iss" => Unauthenticated::Issuer,
        "aud" => Unauthenticated::Audience,
        _ => Unauthenticated::Malformed,
    };
    match kind {
        ErrorKind::InvalidSignature => Unauthenticated::Signature,
        ErrorKind::InvalidAlgorithm => Unauthenticated::Algorithm,
        ErrorKind::InvalidIssuer => Unauthenticated::Issuer,
        ErrorKind::InvalidAudience => Unauthenticated::Audience,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            of_claim(claim)
        }
        _ => Unauthenticated::Malformed,
    }
}

/// When a JWT expires, in milliseconds since 1970; fails if it has expired or is not valid yet.
fn in_time(claims: &Value, now_ms: i64) -> Result<i64, Unauthenticated> {
    let seconds = |claim: &str| match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Unauthenticated::Malformed),
    };
    let expires_s = seconds("exp")?.ok_or(Unauthenticated::Malformed)?;
    // A time too large for milliseconds becomes the largest number.
    let expires_ms = (expires_s * 1_000.0) as i64;
    if expires_ms <= now_ms {
        return Err(Unauthenticated::Expired);
    }
    let not_before_s = seconds("nbf")?.unwrap_or(f64::MIN);
    match ((not_before_s - LEEWAY_S) * 1_000.0) as i64 > now_ms {
        true => Err(Unauthenticated::NotYetValid),
        false => Ok(expires_ms),
    }
}
