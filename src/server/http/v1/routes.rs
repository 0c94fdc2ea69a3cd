//! The paths and methods below `/v1`.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tonic::Code;

use super::{
    super::{answer::Answer, client::Client, pieces::Pieces},
    Api, UnderWay, append,
    problem::Problem,
    query::{self, malformed},
    records, topics,
};
use crate::{budget::Held, server::status::shortened};

/// The beginning of the paths of all calls.
const PREFIX: &str = "/v1";

/// A call, with what its path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Topics,
    Read { topic: String },
    Append { topic: String },
    Key { topic: String, key: Vec<u8> },
}

/// Whether a path is below `/v1`, even if no call has it.
pub(in crate::server::http) fn is_call(path: &str) -> bool {
    let rest = path.strip_prefix(PREFIX);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Finds the call for a method and a path.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, Problem> {
    let mut parts = Vec::new();
    for part in path.strip_prefix(PREFIX).unwrap_or(path).split('/').skip(1) {
        parts.push(
            query::decoded(part).ok_or_else(|| malformed("the path has a % without two digits"))?,
        );
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let (route, allowed) = match (&*parts, method) {
        ([b"topics"], &Method::GET) => return Ok(Route::Topics),
        ([b"topics", topic, b"records"], &Method::GET) => {
            return Ok(Route::Read {
                topic: name(topic)?,
            });
        }
        ([b"topics", topic, b"records"], &Method::POST) => {
            return Ok(Route::Append {
                topic: name(topic)?,
            });
        }
        ([b"topics", topic, b"keys", key], &Method::GET) => {
            return Ok(Route::Key {
                topic: name(topic)?,
                key: key.to_vec(),
            });
        }
        ([b"topics", _, b"records"], _) => (true, "GET, POST"),
        ([b"topics"] | [b"topics", _, b"keys", _], _) => (true, "GET"),
        _ => (false, ""),
    };
    Err(match route {
        true => {
            let text = format!("{method} is not possible here; {allowed} is");
            let what = ("METHOD_NOT_ALLOWED", text);
            Problem::of_http(
                StatusCode::METHOD_NOT_ALLOWED,
                Code::Unimplemented,
                what,
                &[],
            )
            .with(header::ALLOW, allowed)
        }
        false => {
            let path = shortened(path);
            let text = format!("there is no {path:?}; GET / says what there is");
            let what = ("UNKNOWN_PATH", text);
            Problem::of_http(
                StatusCode::NOT_FOUND,
                Code::NotFound,
                what,
                &[("path", &path)],
            )
        }
    })
}

fn name(part: &[u8]) -> Result<String, Problem> {
    let name = String::from_utf8(part.to_vec());
    name.map_err(|_| malformed("the topic's name in the path is not UTF-8"))
}

/// Runs the call.
pub(super) async fn serve(
    api: &Arc<Api>,
    route: Route,
    request: Request<Incoming>,
    client: &Arc<Client>,
) -> Result<Response<Answer>, Problem> {
    match route {
        Route::Topics => topics::list(api, &request, api.begin(client)?).await,
        Route::Read { topic } => records::read(api, topic, &request, api.begin(client)?).await,
        // An append takes its place among the calls when its body has been received.
        Route::Append { topic } => append::append(api, topic, request, client).await,
        Route::Key { topic, key } => {
            records::read_key(api, topic, key, &request, api.begin(client)?).await
        }
    }
}

/// A JSON response to a call.
pub(super) fn json(mut text: String, held: Held, call: Arc<UnderWay>) -> Response<Answer> {
    text.push('\n');
    let answer = Answer::from(Pieces::counted(text, held));
    let mut response = Response::new(answer.of(call));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
