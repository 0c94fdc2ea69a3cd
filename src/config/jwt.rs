//! The settings for JWTs.

use std::path::PathBuf;

use super::{Error, Sources};
use crate::server::{JwtAlgorithm, JwtRules};

/// The settings for JWTs, as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Jwt {
    pub(super) issuer: String,
    pub(super) keys: Option<PathBuf>,
    pub(super) audience: String,
    pub(super) algorithms: Vec<JwtAlgorithm>,
    pub(super) claim: String,
    pub(super) roles_claim: String,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            keys: None,
            audience: String::new(),
            algorithms: JwtAlgorithm::ALL.to_vec(),
            claim: "sub".to_owned(),
            roles_claim: String::new(),
        }
    }
}

impl Jwt {
    /// The rules for JWTs, if they are accepted.
    ///
    /// # Errors
    ///
    /// If one setting is given without another that it needs.
    pub(super) fn rules(&self, sources: &Sources) -> Result<Option<JwtRules>, Error> {
        let settings = [
            ("jwt.issuer", !self.issuer.is_empty()),
            ("jwt.keys", self.keys.is_some()),
            ("jwt.audience", !self.audience.is_empty()),
        ];
        let given = settings.into_iter().find(|(_, is_given)| *is_given);
        let missing = settings.into_iter().find(|(_, is_given)| !*is_given);
        match (given, missing, &self.keys) {
            (None, ..) => Ok(None),
            (Some((name, _)), Some((missing, _)), _) => Err(Error::Lacks {
                source_name: sources.of(name).unwrap_or("by default").to_owned(),
                name,
                missing,
            }),
            (Some(_), None, keys) => Ok(keys.as_ref().map(|keys| JwtRules {
                issuer: self.issuer.clone(),
                keys: keys.clone(),
                audience: self.audience.clone(),
                algorithms: self.algorithms.clone(),
                claim: self.claim.clone(),
                roles_claim: self.roles_claim.clone(),
            })),
        }
    }
}

/// Parses a list of algorithms, separated by commas.
pub(super) fn algorithms(text: &str) -> Result<Vec<JwtAlgorithm>, String> {
    let mut algorithms = Vec::new();
    for name in text.split(',') {
        let algorithm = JwtAlgorithm::named(name.trim());
        let algorithm = algorithm.filter(|one| !algorithms.contains(one));
        algorithms.push(algorithm.ok_or_else(|| {
            let known = JwtAlgorithm::ALL.map(JwtAlgorithm::name).join(", ");
            format!(
                "it is some of {known}, each once, with commas between them; what is signed with \
                 a shared secret, or not at all, is never taken"
            )
        })?);
    }
    Ok(algorithms)
}

/// Parses the name of a claim, which must not be empty.
pub(super) fn claim(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("it is the name of a claim, such as \"sub\"".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// The name of a claim, or a JSON pointer to one; empty for none.
pub(super) fn roles_claim(text: &str) -> Result<String, String> {
    let mut behind_tildes = text.split('~').skip(1);
    let is_pointer = behind_tildes.all(|rest| rest.starts_with(['0', '1']));
    match text.starts_with('/') && !is_pointer {
        true => Err("it is no JSON pointer: behind each ~ comes 0, for ~, or 1, for /".to_owned()),
        false => Ok(text.to_owned()),
    }
}
