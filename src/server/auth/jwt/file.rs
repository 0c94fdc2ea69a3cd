//! The file with an issuer's keys. It is read again every few seconds, as certificates are.

use std::{future::pending, path::PathBuf, sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::interval};
use tracing::{info, warn};

use super::{Issuer, JwtRules, keys::Keys};
use crate::{
    env::{Env, FileSystem},
    server::certificates::{meaning, read_file},
};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why the file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot be used: {problem}", path.display())]
pub(crate) struct UnusableKeys {
    path: PathBuf,
    problem: String,
}

/// The issuer, and the content of its file as it was last read.
pub(crate) struct JwtKeys {
    files: Arc<dyn FileSystem>,
    issuer: Arc<Issuer>,
    used: Vec<u8>,
    found: Option<Result<Vec<u8>, UnusableKeys>>,
    said: Option<UnusableKeys>,
}

impl JwtKeys {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// If it cannot be used.
    pub(crate) fn load(env: &Env, rules: JwtRules) -> Result<Self, UnusableKeys> {
        let used = read(&*env.files, &rules)?;
        let keys = parse(&used, &rules)?;
        Ok(Self {
            files: Arc::clone(&env.files),
            issuer: Arc::new(Issuer::new(rules, keys)),
            used,
            found: None,
            said: None,
        })
    }

    /// The issuer whose JWTs are accepted.
    pub(crate) fn issuer(&self) -> Arc<Issuer> {
        Arc::clone(&self.issuer)
    }

    /// Reads the file every few seconds, for ever.
    pub(crate) async fn watch(self) {
        let mut period = interval(LOOK_EVERY);
        let mut keys = self;
        loop {
            period.tick().await;
            let looked = spawn_blocking(move || {
                keys.look();
                keys
            });
            keys = match looked.await {
                Ok(keys) => keys,
                // The runtime is shutting down.
                Err(_) => return pending().await,
            };
        }
    }

    /// Takes over what the file has twice in a row: a file that is being written may be read when
    /// it is incomplete.
    pub(in crate::server::auth) fn look(&mut self) {
        let found = read(&*self.files, &self.issuer.rules);
        let is_settled = self.found.as_ref() == Some(&found);
        if found.as_ref() == Ok(&self.used) {
            self.said = None;
        } else if is_settled {
            self.use_file(found.clone());
        }
        self.found = Some(found);
    }

    fn use_file(&mut self, found: Result<Vec<u8>, UnusableKeys>) {
        let rules = &self.issuer.rules;
        let parsed = found.and_then(|text| Ok((parse(&text, rules)?, text)));
        match parsed {
            Ok((keys, text)) => {
                info!(
                    keys = keys.len(),
                    "tokens of {} are checked with the keys that are in {} now",
                    rules.issuer,
                    rules.keys.display()
                );
                self.issuer.replace(keys);
                self.used = text;
                self.said = None;
            }
            Err(unusable) if self.said.as_ref() == Some(&unusable) => {}
            Err(unusable) => {
                warn!("{unusable}; the keys that were read before are kept");
                self.said = Some(unusable);
            }
        }
    }
}

fn read(disk: &dyn FileSystem, rules: &JwtRules) -> Result<Vec<u8>, UnusableKeys> {
    let path = &rules.keys;
    read_file(disk, path).map_err(|error| UnusableKeys {
        path: path.clone(),
        problem: meaning(&error),
    })
}

fn parse(text: &[u8], rules: &JwtRules) -> Result<Keys, UnusableKeys> {
    let keys = Keys::parse(text).and_then(|keys| match keys.are_for_any(&rules.algorithms) {
        true => Ok(keys),
        false => Err("it has no key for any of jwt.algorithms".to_owned()),
    });
    keys.map_err(|problem| UnusableKeys {
        path: rules.keys.clone(),
        problem,
    })
}
