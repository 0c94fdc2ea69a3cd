//! An issuer of JWTs with keys of its own, made while a test runs.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// An issuer of JWTs that signs with two keys: `ec` for ES256, `ed` for EdDSA.
pub(crate) struct Issuer {
    random: SystemRandom,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

pub(crate) fn base64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("there is chance");
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("there is chance");
        Self {
            ec: EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).expect("it was made so"),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).expect("it was made so"),
            random,
        }
    }

    /// The issuer's public keys, as JWKs.
    pub(crate) fn keys(&self) -> Vec<Value> {
        let point = &self.ec.public_key().as_ref()[1..];
        vec![
            json!({
                "kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256",
                "x": base64(&point[..32]), "y": base64(&point[32..]),
            }),
            json!({
                "kty": "OKP", "crv": "Ed25519", "kid": "ed",
                "x": base64(self.ed.public_key().as_ref()),
            }),
        ]
    }

    /// The content of a file with the public keys.
    pub(crate) fn jwks(&self) -> String {
        json!({ "keys": self.keys() }).to_string()
    }

    /// A JWT with these claims, signed by the algorithm `ES256` or `EdDSA`.
    pub(crate) fn token(&self, algorithm: &str, claims: &Value) -> String {
        let key = match algorithm {
            "ES256" => "ec",
            _ => "ed",
        };
        self.signed(
            &json!({ "alg": algorithm, "kid": key, "typ": "JWT" }),
            claims,
        )
    }

    /// A JWT with this header, whatever it says.
    pub(crate) fn signed(&self, header: &Value, claims: &Value) -> String {
        let text = format!(
            "{}.{}",
            base64(header.to_string()),
            base64(claims.to_string())
        );
        let signature = match header["alg"].as_str() {
            Some("ES256") => {
                let signed = self.ec.sign(&self.random, text.as_bytes());
                base64(signed.expect("it can sign"))
            }
            Some("EdDSA") => base64(self.ed.sign(text.as_bytes())),
            _ => String::new(),
        };
        format!("{text}.{signature}")
    }
}
