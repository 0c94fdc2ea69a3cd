//! The commands of the conformance kit, carried out with the client.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use taffrail::{
    client::{
        Client, EntityReading, Error, GroupOffset, Member, NewTopic, Options, Producer, Reading,
        Tls, Token,
    },
    types::{PartitionId, Version},
};
use tokio::sync::Mutex as AsyncMutex;

use super::{
    Failure,
    values::{Owned, append, list, number_of, octets, outcome, partition, position, stored, text},
};

/// The objects that commands have created, by the names that the commands gave them.
#[derive(Default)]
pub(crate) struct Named(Mutex<HashMap<String, Item>>);

#[derive(Clone)]
enum Item {
    Client(Box<Client>),
    Producer(Arc<Producer>),
    Reading(Arc<AsyncMutex<Reading>>),
    KeyReading(Arc<AsyncMutex<EntityReading>>),
    /// `None` after the member has left.
    Member(Arc<AsyncMutex<Option<Joined>>>),
}

/// A member, and the position behind the records that it got last of each partition.
struct Joined {
    member: Member,
    given: BTreeMap<(String, PartitionId), GroupOffset>,
}

impl Named {
    fn get(&self, name: &Value) -> Result<Item, Failure> {
        let items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let item = items.get(text(name)?).cloned();
        item.ok_or_else(|| Failure::command(format!("there is no {name}")))
    }

    fn client(&self, command: &Value) -> Result<Client, Failure> {
        match self.get(&command["client"])? {
            Item::Client(client) => Ok(*client),
            _ => Err(Failure::command("that is no client")),
        }
    }

    fn put(&self, command: &Value, item: Item) -> Result<Value, Failure> {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.insert(text(&command["as"])?.to_owned(), item);
        Ok(json!({}))
    }

    fn drop_item(&self, name: &Value) -> Result<Value, Failure> {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.remove(text(name)?);
        Ok(json!({}))
    }
}

pub(crate) async fn carry_out(named: &Named, command: &Value) -> Result<Value, Failure> {
    match text(&command["do"])? {
        "connect" => connect(named, command).await,
        "disconnect" => named.drop_item(&command["client"]),
        "create_topic" => create_topic(named, command).await,
        "describe_topic" => describe_topic(named, command).await,
        "append" => append_records(named, command).await,
        "producer" => open_producer(named, command).await,
        "produce" => produce(named, command).await,
        "resend" => resend(named, command).await,
        "read" => read(named, command).await,
        "read_key" => read_key(named, command).await,
        "next" => next(named, command).await,
        "close" => named.drop_item(&command["of"]),
        "latest" => latest(named, command).await,
        "erase" => erase(named, command).await,
        "join" => join(named, command).await,
        "commit" => commit(named, command).await,
        "leave" => leave(named, command).await,
        "committed" => committed(named, command).await,
        _ => Err(Failure::Unsupported),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file of a client, and no broker's"
)]
async fn connect(named: &Named, command: &Value) -> Result<Value, Failure> {
    let mut options = Options {
        gzip: command["gzip"] == true,
        ..Options::default()
    };
    if let Some(timeout) = command["timeout_ms"].as_u64() {
        options.request_timeout = Duration::from_millis(timeout);
    }
    if let Some(token) = command["token"].as_str() {
        options.token = Some(Token::new(token)?);
    }
    let mut scheme = "http";
    if let Some(path) = command["ca"].as_str() {
        let authorities = tokio::fs::read(path).await;
        let authorities = authorities.map_err(|error| Failure::command(error.to_string()))?;
        options.tls = Tls::new().authorities(authorities);
        scheme = "https";
    }
    let server = format!("{scheme}://{}", text(&command["address"])?);
    let client = options.connect(&server).await?;
    named.put(command, Item::Client(Box::new(client)))
}

async fn create_topic(named: &Named, command: &Value) -> Result<Value, Failure> {
    let partitions = partition(command["partitions"].as_u64().unwrap_or(1))?.0;
    let topic = NewTopic::new(text(&command["topic"])?).partitions(partitions);
    named.client(command)?.topics().create(&topic).await?;
    Ok(json!({}))
}

