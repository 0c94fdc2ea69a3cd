//! `taffrail produce --expect-version`: appends all lines at once, if the entity is at that
//! version.
//!
//! Every record has an event id, so that the append can be sent again if its answer was lost. If it
//! was stored the first time, the condition does not hold any more, but the broker recognises the
//! records and gives the same answer again.

use std::{ffi::OsString, io::Read, time::Duration};

use serde_json::json;
use tokio::time::timeout;

use super::{
    Source,
    fixed::Fixed,
    lines::Lines,
    nothing_stored, read_lines,
    summary::{Stored, Summary},
};
use crate::{
    cli::{
        Failure,
        connection::Server,
        entity::{key_json, shown},
        flags::ProduceFlags,
        output,
        signals::Stop,
    },
    client::{Actual, Append, Appended, Batch, Client, Error},
    env::Env,
    types::{
        Version,
        limits::{MAX_RECORDS_PER_APPEND, MAX_REQUEST_BYTES},
    },
};

/// The pause before the append is sent again, if the broker does not give one.
const PAUSE: Duration = Duration::from_millis(100);

/// The entity, and the version that it must be at.
pub(super) struct Conditional {
    pub(super) topic: String,
    pub(super) key: OsString,
    /// [`Version::NONE`] if it must never have had a record.
    pub(super) expected: Version,
}

/// All lines of the input, as one batch.
struct Lot {
    batch: Batch,
    bytes: u64,
    last_line: u64,
}

impl Conditional {
    pub(super) async fn run(
        &self,
        flags: &ProduceFlags,
        server: &Server,
        lines: Lines<impl Read + Send + 'static>,
        env: Env,
    ) -> Result<(), Failure> {
        let client = server.connect().await.map_err(nothing_stored)?;
        let mut stop = Stop::on_signals()?;
        let run = env.random.next_u64();
        let summary = Summary::new(env.clock, flags.skip);
        let fixed = Fixed::parse(flags)?;
        let read = tokio::select! {
            read = self.read(read_lines(lines), &fixed, run) => read?,
            signal = stop.told() => return Err(Failure::Stopped {
                message: "interrupted; nothing was stored".to_owned(),
                signal,
            }),
        };
        tokio::select! {
            appended = self.append(server, client, read, summary, flags.connection.json) => {
                appended
            }
            // An append under way is waited for, because it is a single request.
            signal = stop.told_again() => Err(Failure::Stopped {
                message: "interrupted; it is not known whether the lines are stored".to_owned(),
                signal,
            }),
        }
    }

    async fn append(
        &self,
        server: &Server,
        client: Client,
        read: Lot,
        mut summary: Summary,
        json: bool,
    ) -> Result<(), Failure> {
        let records = read.batch.len() as u64;
        let append = Append::from(read.batch).expect_version(
            &self.topic,
            self.key.as_encoded_bytes(),
            self.expected,
        );
        if append.bytes() > MAX_REQUEST_BYTES {
            return Err(too_much());
        }
        let appended = match send(server, client, &append.return_versions()).await {
            Ok(appended) => appended,
            Err(error) => return Err(self.failed(error, json)?),
        };
        // All records have one key, so they are in one range.
        if let Some(range) = appended.ranges().next() {
            summary.add(&Stored {
                last_line: read.last_line,
                bytes: read.bytes,
                partition: range.partition,
                records,
                without_key: 0,
            });
        }
        let versions = appended.ranges().flat_map(|range| &range.versions);
        let version = versions.max().copied().unwrap_or(self.expected);
        if json {
            let mut value = summary.json(&self.topic);
            value["entity"] = key_json(&self.key);
            value["entity"]["version"] = json!(version.0);
            return Ok(output::json(&value)?);
        }
        summary.print(&self.topic)?;
        Ok(output::line(format_args!(
            "  entity {} is at version {version}",
            shown(&self.key)
        ))?)
    }

