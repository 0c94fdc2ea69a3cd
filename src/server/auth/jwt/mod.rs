//! Callers that are known by a JWT (RFC 7519) of one issuer.
//!
//! A token is looked at from the outside to the inside: its algorithm, its key, its signature, and
//! only then what it says. Nothing of a token whose signature is wrong gets any further, nor does
//! it change what its sender is told. What signatures are checked with is in `signatures.rs`, the
//! issuer's keys are in `keys.rs`, and where they are read from in `file.rs`.

mod file;
mod keys;
mod signatures;

use std::{path::PathBuf, sync::Arc};

use jsonwebtoken::{Algorithm, TokenData, Validation, decode, decode_header, errors::ErrorKind};
use serde_json::Value;
use tokio::sync::watch;

use super::{Principal, Unauthenticated};

pub(crate) use self::file::JwtKeys;
pub(super) use self::{
    keys::{Key, Keys},
    signatures::fingerprint,
};

/// By how much an issuer's clock may be ahead of the broker's, in seconds.
const LEEWAY_S: f64 = 30.0;

/// The longest name that a token gives its caller, or a role, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Most roles of a caller.
const MAX_ROLES: usize = 100;

/// How a token may be signed. What needs a secret that both sides have is not among it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JwtAlgorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl JwtAlgorithm {
    pub(crate) const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// As it is written in the setting, and in tokens.
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

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JwtRules {
    /// Who makes them (`iss`).
    pub(crate) issuer: String,
    /// Where its keys are: a JWK set (RFC 7517).
    pub(crate) keys: PathBuf,
    /// The audience that they name (`aud`).
    pub(crate) audience: String,
    pub(crate) algorithms: Vec<JwtAlgorithm>,
    /// The claim that names the caller.
    pub(crate) claim: String,
    /// The claim with the caller's roles, or a JSON pointer to it; empty for none.
    pub(crate) roles_claim: String,
}

/// An issuer of tokens, with the keys that it signs them with.
#[derive(Debug)]
pub(crate) struct Issuer {
    rules: JwtRules,
    keys: watch::Sender<Arc<Keys>>,
}

/// What a token says of its caller.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) principal: Principal,
    pub(super) roles: Arc<[Principal]>,
    /// From then on it counts no more, in milliseconds since 1970.
    pub(super) expires_ms: i64,
    pub(super) key: Arc<Key>,
}

/// Whether a text may be a JWT: three parts with dots between them, which no other token has.
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

    /// Tells when there are other keys.
    pub(super) fn watch(&self) -> watch::Receiver<Arc<Keys>> {
        self.keys.subscribe()
    }

    /// Whether tokens of this key still count.
    pub(super) fn still_has(&self, key: &Key) -> bool {
        self.keys.borrow().has(key)
    }

    /// Whose token it is at this moment, in milliseconds since 1970.
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

    /// What is checked along with the signature. Times are not: they are compared with the broker's
    /// time, not with the machine's.
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
        if names.len() > MAX_ROLES {
            return Err(Unauthenticated::TooManyRoles);
        }
        let names = names.into_iter().filter(|name| is_a_name(name));
        Ok(names.map(Principal::role).collect())
    }
}

fn is_a_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

/// What a header that cannot be read means. One with an algorithm that nobody knows, or `none`, is
/// understood but for that.
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

/// Until when a token counts, in milliseconds since 1970, if it counts now.
fn in_time(claims: &Value, now_ms: i64) -> Result<i64, Unauthenticated> {
    let seconds = |claim: &str| match claims.get(claim) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Unauthenticated::Malformed),
    };
    let expires_s = seconds("exp")?.ok_or(Unauthenticated::Malformed)?;
    // Beyond what has a number of milliseconds, it is the largest that there is.
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
