//! `taffrail serve --ephemeral`: a broker for tests, in memory only. Its power can be cut and its
//! clock moved ([`taffrail.v1.Admin`]), and it ends when its parent process ends.
//!
//! [`taffrail.v1.Admin`]: crate::proto::admin_server

use std::sync::Arc;

use tokio::{sync::mpsc, task::spawn_blocking};
use tracing::info;

use super::{
    Failure, parent,
    serve::{Ended, Serving},
};
use crate::{
    config::Config,
    env::{Ephemeral, Parent},
    server::{Auth, Certificates, Trial},
};

/// Serves until it is told to stop, or its parent process has ended.
pub(super) async fn serve(
    config: Config,
    auth: Arc<Auth>,
    certificates: Option<Certificates>,
    started_by: Parent,
) -> Result<(), Failure> {
    tokio::select! {
        served = serve_through_crashes(config, auth, certificates) => served,
        () = parent::ended(started_by) => Ok(()),
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
