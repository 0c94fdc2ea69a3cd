//! Looks at the configuration file again by time, and takes over who may do what: nobody can send a
//! signal to a broker in a container. All other settings count at the next start.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::interval};
use tracing::{error, info};

use super::{Failure, flags::ServeFlags, serve::load};
use crate::{env::read_all, server::Auth};

/// How often the file is looked at: a change counts within 5 s, with the streams that it ends.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks for as long as it is polled. A file that is wrong, or not there, leaves what was granted
/// as it is.
pub(super) async fn watch(flags: ServeFlags, auth: Arc<Auth>) {
    let Some(path) = flags.config.clone() else {
        return;
    };
    let mut period = interval(LOOK_EVERY);
    let mut seen = None;
    loop {
        period.tick().await;
        let path = path.clone();
        let text = spawn_blocking(move || read_all(&path).ok()).await;
        let Ok(text) = text else { continue };
        match &seen {
            // What it said at the start has been taken over.
            None => seen = Some(text),
            Some(before) if *before == text => {}
            Some(_) => {
                seen = Some(text);
                take_over(&flags, &auth).await;
            }
        }
    }
}

async fn take_over(flags: &ServeFlags, auth: &Auth) {
    let flags = flags.clone();
    let Ok(loaded) = spawn_blocking(move || load(&flags)).await else {
        return;
    };
    match loaded {
        Ok(loaded) => {
            let grants = loaded.config.grants();
            if auth.replace(grants.clone()) {
                info!(
                    target: "audit",
                    grants = grants.len(),
                    "the grants of the configuration file have changed"
                );
            }
        }
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &Failure) {
    error!(
        "the configuration file has changed and is not taken: {error}; what was granted before \
        counts"
    );
}
