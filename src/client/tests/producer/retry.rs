//! Which failures are retried, and when.

use std::{collections::BTreeMap, time::Duration};

use crate::client::{
    Error, Refusal,
    producer::retry::{Backoff, Verdict, verdict},
};

fn refused(reason: &str, retry_after: Option<Duration>) -> Error {
    Error::Refused(Box::new(Refusal {
        code: "ResourceExhausted".to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        metadata: BTreeMap::new(),
        retry_after,
    }))
}

#[test]
fn what_passes_by_itself_is_tried_again_and_nothing_else() {
    let asked = Some(Duration::from_millis(250));
    let message = || "why".to_owned();
    for (error, expected) in [
        (
            Error::Unavailable { message: message() },
            Verdict::SendAgain(None),
        ),
        (
            Error::OutcomeUnknown { message: message() },
            Verdict::SendAgain(None),
        ),
        (
            Error::StreamEnded { cause: message() },
            Verdict::SendAgain(None),
        ),
        (refused("OVERLOADED", asked), Verdict::SendAgain(asked)),
        (refused("DISK_FULL", None), Verdict::SendAgain(None)),
        (refused("QUOTA_EXCEEDED", asked), Verdict::SendAgain(asked)),
        (refused("QUOTA_EXCEEDED", None), Verdict::End),
        (refused("UNKNOWN_PRODUCER", None), Verdict::Forgotten),
        (refused("FENCED", None), Verdict::End),
        (refused("OUT_OF_SEQUENCE", None), Verdict::End),
        (refused("UNKNOWN_TOPIC", None), Verdict::End),
        (refused("", None), Verdict::End),
        (
            Error::Conflict {
                message: message(),
                count: 0,
                failed: Vec::new(),
            },
            Verdict::End,
        ),
    ] {
        assert_eq!(verdict(&error), expected, "{error:?}");
    }
}

#[test]
fn pauses_grow_to_a_bound_begin_anew_and_are_never_shorter_than_the_broker_asked_for() {
    let mut backoff = Backoff::new();
    let mut longest = Duration::from_millis(20);
    for _ in 0..20 {
        let pause = backoff.next(None);
        assert!(
            (longest / 2..=longest).contains(&pause),
            "{pause:?} is not near {longest:?}"
        );
        longest = (longest * 2).min(Duration::from_secs(5));
    }
    backoff.reset();
    assert!(backoff.next(None) <= Duration::from_millis(20));
    assert_eq!(
        backoff.next(Some(Duration::from_secs(60))),
        Duration::from_secs(60)
    );
}
