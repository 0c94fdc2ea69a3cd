//! `taffrail.v1.Topics`.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status, async_trait};

use super::{
    auth::{Access, permit},
    blocking::blocking,
    log::position,
    peer,
};
use crate::{
    broker::{self, Broker, Error, Meant, PartitionDescription, TopicDescription},
    proto::{
        AddPartitionsRequest, AddPartitionsResponse, AlterTopicRequest, AlterTopicResponse,
        CompactRequest, CompactResponse, Compaction, CreateTopicRequest, CreateTopicResponse,
        DamagedRange, DeleteTopicRequest, DeleteTopicResponse, DescribeTopicRequest,
        DescribeTopicResponse, GroupLoss, ListTopicsRequest, ListTopicsResponse, Partition,
        Removal, Scrub, Setting, Topic, TrimRequest, TrimResponse, topics_server::Topics,
    },
    types::{
        Offset, PartitionId, TOPIC_SETTINGS, TopicSettings,
        limits::{MAX_TOPICS_PER_PAGE, PARTITIONS_WAIT_MS},
    },
};

pub(super) struct TopicsService {
    broker: Arc<Broker>,
}

impl TopicsService {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

#[async_trait]
impl Topics for TopicsService {
    async fn create(
        &self,
        request: Request<CreateTopicRequest>,
    ) -> Result<Response<CreateTopicResponse>, Status> {
        let access = permit(&request)?;
        let _creating = blocking(|| access.create_topic(&self.broker))?;
        let CreateTopicRequest {
            name,
            partitions,
            settings,
        } = request.into_inner();
        let patience = tokio::time::sleep(Duration::from_millis(PARTITIONS_WAIT_MS));
        let created = self
            .broker
            .create_topic_in_time(&name, partitions.max(1), &settings, patience)
            .await?;
        Ok(Response::new(CreateTopicResponse {
            topic: Some(topic(&created)),
        }))
    }

    async fn delete(
        &self,
        request: Request<DeleteTopicRequest>,
    ) -> Result<Response<DeleteTopicResponse>, Status> {
        permit(&request)?;
        self.broker
            .delete_topic(&request.into_inner().name)?
            .await?;
        Ok(Response::new(DeleteTopicResponse {}))
    }

    async fn describe(
        &self,
        request: Request<DescribeTopicRequest>,
    ) -> Result<Response<DescribeTopicResponse>, Status> {
        permit(&request)?;
        let mut turn = peer::long(request.extensions(), &self.broker).turn().await;
        let name = request.into_inner().name;
        let described = blocking(|| {
            let (described, partitions) = self.broker.describe_topic(&name)?;
            turn.count(partitions.len())?;
            Ok::<_, Error>(DescribeTopicResponse {
                topic: Some(topic(&described)),
                partitions: partitions.iter().map(partition).collect(),
            })
        });
        Ok(turn.respond(described?))
    }

    async fn list(
        &self,
        request: Request<ListTopicsRequest>,
    ) -> Result<Response<ListTopicsResponse>, Status> {
        let access = permit(&request)?;
        let turn = peer::long(request.extensions(), &self.broker).turn().await;
        let request = request.into_inner();
        let listed = blocking(|| list(&self.broker, &request, &access));
        Ok(turn.respond(listed))
    }

    async fn alter(
        &self,
        request: Request<AlterTopicRequest>,
    ) -> Result<Response<AlterTopicResponse>, Status> {
        permit(&request)?;
        let long = peer::long(request.extensions(), &self.broker);
        let AlterTopicRequest {
            name,
            set,
            reset,
            dry_run,
        } = request.into_inner();
        if dry_run {
            let mut turn = long.turn().await;
            let would_go = blocking(|| self.broker.preview_alter(&name, &set, &reset))?;
            turn.count(would_go.len())?;
            let (described, _) = self.broker.describe_topic(&name)?;
            return Ok(turn.respond(AlterTopicResponse {
                topic: Some(topic(&described)),
                would_remove: would_go.into_iter().map(removal).collect(),
            }));
        }
        let altered = self.broker.alter_topic(&name, &set, &reset)?.await?;
        Ok(Response::new(AlterTopicResponse {
            topic: Some(topic(&altered)),
            would_remove: Vec::new(),
        }))
    }

    async fn add_partitions(
        &self,
        request: Request<AddPartitionsRequest>,
    ) -> Result<Response<AddPartitionsResponse>, Status> {
        permit(&request)?;
        let AddPartitionsRequest {
            topic: name,
            partitions,
            topic_id,
        } = request.into_inner();
        let meant = Meant {
            name: &name,
            id: position::topic_id(&topic_id)?,
        };
        let grown = self.broker.add_partitions(meant, partitions)?.await?;
        Ok(Response::new(AddPartitionsResponse {
            topic: Some(topic(&grown)),
        }))
    }

