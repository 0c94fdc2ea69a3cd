//! What does it cost a group of 100 members over 1,000 partitions that one more joins? How many
//! partitions move, and how long the others stand still. `cargo bench --bench groups`
//!
//! A record is appended to every partition ten times a second, all in one append, and synced. For
//! each partition the longest time between two records is taken, as its members get them: in a
//! while before the join, and in one that begins with it. Broker and members share a process; the
//! disk is the one that holds the target directory.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use taffrail::{
    client::{Batch, Client, Error, Member, NewTopic, Record},
    testing::TestBroker,
    types::PartitionId,
};
use tokio::time::{interval, sleep};

const PARTITIONS: u32 = 1000;
const MEMBERS: usize = 100;
const MEMBERS_OF_CONNECTION: usize = 10;

/// How often a record is appended to every partition.
const APPENDED: Duration = Duration::from_millis(100);

/// How long gaps are looked for, before the join and from it on.
const WINDOW: Duration = Duration::from_secs(5);

/// How long the members may take to have their shares, and all records.
const SETTLED: Duration = Duration::from_secs(60);

/// The least partitions that must move, for the newcomer to have as many as the others have at
/// least.
const LEAST_MOVES: usize = PARTITIONS as usize / (MEMBERS + 1);

/// What may move beyond that.
const MORE_MOVES: f64 = 0.01;

/// How much longer a partition that stays may stand still while somebody joins, for what a machine
/// does besides.
const LONGER: Duration = Duration::from_millis(50);

/// While it is looked for gaps before the join, or from it on.
const BEFORE: usize = 0;
const DURING: usize = 1;

#[tokio::main]
async fn main() -> ExitCode {
    match measure().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<bool, Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let data_dir = directory.path().join("data");
    let broker = TestBroker::builder().tcp().data_dir(data_dir).start().await;
    let topic = NewTopic::new("bench").partitions(PARTITIONS);
    broker.client().topics().create(&topic).await?;

    let seen = Arc::new(Seen::new());
    let mut members = Vec::new();
    let mut client = Client::connect(&broker.url()).await?;
    for number in 0..MEMBERS {
        if number % MEMBERS_OF_CONNECTION == 0 {
            client = Client::connect(&broker.url()).await?;
        }
        members.push(tokio::spawn(join(client.clone(), Arc::clone(&seen))));
    }
    let is_ended = Arc::new(AtomicBool::new(false));
    let appending = append(Client::connect(&broker.url()).await?, Arc::clone(&is_ended));
    let appending = tokio::spawn(appending);
    seen.settle(MEMBERS).await?;

    seen.window(BEFORE).await;
    let owners = seen.owners();
    let told = seen.told.load(Relaxed);
    let joined = now();
    let newcomer = join(client, Arc::clone(&seen));
    members.push(tokio::spawn(newcomer));
    let window = seen.window(DURING);
    let settled = async {
        let settled = seen.settle(MEMBERS + 1).await;
        settled.map(|()| now() - joined)
    };
    let ((), settled) = tokio::join!(window, settled);
    let settled = settled?;
    let told = seen.told.load(Relaxed) - told;

    is_ended.store(true, Relaxed);
    let appended = appending.await??;
    seen.wait_for(appended).await?;
    let after = seen.owners();
    let has_moved: Vec<bool> = owners.iter().zip(&after).map(|(a, b)| a != b).collect();
    for member in members {
        member.abort();
    }
    let found = Found {
        moves: has_moved.iter().filter(|moved| **moved).count(),
        told,
        before: seen.longest(BEFORE, |_| true),
        staying: seen.longest(DURING, |at| !has_moved[at]),
        moving: seen.longest(DURING, |at| has_moved[at]),
        settled,
    };
    found.print()?;
    Ok(found.is_good())
}

struct Found {
    moves: usize,
    /// How many partitions members were told to have, or have no more.
    told: usize,
    before: Duration,
    staying: Duration,
    moving: Duration,
    settled: Duration,
}

impl Found {
    #[expect(clippy::cast_precision_loss, reason = "there are few partitions")]
    fn is_good(&self) -> bool {
        self.moves as f64 <= LEAST_MOVES as f64 * (1.0 + MORE_MOVES)
            && self.told == 2 * self.moves
            && self.staying <= 2 * self.before + LONGER
    }

    fn print(&self) -> io::Result<()> {
        let mut out = io::stdout();
        let ms = |time: Duration| time.as_millis();
        let moves = self.moves;
        writeln!(out, "partitions that move     {moves:>6} of {PARTITIONS}")?;
        writeln!(out, "at least                 {LEAST_MOVES:>6}")?;
        writeln!(out, "revoked and assigned     {:>6}", self.told)?;
        writeln!(out, "longest without a record, of a record every 100 ms:")?;
        writeln!(out, "  before the join        {:>6} ms", ms(self.before))?;
        writeln!(out, "  of those that stay     {:>6} ms", ms(self.staying))?;
        writeln!(out, "  of those that move     {:>6} ms", ms(self.moving))?;
        writeln!(out, "all is the newcomer's    {:>6} ms", ms(self.settled))
    }
}

