//! Looks at the configuration file again by time, and takes over who may do what, and how much:
//! nobody can send a signal to a broker in a container. All other settings count at the next start.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::interval};
use tracing::error;

use super::{
    Failure,
    flags::ServeFlags,
    serve::{ConfigFile, load, read},
};
use crate::{env::Clock, server::Auth};

/// How often the file is looked at: a change counts within 5 s, with the streams that it ends.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a look has found: the file, or why it cannot be read.
type Found = Result<Option<ConfigFile>, String>;

/// The configuration file of a broker that runs.
///
/// It counts when two looks in a row have found the same: a file that is being written is short for
/// a moment, and without its last grants, or any.
pub(super) struct Watched {
    flags: ServeFlags,
    auth: Arc<Auth>,
    clock: Arc<dyn Clock>,
    /// What was taken over, or refused, last.
    judged: Found,
    /// What the last look has found.
    found: Found,
}

impl Watched {
    /// The file as it was at the start.
    pub(super) fn new(
        flags: ServeFlags,
        auth: Arc<Auth>,
        clock: Arc<dyn Clock>,
        file: Option<ConfigFile>,
    ) -> Self {
        Self {
            flags,
            auth,
            clock,
            judged: Ok(file.clone()),
            found: Ok(file),
        }
    }

    /// Looks for as long as it is polled.
    pub(super) async fn watch(self) {
        if self.flags.config.is_none() {
            return;
        }
        let mut period = interval(LOOK_EVERY);
        let mut watched = self;
        loop {
            period.tick().await;
            let looked = spawn_blocking(move || {
                watched.look();
                watched
            });
            watched = match looked.await {
                Ok(watched) => watched,
                // This process ends.
                Err(_) => return,
            };
        }
    }

    /// Takes over what two looks have found. A file that is wrong, or not there, leaves what was
    /// granted as it is.
    pub(super) fn look(&mut self) {
        let found = read(&self.flags).map_err(|failure| failure.to_string());
        let is_settled = found == self.found;
        self.found = found;
        if !is_settled || self.found == self.judged {
            return;
        }
        if let Err(problem) = self.take_over() {
            error!(
                "the configuration file has changed and is not taken: {problem}; what was granted \
                before counts, with the quotas there were"
            );
        }
        self.judged = self.found.clone();
    }

    fn take_over(&self) -> Result<(), String> {
        let file = self.found.clone()?;
        let said = |failure: Failure| failure.to_string();
        let loaded = load(&self.flags, file.as_ref()).map_err(said)?;
        let jwt = loaded.config.jwt(&loaded.sources);
        jwt.map_err(|error| error.to_string())?;
        let grants = loaded.config.grants().clone();
        let count = grants.len();
        if count == 0 && self.auth.count() > 0 {
            return Err(
                "it grants nothing any more, and everybody could do everything; start the broker \
                anew if that is meant"
                    .to_owned(),
            );
        }
        let now_ms = self.clock.now_ms();
        if self.auth.replace(grants) {
            self.auth.note_reload(now_ms, "grants", count);
        }
        let quotas = loaded.config.quotas().clone();
        let count = quotas.len();
        if self.auth.quotas().replace(quotas) {
            self.auth.note_reload(now_ms, "quotas", count);
        }
        Ok(())
    }
}
