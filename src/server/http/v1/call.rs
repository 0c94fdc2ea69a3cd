//! Makes one call to the gRPC services, within this process.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, TE},
};
use http_body::{Body as _, Frame};
use tonic::{Code, Status, body::Body};
use tower::ServiceExt;

use super::{Api, UnderWay};
use crate::{
    broker::Error,
    proto::codec::{self, Decoded},
    server::{
        answers::{Answers, Parts},
        intake::HEADER_BYTES,
        limits::RETRY_AFTER_MS,
        status,
    },
};

/// The headers of a request over HTTP that the call has, too.
const PASSED_ON: [&str; 2] = ["traceparent", "tracestate"];

/// An encoded message, in slices one behind the other.
pub(super) type Message = VecDeque<Bytes>;

impl Api {
    /// Makes a call and waits for its one response.
    pub(super) async fn ask<T: Decoded>(
        &self,
        path: &'static str,
        message: Message,
        (headers, call): (&HeaderMap, &UnderWay),
    ) -> Result<T, Status> {
        let response = self.call(path, message, (headers, call)).await?;
        let (_parts, body) = response.into_parts();
        codec::decode(whole(body).await?)
    }

    /// Makes a call whose responses are taken one by one.
    pub(super) async fn read(
        &self,
        path: &'static str,
        message: Message,
        (headers, call): (&HeaderMap, &UnderWay),
    ) -> Result<Parts, Status> {
        let response = self.call(path, message, (headers, call)).await?;
        let answers = response.extensions().get::<Answers>();
        let parts = answers.and_then(Answers::take);
        parts.ok_or_else(status::internal)
    }

    async fn call(
        &self,
        path: &'static str,
        message: Message,
        (headers, call): (&HeaderMap, &UnderWay),
    ) -> Result<Response<Body>, Status> {
        let mut request = Request::new(Body::new(OneMessage(framed(message))));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(path);
        request.extensions_mut().insert(call.client.peer(self));
        let own = request.headers_mut();
        own.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        own.insert(TE, HeaderValue::from_static("trailers"));
        for value in headers.get_all(AUTHORIZATION) {
            own.append(AUTHORIZATION, value.clone());
        }
        for name in PASSED_ON {
            if let Some(value) = headers.get(name) {
                own.insert(name, value.clone());
            }
        }
        let answered = self.services.clone().oneshot(request).await;
        let response = answered.unwrap_or_else(|never: Infallible| match never {});
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => Ok(response),
        }
    }
}

/// Puts gRPC's header in front of a message.
fn framed(mut message: Message) -> Message {
    let len: usize = message.iter().map(Bytes::len).sum();
    let len = u32::try_from(len).expect("a request is far below 4 GiB");
    let mut header = BytesMut::zeroed(HEADER_BYTES);
    header[1..].copy_from_slice(&len.to_be_bytes());
    message.push_front(header.freeze());
    message
}

/// The single message of a response.
async fn whole(mut body: Body) -> Result<Bytes, Status> {
    let mut came = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => came.extend_from_slice(&data),
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let status = Status::from_header_map(&trailers);
                if let Some(status) = status.filter(|status| status.code() != Code::Ok) {
                    return Err(status);
                }
            }
        }
    }
    match came.len() < HEADER_BYTES {
        true => Err(status::internal()),
        false => Ok(came.split_off(HEADER_BYTES).freeze()),
    }
}

/// A request body of one message.
struct OneMessage(Message);

impl http_body::Body for OneMessage {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop_front().map(|slice| Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// The error if there is no memory for a call, or for its response.
pub(super) fn overloaded() -> Error {
    Error::Overloaded {
        retry_after_ms: RETRY_AFTER_MS,
    }
}
