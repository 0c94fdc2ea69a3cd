//! What to measure, from the flags.

use std::{path::PathBuf, time::Duration};

use crate::{
    cli::{
        Failure,
        flags::{BenchCommand, BenchKeys, LoadFlags},
        topic::assignments,
    },
    types::parse_bytes,
};

/// A measurement, and how often to repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) load: Load,
    /// The size of each value.
    pub(super) record_bytes: usize,
    /// The number of records in each request.
    pub(super) records: u32,
    /// The number of connections that append or, for entities, read.
    pub(super) clients: u32,
    /// The number of tasks on each connection, which append at the same time.
    pub(super) tasks: u32,
    /// The number of requests that each task makes.
    pub(super) requests: u32,
    pub(super) keys: Keys,
    /// The number of records in the topic before the measurement.
    pub(super) preload: u64,
    /// The number of consumer groups that commit meanwhile.
    pub(super) groups: u32,
    /// How long groups commit within a run before they stand still for as long.
    pub(super) turn: Option<Duration>,
    /// How long after one request of a task the next is due; zero if that is at once.
    pub(super) interval: Duration,
    pub(super) partitions: u32,
    pub(super) settings: Vec<(String, String)>,
    pub(super) runs: u32,
    pub(super) dir: PathBuf,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    Produce,
    Consume {
        consumers: u32,
    },
    /// Members of one consumer group, beside the same number of plain reads.
    Members {
        members: u32,
    },
    Append {
        expect_version: bool,
        streamed: bool,
    },
    Entity(EntityReads),
}

/// How entities are read, each of which has the same number of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntityReads {
    pub(super) entities: u64,
    pub(super) records_per_entity: u32,
    pub(super) max: u32,
    pub(super) cold: bool,
}

/// The keys of appended records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    Hot,
    New,
    /// All records of a request have one key, of this many that no other task uses.
    OfClient(u64),
}

/// How many producers fill the topic of `bench consume`, which is not measured.
const PRODUCERS_TO_CONSUME: u32 = 2;

impl Plan {
    pub(super) fn new(command: &BenchCommand) -> Result<Self, Failure> {
        match command {
            BenchCommand::Produce {
                load,
                records,
                producers,
                bytes,
                keys,
                preload,
                groups,
                turn_ms,
                rate,
            } => {
                let plan = Self {
                    records: at_least_one("--records", *records)?,
                    clients: at_least_one("--producers", *producers)?,
                    keys: (*keys).into(),
                    preload: *preload,
                    groups: *groups,
                    turn: turn_of(*turn_ms)?,
                    ..Self::common(Load::Produce, load)?
                };
                plan.at_rate(rate.as_deref())?.of_bytes(bytes)
            }
            BenchCommand::Consume {
                load,
                records,
                consumers,
                members,
                bytes,
            } => {
                let reading = match members {
                    Some(members) => members_of(*members, load.partitions)?,
                    None => Load::Consume {
                        consumers: at_least_one("--consumers", *consumers)?,
                    },
                };
                Self {
                    records: at_least_one("--records", *records)?,
                    clients: PRODUCERS_TO_CONSUME,
                    ..Self::common(reading, load)?
                }
                .of_bytes(bytes)
            }
            BenchCommand::Append {
                load,
                records,
                clients,
                tasks,
                requests,
                entities,
                expect_version,
                streamed,
            } => {
                let (clients, tasks, appending) = tasks_of(*clients, *tasks)?;
                Ok(Self {
                    records: at_least_one("--records", *records)?,
                    clients,
                    tasks,
                    requests: at_least_one("--requests", *requests)?,
                    keys: keys_of_client(*entities, appending)?,
                    ..Self::common(
                        Load::Append {
                            expect_version: *expect_version,
                            streamed: *streamed,
                        },
                        load,
                    )?
                })
            }
            BenchCommand::Entity {
                load,
                entities,
                records_per_entity,
                records,
                max,
                clients,
                reads,
                cold,
            } => {
                let reading = EntityReads {
                    entities: *entities,
                    records_per_entity: at_least_one("--records-per-entity", *records_per_entity)?,
                    max: at_least_one("--max", *max)?,
                    cold: *cold,
                };
                if *entities == 0 {
                    return Err(Failure::Usage("--entities must be at least 1".to_owned()));
                }
                Ok(Self {
                    records: at_least_one("--records", *records)?,
                    clients: at_least_one("--clients", *clients)?,
                    requests: at_least_one("--reads", *reads)?,
                    ..Self::common(Load::Entity(reading), load)?
                })
            }
        }
    }

