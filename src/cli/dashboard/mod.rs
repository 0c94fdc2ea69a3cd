//! `taffrail dashboard`: what Grafana shows of a broker, and of what Prometheus warns.
//!
//! Queries take the names of metrics from where they are declared, so none is asked for that there
//! is not. Reading order: `query.rs`, how a metric is asked for; `panels.rs`, what is shown;
//! `alerts.rs`, what is warned of.

mod alerts;
mod panels;
mod query;

use super::{Failure, flags::DashboardFlags, output};

pub(super) fn run(flags: &DashboardFlags) -> Result<(), Failure> {
    match flags.alerts {
        true => output::line(alerts::rules().trim_end())?,
        false => output::line(format_args!("{:#}", panels::dashboard()))?,
    }
    Ok(())
}