async fn describe_topic(named: &Named, command: &Value) -> Result<Value, Failure> {
    let topics = named.client(command)?.topics();
    let (_, partitions) = topics.describe(text(&command["topic"])?).await?;
    let partitions: Vec<Value> = partitions
        .iter()
        .map(|each| {
            json!({
                "partition": each.partition.0,
                "earliest": each.earliest.0.to_string(),
                "high_watermark": each.high_watermark.0.to_string(),
            })
        })
        .collect();
    Ok(json!({ "partitions": partitions }))
}

async fn append_records(named: &Named, command: &Value) -> Result<Value, Failure> {
    let appended = named.client(command)?.append(append(command)?).await?;
    let mut ranges = Vec::new();
    for range in appended.ranges() {
        let versions = range.versions.iter().map(|version| version.0.to_string());
        ranges.push(json!({
            "partition": range.partition.0,
            "first_offset": range.first_offset.0.to_string(),
            "versions": versions.collect::<Vec<_>>(),
        }));
    }
    Ok(json!({ "ranges": ranges }))
}

async fn open_producer(named: &Named, command: &Value) -> Result<Value, Failure> {
    let mut new = named.client(command)?.producer(text(&command["topic"])?);
    if let Some(name) = command["name"].as_str() {
        new = new.name(name);
    }
    if let Some(time) = command["give_up_after_ms"].as_u64() {
        new = new.give_up_after(Duration::from_millis(time));
    }
    let producer = new.open().await?;
    named.put(command, Item::Producer(Arc::new(producer)))
}

async fn produce(named: &Named, command: &Value) -> Result<Value, Failure> {
    let Item::Producer(producer) = named.get(&command["of"])? else {
        return Err(Failure::command("that is no producer"));
    };
    let mut sent = Vec::new();
    for record in Owned::all(command)? {
        match producer.send(record.record()).await {
            // The producer's end says why.
            Err(Error::StreamEnded { .. }) => producer.flush().await?,
            taken => sent.push(taken?),
        }
    }
    for each in sent {
        each.await?;
    }
    Ok(json!({}))
}

async fn resend(named: &Named, command: &Value) -> Result<Value, Failure> {
    let Item::Producer(producer) = named.get(&command["of"])? else {
        return Err(Failure::command("that is no producer"));
    };
    producer.resend().await?;
    Ok(json!({}))
}

async fn read(named: &Named, command: &Value) -> Result<Value, Failure> {
    let mut read = named.client(command)?.read(text(&command["topic"])?);
    read = read.from(position(&command["start"])?);
    for number in list(&command["partitions"]) {
        read = read.partition(partition(number.as_u64().unwrap_or_default())?);
    }
    for key in list(&command["keys"]) {
        read = read.key(octets(key)?);
    }
    for event_type in list(&command["types"]) {
        read = read.event_type(text(event_type)?);
    }
    if let Some(max) = command["max_records"].as_u64() {
        read = read.max_records(max);
    }
    if command["follow"] == true {
        read = read.follow();
    }
    let reading = read.open().await?;
    named.put(command, Item::Reading(Arc::new(AsyncMutex::new(reading))))
}

async fn read_key(named: &Named, command: &Value) -> Result<Value, Failure> {
    let entities = named.client(command)?.entities();
    let mut read = entities.read(text(&command["topic"])?, octets(&command["key"])?);
    if command["from_version"].is_string() {
        read = read.from_version(Version(number_of(&command["from_version"])?));
    }
    let reading = Arc::new(AsyncMutex::new(read.open().await?));
    named.put(command, Item::KeyReading(reading))
}

