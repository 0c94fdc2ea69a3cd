//! `taffrail bench`: how fast a broker is, beside what its machine can do.
//!
//! `plan.rs` is what was asked for; `payload.rs` makes records that can be recognised and checks
//! them; `produce.rs`, `consume.rs` and `entity.rs` are the loads, and `preload.rs` is what is
//! there before; `machine.rs` measures the machine; `report.rs` prints. The broker, unless one is
//! named, is a process of its own (`own_broker.rs`), so that it and its clients share nothing but
//! the machine.

mod consume;
mod entity;
mod machine;
mod measure;
mod own_broker;
mod payload;
mod plan;
mod preload;
mod produce;
mod report;
mod scratch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{Failure, connection::Server, flags::BenchFlags};
use crate::{
    client::{Client, NewTopic},
    env::Env,
    types::{Offset, PartitionId, Position},
};
use machine::Machine;
use measure::Run;
use own_broker::OwnBroker;
use payload::Payload;
use plan::{Load, Plan};
use report::Report;
use scratch::Scratch;

/// Records of a request that preloads: enough that its own cost does not count.
const PRELOAD_REQUEST_RECORDS: u32 = 10_000;

pub(super) async fn run(flags: BenchFlags, env: Env) -> Result<(), Failure> {
    let json = flags.connection.json;
    tokio::select! {
        report = measure(&flags, &env) => report?.print(json),
        // What was started and created is ended and removed when the other branch is dropped.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            Err(Failure::General("interrupted".to_owned()))
        }
    }
}

async fn measure(flags: &BenchFlags, env: &Env) -> Result<Report, Failure> {
    let plan = Plan::new(&flags.command)?;
    let scratch = Arc::new(Scratch::create(env, &plan.dir)?);
    let named = flags.connection.server.is_some() || crate::config::server_variable().is_some();
    let mut own = if named {
        None
    } else {
        Some(OwnBroker::start(&scratch).await?)
    };
    let server = own.as_ref().map_or_else(
        || Server::new(&flags.connection),
        |own| Server::at(own.url()),
    );

    let (mut machines, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        machines.push(measure_machine(env, &scratch).await?);
        runs.push(
            Bench::prepare(&plan, &server, own.as_mut(), env)
                .await?
                .run()
                .await?,
        );
    }
    Ok(Report {
        plan,
        machine: Machine::medians(&machines),
        runs,
    })
}

async fn measure_machine(env: &Env, scratch: &Arc<Scratch>) -> Result<Machine, Failure> {
    let (env, scratch) = (env.clone(), Arc::clone(scratch));
    let measured = tokio::task::spawn_blocking(move || Machine::measure(&env, &scratch)).await;
    measured.expect("measuring the machine does not panic")
}

/// One measurement: a plan on a topic of its own.
struct Bench<'a> {
    plan: &'a Plan,
    server: &'a Server,
    own: Option<&'a mut OwnBroker>,
    env: &'a Env,
    client: Client,
    topic: String,
    payload: Arc<Payload>,
    /// Where each partition ended when the measurement began; empty if it was at the beginning.
    preloaded: Vec<(PartitionId, Offset)>,
}

impl<'a> Bench<'a> {
    async fn prepare(
        plan: &'a Plan,
        server: &'a Server,
        own: Option<&'a mut OwnBroker>,
        env: &'a Env,
    ) -> Result<Self, Failure> {
        let client = server.connect().await?;
        let topic = format!("bench-{:016x}", env.random.next_u64());
        let mut new = NewTopic::new(&topic).partitions(plan.partitions);
        for (name, value) in &plan.settings {
            new = new.setting(name, value);
        }
        client.topics().create(&new).await?;
        let payload = Arc::new(Payload::new(plan, env.random.next_u64()));
        Ok(Self {
            plan,
            server,
            own,
            env,
            client,
            topic,
            payload,
            preloaded: Vec::new(),
        })
    }

    /// Carries the plan out, checks what the topic then holds, and deletes it.
    async fn run(mut self) -> Result<Run, Failure> {
        let result = self.measure().await;
        self.client.topics().delete(&self.topic).await?;
        result
    }

    async fn measure(&mut self) -> Result<Run, Failure> {
        self.preload().await?;
        let run = match self.plan.load {
            Load::Produce | Load::Append { streamed: true, .. } => produce::run(self).await?,
            Load::Append {
                streamed: false, ..
            } => produce::run_one_by_one(self).await?,
            Load::Consume { consumers } => {
                produce::run(self).await?;
                return consume::run(self, consumers).await;
            }
            Load::Entity(plan) => return entity::run(self, plan).await,
        };
        consume::check(self).await?;
        Ok(run)
    }

    async fn preload(&mut self) -> Result<(), Failure> {
        let records = self.plan.preload;
        if records == 0 {
            return Ok(());
        }
        preload::append(
            self,
            records,
            PRELOAD_REQUEST_RECORDS,
            preload::one_of_a_new_key,
        )
        .await?;
        let ends = self
            .client
            .list_offsets(&self.topic, Position::Latest)
            .await?;
        self.preloaded = ends
            .iter()
            .map(|end| (end.partition, end.high_watermark))
            .collect();
        let there: u64 = ends.iter().map(|end| end.high_watermark.0).sum();
        match there == records {
            true => Ok(()),
            false => Err(Failure::General(format!(
                "{there} records were preloaded instead of {records}"
            ))),
        }
    }

    /// Starts the broker anew, with nothing of its files in memory.
    async fn restart_cold(&mut self) -> Result<(), Failure> {
        let Some(own) = &mut self.own else {
            return Err(Failure::Usage(
                "--cold needs a broker of its own, without --server".to_owned(),
            ));
        };
        own.restart_cold(&self.env.files).await?;
        self.client = self.server.connect().await?;
        Ok(())
    }
}
