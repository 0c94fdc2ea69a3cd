//! `AppendRequest`, against what prost makes of the same definition.

use bytes::Bytes;
use prost::Message;

use crate::{proto::wire::AppendRequest, types::limits::MAX_BATCHES_PER_APPEND};

#[derive(Clone, PartialEq, Message)]
struct Derived {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    batches: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    conditions: Vec<Bytes>,
}

fn derived(batches: usize) -> Derived {
    Derived { batches: (0..batches).map(|i| Bytes::from(format!("batch {i}"))).collect(), conditions: Vec::new() }
}

#[test]
fn it_has_the_form_that_prost_gives_it() {
    let request = AppendRequest { batches: derived(3).batches };
    let encoded = request.encode_to_vec();
    assert_eq!(encoded, derived(3).encode_to_vec());
    assert_eq!(encoded.len(), request.encoded_len());
    assert_eq!(AppendRequest::decode(&encoded[..]), Ok(request));
}

#[test]
fn a_field_it_does_not_know_is_refused_because_it_may_be_a_condition() {
    let newer = Derived { conditions: vec![Bytes::from_static(b"only if")], ..derived(1) };
    let error = AppendRequest::decode(&newer.encode_to_vec()[..]).unwrap_err();
    assert!(error.to_string().contains("field 2 of AppendRequest is unknown"), "{error}");
}

#[test]
fn a_received_request_keeps_one_batch_more_than_is_allowed_and_no_more() {
    let encoded = derived(MAX_BATCHES_PER_APPEND + 100).encode_to_vec();
    let request = AppendRequest::decode(&encoded[..]).unwrap();
    assert_eq!(request.batches.len(), MAX_BATCHES_PER_APPEND + 1);
}

#[test]
fn a_batch_is_a_slice_of_the_received_message() {
    let encoded = Bytes::from(derived(2).encode_to_vec());
    let request = AppendRequest::decode(encoded.clone()).unwrap();
    for batch in request.batches {
        assert!(encoded.as_ptr_range().contains(&batch.as_ptr()));
    }
}
