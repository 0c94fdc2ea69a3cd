//! The end of the parent process.

use std::time::Duration;

use tokio::time::interval;
use tracing::info;

use crate::env::Parent;

/// How often it is checked whether the parent process is still there. This works however the broker
/// was started. A signal for the parent's death would come when the thread that started the broker
/// ends, and standard input may be closed from the start, or shared with other processes, depending
/// on the language.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Resolves when the parent process has ended.
pub(super) async fn ended(parent: Parent) {
    let mut period = interval(LOOK_EVERY);
    while !parent.has_ended() {
        period.tick().await;
    }
    info!("the process that started this one has ended");
}
