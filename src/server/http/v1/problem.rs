//! Errors in the format of RFC 9457, `application/problem+json`, with the details of the gRPC
//! status.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    super::{answer::Answer, pieces::Pieces},
    records::EVENTS,
};
use crate::{
    broker::Error,
    proto::{Conflict, failed_condition::Actual},
    server::status::{DOMAIN, shortened},
};

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// An error, and how it is answered.
pub(super) struct Problem {
    status: Box<Status>,
    /// The HTTP status, if it is not the one for the gRPC code.
    http_status: Option<StatusCode>,
    /// A header for the response, such as `Allow`.
    header: Option<(header::HeaderName, HeaderValue)>,
    /// The records and keys of the request's conditions, to name those that failed.
    conditions: Vec<(usize, String)>,
}

/// The JSON document. It has no `type`, which means `about:blank`: then `title` is the text of the
/// HTTP status, and `reason` tells what kind of error it is.
#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: String,
    reason: &'a str,
    domain: &'a str,
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

/// A condition that failed.
#[derive(Serialize)]
struct Failed {
    /// The index of the record in the request, from 0.
    record: usize,
    key: String,
    /// The actual version of the entity.
    version: u64,
}

impl From<Status> for Problem {
    fn from(status: Status) -> Self {
        Self {
            status: Box::new(status),
            http_status: None,
            header: None,
            conditions: Vec::new(),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Status::from(error).into()
    }
}

impl Problem {
    /// An error of HTTP itself, for which there is no gRPC status.
    pub(super) fn of_http(
        http_status: StatusCode,
        code: Code,
        (reason, text): (&str, String),
        metadata: &[(&str, &str)],
    ) -> Self {
        let mut told = HashMap::new();
        for (name, value) in metadata {
            told.insert((*name).to_owned(), shortened(value));
        }
        let details = ErrorDetails::with_error_info(reason, DOMAIN, told);
        Self {
            http_status: Some(http_status),
            ..Status::with_error_details(code, text, details).into()
        }
    }

    /// This error, with a header.
    pub(super) fn with(self, name: header::HeaderName, value: &'static str) -> Self {
        Self {
            header: Some((name, HeaderValue::from_static(value))),
            ..self
        }
    }

    /// This error, with the records and keys of the request's conditions, in the order of the
    /// conditions.
    pub(super) fn about(self, conditions: Vec<(usize, String)>) -> Self {
        Self { conditions, ..self }
    }

    fn http_status(&self) -> StatusCode {
        self.http_status
            .unwrap_or_else(|| http_status(self.status.code(), &self.reason()))
    }

    fn reason(&self) -> String {
        let info = self.status.get_details_error_info();
        info.map_or_else(String::new, |info| info.reason)
    }

    fn retry_after(&self) -> Option<Duration> {
        self.status.get_details_retry_info()?.retry_delay
    }

    /// The JSON document, on one line.
    pub(super) fn json(&self) -> String {
        let status = self.http_status();
        let info = self.status.get_details_error_info();
        let mut metadata = BTreeMap::new();
        if let Some(info) = &info {
            let told = info.metadata.iter();
            metadata.extend(told.map(|(name, value)| (name.as_str(), value.as_str())));
        }
        let retry_after = self.retry_after();
        let document = Document {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: self.status.message(),
            code: name_of(self.status.code()),
            reason: info.as_ref().map_or("", |info| &info.reason),
            domain: DOMAIN,
            metadata,
            retry_after_ms: retry_after.map(|delay| delay.as_millis() as u64),
            failed: self.failed(),
        };
        serde_json::to_string(&document).unwrap_or_default()
    }

    fn failed(&self) -> Vec<Failed> {
        let mut failed = Vec::new();
        let conflict = Conflict::from_details(self.status.details());
        for condition in conflict.unwrap_or_default().failed {
            let about = self.conditions.get(condition.index as usize);
            if let (Some((record, key)), Some(Actual::Version(version))) = (about, condition.actual)
            {
                failed.push(Failed {
                    record: *record,
                    key: key.clone(),
                    version,
                });
            }
        }
        failed
    }

    /// The response to a client that reads server-sent events. Browsers give up on any status but
    /// 200, so a temporary error is sent as an event, and the browser connects again.
    pub(super) fn into_events(self) -> Response<Answer> {
        let Some(delay) = self.retry_after() else {
            return self.into_response();
        };
        let delay_ms = delay.as_millis().max(1);
        let text = format!(
            "retry: {delay_ms}\nevent: problem\ndata: {}\n\n",
            self.json()
        );
        let mut response = Response::new(Pieces::uncounted(text).into());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    pub(super) fn into_response(self) -> Response<Answer> {
        let mut text = self.json();
        text.push('\n');
        let mut response = Response::new(Pieces::uncounted(text).into());
        *response.status_mut() = self.http_status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(delay) = self.retry_after() {
            // Rounded up to whole seconds, so that the client does not come back too early.
            let seconds = delay.as_millis().div_ceil(1_000).max(1);
            headers.insert(header::RETRY_AFTER, (seconds as u64).into());
        }
        if self.status.code() == Code::Unauthenticated {
            let bearer = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, bearer);
        }
        if let Some((name, value)) = self.header {
            headers.insert(name, value);
        }
        response
    }
}

/// The error while the broker is not open yet.
pub(super) fn starting() -> Problem {
    let mut details = ErrorDetails::with_error_info("STARTING", DOMAIN, HashMap::new());
    details.set_retry_info(Some(Duration::from_secs(1)));
    let text = "the broker is starting: the data directory is being read";
    let status = Status::with_error_details(Code::Unavailable, text, details);
    Problem::from(status)
}

/// The HTTP status for a gRPC code, as `google/rpc/code.proto` maps them, except where HTTP has a
/// more exact one.
fn http_status(code: Code, reason: &str) -> StatusCode {
    match (code, reason) {
        (_, "REQUEST_TOO_LARGE") => StatusCode::PAYLOAD_TOO_LARGE,
        (_, "DISK_FULL") => StatusCode::INSUFFICIENT_STORAGE,
        (Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange, _) => {
            StatusCode::BAD_REQUEST
        }
        (Code::Unauthenticated, _) => StatusCode::UNAUTHORIZED,
        (Code::PermissionDenied, _) => StatusCode::FORBIDDEN,
        (Code::NotFound, _) => StatusCode::NOT_FOUND,
        (Code::AlreadyExists | Code::Aborted, _) => StatusCode::CONFLICT,
        (Code::ResourceExhausted, _) => StatusCode::TOO_MANY_REQUESTS,
        (Code::Unimplemented, _) => StatusCode::NOT_IMPLEMENTED,
        (Code::Unavailable, _) => StatusCode::SERVICE_UNAVAILABLE,
        (Code::DeadlineExceeded, _) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The name of a gRPC code in the protocol, such as `INVALID_ARGUMENT`.
fn name_of(code: Code) -> String {
    let mut name = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}
