//! The paths that can be requested, and the responses.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::{
    Http, answer::Answer, client::Client, pieces::Pieces, readiness::Health, scrape::NoPage, v1,
};
use crate::{metrics::Format, server::places::Place};

const TEXT: &str = "text/plain; charset=utf-8";

/// The text at `/`, for people who open it in a browser.
const INDEX: &str = "\
This is Taffrail, a broker for logs and events. Here is what can be seen of it:
  /metrics                   its figures, for Prometheus
  /metrics?partitions=TOPIC  those of the first 1,000 partitions of a topic
  /livez                     200 as long as it need not be started anew
  /readyz                    200 while it takes calls
And calls, for clients without gRPC, which is on another port:
  GET  /v1/topics                   the topics
  POST /v1/topics/TOPIC/records     append records
  GET  /v1/topics/TOPIC/records     read them; ?follow goes on
  GET  /v1/topics/TOPIC/keys/KEY    the records of one key
";

impl Http {
    /// Answers a request: a call below `/v1`, or a page.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        client: &Arc<Client>,
    ) -> Response<Answer> {
        if self.rules.calls > 0 && v1::is_call(request.uri().path()) {
            let rules = (&*self.rules, self.tls.is_some());
            return v1::answer(&self.readiness, rules, request, client).await;
        }
        self.page_of(&request, client).await.map(Answer::from)
    }

    async fn page_of(&self, request: &Request<Incoming>, client: &Client) -> Response<Pieces> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut refused = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "there is nothing here but to GET\n",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(header::ALLOW, allowed);
            return refused;
        }
        match request.uri().path() {
            "/" => text(StatusCode::OK, INDEX),
            "/livez" => health(self.readiness.lives()),
            "/readyz" => health(self.readiness.is_ready()),
            "/metrics" if !self.may_be_named(request, client) => text(
                StatusCode::MISDIRECTED_REQUEST,
                "call the broker by its address, or list the name in http.hosts\n",
            ),
            "/metrics" => self.metrics(request, &client.place).await,
            _ => text(StatusCode::NOT_FOUND, INDEX),
        }
    }

    fn may_be_named<B>(&self, request: &Request<B>, client: &Client) -> bool {
        v1::may_be_named(&self.rules, request, client.local, self.tls.is_some())
    }

    async fn metrics(&self, request: &Request<Incoming>, place: &Place) -> Response<Pieces> {
        let mut accepted = Vec::new();
        for value in request.headers().get_all(header::ACCEPT) {
            accepted.extend(value.to_str());
        }
        let format = Format::wanted(&accepted.join(","));
        let topic = request.uri().query().and_then(named_topic);
        match self.page(format, topic, place).await {
            Ok(page) => respond(StatusCode::OK, format.content_type(), page),
            Err(NoPage::Starting) => health(self.readiness.is_ready()),
            Err(NoPage::NoTopic) => text(StatusCode::NOT_FOUND, "there is no such topic\n"),
            Err(NoPage::NoMemory) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the memory for answers is used up (memory.reads_bytes); ask again later\n",
            ),
        }
    }
}

/// The topic in `partitions=TOPIC`. Names of topics need no percent-encoding.
fn named_topic(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("partitions="))
}

fn health(health: Health) -> Response<Pieces> {
    match health {
        Ok(word) => text(StatusCode::OK, format!("{word}\n")),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

fn text(status: StatusCode, text: impl Into<String>) -> Response<Pieces> {
    respond(status, TEXT, Pieces::uncounted(text.into()))
}

fn respond(status: StatusCode, content_type: &'static str, body: Pieces) -> Response<Pieces> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    // No cache may keep it: it is true only for the moment.
    let no_store = HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}
