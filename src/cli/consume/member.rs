//! `taffrail consume --group`: reads as a member of a group, and commits what was written to
//! standard output.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{WithoutValue, places::Start};
use crate::{
    cli::{
        Failure, connection::Server, flags::ConsumeFlags, output, record::Format, said,
        signals::Stop,
    },
    client::{Client, Error, GroupBatch, GroupOffset, Member, NoOffset},
    types::{Offset, PartitionId, Position},
};

pub(super) async fn run(
    flags: &ConsumeFlags,
    group: &str,
    server: &Server,
    (from, format): (&Start, Format),
) -> Result<(), Failure> {
    let from = match from.only() {
        Some(from @ (Position::Earliest | Position::Latest | Position::Timestamp(_))) => from,
        Some(Position::Offset(_)) | None => {
            let problem = "--from: with --group it says where to begin where nothing is committed, \
                           and an offset is not the same place in each partition; use earliest, \
                           latest or a time";
            return Err(Failure::Usage(problem.to_owned()));
        }
    };
    let client = server.connect().await?;
    let mut stop = Stop::on_signals()?;
    check_topic(&client, flags).await?;
    let held = Held::default();
    let mut member = join(&client, flags, group, &held, from, server).await?;
    let mut printer = Printer {
        format,
        left: flags.max,
        printed: 0,
        without_value: WithoutValue::default(),
    };
    let mut unread = pin!(output::unread());
    let stopped_by = loop {
        let batch = tokio::select! {
            biased;
            signal = stop.told() => break Some(signal),
            error = &mut unread => {
                // Leaving gives the partitions to other members at once. Errors of it do not matter
                // any more.
                let _ = member.leave().await;
                return Err(error.into());
            }
            batch = member.next_batch() => batch
                .map_err(|error| ended(error, printer.printed, (group, &flags.topic)))?,
        };
        let Some(batch) = batch else {
            if lock(&held).is_empty() {
                tell_left_out(&client, flags, group).await?;
            }
            break None;
        };
        let printed = tokio::select! {
            biased;
            printed = printer.print(&batch) => printed,
            // Nobody reads the output any more. The records will be sent again, even those that
            // were written in part.
            signal = stop.told() => {
                member.handled_only(beginning(&batch));
                break Some(signal);
            }
        };
        let handled = match printed {
            Ok(handled) => handled,
            Err(failure) => {
                // Leaving gives the partitions to other members at once. Errors of it do not matter
                // any more.
                member.handled_only(beginning(&batch));
                let _ = member.leave().await;
                return Err(failure);
            }
        };
        if printer.left == Some(0) {
            member.handled_only(handled);
            break None;
        }
    };
    member.leave().await?;
    printer.without_value.tell();
    match stopped_by {
        None => Ok(()),
        Some(signal) => Err(Failure::Stopped {
            message: format!(
                "stopped; {} written out and committed",
                output::counted(printer.printed, "record")
            ),
            signal,
        }),
    }
}

/// The partitions of the topic that the member owns.
type Held = Arc<Mutex<BTreeSet<PartitionId>>>;

fn lock(held: &Held) -> MutexGuard<'_, BTreeSet<PartitionId>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// If the topic does not exist, the command fails; with `--follow` it waits for the topic.
async fn check_topic(client: &Client, flags: &ConsumeFlags) -> Result<(), Failure> {
    let Err(error) = client.list_offsets(&flags.topic, Position::Latest).await else {
        return Ok(());
    };
    if !flags.follow || error.reason() != Some("UNKNOWN_TOPIC") {
        return Err(error.into());
    }
    let topic = &flags.topic;
    said::remark(format_args!(
        "there is no topic {topic:?} yet; waiting for it"
    ));
    Ok(())
}

