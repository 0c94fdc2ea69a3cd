//! Queries for metrics, in PromQL.

use crate::metrics::Metric;

/// Selects the brokers that are chosen at the top of the dashboard.
const CHOSEN: &str = r#"instance=~"$instance""#;

/// The value of a gauge.
pub(super) fn value(metric: Metric) -> String {
    format!("{}{{{CHOSEN}}}", metric.series())
}

/// The increase of a counter in a second.
pub(super) fn rate(metric: Metric) -> String {
    rate_by(metric, "instance")
}

/// The increase of a counter in a second, for each value of these labels.
pub(super) fn rate_by(metric: Metric, labels: &str) -> String {
    let series = metric.series();
    format!("sum by ({labels}) (rate({series}{{{CHOSEN}}}[$__rate_interval]))")
}

/// The number of events in a second that a histogram has counted.
pub(super) fn events(metric: Metric) -> String {
    let series = metric.series();
    format!("sum by (instance) (rate({series}_count{{{CHOSEN}}}[$__rate_interval]))")
}

/// The time that this share of the events in a histogram did not exceed.
pub(super) fn quantile(share: &str, metric: Metric) -> String {
    let series = metric.series();
    format!(
        "histogram_quantile({share}, sum by (le, instance) \
        (rate({series}_bucket{{{CHOSEN}}}[$__rate_interval])))"
    )
}

/// The used share of a limit, from 0 to 1.
pub(super) fn share(used: Metric, limit: Metric) -> String {
    format!("{} / {}", value(used), value(limit))
}
