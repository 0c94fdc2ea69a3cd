//! The formats of a metrics page, and the choice of the one that a client wants.

use prometheus_client::encoding::prometheus_text;

/// A format of a metrics page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text format, which every tool reads.
    Prometheus,
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// The `Content-Type` of the format, which Prometheus looks at first.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header prefers. If it accepts neither, Prometheus' text is sent
    /// nevertheless: a person who looks at the page has seldom set the header.
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

/// The quality value of a media range: 1 if it gives none.
fn quality(range: &str) -> f64 {
    for parameter in range.split(';').skip(1) {
        if let Some(quality) = parameter.trim().strip_prefix("q=") {
            return quality.parse().unwrap_or(0.0);
        }
    }
    1.0
}
