//! The error for a principal that has used up a quota.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::Exceeded;
use crate::server::{
    auth::Principal,
    status::{DOMAIN, shortened},
};

/// The status for a call that would exceed a quota.
pub(in crate::server) fn exceeded(principal: &Principal, exceeded: Exceeded) -> Status {
    let Exceeded {
        quota,
        limit,
        retry_after,
    } = exceeded;
    let principal = shortened(principal.as_str());
    let metadata = [
        ("principal", principal.clone()),
        ("quota", quota.name().to_owned()),
        ("limit", limit.to_string()),
    ];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), value));
    let mut details = ErrorDetails::with_error_info("QUOTA_EXCEEDED", DOMAIN, metadata);
    details.set_retry_info(retry_after);
    let (each, what_to_do) = match (quota.is_rate(), retry_after) {
        (true, _) => (" each second", "go slower, or try again later"),
        (false, Some(_)) => ("", "close some, or try again later"),
        (false, None) => ("", "delete some, or ask for more"),
    };
    Status::with_error_details(
        Code::ResourceExhausted,
        format!(
            "{principal} has used up its quota \"{}\" of {limit}{each}; {what_to_do}",
            quota.name()
        ),
        details,
    )
}
