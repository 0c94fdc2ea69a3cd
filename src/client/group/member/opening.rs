//! Opens a member's stream, the first one and each one after it.

use tokio::time::{sleep, timeout};
use tonic::Status;

use super::{Member, Place};
use crate::{
    client::{
        Error,
        group::upward::heartbeat_interval,
        producer::retry::{Backoff, Verdict, verdict},
        status::AtStake,
    },
    proto::{Credit, consume_request::Message, wire::ConsumeMessage},
};

impl Member {
    /// Joins, with pauses between attempts.
    pub(super) async fn open(&mut self, mut backoff: Backoff) -> Result<(), Error> {
        let retry_for = self.settings.retry_for;
        let mut last = None;
        let attempts = async {
            loop {
                let error = match self.open_once().await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                };
                self.end_if_final(&error);
                self.check_ended()?;
                let asked = match verdict(&error) {
                    Verdict::SendAgain(asked) => asked,
                    _ => None,
                };
                last = Some(error);
                sleep(backoff.next(asked)).await;
            }
        };
        let opened = timeout(retry_for, attempts).await;
        opened.unwrap_or_else(|_| Err(last.unwrap_or_else(|| Error::timed_out(AtStake::Nothing))))
    }

    async fn open_once(&mut self) -> Result<(), Error> {
        let settings = &self.settings;
        let requests = self.upward.begin(
            Message::Join(settings.join.clone()),
            heartbeat_interval(settings.join.session_timeout_ms),
        );
        let mut calls = settings.calls.clone();
        let joining = async {
            let mut responses = calls.consume(requests).await?.into_inner();
            let first = responses.message().await?;
            Ok::<_, Status>((responses, first))
        };
        let joined = timeout(settings.request_timeout, joining).await;
        let joined = joined.map_err(|_| Error::timed_out(AtStake::Nothing))?;
        let (responses, first) =
            joined.map_err(|status| Error::from_status(&status, AtStake::Nothing))?;
        let first = first.and_then(|response| response.message);
        let Some(ConsumeMessage::Joined(joined)) = first else {
            let message = "the broker has not said that the member has joined".to_owned();
            return Err(Error::Unavailable { message });
        };
        self.settings.join.member_id = joined.member_id;
        self.responses = Some(responses);
        self.settings.outages.end();
        self.begin_anew();
        Ok(())
    }

    /// Starts on a new stream, on which everything is assigned anew.
    fn begin_anew(&mut self) {
        self.batches.clear();
        self.opened = None;
        if let Some(given) = &mut self.given {
            // Its credit belonged to the old stream.
            given.cost = Credit::default();
        }
        self.handled.clear();
        self.unanswered.clear();
        self.answers.clear();
        self.is_caught_up = false;
        let had: Vec<Place> = std::mem::take(&mut self.assigned).into_keys().collect();
        if !had.is_empty() {
            self.revoke(had, true);
        }
    }
}
