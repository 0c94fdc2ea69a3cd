//! `taffrail producer …`: lists and forgets producers.

use serde_json::{Value, json};

use super::{
    Failure,
    connection::Server,
    flags::{ProducerCommand, ProducerFlags},
    output, question,
    time::format_duration,
};
use crate::{
    client::{Client, KnownProducer},
    types::ProducerId,
};

pub(super) async fn run(flags: ProducerFlags) -> Result<(), Failure> {
    let client = Server::new(&flags.connection)?.connect().await?;
    let json = flags.connection.json;
    match flags.command {
        ProducerCommand::List => list(&client, json).await,
        ProducerCommand::Forget { producer, yes } => forget(&client, &producer, yes, json).await,
    }
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let producers = all(client).await?;
    if json {
        let producers: Vec<Value> = producers.iter().map(producer_json).collect();
        return Ok(output::json(&json!({ "producers": producers }))?);
    }
    let row = |known: &KnownProducer| {
        [
            known.id.to_string(),
            known.epoch.to_string(),
            known.partitions.to_string(),
            format_duration(known.idle),
            output::printable(&known.name),
        ]
    };
    let rows: Vec<[String; 5]> = producers.iter().map(row).collect();
    let headings = ["PRODUCER", "EPOCH", "PARTITIONS", "IDLE", "NAME"];
    Ok(output::table(headings, &rows)?)
}

async fn all(client: &Client) -> Result<Vec<KnownProducer>, Failure> {
    let mut producers: Vec<KnownProducer> = Vec::new();
    loop {
        let after = producers.last().map_or(ProducerId(0), |last| last.id);
        let page = client.list_producers(after, 0).await?;
        producers.extend(page.producers);
        if !page.more {
            return Ok(producers);
        }
    }
}

async fn forget(client: &Client, named: &str, yes: bool, json: bool) -> Result<(), Failure> {
    let known = find(client, named).await?;
    tokio::task::block_in_place(|| {
        let what = format!("forget producer {}", shown(&known));
        let consequence =
            "Everything it sends from then on is refused, even repeats of stored batches.";
        question::confirm(yes, &what, consequence)
    })?;
    let forgotten = client.forget_producer(known.id).await?;
    if json {
        return Ok(output::json(
            &json!({ "forgotten": producer_json(&forgotten) }),
        )?);
    }
    Ok(output::line(format_args!(
        "forgot producer {}",
        shown(&forgotten)
    ))?)
}

/// Finds a producer by its name, or else by its id.
async fn find(client: &Client, named: &str) -> Result<KnownProducer, Failure> {
    if named.is_empty() {
        let what = "a producer without a name is named by its id, not by an empty name";
        return Err(Failure::Usage(what.to_owned()));
    }
    if let Some(known) = client.producer_named(named).await? {
        return Ok(known);
    }
    if let Some(id) = ProducerId::parse(named) {
        let before = ProducerId(id.0.saturating_sub(1));
        let page = client.list_producers(before, 1).await?;
        let found = page.producers.into_iter().find(|known| known.id == id);
        if let Some(known) = found {
            return Ok(known);
        }
    }
    Err(Failure::Missing {
        reason: "UNKNOWN_PRODUCER",
        message: format!(
            "there is no producer with the name or the id {named:?}; see: taffrail producer list"
        ),
    })
}

fn shown(known: &KnownProducer) -> String {
    match known.name.as_str() {
        "" => known.id.to_string(),
        name => format!("{name:?} ({})", known.id),
    }
}

fn producer_json(known: &KnownProducer) -> Value {
    json!({
        "id": known.id.to_string(),
        "epoch": known.epoch,
        "name": known.name,
        "partitions": known.partitions,
        "idle_ms": u64::try_from(known.idle.as_millis()).unwrap_or(u64::MAX),
    })
}
