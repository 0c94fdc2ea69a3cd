//! The status of a refused request, as a response on a stream that goes on.

use prost::Message;
use tonic_types::Status;

/// The response with this status.
#[must_use]
pub fn refused(status: &tonic::Status) -> Status {
    // The details of a status travel as a whole `google.rpc.Status`.
    let details = Status::decode(status.details()).unwrap_or_default().details;
    Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details,
    }
}

/// The status that the call would have ended with.
#[must_use]
pub fn status_of_refused(refused: &Status) -> tonic::Status {
    tonic::Status::with_details(
        refused.code.into(),
        refused.message.clone(),
        refused.encode_to_vec().into(),
    )
}
