//! `taffrail topic trim`: removes the records before a place, in one partition or in all.

use serde_json::{Value, json};

use super::{
    Failure, output,
    time::{explain_offset, parse_position},
    topic::show_removals,
};
use crate::{
    client::{Client, Error},
    types::{Offset, PartitionId, Position},
};

/// A trim as it was asked for.
pub(super) struct Trim {
    pub(super) name: String,
    /// `None` for all partitions.
    pub(super) partition: Option<PartitionId>,
    pub(super) before: Position,
    /// Whether to remove records that are held for a group, too.
    pub(super) force: bool,
}

/// Parses `--before`.
pub(super) fn parse(text: &str, now_ms: i64) -> Result<Position, Failure> {
    parse_position(text, now_ms).map_err(|problem| Failure::Usage(format!("--before: {problem}")))
}

impl Trim {
    pub(super) async fn run(&self, client: &Client, json: bool) -> Result<(), Failure> {
        let topics = client.topics();
        let mut trimmed = Vec::new();
        for (partition, before) in self.places(client).await? {
            let answer = match self.force {
                true => topics.force_trim(&self.name, partition, before).await,
                false => topics.trim(&self.name, partition, before).await,
            };
            match answer {
                Ok(earliest) => trimmed.push((partition, earliest)),
                Err(error) => return Err(self.failed(error, before, &trimmed)),
            }
        }
        let [(partition, earliest)] = trimmed[..] else {
            return self.show(&trimmed, json);
        };
        if self.partition.is_none() {
            return self.show(&trimmed, json);
        }
        let name = &self.name;
        if json {
            let trimmed =
                json!({ "topic": name, "partition": partition.0, "earliest": earliest.0 });
            return Ok(output::json(&trimmed)?);
        }
        Ok(output::line(format_args!(
            "partition {partition} of topic {name} starts at offset {earliest}"
        ))?)
    }

    /// Prints what would be removed.
    pub(super) async fn preview(&self, client: &Client, json: bool) -> Result<(), Failure> {
        let topics = client.topics();
        let mut removals = Vec::new();
        for (partition, before) in self.places(client).await? {
            let removal = match self.force {
                true => {
                    topics
                        .preview_force_trim(&self.name, partition, before)
                        .await
                }
                false => topics.preview_trim(&self.name, partition, before).await,
            };
            removals.push(removal.map_err(|error| explain_offset(error.into(), before))?);
        }
        show_removals(&self.name, &removals, json)
    }

    /// The first offset to keep in each partition.
    async fn places(&self, client: &Client) -> Result<Vec<(PartitionId, Offset)>, Failure> {
        match (self.before, self.partition) {
            (Position::Offset(offset), Some(partition)) => return Ok(vec![(partition, offset)]),
            (Position::Offset(_), None) => {
                let problem = "--before: an offset is not the same place in each partition; name \
                               one with --partition, or give a time such as -7d";
                return Err(Failure::Usage(problem.to_owned()));
            }
            (Position::Earliest, _) => {
                let problem = "--before: nothing lies before the earliest record";
                return Err(Failure::Usage(problem.to_owned()));
            }
            (Position::Latest | Position::Timestamp(_), _) => {}
        }
        let mut places = Vec::new();
        let found = client.list_offsets(&self.name, self.before).await?;
        let partitions = found.len();
        for of in found {
            if self.partition.is_none_or(|wanted| wanted == of.partition) {
                places.push((of.partition, of.offset));
            }
        }
        match self.partition {
            Some(wanted) if places.is_empty() => {
                Err(Failure::no_partition(&self.name, wanted, partitions))
            }
            _ => Ok(places),
        }
    }

    /// Explains why not everything was trimmed, and what was.
    fn failed(&self, error: Error, before: Offset, trimmed: &[(PartitionId, Offset)]) -> Failure {
        if trimmed.is_empty() {
            return match self.before {
                Position::Offset(_) => explain_offset(error.into(), before),
                _ => error.into(),
            };
        }
        let partitions = trimmed.iter().map(|(partition, _)| partition.to_string());
        let partitions: Vec<String> = partitions.collect();
        Failure::CallIn {
            message: format!("{error}; trimmed are partitions {}", partitions.join(", ")),
            source: error,
        }
    }

    fn show(&self, trimmed: &[(PartitionId, Offset)], json: bool) -> Result<(), Failure> {
        if json {
            let partitions = trimmed.iter().map(
                |(partition, earliest)| json!({ "partition": partition.0, "earliest": earliest.0 }),
            );
            let partitions: Vec<Value> = partitions.collect();
            let shown = json!({ "topic": self.name, "partitions": partitions });
            return Ok(output::json(&shown)?);
        }
        let row = |(partition, earliest): &(PartitionId, Offset)| {
            [partition.to_string(), earliest.to_string()]
        };
        let rows: Vec<[String; 2]> = trimmed.iter().map(row).collect();
        Ok(output::table(["PARTITION", "LOG START"], &rows)?)
    }
}
