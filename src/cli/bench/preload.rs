//! Fills the topic before a measurement.

use std::{
    collections::VecDeque,
    io::{IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Bench;
use crate::{
    cli::Failure,
    client::{AppendHandle, Batch, Record},
};

/// Requests end at the first record behind this many bytes.
const REQUEST_BYTES: usize = 4 << 20;

/// Buffers for a record, which are used again.
#[derive(Default)]
pub(super) struct Made {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// Makes a record with a new key and a value of 8 bytes.
pub(super) fn one_of_a_new_key(number: u64, made: &mut Made) {
    made.key.clear();
    write!(made.key, "preloaded-{number:012x}").expect("a vector takes everything");
    made.value.clear();
    made.value.extend(number.to_be_bytes());
}

/// Appends records with keys in order, as fast as one connection allows.
pub(super) async fn append(
    bench: &Bench<'_>,
    records: u64,
    in_request: u32,
    make: impl Fn(u64, &mut Made),
) -> Result<(), Failure> {
    let progress = progress(records);
    let appender = bench.server.connect().await?.append_stream();
    let mut under_way: VecDeque<(u64, AppendHandle)> = VecDeque::new();
    let (mut batch, mut made) = (Batch::new(&bench.topic), Made::default());
    for number in 0..records {
        make(number, &mut made);
        batch.push(&Record::new().key(&made.key).value(&made.value));
        if batch.len() < in_request as usize
            && batch.bytes() < REQUEST_BYTES
            && number + 1 < records
        {
            continue;
        }
        let full = std::mem::replace(&mut batch, Batch::new(&bench.topic));
        let in_batch = full.len() as u64;
        match appender.append(full).await {
            Ok(handle) => under_way.push_back((in_batch, handle)),
            // The failure is in one of the answers.
            Err(_) => break,
        }
        // Answers are taken before there are many; the window limits what is under way.
        while under_way.len() > 64 {
            await_first(&mut under_way, &progress).await?;
        }
    }
    while !under_way.is_empty() {
        await_first(&mut under_way, &progress).await?;
    }
    appender.finish().await?;
    progress.finish_and_clear();
    Ok(())
}

async fn await_first(
    under_way: &mut VecDeque<(u64, AppendHandle)>,
    progress: &ProgressBar,
) -> Result<(), Failure> {
    if let Some((records, handle)) = under_way.pop_front() {
        handle.await?;
        progress.inc(records);
    }
    Ok(())
}

/// A progress bar, on a terminal only.
fn progress(records: u64) -> ProgressBar {
    let bar = ProgressBar::new(records);
    let template = "loading {bar:40} {percent}% {human_pos}/{human_len} records {eta}";
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
