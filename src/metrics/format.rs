//! The formats that a page is written in, and which of them a client wants.

use prometheus_client::encoding::prometheus_text;

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text, which everybody reads.
    Prometheus,
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// What Prometheus looks at before it reads the rest.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The one that an `Accept` header likes best. Where it likes none of them it is told in
    /// Prometheus' text all the same: a person who asks has seldom set the header.
    pub(crate) fn wanted(accept: &str) -> Self {
        let mut best = (Self::Prometheus, 0.0);
        for range in accept.split(',') {
            let Some(format) = Self::of_range(range) else {
                continue;
            };
            let quality = quality(range);
            if quality > best.1 {
                best = (format, quality);
            }
        }
        best.0
    }

    /// The format that a range of media types has.
    fn of_range(range: &str) -> Option<Self> {
        let mut parameters = range.split(';').map(str::trim);
        let kind = parameters.next()?;
        if kind.eq_ignore_ascii_case(OPEN_METRICS) {
            let mut versions = parameters.filter_map(|one| one.strip_prefix("version="));
            return versions
                .all(|version| version == "1.0.0")
                .then_some(Self::OpenMetrics);
        }
        let is_text = ["text/plain", "text/*", "*/*"]
            .iter()
            .any(|text| kind.eq_ignore_ascii_case(text));
        is_text.then_some(Self::Prometheus)
    }
}

/// How much a range is liked: 1 unless it says so itself.
fn quality(range: &str) -> f64 {
    for parameter in range.split(';').skip(1) {
        if let Some(quality) = parameter.trim().strip_prefix("q=") {
            return quality.parse().unwrap_or(0.0);
        }
    }
    1.0
}
