//! `taffrail top`: shows topics and groups again and again.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::{Failure, connection::Server, flags::TopFlags, output};
use crate::{
    client::{Client, ListedGroup},
    env::Env,
    types::parse_millis,
};

/// Clears a terminal and moves its cursor to the top.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J\u{1b}[3J";

/// A topic at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) partitions: usize,
    /// The sum of the high watermarks: how many records were ever appended.
    pub(super) end: u64,
    pub(super) bytes: u64,
}

/// A topic, and how fast it has grown since the last look.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moved {
    pub(super) now: Seen,
    /// Records a second; `None` if the topic was not there at the last look.
    pub(super) rate: Option<f64>,
}

pub(super) async fn run(flags: TopFlags, env: Env) -> Result<(), Failure> {
    let every = parse_millis(&flags.interval).map_err(|error| Failure::Usage(error.to_string()))?;
    let every = Duration::from_millis(every.max(100));
    let client = Server::new(&flags.connection)?.connect().await?;
    let clears = io::stdout().is_terminal() && !flags.connection.json;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = BTreeMap::new();
    let mut looked_at = env.clock.elapsed();
    let mut left = flags.count;
    while left != Some(0) {
        // End when the reader of the output has closed it.
        tokio::select! {
            _ = ticks.tick() => {}
            error = output::unread() => return Err(error.into()),
        }
        let topics = look_at_topics(&client, flags.most).await?;
        let page = client.groups().list_page("", "", flags.most).await?;
        let now = env.clock.elapsed();
        let moved = compare(&mut before, topics, now.saturating_sub(looked_at));
        looked_at = now;
        if flags.connection.json {
            output::json(&as_json(&moved, &page.groups))?;
        } else {
            show(&moved, &page.groups, clears)?;
        }
        left = left.map(|left| left - 1);
    }
    Ok(())
}

async fn look_at_topics(client: &Client, most: u32) -> Result<Vec<Seen>, Failure> {
    let topics = client.topics();
    let mut seen = Vec::new();
    for topic in topics.list_page("", "", most).await?.topics {
        // A topic that was deleted meanwhile is left out.
        let Ok((topic, partitions)) = topics.describe(&topic.name).await else {
            continue;
        };
        let ends = partitions.iter().map(|one| one.high_watermark.0);
        seen.push(Seen {
            name: topic.name,
            id: topic.id,
            partitions: partitions.len(),
            end: ends.sum(),
            bytes: partitions.iter().map(|one| one.bytes).sum(),
        });
    }
    Ok(seen)
}

/// Compares topics with the last look, by their ids, to get their rates.
pub(super) fn compare(
    before: &mut BTreeMap<String, u64>,
    topics: Vec<Seen>,
    passed: Duration,
) -> Vec<Moved> {
    let last = std::mem::take(before);
    let mut moved = Vec::with_capacity(topics.len());
    for now in topics {
        let more = last.get(&now.id).map(|end| now.end.saturating_sub(*end));
        before.insert(now.id.clone(), now.end);
        let rate = more.map(|more| more as f64 / passed.as_secs_f64());
        moved.push(Moved { now, rate });
    }
    moved
}

fn show(topics: &[Moved], groups: &[ListedGroup], clears: bool) -> io::Result<()> {
    if clears {
        output::line(CLEAR)?;
    }
    let headings = ["TOPIC", "PARTITIONS", "RECORDS/S", "APPENDED", "STORED"];
    let mut rows = Vec::new();
    for Moved { now, rate } in topics {
        rows.push([
            output::printable(&now.name),
            now.partitions.to_string(),
            rate.map(|rate| format!("{rate:.0}")).unwrap_or_default(),
            output::count(now.end),
            output::bytes(now.bytes),
        ]);
    }
    output::table(headings, &rows)?;
    output::line("")?;
    let headings = ["GROUP", "STATE", "MEMBERS", "PARTITIONS", "LAG", "STALLED"];
    let mut rows = Vec::new();
    for group in groups {
        rows.push([
            output::printable(&group.group),
            group.state.as_str().to_owned(),
            group.members.to_string(),
            group.partitions.to_string(),
            output::count(group.lag),
            group.stalled_partitions.to_string(),
        ]);
    }
    output::table(headings, &rows)?;
    if !clears {
        output::line("")?;
    }
    Ok(())
}

fn as_json(topics: &[Moved], groups: &[ListedGroup]) -> Value {
    let topic = |Moved { now, rate }: &Moved| {
        json!({
            "topic": now.name,
            "partitions": now.partitions,
            "records_per_s": rate,
            "end": now.end,
            "bytes": now.bytes,
        })
    };
    let group = |group: &ListedGroup| {
        json!({
            "group": group.group,
            "state": group.state.as_str(),
            "members": group.members,
            "partitions": group.partitions,
            "lag": group.lag,
            "stalled_partitions": group.stalled_partitions,
        })
    };
    json!({
        "topics": topics.iter().map(topic).collect::<Vec<Value>>(),
        "groups": groups.iter().map(group).collect::<Vec<Value>>(),
    })
}
