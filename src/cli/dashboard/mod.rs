//! `taffrail dashboard`: a dashboard for Grafana, and alerting rules for Prometheus.
//!
//! Queries take the names of metrics from their declarations, so they cannot name one that does not
//! exist. Reading order: `query.rs`, queries for metrics; `panels.rs`, the dashboard; `alerts.rs`,
//! the rules.

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
