//! The owners of a broker's state.
//!
//! Each owner has its state with the locks around it, and handles of other owners that it needs. An
//! operation uses one owner, or this struct if it needs several.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Error, Options,
    clock::SteadyClock,
    commit::{Committer, Queue},
    groups::{GroupMemory, Rebalances, Sessions},
    health::Health,
    housekeeping::{Housekeeper, first_round},
    keys::KeyMemory,
    maintenance::{Maintenance, Wakeups},
    memory::Memory,
    partition_count::PartitionCount,
    partitions::Partitions,
    producer_memory::ProducerMemory,
    retention::Looks,
    sequencer::Sequencer,
    wakeup::Wakeup,
    write_out::WriteOut,
};
use crate::{
    budget::{Budget, Name},
    catalog::{AccessTokens, Catalog},
    env::{Alarm, Env},
    metrics::Counts,
    storage::{
        checkpoint,
        data_dir::DataDir,
        format::checkpoint::Clock as StoredClock,
        journal::{self, Kept},
        log::OpenSegments,
    },
};

/// All owners.
pub(super) struct Shared {
    pub(super) env: Env,
    /// Counts of what the broker has done so far.
    pub(super) counts: Counts,
    /// The broker's time.
    pub(super) clock: SteadyClock,
    pub(super) options: Options,
    pub(super) dir: Arc<DataDir>,
    pub(super) partitions: Arc<Partitions>,
    pub(super) sequencer: Arc<Sequencer>,
    pub(super) committer: Committer,
    /// Journal entries for restores between two backups.
    pub(super) kept: Kept,
    pub(super) health: Arc<Health>,
    pub(super) budget: Budget,
    pub(super) memory: Memory,
    pub(super) producer_memory: ProducerMemory,
    pub(super) sessions: Sessions,
    pub(super) rebalances: Rebalances,
    /// Publishes the current access tokens.
    pub(super) access_tokens: watch::Sender<Arc<AccessTokens>>,
    pub(super) maintenance: Maintenance,
    /// The thread that waits for deadlines waits here.
    pub(super) alarm: Arc<Alarm>,
}

impl Shared {
    /// The state before anything is recovered. The journal continues behind `tip`.
    pub(super) fn new(
        env: Env,
        options: Options,
        dir: DataDir,
        ring: Arc<journal::Ring>,
        stored: Option<StoredClock>,
        tip: journal::Tip,
        deltas: u64,
    ) -> Self {
        let machine = Arc::clone(&env.clock);
        let clock = SteadyClock::going_on(options.clock, machine, stored);
        let budget = Budget::new(&options.memory);
        let part = |name| Arc::clone(budget.part(name));
        let alarm = Alarm::new(Arc::clone(&env.clock));
        let segments = OpenSegments::new(env.clone(), options.open_segments)
            .with_files(options.open_files)
            .of_directory(dir.identity());
        let (dir, segments) = (Arc::new(dir), Arc::new(segments));
        let queue = Arc::new(Queue::default());
        let key_memory = Arc::new(KeyMemory::new(part(Name::KeyIndex)));
        let memory = Memory::new(part(Name::Appends), options.journal().bytes());
        let partition_count = PartitionCount::new(part(Name::Catalog));
        let wakeups = Wakeups::new(&alarm, first_round(&env));
        let waiters = Waiters {
            queue: Arc::clone(&queue),
            wakeups: [&wakeups.housekeeping, &wakeups.indexing, &wakeups.freeing].map(Arc::clone),
            alarm: Arc::clone(&alarm),
            memory: memory.clone(),
            key_memory: Arc::clone(&key_memory),
            partition_count: partition_count.clone(),
        };
        let health = Health::new(
            env.clone(),
            &options,
            Arc::clone(&ring),
            memory.clone(),
            Arc::clone(&segments),
            Arc::clone(&wakeups.housekeeping),
            move || waiters.let_go(),
        );
        let health = Arc::new(health);
        let checkpoints = checkpoint::Writer::new(
            dir.checkpoint(),
            dir.identity(),
            deltas,
            options.delta_bytes,
        );
        let segments_out = WriteOut::new(memory.clone(), options.open_files);
        let partitions = Partitions::new(
            env.clone(),
            Arc::clone(&dir),
            Arc::clone(&health),
            segments,
            partition_count,
            key_memory,
            Looks::new(
                Arc::clone(&wakeups.housekeeping),
                Arc::clone(&wakeups.indexing),
            ),
        );
        let sequencer = Sequencer::new(
            Arc::clone(&env.clock),
            Catalog::new(options.producer_room),
            Arc::clone(&queue),
            Arc::clone(&alarm),
            GroupMemory::new(part(Name::Catalog)),
        );
        Self {
            counts: Counts::new(&Error::REASONS),
            partitions: Arc::new(partitions),
            health,
            clock,
            sequencer: Arc::new(sequencer),
            committer: Committer::new(queue, ring, options.journal(), tip),
            kept: Kept::open(&env, dir.root(), options.kept_journal_bytes),
            producer_memory: ProducerMemory::new(part(Name::Catalog)),
            maintenance: Maintenance::new(Housekeeper::new(checkpoints, segments_out), wakeups),
            sessions: Sessions::default(),
            rebalances: Rebalances::default(),
            access_tokens: watch::Sender::default(),
            memory,
            budget,
            alarm,
            env,
            options,
            dir,
        }
    }
}

/// Everything that may wait in vain once storage has failed.
struct Waiters {
    queue: Arc<Queue>,
    wakeups: [Arc<Wakeup>; 3],
    alarm: Arc<Alarm>,
    memory: Memory,
    key_memory: Arc<KeyMemory>,
    partition_count: PartitionCount,
}

impl Waiters {
    fn let_go(&self) {
        self.queue.fail();
        self.wakeups.iter().for_each(|wakeup| wakeup.notify());
        self.alarm.wake();
        self.memory.close();
        self.key_memory.close();
        self.partition_count.close();
    }
}
