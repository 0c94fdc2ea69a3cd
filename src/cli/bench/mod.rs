//! `taffrail bench`: how fast a broker is, beside what its machine can do.
//!
//! `plan.rs` is what was asked for; `payload.rs` makes values that can be recognised and checks them; `produce.rs`,
//! `consume.rs` and `append.rs` are the loads; `machine.rs` measures the machine; `report.rs` prints. The broker,
//! unless one is named, is a process of its own (`own_broker.rs`), so that it and its clients share nothing but the
//! machine.

mod append;
mod consume;
mod machine;
mod measure;
mod own_broker;
mod payload;
mod plan;
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
};
use machine::Machine;
use measure::Run;
use own_broker::OwnBroker;
use payload::Payload;
use plan::{Load, Plan};
use report::Report;
use scratch::Scratch;

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
    let own = if named { None } else { Some(OwnBroker::start(&scratch).await?) };
    let server = own.as_ref().map_or_else(|| Server::new(&flags.connection), |own| Server::at(own.url()));

    let (mut machines, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        machines.push(measure_machine(env, &scratch).await?);
        runs.push(Bench::prepare(&plan, &server, env).await?.run().await?);
    }
    Ok(Report { plan, machine: Machine::medians(&machines), runs })
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
    env: &'a Env,
    client: Client,
    topic: String,
    payload: Arc<Payload>,
}

impl<'a> Bench<'a> {
    async fn prepare(plan: &'a Plan, server: &'a Server, env: &'a Env) -> Result<Self, Failure> {
        let client = server.connect().await?;
        let topic = format!("bench-{:016x}", env.random.next_u64());
        let mut new = NewTopic::new(&topic).partitions(plan.partitions);
        for (name, value) in &plan.settings {
            new = new.setting(name, value);
        }
        client.topics().create(&new).await?;
        let payload = Arc::new(Payload::new(plan, env.random.next_u64()));
        Ok(Self { plan, server, env, client, topic, payload })
    }

    /// Carries the plan out, checks what the topic then holds, and deletes it.
    async fn run(&self) -> Result<Run, Failure> {
        let result = match self.plan.load {
            Load::Produce => self.produce_checked().await,
            Load::Consume { consumers } => self.consume_checked(consumers).await,
            Load::Append => self.append_checked().await,
        };
        self.client.topics().delete(&self.topic).await?;
        result
    }

    async fn produce_checked(&self) -> Result<Run, Failure> {
        let run = produce::run(self).await?;
        consume::check(self).await?;
        Ok(run)
    }

    async fn consume_checked(&self, consumers: u32) -> Result<Run, Failure> {
        produce::run(self).await?;
        consume::run(self, consumers).await
    }

    async fn append_checked(&self) -> Result<Run, Failure> {
        let run = append::run(self).await?;
        consume::check(self).await?;
        Ok(run)
    }
}