    /// Reads all lines into one batch. `run` is a random number, which makes the event ids unique
    /// to this run.
    async fn read(&self, mut source: Source, fixed: &Fixed, run: u64) -> Result<Lot, Failure> {
        let mut lot = Lot {
            batch: Batch::new(&self.topic),
            bytes: 0,
            last_line: 0,
        };
        while let Some(lines) = source.recv().await {
            for line in
                lines.map_err(|bad| Failure::General(format!("{bad}; nothing was stored")))?
            {
                let event_id = [run.to_be_bytes(), line.number.to_be_bytes()].concat();
                lot.batch.push(&line.record(fixed).event_id(&event_id));
                lot.bytes += line.bytes;
                lot.last_line = line.number;
            }
            if lot.batch.bytes() > MAX_REQUEST_BYTES || lot.batch.len() > MAX_RECORDS_PER_APPEND {
                return Err(too_much());
            }
        }
        Ok(lot)
    }

    /// Explains a failure. A conflict is also printed as a result, for scripts.
    fn failed(&self, error: Error, json: bool) -> Result<Failure, Failure> {
        let Error::Conflict { failed, .. } = &error else {
            let message = match &error {
                Error::OutcomeUnknown { .. } => {
                    format!("it is not known whether the lines are stored: {error}")
                }
                _ => format!("{error}; nothing was stored"),
            };
            return Ok(Failure::CallIn {
                message,
                source: error,
            });
        };
        let Some(Actual::Version(actual)) = failed.first().map(|failed| failed.actual) else {
            return Ok(Failure::Call(error));
        };
        if json {
            let mut conflict = key_json(&self.key);
            conflict["topic"] = json!(self.topic);
            conflict["expected_version"] = json!(self.expected.0);
            conflict["actual_version"] = json!(actual.0);
            output::json(&json!({ "conflict": conflict }))?;
        }
        let message = format!(
            "conflict: entity {} of topic {:?} is at version {actual}, not {}; nothing was stored; look at what is \
             there now with taffrail entity read, and decide again",
            shown(&self.key),
            self.topic,
            self.expected
        );
        Ok(Failure::CallIn {
            message,
            source: error,
        })
    }
}

/// Sends the append until it is answered, at most for as long as a lost broker is waited for.
async fn send(server: &Server, mut client: Client, append: &Append) -> Result<Appended, Error> {
    let mut last = match client.append(append.clone()).await {
        Err(error) if is_worth_another_try(&error) => error,
        answer => return answer,
    };
    let mut is_in_doubt = matches!(last, Error::OutcomeUnknown { .. });
    let attempts = async {
        loop {
            match &last {
                Error::Refused(refusal) => {
                    tokio::time::sleep(refusal.retry_after.unwrap_or(PAUSE)).await;
                }
                _ => client = server.reconnect(&last).await?,
            }
            match client.append(append.clone()).await {
                Err(error) if is_worth_another_try(&error) => last = error,
                answer => return answer,
            }
            is_in_doubt |= matches!(last, Error::OutcomeUnknown { .. });
        }
    };
    match timeout(server.retry_for(), attempts).await {
        Ok(answer @ (Ok(_) | Err(Error::Conflict { .. }))) => answer,
        Ok(Err(error)) => Err(if is_in_doubt { in_doubt(&error) } else { error }),
        Err(_) => Err(if is_in_doubt { in_doubt(&last) } else { last }),
    }
}

fn is_worth_another_try(error: &Error) -> bool {
    match error {
        Error::Unavailable { .. } | Error::OutcomeUnknown { .. } => true,
        Error::Refused(refusal) => matches!(&*refusal.reason, "OVERLOADED" | "DISK_FULL"),
        _ => false,
    }
}

/// The outcome of an append that was sent before without an answer: it may be stored, whatever the
/// last answer says, unless that is a conflict.
fn in_doubt(last: &Error) -> Error {
    match last {
        Error::OutcomeUnknown { .. } => last.clone(),
        _ => Error::OutcomeUnknown {
            message: format!("it was sent and not answered; then: {last}"),
        },
    }
}

fn too_much() -> Failure {
    Failure::General(format!(
        "with --expect-version all lines go into one request, which has room for {MAX_RECORDS_PER_APPEND} records and \
         {MAX_REQUEST_BYTES} bytes, and there are more; nothing was stored"
    ))
}
