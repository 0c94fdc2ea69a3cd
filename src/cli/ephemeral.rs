//! `taffrail serve --ephemeral`: a broker for tests, in memory only. Its power can be cut and its
//! clock moved ([`taffrail.v1.Admin`]), and it ends when its parent process ends.
//!
//! [`taffrail.v1.Admin`]: crate::proto::admin_server

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::spawn_blocking, time::interval};
use tracing::info;

use super::{
    Failure,
    serve::{Ended, Serving},
};
use crate::{
    config::Config,
    env::{Ephemeral, parent},
    server::{Auth, Certificates, Trial},
};

/// How often it is checked whether the parent process is still there. This works however the broker
/// was started. A signal for the parent's death would come when the thread that started the broker
/// ends, and standard input may be closed from the start, or shared with other processes, depending
/// on the language.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Serves until it is told to stop, or its parent process has ended.
pub(super) async fn serve(
    config: Config,
    auth: Arc<Auth>,
    certificates: Option<Certificates>,
) -> Result<(), Failure> {
    tokio::select! {
        served = serve_through_crashes(config, auth, certificates) => served,
        () = until_alone() => {
            info!("the process that started this one has ended");
            Ok(())
        }
    }
}

async fn serve_through_crashes(
    config: Config,
    auth: Arc<Auth>,
    certificates: Option<Certificates>,
) -> Result<(), Failure> {
    let world = Arc::new(Ephemeral::new());
    let clock = world.env().clock;
    let mut serving = Serving::begin(config, clock, auth, certificates).await?;
    loop {
        let (crash, mut crashes) = mpsc::channel(1);
        let trial = Trial {
            world: Arc::clone(&world),
            crash,
        };
        let cut = async {
            crashes.recv().await;
        };
        match serving.run(world.env(), Some(trial), cut).await? {
            Ended::Stopped => return Ok(()),
            Ended::Cut(broker) => {
                world.cut_power();
                let abandoned = spawn_blocking(move || broker.abandon()).await;
                abandoned.expect("abandoning a broker does not panic");
                info!("the power was cut");
            }
        }
    }
}

/// Resolves when the process has another parent than at the start, because the first one has ended.
async fn until_alone() {
    let first = parent();
    let mut period = interval(LOOK_EVERY);
    while parent() == first {
        period.tick().await;
    }
}