    async fn trim(&self, request: Request<TrimRequest>) -> Result<Response<TrimResponse>, Status> {
        let access = permit(&request)?;
        let long = peer::long(request.extensions(), &self.broker);
        let TrimRequest {
            topic,
            partition,
            before_offset,
            topic_id,
            force,
            dry_run,
        } = request.into_inner();
        let meant = Meant {
            name: &topic,
            id: position::topic_id(&topic_id)?,
        };
        let (partition, before) = (PartitionId(partition), Offset(before_offset));
        if dry_run {
            let _turn = long.turn().await;
            let would_go = blocking(|| self.broker.preview_trim(meant, partition, before, force));
            let mut would_go = would_go.map_err(|error| access.shown(error))?;
            would_go
                .groups
                .retain(|(group, _)| access.sees_group(group.as_str()));
            return Ok(Response::new(TrimResponse {
                earliest: would_go.before.0,
                would_remove: Some(removal(would_go)),
            }));
        }
        let trimmed = match force {
            true => self.broker.force_trim(meant, partition, before),
            false => self.broker.trim(meant, partition, before),
        };
        let earliest = match trimmed {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        };
        let earliest = earliest.map_err(|error| access.shown(error))?;
        Ok(Response::new(TrimResponse {
            earliest: earliest.0,
            would_remove: None,
        }))
    }

    async fn compact(
        &self,
        request: Request<CompactRequest>,
    ) -> Result<Response<CompactResponse>, Status> {
        permit(&request)?;
        let CompactRequest { topic, wait } = request.into_inner();
        let compacted = self.broker.compact_topic(&topic)?;
        if wait {
            compacted.await?;
        }
        Ok(Response::new(CompactResponse {}))
    }
}

/// A page of the topics that the caller may see.
fn list(broker: &Broker, request: &ListTopicsRequest, access: &Access) -> ListTopicsResponse {
    let is_seen = |name: &str| access.sees_topic(name);
    let most = page(request.page_size);
    let (topics, more) = broker.list_topics(&request.prefix, &request.after, most, is_seen);
    ListTopicsResponse {
        topics: topics.iter().map(topic).collect(),
        more,
    }
}

fn compaction(described: &broker::Compaction) -> Compaction {
    let problem = described.problem.as_ref();
    Compaction {
        clean_up_to: described.clean_to.0,
        last_ms: described.last_ms,
        problem: problem.map_or_else(String::new, |problem| problem.cause.clone()),
        retry_ms: problem.and_then(|problem| problem.again_ms),
    }
}

fn scrub(scrubbed: &broker::Scrubbed) -> Scrub {
    let damaged = scrubbed.damaged.iter();
    Scrub {
        scrubbed_up_to: scrubbed.to.0,
        complete_ms: scrubbed.complete_ms,
        damaged: damaged
            .map(|range| DamagedRange {
                from_offset: range.from.0,
                to_offset: range.to.0,
            })
            .collect(),
    }
}

fn removal(would_go: broker::Removal) -> Removal {
    let groups = would_go.groups.into_iter();
    Removal {
        partition: would_go.partition.0,
        before_offset: would_go.before.0,
        records: would_go.records,
        bytes: would_go.bytes,
        groups: groups
            .map(|(group, records)| GroupLoss {
                group: group.to_string(),
                records,
            })
            .collect(),
    }
}

fn page(size: u32) -> usize {
    match usize::try_from(size) {
        Ok(0) | Err(_) => MAX_TOPICS_PER_PAGE,
        Ok(size) => size.min(MAX_TOPICS_PER_PAGE),
    }
}

fn topic(described: &TopicDescription) -> Topic {
    Topic {
        name: described.name.to_string(),
        id: described.id.to_string(),
        partitions: described.partitions,
        settings: settings(&described.settings),
        longest_life_ms: described.settings.longest_life_ms(),
    }
}

fn settings(settings: &TopicSettings) -> Vec<Setting> {
    let default = TopicSettings::default();
    let named = TOPIC_SETTINGS.iter().map(|setting| {
        let value = setting.get(settings);
        Setting {
            name: setting.name.to_owned(),
            is_default: value == setting.get(&default),
            value,
        }
    });
    named.collect()
}

fn partition(described: &PartitionDescription) -> Partition {
    let hinders = described.compression_problem.as_ref();
    Partition {
        partition: described.partition.0,
        earliest: described.earliest.0,
        high_watermark: described.high_watermark.0,
        segments: described.segments,
        bytes: described.bytes,
        uncompressed_bytes: described.uncompressed_bytes,
        compression_problem: hinders
            .map(|problem| problem.cause.clone())
            .unwrap_or_default(),
        compression_retry_ms: hinders.and_then(|problem| problem.again_ms),
        compaction: described.compaction.as_ref().map(compaction),
        scrub: described.scrubbed.as_ref().map(scrub),
    }
}
