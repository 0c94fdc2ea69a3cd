//! `taffrail clock …`: what time it is for a broker.

use serde_json::json;

use super::{
    Failure,
    connection::Server,
    flags::{ClockCommand, ClockFlags},
    output,
    time::format_time,
};
use crate::client::Clock;

pub(super) async fn run(flags: ClockFlags) -> Result<(), Failure> {
    let client = Server::new(&flags.connection)?.connect().await?;
    let clock = match flags.command {
        ClockCommand::Show => client.clock().await?,
        ClockCommand::Accept => client.accept_clock().await?,
    };
    if flags.connection.json {
        return Ok(output::json(&json!({
            "now_ms": clock.now_ms,
            "wall_ms": clock.wall_ms,
            "followed_in_ms": clock.followed_in.map(|followed_in| followed_in.as_millis()),
        }))?);
    }
    Ok(output::line(text(&clock))?)
}

fn text(clock: &Clock) -> String {
    let (now, wall) = (format_time(clock.now_ms), format_time(clock.wall_ms));
    match clock.followed_in {
        None => format!("it is {now}; the machine's clock is followed"),
        Some(followed_in) => format!(
            "it is {now}; the machine's clock says {wall} and is not followed: it will be in {} s if it stands until \
             then, or now with `taffrail clock accept`",
            followed_in.as_secs()
        ),
    }
}
