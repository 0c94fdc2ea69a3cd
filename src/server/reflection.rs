//! `grpc.reflection`: describes the broker's calls and messages to tools without `.proto` files.
//! Both versions of the protocol have the same messages under two names.
//!
//! The messages in the details of our statuses can be asked for, too. An unknown name is answered
//! without ending the stream, because tools ask for several names on one stream.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Uri};
use tokio_stream::Stream;
use tonic::{Code, Response, Status, Streaming, async_trait, body::Body, server::NamedService};
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
    server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
    server_reflection_server::{ServerReflection, ServerReflectionServer},
};
use tower::Service;

use super::status;
use crate::proto::{self, DESCRIPTORS};

const V1_PATH: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const V1_ALPHA_PATH: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// The service under its present name.
pub(super) fn v1() -> ServerReflectionServer<Reflection> {
    ServerReflectionServer::new(Reflection(Arc::new(Known::new())))
}

/// The service under the name that older tools use.
pub(super) fn v1_alpha() -> Alpha {
    Alpha(v1())
}

pub(super) struct Reflection(Arc<Known>);

/// Everything that can be asked for.
struct Known {
    files: HashMap<String, Bytes>,
    /// The file that defines each symbol.
    symbols: HashMap<String, Bytes>,
    messages: Vec<String>,
    services: Vec<String>,
}

impl Known {
    fn new() -> Self {
        let mut known = Self {
            files: HashMap::new(),
            symbols: HashMap::new(),
            messages: Vec::new(),
            services: Vec::new(),
        };
        for set in [
            DESCRIPTORS,
            tonic_types::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            for file in proto::files(set) {
                let symbols = file.symbols.into_iter();
                known
                    .symbols
                    .extend(symbols.map(|symbol| (symbol, file.encoded.clone())));
                known.files.insert(file.name, file.encoded);
                known.messages.extend(file.messages);
                known.services.extend(file.services);
            }
        }
        known
    }

    fn answer(&self, request: &MessageRequest) -> MessageResponse {
        let found = match request {
            MessageRequest::FileByFilename(name) => file(self.files.get(name), name),
            MessageRequest::FileContainingSymbol(name) => {
                file(self.symbols.get(name.trim_start_matches('.')), name)
            }
            MessageRequest::AllExtensionNumbersOfType(name) if self.messages.contains(name) => Ok(
                MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number: Vec::new(),
                }),
            ),
            MessageRequest::AllExtensionNumbersOfType(name) => Err(name.clone()),
            MessageRequest::FileContainingExtension(extension) => Err(format!(
                "extension {} of {}",
                extension.extension_number, extension.containing_type
            )),
            MessageRequest::ListServices(_) => Ok(self.list()),
        };
        found.unwrap_or_else(|name| error(Code::NotFound, format!("there is no {name} here")))
    }

    fn list(&self) -> MessageResponse {
        let service = |name: &String| ServiceResponse { name: name.clone() };
        MessageResponse::ListServicesResponse(ListServiceResponse {
            service: self.services.iter().map(service).collect(),
        })
    }
}

/// The response with a file, or the name that was not found.
fn file(found: Option<&Bytes>, name: &str) -> Result<MessageResponse, String> {
    let encoded = found.ok_or_else(|| name.to_owned())?;
    Ok(MessageResponse::FileDescriptorResponse(
        FileDescriptorResponse {
            file_descriptor_proto: vec![encoded.to_vec()],
        },
    ))
}

fn error(code: Code, message: String) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse {
        error_code: code.into(),
        error_message: message,
    })
}

#[async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream = Answers;

    async fn server_reflection_info(
        &self,
        request: tonic::Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        Ok(Response::new(Answers {
            known: Arc::clone(&self.0),
            requests: request.into_inner(),
        }))
    }
}

/// A response to each request, in order.
pub(super) struct Answers {
    known: Arc<Known>,
    requests: Streaming<ServerReflectionRequest>,
}

impl Stream for Answers {
    type Item = Result<ServerReflectionResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let request = match ready!(Pin::new(&mut self.requests).poll_next(cx)) {
            None => return Poll::Ready(None),
            Some(Err(status)) => return Poll::Ready(Some(Err(status::of_undecoded(status)))),
            Some(Ok(request)) => request,
        };
        let answer = match &request.message_request {
            Some(asked) => self.known.answer(asked),
            None => error(
                Code::InvalidArgument,
                "the request asks for nothing".to_owned(),
            ),
        };
        Poll::Ready(Some(Ok(ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        })))
    }
}

/// Takes calls under the older name.
#[derive(Clone)]
pub(super) struct Alpha(ServerReflectionServer<Reflection>);

impl NamedService for Alpha {
    const NAME: &'static str = "grpc.reflection.v1alpha.ServerReflection";
}

impl Service<Request<Body>> for Alpha {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = <ServerReflectionServer<Reflection> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if request.uri().path() == V1_ALPHA_PATH {
            *request.uri_mut() = Uri::from_static(V1_PATH);
        }
        self.0.call(request)
    }
}
