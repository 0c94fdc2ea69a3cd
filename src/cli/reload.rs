//! Reads the configuration file again every second, and takes over grants and quotas. (Signals
//! would be hard to send to a broker in a container.) All other settings count at the next start.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::interval};
use tracing::error;

use super::{
    Failure,
    flags::ServeFlags,
    serve::{ConfigFile, load, read},
};
use crate::{env::Clock, server::Auth};

/// How often the file is read. A change must take effect within 5 s, including the streams that it
/// ends.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The content of the file, or why it cannot be read.
type Found = Result<Option<ConfigFile>, String>;

/// The configuration file of a running broker.
///
/// A change counts when the file was read twice in a row with the same content: while a file is
/// written, it may be incomplete for a moment, without some of its grants.
pub(super) struct Watched {
    flags: ServeFlags,
    auth: Arc<Auth>,
    clock: Arc<dyn Clock>,
    /// The content that was last taken over or refused.
    judged: Found,
    /// The content when the file was last read.
    found: Found,
}

impl Watched {
    /// Begins with the content that the start has read.
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

    /// Reads the file again and again, for as long as this is polled.
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
                // The runtime is shutting down.
                Err(_) => return,
            };
        }
    }

    /// Reads the file, and takes over content that was found twice. If the file is wrong or
    /// missing, grants and quotas stay as they are.
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
