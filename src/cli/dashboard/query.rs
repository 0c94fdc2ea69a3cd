//! How metrics are asked for.

use crate::metrics::Metric;

/// Only of the brokers that are chosen at the top of the dashboard.
const CHOSEN: &str = r#"instance=~"$instance""#;

/// What a gauge is.
pub(super) fn value(metric: Metric) -> String {
    format!("{}{{{CHOSEN}}}", metric.series())
}

/// What a counter rises by in a second.
pub(super) fn rate(metric: Metric) -> String {
    rate_by(metric, "instance")
}

/// The same for each value of these labels.
pub(super) fn rate_by(metric: Metric, labels: &str) -> String {
    let series = metric.series();
    format!("sum by ({labels}) (rate({series}{{{CHOSEN}}}[$__rate_interval]))")
}

/// How often a histogram counts something in a second.
pub(super) fn events(metric: Metric) -> String {
    let series = metric.series();
    format!("sum by (instance) (rate({series}_count{{{CHOSEN}}}[$__rate_interval]))")
}

/// What this share of the times in a histogram do not exceed.
pub(super) fn quantile(share: &str, metric: Metric) -> String {
    let series = metric.series();
    format!(
        "histogram_quantile({share}, sum by (le, instance) \
        (rate({series}_bucket{{{CHOSEN}}}[$__rate_interval])))"
    )
}

/// How much of a limit is used, from 0 to 1.
pub(super) fn share(used: Metric, limit: Metric) -> String {
    format!("{} / {}", value(used), value(limit))
}
