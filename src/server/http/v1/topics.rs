//! `GET /v1/topics`.

use std::{collections::BTreeMap, sync::Arc};

use http::{Request, Response};
use hyper::body::Incoming;
use serde::Serialize;

use super::{
    super::answer::Answer,
    Api, UnderWay,
    call::overloaded,
    problem::Problem,
    query::{Query, malformed},
    routes,
};
use crate::{
    proto::{self, ListTopicsRequest, ListTopicsResponse, wire},
    types::limits::MAX_TOPICS_PER_PAGE,
};

/// Most topics of a page.
const MOST: u32 = MAX_TOPICS_PER_PAGE as u32;

/// How many times larger a page is as JSON than encoded, because of the names of settings and the
/// punctuation.
const JSON_TIMES: usize = 4;

#[derive(Serialize)]
struct Page<'a> {
    topics: Vec<Topic<'a>>,
    more: bool,
}

/// A topic in the format of `taffrail topic list --json`.
#[derive(Serialize)]
struct Topic<'a> {
    id: &'a str,
    longest_life_ms: Option<u64>,
    name: &'a str,
    partitions: u32,
    settings: BTreeMap<&'a str, &'a str>,
}

impl<'a> Topic<'a> {
    fn of(topic: &'a proto::Topic) -> Self {
        let mut settings = BTreeMap::new();
        for setting in &topic.settings {
            settings.insert(&*setting.name, &*setting.value);
        }
        Self {
            id: &topic.id,
            longest_life_ms: topic.longest_life_ms,
            name: &topic.name,
            partitions: topic.partitions,
            settings,
        }
    }
}

/// How many topics are asked for; 0: as many as go into a page.
fn page_size(query: &Query) -> Result<u32, Problem> {
    let Some(max) = query.number::<u64>("max")? else {
        return Ok(0);
    };
    match u32::try_from(max) {
        Ok(max @ 1..=MOST) => Ok(max),
        _ => Err(malformed(format!("max is {max}; 1 to {MOST} are allowed"))),
    }
}

pub(super) async fn list(
    api: &Api,
    request: &Request<Incoming>,
    call: Arc<UnderWay>,
) -> Result<Response<Answer>, Problem> {
    let query = Query::of(request.uri().query(), &["prefix", "after", "max"])?;
    let message = ListTopicsRequest {
        prefix: query.one("prefix")?.unwrap_or_default().to_owned(),
        after: query.one("after")?.unwrap_or_default().to_owned(),
        page_size: page_size(&query)?,
    };
    let path = "/taffrail.v1.Topics/List";
    let message = [wire::encode(&message)].into();
    let page: ListTopicsResponse = api.ask(path, message, (request.headers(), &call)).await?;
    let memory = &call.client.peer(api).reads;
    let held = memory.take(JSON_TIMES * wire::encoded_len(&page));
    let mut held = held.map_err(|_| overloaded())?;
    let shown = Page {
        topics: page.topics.iter().map(Topic::of).collect(),
        more: page.more,
    };
    let text = serde_json::to_string(&shown).unwrap_or_default();
    held.shrink_to(text.len());
    Ok(routes::json(text, held, call))
}
