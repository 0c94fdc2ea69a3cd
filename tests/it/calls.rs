//! What holds for every call: unknown calls are refused with details, deadlines end streams, too,
//! and health and reflection behave as tools expect.

use std::time::Duration;

use bytes::Bytes;
use taffrail::{
    client::NewTopic,
    proto::{
        ReadRequest,
        health::{HealthCheckRequest, HealthListRequest, health_client::HealthClient},
    },
    testing::TestBroker,
};
use tonic::{Code, Request, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;

use super::{
    grpc::{call, call_with},
    raw::{info, log},
};

/// Longer than anything takes in these tests.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_call_that_is_compressed_with_what_is_not_built_in_is_refused_with_details() {
    let broker = TestBroker::start().await;
    for path in [
        "/taffrail.v1.Topics/List",
        "/taffrail.v1.Log/Read",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        let mut request = Request::new(Bytes::new());
        let snappy = "snappy".parse().expect("a value");
        request.metadata_mut().insert("grpc-encoding", snappy);
        let status = call_with(&broker.channel(), path, request)
            .await
            .expect_err(path);
        let info = info(&status);
        assert_eq!(
            (status.code(), &*info.reason, &*info.domain),
            (
                Code::Unimplemented,
                "COMPRESSION_NOT_SUPPORTED",
                "taffrail.dev"
            ),
            "{path}"
        );
        assert_eq!(info.metadata["encoding"], "snappy");
        assert!(status.message().contains("snappy"), "{status:?}");
        let accepted = status.metadata().get("grpc-accept-encoding");
        assert_eq!(
            accepted.expect("what is taken instead"),
            "identity,gzip,zstd"
        );
    }
    let mut request = Request::new(Bytes::new());
    let identity = "identity".parse().expect("a value");
    request.metadata_mut().insert("grpc-encoding", identity);
    call_with(&broker.channel(), "/taffrail.v1.Topics/List", request)
        .await
        .expect("it is not compressed");
}

#[tokio::test]
async fn a_method_or_service_that_there_is_not_is_named() {
    let broker = TestBroker::start().await;
    for path in [
        "/taffrail.v1.Log/Compact",
        "/taffrail.v2.Log/Append",
        "/grpc.reflection.v1alpha.ServerReflection/Nothing",
        "/nothing",
    ] {
        let status = call(&broker.channel(), path, Bytes::new())
            .await
            .expect_err(path);
        let info = info(&status);
        assert_eq!(
            (status.code(), &*info.reason),
            (Code::Unimplemented, "UNKNOWN_METHOD")
        );
        assert_eq!(info.metadata["path"], path);
        assert!(status.message().contains(path), "{status:?}");
    }
}

#[tokio::test]
async fn a_deadline_ends_a_stream_too() {
    let broker = TestBroker::start().await;
    broker
        .client()
        .topics()
        .create(&NewTopic::new("t"))
        .await
        .unwrap();
    let mut request = Request::new(ReadRequest {
        topic: "t".to_owned(),
        follow: true,
        ..ReadRequest::default()
    });
    request.set_timeout(Duration::from_secs(2));
    let mut responses = log(&broker).read(request).await.unwrap().into_inner();
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            match responses.message().await {
                Ok(response) => assert!(response.is_some(), "it ended well"),
                Err(status) => break status,
            }
        }
    });
    let status = ended.await.expect("it ends");
    assert_eq!(
        (status.code(), &*info(&status).reason),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
}

fn check(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

#[tokio::test]
async fn health_is_told_by_name_and_a_name_that_is_not_known_is_watched_too() {
    let mut broker = TestBroker::start().await;
    let mut health = HealthClient::new(broker.channel());
    let list = health.list(HealthListRequest {}).await.unwrap();
    let statuses = list.into_inner().statuses;
    let names: Vec<_> = statuses.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "",
            "taffrail.v1.Broker",
            "taffrail.v1.Entities",
            "taffrail.v1.Log",
            "taffrail.v1.Topics"
        ]
    );
    for (name, status) in &statuses {
        assert_eq!(status.status, SERVING, "{name}");
        let checked = health.check(check(name)).await.unwrap().into_inner();
        assert_eq!(checked.status, SERVING, "{name}");
    }
    let status = health.check(check("nothing")).await.unwrap_err();
    let told = info(&status);
    assert_eq!(
        (status.code(), &*told.reason),
        (Code::NotFound, "UNKNOWN_SERVICE")
    );
    assert_eq!(told.metadata["service"], "nothing");

    let mut unknown = health.watch(check("nothing")).await.unwrap().into_inner();
    let first = unknown.message().await.unwrap().expect("a status");
    assert_eq!(first.status, SERVICE_UNKNOWN);
    let mut known = health
        .watch(check("taffrail.v1.Log"))
        .await
        .unwrap()
        .into_inner();
    let first = known.message().await.unwrap().expect("a status");
    assert_eq!(first.status, SERVING);

    let (last, rest, ()) = tokio::join!(
        async {
            let mut last = SERVING;
            while let Ok(Some(status)) = known.message().await {
                last = status.status;
            }
            last
        },
        // The stream stays open until then, and sends nothing more.
        unknown.message(),
        broker.stop(),
    );
    assert_eq!(last, NOT_SERVING);
    assert!(rest.expect("it ends well").is_none());
}