async fn next(named: &Named, command: &Value) -> Result<Value, Failure> {
    let item = named.get(&command["of"])?;
    let mut records = Vec::new();
    while (records.len() as u64) < command["count"].as_u64().unwrap_or(1) {
        let record = match &item {
            Item::Reading(reading) => reading.lock().await.next_record().await?,
            Item::KeyReading(reading) => reading.lock().await.next_record().await?,
            Item::Member(joined) => match &mut *joined.lock().await {
                Some(joined) => joined.next().await?,
                None => return Err(Failure::command("the member has left")),
            },
            _ => return Err(Failure::command("it has no records")),
        };
        let Some(record) = record else {
            return Ok(json!({"records": records, "end": true}));
        };
        records.push(stored(&record));
    }
    Ok(json!({"records": records, "end": false}))
}

impl Joined {
    async fn next(&mut self) -> Result<Option<taffrail::client::StoredRecord>, Failure> {
        let Some(next) = self.member.next_record().await? else {
            return Ok(None);
        };
        let place = (next.topic().to_owned(), next.record.partition);
        self.given.insert(place, next.next());
        Ok(Some(next.record))
    }
}

async fn latest(named: &Named, command: &Value) -> Result<Value, Failure> {
    let mut keys = Vec::new();
    for key in list(&command["keys"]) {
        keys.push(octets(key)?);
    }
    let entities = named.client(command)?.entities();
    let found = entities.latest(text(&command["topic"])?, keys).await?;
    let latest: Vec<Value> = found
        .iter()
        .map(|each| {
            let record = each.record.as_ref().map(stored);
            json!({"version": each.version.0.to_string(), "record": record})
        })
        .collect();
    Ok(json!({ "latest": latest }))
}

async fn erase(named: &Named, command: &Value) -> Result<Value, Failure> {
    let entities = named.client(command)?.entities();
    let key = octets(&command["key"])?;
    entities.erase(text(&command["topic"])?, key).await?;
    Ok(json!({}))
}

async fn join(named: &Named, command: &Value) -> Result<Value, Failure> {
    let mut new = named.client(command)?.member(text(&command["group"])?);
    for topic in list(&command["topics"]) {
        new = new.topic(text(topic)?);
    }
    if let Some(name) = command["name"].as_str() {
        new = new.name(name);
    }
    if let Some(time) = command["session_timeout_ms"].as_u64() {
        new = new.session_timeout(Duration::from_millis(time));
    }
    if let Some(records) = command["credit_records"].as_u64() {
        new = new.credit(records, 8 << 20);
    }
    if command["commits_explicitly"] == true {
        new = new.commit_explicitly();
    }
    let joined = Joined {
        member: new.join().await?,
        given: BTreeMap::new(),
    };
    named.put(
        command,
        Item::Member(Arc::new(AsyncMutex::new(Some(joined)))),
    )
}

fn member(named: &Named, command: &Value) -> Result<Arc<AsyncMutex<Option<Joined>>>, Failure> {
    match named.get(&command["of"])? {
        Item::Member(joined) => Ok(joined),
        _ => Err(Failure::command("that is no member")),
    }
}

async fn commit(named: &Named, command: &Value) -> Result<Value, Failure> {
    let joined = member(named, command)?;
    let mut joined = joined.lock().await;
    let Some(joined) = &mut *joined else {
        return Err(Failure::command("the member has left"));
    };
    let offsets: Vec<GroupOffset> = std::mem::take(&mut joined.given).into_values().collect();
    let outcomes = joined.member.commit(offsets).await?;
    let outcomes: Vec<&str> = outcomes.into_iter().map(outcome).collect();
    Ok(json!({ "outcomes": outcomes }))
}

async fn leave(named: &Named, command: &Value) -> Result<Value, Failure> {
    let joined = member(named, command)?;
    let Some(joined) = joined.lock().await.take() else {
        return Err(Failure::command("the member has left"));
    };
    joined.member.leave().await?;
    Ok(json!({}))
}

async fn committed(named: &Named, command: &Value) -> Result<Value, Failure> {
    let groups = named.client(command)?.groups();
    let mut offsets = groups.offsets(text(&command["group"])?).await?;
    offsets.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    let offsets: Vec<Value> = offsets
        .iter()
        .map(|each| json!([each.topic, each.partition.0, each.next_offset.0.to_string()]))
        .collect();
    Ok(json!({ "offsets": offsets }))
}
