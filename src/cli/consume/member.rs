//! `taffrail consume --group`: as a member of a group. What has been written out is committed.

use std::io::{self, Write};

use super::WithoutValue;
use crate::{
    cli::{
        Failure, connection::Server, flags::ConsumeFlags, output, record::Format, signals::Stop,
    },
    client::{Client, Error, GroupBatch, GroupOffset, Member, NoOffset},
    types::{Offset, Position},
};

pub(super) async fn run(
    flags: &ConsumeFlags,
    group: &str,
    server: &Server,
    (from, format): (Position, Format),
) -> Result<(), Failure> {
    if matches!(from, Position::Offset(_)) {
        let problem = "--from: with --group it says where to begin where nothing is committed, and \
                       an offset is not the same place in each partition; use earliest, latest or a time";
        return Err(Failure::Usage(problem.to_owned()));
    }
    let client = server.connect().await?;
    let mut stop = Stop::on_signals()?;
    let mut member = join(&client, flags, group, from, server).await?;
    let mut printer = Printer {
        format,
        left: flags.max,
        printed: 0,
        without_value: WithoutValue::default(),
        out: Vec::new(),
    };
    let stopped_by = loop {
        let batch = tokio::select! {
            biased;
            signal = stop.told() => break Some(signal),
            batch = member.next_batch() => batch?,
        };
        let Some(batch) = batch else {
            break None;
        };
        let handled = printer.print(&batch)?;
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

async fn join(
    client: &Client,
    flags: &ConsumeFlags,
    group: &str,
    from: Position,
    server: &Server,
) -> Result<Member, Failure> {
    let mut member = client
        .member(group)
        .topic(&flags.topic)
        .name(flags.member.as_deref().unwrap_or_default())
        .client_name(concat!("taffrail ", env!("CARGO_PKG_VERSION")))
        .no_offset(NoOffset::Start(from))
        .retry_for(server.retry_for());
    if !flags.follow {
        member = member.until_caught_up();
    }
    Ok(member.join().await?)
}

struct Printer {
    format: Format,
    /// How many more records to print.
    left: Option<u64>,
    printed: u64,
    without_value: WithoutValue,
    out: Vec<u8>,
}

impl Printer {
    /// Writes out records, and says up to where.
    fn print(&mut self, batch: &GroupBatch) -> Result<GroupOffset, Failure> {
        self.out.clear();
        let mut next = batch.next.clone();
        for record in batch.records() {
            let record = record.map_err(Error::from)?;
            if self.left == Some(0) {
                next.next_offset = Offset(record.offset.unwrap_or_default());
                break;
            }
            if self
                .format
                .render(&mut self.out, batch.next.partition, &record)
            {
                self.printed += 1;
                self.left = self.left.map(|left| left - 1);
            } else {
                self.without_value.count(&record);
            }
        }
        let out = &self.out;
        // The connection goes on meanwhile, on another thread.
        tokio::task::block_in_place(|| {
            let mut stdout = io::stdout();
            stdout.write_all(out)?;
            stdout.flush()
        })?;
        Ok(next)
    }
}