    /// What all measurements share; with one client that makes one request of one record.
    fn common(load: Load, flags: &LoadFlags) -> Result<Self, Failure> {
        let record_bytes = size("--record-bytes", &flags.record_bytes)?;
        let settings = assignments(&flags.set)?;
        Ok(Self {
            load,
            record_bytes: usize::try_from(record_bytes)
                .map_err(|_| too_large("--record-bytes"))?
                .max(1),
            records: 1,
            clients: 1,
            tasks: 1,
            requests: 1,
            keys: Keys::None,
            preload: 0,
            groups: 0,
            turn: None,
            interval: Duration::ZERO,
            partitions: at_least_one("--partitions", flags.partitions)?,
            settings: settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            runs: at_least_one("--runs", flags.runs)?,
            dir: flags.dir.clone(),
        })
    }

    /// Sets the number of requests so that this many bytes are appended.
    fn of_bytes(self, bytes: &str) -> Result<Self, Failure> {
        let bytes = size("--bytes", bytes)?;
        let requests = bytes.div_ceil(self.bytes()).max(1);
        let requests = u32::try_from(requests).map_err(|_| too_large("--bytes"))?;
        Ok(Self { requests, ..self })
    }

    /// Sets the interval of requests so that this many bytes are appended a second.
    fn at_rate(self, rate: Option<&str>) -> Result<Self, Failure> {
        let Some(rate) = rate else {
            return Ok(self);
        };
        let rate = size("--rate", rate)?;
        if rate == 0 {
            return Err(Failure::Usage("--rate must be at least 1".to_owned()));
        }
        let a_request = u128::from(self.bytes()) * 1_000_000_000 / u128::from(rate);
        let nanos = u64::try_from(a_request).map_err(|_| too_large("--record-bytes"))?;
        Ok(Self {
            interval: Duration::from_nanos(nanos),
            ..self
        })
    }

    /// The plan without the load beside it, for comparison; the same plan if it takes turns itself.
    pub(super) fn alone(&self) -> Self {
        let groups = match self.turn {
            Some(_) => self.groups,
            None => 0,
        };
        Self {
            groups,
            ..self.clone()
        }
    }

    /// How many tasks append at the same time.
    pub(super) fn appending(&self) -> u32 {
        self.clients * self.tasks
    }

    /// The number of records that one task appends.
    pub(super) fn records_of_client(&self) -> u64 {
        u64::from(self.records) * u64::from(self.requests)
    }

    /// The number of all records that are appended and measured.
    pub(super) fn all_records(&self) -> u64 {
        self.records_of_client() * u64::from(self.appending())
    }

    /// The size of all their values.
    pub(super) fn bytes(&self) -> u64 {
        self.all_records() * self.record_bytes as u64
    }
}

/// The number of clients, of the tasks of each, and of all tasks.
fn tasks_of(clients: u32, tasks: u32) -> Result<(u32, u32, u32), Failure> {
    let clients = at_least_one("--clients", clients)?;
    let tasks = at_least_one("--tasks", tasks)?;
    match clients.checked_mul(tasks) {
        Some(all) => Ok((clients, tasks, all)),
        None => Err(too_large("--tasks")),
    }
}

fn turn_of(turn_ms: Option<u32>) -> Result<Option<Duration>, Failure> {
    let Some(turn_ms) = turn_ms else {
        return Ok(None);
    };
    let turn_ms = at_least_one("--turn-ms", turn_ms)?;
    Ok(Some(Duration::from_millis(turn_ms.into())))
}

fn keys_of_client(entities: Option<u64>, tasks: u32) -> Result<Keys, Failure> {
    let Some(entities) = entities else {
        return Ok(Keys::None);
    };
    match entities / u64::from(tasks) {
        0 => Err(Failure::Usage(format!(
            "--entities must be at least --clients times --tasks, which is {tasks}"
        ))),
        of_task => Ok(Keys::OfClient(of_task)),
    }
}

impl From<BenchKeys> for Keys {
    fn from(keys: BenchKeys) -> Self {
        match keys {
            BenchKeys::None => Self::None,
            BenchKeys::Hot => Self::Hot,
            BenchKeys::New => Self::New,
        }
    }
}

fn members_of(members: u32, partitions: u32) -> Result<Load, Failure> {
    if members > partitions {
        return Err(Failure::Usage(format!(
            "--members must be at most --partitions, which is {partitions}"
        )));
    }
    let members = at_least_one("--members", members)?;
    Ok(Load::Members { members })
}

fn at_least_one(flag: &str, number: u32) -> Result<u32, Failure> {
    if number == 0 {
        Err(Failure::Usage(format!("{flag} must be at least 1")))
    } else {
        Ok(number)
    }
}

fn size(flag: &str, text: &str) -> Result<u64, Failure> {
    parse_bytes(text).map_err(|error| Failure::Usage(format!("{flag}: {error}")))
}

fn too_large(flag: &str) -> Failure {
    Failure::Usage(format!("{flag} is too large"))
}