/// Explains why the member has ended, and how much it had printed.
fn ended(source: Error, printed: u64, (group, topic): (&str, &str)) -> Failure {
    let mut message = source.to_string();
    if let Error::DamagedRecords { partition, to, .. } = &source {
        message = format!(
            "{message}; to go on behind them: `taffrail group reset {group} --topic {topic} \
            --partition {partition} \
             --to {to}`"
        );
    } else if let Error::OffsetOutOfRange { .. } = &source {
        // The rest of the message is about fields of the API.
        let (problem, _) = message
            .split_once(": reset the group")
            .unwrap_or((&message, ""));
        message = format!(
            "{problem}; to go on at the first record there is: `taffrail group reset {group} --topic \
             {topic} --to earliest`"
        );
    } else if source.reason() == Some("FENCED") {
        message = format!(
            "another process has joined group {group:?} under the name of this member, and has its \
             partitions now"
        );
    } else if printed == 0 {
        return source.into();
    }
    if printed > 0 {
        let printed = output::counted(printed, "record");
        message = format!(
            "{message}; {printed} written out, of which those of the last moment may not be \
            committed, and come \
             again: `taffrail group describe {group}` says what is"
        );
    }
    Failure::CallIn { message, source }
}

/// Says if the command has ended without having owned a partition of the topic.
async fn tell_left_out(client: &Client, flags: &ConsumeFlags, group: &str) -> Result<(), Failure> {
    let topic = &flags.topic;
    // Fails if the topic was deleted meanwhile.
    client.list_offsets(topic, Position::Latest).await?;
    said::remark(format_args!(
        "other members of group {group:?} have all partitions of topic {topic:?}; nothing is left \
         to read"
    ));
    Ok(())
}

async fn join(
    client: &Client,
    flags: &ConsumeFlags,
    group: &str,
    held: &Held,
    from: Position,
    server: &Server,
) -> Result<Member, Failure> {
    let mut member = client
        .member(group)
        .topic(&flags.topic)
        .name(flags.member.as_deref().unwrap_or_default())
        .client_name(concat!("taffrail ", env!("CARGO_PKG_VERSION")))
        .no_offset(NoOffset::Start(from))
        .retry_for(server.retry_for())
        .on_outage(server.outage_teller())
        .on_assigned({
            let held = Arc::clone(held);
            move |assigned| lock(&held).extend(assigned.iter().map(|of| of.partition))
        })
        .on_revoked({
            let held = Arc::clone(held);
            move |revoked| {
                let mut held = lock(&held);
                for of in &revoked.partitions {
                    held.remove(&of.partition);
                }
            }
        });
    if !flags.follow {
        member = member.until_caught_up();
    }
    Ok(member.join().await?)
}

/// The position before these records, for a commit that excludes them.
fn beginning(batch: &GroupBatch) -> GroupOffset {
    let mut next = batch.next.clone();
    if let Some(Ok(first)) = batch.records().next() {
        next.next_offset = Offset(first.offset.unwrap_or_default());
    }
    next
}

struct Printer {
    format: Format,
    /// How many more records may be printed.
    left: Option<u64>,
    printed: u64,
    without_value: WithoutValue,
}

impl Printer {
    /// Prints records; returns the position behind them. If this is dropped, none of them counts as
    /// printed.
    async fn print(&mut self, batch: &GroupBatch) -> Result<GroupOffset, Failure> {
        let mut out = Vec::new();
        let (mut printed, mut left) = (0, self.left);
        let mut without_value = WithoutValue::default();
        let mut next = batch.next.clone();
        for record in batch.records() {
            let record = record.map_err(Error::from)?;
            if left == Some(0) {
                next.next_offset = Offset(record.offset.unwrap_or_default());
                break;
            }
            if self.format.render(&mut out, batch.next.partition, &record) {
                printed += 1;
                left = left.map(|left| left - 1);
            } else {
                without_value.count(&record);
            }
        }
        // Writing may block until somebody reads, so it runs on another thread.
        let writing = tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout();
            stdout.write_all(&out)?;
            stdout.flush()
        });
        writing.await.expect("writing does not panic")?;
        self.printed += printed;
        self.left = left;
        self.without_value.add(&without_value);
        Ok(next)
    }
}