async fn reflect(channel: Channel, requests: Vec<MessageRequest>) -> Vec<MessageResponse> {
    let requests = requests.into_iter().map(|request| ServerReflectionRequest {
        message_request: Some(request),
        ..ServerReflectionRequest::default()
    });
    let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(requests)
        .await
        .expect("it is served")
        .into_inner();
    let mut responses = Vec::new();
    while let Some(answer) = answers.message().await.expect("it goes on") {
        responses.push(answer.message_response.expect("an answer"));
    }
    responses
}

#[tokio::test]
async fn reflection_lists_the_services_and_knows_the_details_of_statuses() {
    let broker = TestBroker::start().await;
    let list = MessageRequest::ListServices(String::new());
    let answers = reflect(broker.channel(), vec![list]).await;
    let [MessageResponse::ListServicesResponse(services)] = &answers[..] else {
        panic!("{answers:?}")
    };
    let names: Vec<_> = services
        .service
        .iter()
        .map(|service| &*service.name)
        .collect();
    for name in [
        "taffrail.v1.Log",
        "taffrail.v1.Topics",
        "taffrail.v1.Entities",
        "taffrail.v1.Broker",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }

    let symbols = [
        "google.rpc.ErrorInfo",
        "google.rpc.RetryInfo",
        "google.rpc.Status",
        "google.protobuf.Any",
        "taffrail.v1.Conflict",
        "taffrail.v1.Log.AppendStream",
        "taffrail.v1.Position.offset",
        "taffrail.v1.EDGE_LATEST",
    ];
    let files = [
        "google/rpc/error_details.proto",
        "google/protobuf/duration.proto",
        "taffrail/v1/log.proto",
    ];
    let requests = symbols
        .map(|symbol| MessageRequest::FileContainingSymbol(symbol.to_owned()))
        .into_iter()
        .chain(files.map(|file| MessageRequest::FileByFilename(file.to_owned())));
    let requests: Vec<_> = requests.collect();
    let answers = reflect(broker.channel(), requests.clone()).await;
    assert_eq!(answers.len(), requests.len());
    for (request, answer) in requests.iter().zip(answers) {
        let MessageResponse::FileDescriptorResponse(found) = answer else {
            panic!("{request:?}: {answer:?}")
        };
        assert_eq!(found.file_descriptor_proto.len(), 1, "{request:?}");
    }
}

#[tokio::test]
async fn a_name_that_reflection_does_not_know_is_an_answer_and_the_stream_goes_on() {
    let broker = TestBroker::start().await;
    let requests = vec![
        MessageRequest::FileContainingSymbol("taffrail.v1.Nothing".to_owned()),
        MessageRequest::FileByFilename("nothing.proto".to_owned()),
        MessageRequest::AllExtensionNumbersOfType("taffrail.v1.Nothing".to_owned()),
        MessageRequest::FileContainingSymbol("taffrail.v1.Log".to_owned()),
    ];
    let answers = reflect(broker.channel(), requests).await;
    assert_eq!(answers.len(), 4);
    for answer in &answers[..3] {
        let MessageResponse::ErrorResponse(error) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(error.error_code, 5, "NOT_FOUND");
        assert!(error.error_message.contains("othing"), "{error:?}");
    }
    assert!(matches!(
        answers[3],
        MessageResponse::FileDescriptorResponse(_)
    ));
}

#[tokio::test]
async fn reflection_answers_by_its_older_name_too() {
    use tonic_reflection::pb::v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let broker = TestBroker::start().await;
    let symbol = "taffrail.v1.Log".to_owned();
    let request = ServerReflectionRequest {
        message_request: Some(MessageRequest::FileContainingSymbol(symbol)),
        ..ServerReflectionRequest::default()
    };
    let mut answers = ServerReflectionClient::new(broker.channel())
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().expect("an answer");
    assert!(matches!(
        answer.message_response,
        Some(MessageResponse::FileDescriptorResponse(_))
    ));
}

#[tokio::test]
async fn a_status_that_is_long_in_what_it_repeats_still_comes_with_its_details() {
    let broker = TestBroker::start().await;
    let path = format!("/{}/x", "a".repeat(5_000));
    let status = call(&broker.channel(), &path, Bytes::new())
        .await
        .unwrap_err();
    assert!(status.get_details_error_info().is_some(), "{status:?}");
    assert!(status.message().len() < 500, "{status:?}");
}
