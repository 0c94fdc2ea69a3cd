//! The values of all metrics at one moment, and how they are written.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text},
    registry::Registry,
};

use super::{Distribution, Format, Metric, declared::Kind};

/// The values of metrics. Metrics are written in the order of their declaration, whatever the order
/// in which values were set. A metric without a value is written, too, so that users can find its
/// name.
#[derive(Debug)]
pub(crate) struct Page {
    families: Vec<Vec<Sample>>,
}

/// One value of a metric.
#[derive(Debug)]
struct Sample {
    labels: Labels,
    value: Value,
}

type Labels = Vec<(&'static str, String)>;

/// A value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Number(u64),
    Real(f64),
    Distribution(Distribution),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<bool> for Value {
    fn from(is_so: bool) -> Self {
        Self::Number(u64::from(is_so))
    }
}

impl From<f64> for Value {
    fn from(real: f64) -> Self {
        Self::Real(real)
    }
}

impl From<Distribution> for Value {
    fn from(distribution: Distribution) -> Self {
        Self::Distribution(distribution)
    }
}

impl Page {
    pub(crate) fn new() -> Self {
        Self {
            families: Metric::ALL.iter().map(|_| Vec::new()).collect(),
        }
    }

    /// Sets the value of a metric without labels.
    pub(crate) fn set(&mut self, metric: Metric, value: impl Into<Value>) {
        self.set_for(metric, &[], value);
    }

    /// Sets the value of a metric without labels, if it is known.
    pub(crate) fn set_known(&mut self, metric: Metric, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(metric, value);
        }
    }

    /// Sets the value of a metric for these labels. No labels are set twice.
    pub(crate) fn set_for(
        &mut self,
        metric: Metric,
        labels: &[(&'static str, &str)],
        value: impl Into<Value>,
    ) {
        let mut owned = Labels::with_capacity(labels.len());
        for (name, text) in labels {
            owned.push((name, (*text).to_owned()));
        }
        self.families[metric as usize].push(Sample {
            labels: owned,
            value: value.into(),
        });
    }

    /// The page as text.
    pub(crate) fn text(self, format: Format) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut page = String::new();
        let written = match format {
            Format::Prometheus => prometheus_text::encode(&mut page, &registry),
            Format::OpenMetrics => text::encode(&mut page, &registry),
        };
        written.expect("a String takes what is written");
        page
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, samples) in Metric::ALL.iter().zip(&self.families) {
            let declared = metric.declared();
            let unit = declared.unit.encoded();
            let kind = declared.kind.encoded();
            let mut family =
                encoder.encode_descriptor(declared.name, declared.help, unit.as_ref(), kind)?;
            for sample in samples {
                match declared.kind {
                    Kind::Info => family.encode_info(&sample.labels)?,
                    kind => write(kind, family.encode_family(&sample.labels)?, &sample.value)?,
                }
            }
        }
        Ok(())
    }
}

fn write(kind: Kind, mut encoder: MetricEncoder<'_>, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Number(number)) => {
            encoder.encode_counter::<NoLabelSet, u64, f64>(number, None)
        }
        (Kind::Counter, Value::Real(real)) => {
            encoder.encode_counter::<NoLabelSet, f64, f64>(real, None)
        }
        (_, Value::Number(number)) => encoder.encode_gauge(number),
        (_, Value::Real(real)) => encoder.encode_gauge(real),
        (_, Value::Distribution(distribution)) => encoder.encode_histogram::<NoLabelSet>(
            distribution.sum,
            distribution.count(),
            &distribution.buckets,
            None,
        ),
    }
}
