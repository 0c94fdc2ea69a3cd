//! `taffrail bench`: measures how fast a broker is, beside what its machine can do.
//!
//! `plan.rs` is what to measure; `payload.rs` makes records that can be recognised, and checks
//! them; `produce.rs`, `consume.rs`, `members.rs` and `entity.rs` are the loads, `commits.rs` is a
//! second load beside one, `turns.rs` compares parts of a run with and without it, and `preload.rs`
//! fills topics before a measurement; `machine.rs` measures the machine; `report.rs` prints. Unless
//! a broker is named, one is started as a process of its own (`own_broker.rs`), so that it shares
//! nothing but the machine with its clients. `made.rs` removes everything in the end, whatever
//! happened.

mod commits;
mod consume;
mod entity;
mod machine;
mod made;
mod measure;
mod members;
mod own_broker;
mod payload;
mod plan;
mod preload;
mod produce;
mod report;
mod scratch;
mod turns;

#[cfg(test)]
mod tests;

use std::sync::{Arc, atomic::AtomicU64};

use super::{Failure, connection::Server, flags::BenchFlags, said, signals::Stop};
use crate::{
    client::{Client, NewTopic},
    env::Env,
    types::{Offset, PartitionId, Position},
};
use commits::Committing;
use machine::Machine;
use made::Made;
use measure::{BrokerCpu, Run};
use own_broker::OwnBroker;
use payload::Payload;
use plan::{Load, Plan};
use report::Report;

/// Records in each request that fills a topic: so many that the cost of a request does not matter.
const PRELOAD_REQUEST_RECORDS: u32 = 10_000;

pub(super) async fn run(flags: BenchFlags, env: Env) -> Result<(), Failure> {
    let plan = Plan::new(&flags.command)?;
    let mut stop = Stop::on_signals()?;
    let mut made = Made::create(&env, &plan.dir)?;
    let measured = tokio::select! {
        measured = measure(&plan, &flags, &env, &mut made) => measured,
        signal = stop.told() => Err(Failure::Stopped {
            message: "interrupted".to_owned(),
            signal,
        }),
    };
    let left = made.remove(&mut stop).await;
    let result = measured.and_then(|report| report.print(flags.connection.json));
    if left.is_empty() {
        return result;
    }
    let left = format!("could not remove {}", left.join(", "));
    Err(match result {
        Ok(()) => Failure::General(left),
        Err(Failure::Stopped { message, signal }) => Failure::Stopped {
            message: format!("{message}; {left}"),
            signal,
        },
        Err(failure) => {
            // The command fails with this when everything is removed.
            said::remark(left);
            failure
        }
    })
}

async fn measure(
    plan: &Plan,
    flags: &BenchFlags,
    env: &Env,
    made: &mut Made,
) -> Result<Report, Failure> {
    let is_named = flags.connection.server.is_some() || crate::config::server_variable().is_some();
    let server = match is_named {
        true => Server::new(&flags.connection)?,
        false => made.start_broker().await?,
    };
    let (mut machines, mut runs) = (Vec::new(), Vec::new());
    for turn in 0..plan.runs {
        machines.push(made.measure_machine(env).await?);
        let mut measure = async |plan: &Plan| {
            let topic = format!("bench-{:016x}", env.random.next_u64());
            made.expect_topic(&server, &topic);
            if plan.groups > 0 {
                made.expect_topic(&server, &commits::topic_beside(&topic));
            }
            let bench = Bench::prepare(plan, &server, topic, made.own(), env).await?;
            let run = Bench { turn, ..bench }.run().await?;
            made.forget_topics();
            Ok::<_, Failure>(run)
        };
        let alone = plan.alone();
        let run = if alone == *plan {
            measure(plan).await?
        } else if turn.is_multiple_of(2) {
            let alone = measure(&alone).await?;
            measure(plan).await?.beside(alone)
        } else {
            let run = measure(plan).await?;
            run.beside(measure(&alone).await?)
        };
        runs.push(run);
    }
    Ok(Report {
        plan: plan.clone(),
        machine: Machine::medians(&machines),
        runs,
    })
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
    /// The bytes of values that were appended by `bench produce` so far.
    appended: Arc<AtomicU64>,
    /// The number of earlier measurements: loads that are compared take turns at which is first.
    turn: u32,
    /// The end of each partition when the measurement began; empty if the topic was.
    preloaded: Vec<(PartitionId, Offset)>,
}

impl<'a> Bench<'a> {
    async fn prepare(
        plan: &'a Plan,
        server: &'a Server,
        topic: String,
        own: Option<&'a mut OwnBroker>,
        env: &'a Env,
    ) -> Result<Self, Failure> {
        if let Some(own) = &own {
            own.removes_topics(&env.files).await;
        }
        let client = server.connect().await?;
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
            appended: Arc::default(),
            turn: 0,
            preloaded: Vec::new(),
        })
    }

    /// Runs the plan, checks the topic's records, and deletes the topic. After a failure, the
    /// caller removes it.
    async fn run(mut self) -> Result<Run, Failure> {
        let run = self.measure().await?;
        self.client.topics().delete(&self.topic).await?;
        Ok(run)
    }

    async fn measure(&mut self) -> Result<Run, Failure> {
        self.preload().await?;
        let run = match self.plan.load {
            Load::Produce => self.produce().await?,
            Load::Append { streamed: true, .. } => produce::run(self).await?,
            Load::Append {
                streamed: false, ..
            } => produce::run_one_by_one(self).await?,
            Load::Consume { consumers } => {
                produce::run(self).await?;
                return consume::run(self, consumers).await;
            }
            Load::Members { members } => return members::run(self, members).await,
            Load::Entity(plan) => return entity::run(self, plan).await,
        };
        consume::check(self).await?;
        Ok(run)
    }

    /// Appends, while groups commit if the plan has groups.
    async fn produce(&self) -> Result<Run, Failure> {
        let committing = match self.plan.groups {
            0 => None,
            _ => Some(Committing::start(self).await?),
        };
        let cpu = self.broker_cpu();
        let mut turns = Vec::new();
        let mut run = match self.plan.turn {
            None => produce::run(self).await?,
            Some(length) => tokio::select! {
                run = produce::run(self) => run?,
                failed = turns::take(self, length, committing.as_ref(), &mut turns) => match failed? {},
            },
        };
        run.turns = turns;
        run.broker_cpu = self.broker_cpu_since(cpu);
        if let Some(committing) = committing {
            run.commits = Some(committing.end().await?);
        }
        Ok(run)
    }

    /// The broker's CPU time so far, if this command has started the broker.
    fn broker_cpu(&self) -> Option<BrokerCpu> {
        self.own.as_ref().and_then(|own| own.cpu_time())
    }

    fn broker_cpu_since(&self, before: Option<BrokerCpu>) -> Option<BrokerCpu> {
        Some(self.broker_cpu()?.since(before?))
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

    /// Restarts the broker with none of its files in the page cache.
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