/// What members have seen, partition by partition.
struct Seen {
    partitions: Vec<Partition>,
    /// How many records.
    records: AtomicU64,
    /// How many partitions members were told to have, or have no more.
    told: AtomicUsize,
    /// How many members have come.
    members: AtomicUsize,
    /// Which window it is, if it is one.
    window: AtomicUsize,
}

#[derive(Default)]
struct Partition {
    /// The number of the member that has it, from 1.
    owner: AtomicUsize,
    /// When its last record came, in microseconds.
    last: AtomicU64,
    /// The longest time without one, in each window.
    longest: [AtomicU64; 2],
}

impl Seen {
    fn new() -> Self {
        let mut partitions = Vec::new();
        partitions.resize_with(PARTITIONS as usize, Partition::default);
        Self {
            partitions,
            records: AtomicU64::new(0),
            told: AtomicUsize::new(0),
            members: AtomicUsize::new(0),
            window: AtomicUsize::new(usize::MAX),
        }
    }

    fn owners(&self) -> Vec<usize> {
        let owners = self.partitions.iter();
        owners.map(|of| of.owner.load(Relaxed)).collect()
    }

    /// Waits until all partitions are had by so many members, each of which has its share.
    async fn settle(&self, members: usize) -> Result<(), String> {
        let share = PARTITIONS as usize / members;
        let ends = now() + SETTLED;
        loop {
            let mut has = vec![0; members + 1];
            for owner in self.owners() {
                has[owner.min(members)] += 1;
            }
            let all_have = has[1..].iter().all(|has| (share..=share + 1).contains(has));
            if has[0] == 0 && all_have {
                return Ok(());
            }
            if now() > ends {
                return Err(format!("the group does not settle: {has:?}"));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Looks for gaps for a while.
    async fn window(&self, which: usize) {
        self.window.store(which, Relaxed);
        sleep(WINDOW).await;
        self.window.store(usize::MAX, Relaxed);
    }

    fn longest(&self, window: usize, which: impl Fn(usize) -> bool) -> Duration {
        let mut longest = 0;
        for (at, partition) in self.partitions.iter().enumerate() {
            if which(at) {
                longest = longest.max(partition.longest[window].load(Relaxed));
            }
        }
        Duration::from_micros(longest)
    }

    /// Waits until so many records have come.
    async fn wait_for(&self, records: u64) -> Result<(), String> {
        let ends = now() + SETTLED;
        loop {
            let seen = self.records.load(Relaxed);
            if seen == records {
                return Ok(());
            }
            if seen > records || now() > ends {
                return Err(format!("{seen} records came of {records}"));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn record(&self, partition: PartitionId, records: usize) {
        if records == 0 {
            return;
        }
        self.records.fetch_add(records as u64, Relaxed);
        let partition = &self.partitions[partition.0 as usize];
        let at = u64::try_from(now().as_micros()).unwrap_or(u64::MAX);
        let before = partition.last.swap(at, Relaxed);
        if let Some(longest) = partition.longest.get(self.window.load(Relaxed)) {
            longest.fetch_max(at - before, Relaxed);
        }
    }
}

/// A member, which takes records until it is ended.
async fn join(client: Client, seen: Arc<Seen>) -> Result<(), Error> {
    let number = seen.members.fetch_add(1, Relaxed) + 1;
    let (assigned, revoked) = (Arc::clone(&seen), Arc::clone(&seen));
    let member = client
        .member("bench")
        .topic("bench")
        .on_assigned(move |partitions| {
            assigned.told.fetch_add(partitions.len(), Relaxed);
            for partition in partitions {
                let of = &assigned.partitions[partition.partition.0 as usize];
                of.owner.store(number, Relaxed);
            }
        })
        .on_revoked(move |gone| {
            revoked.told.fetch_add(gone.partitions.len(), Relaxed);
        });
    let mut member: Member = member.join().await?;
    loop {
        if let Some(batch) = member.next_batch().await? {
            seen.record(batch.next.partition, batch.records().count());
        }
    }
}

/// Appends a record to every partition, again and again. Returns how many.
async fn append(client: Client, is_ended: Arc<AtomicBool>) -> Result<u64, Error> {
    let mut ticks = interval(APPENDED);
    let mut appended = 0;
    while !is_ended.load(Relaxed) {
        ticks.tick().await;
        let mut batches = Vec::new();
        for partition in 0..PARTITIONS {
            let mut batch = Batch::to_partition("bench", PartitionId(partition));
            batch.push(&Record::new().value(b"value"));
            batches.push(batch);
        }
        client.append(batches).await?;
        appended += u64::from(PARTITIONS);
    }
    Ok(appended)
}

/// Time since some fixed moment.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the time that passes"
)]
fn now() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
