//! Groups under chaos: members join, leave, are killed, stall for longer than their sessions and
//! then commit late, and are slow; the broker is killed and restarted; topics and partitions are
//! added; offsets are reset. The rules (`rules.rs`) are checked after every step. At the end, when
//! every member behaves, the group must come to rest.

mod power;
mod steal;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    super::world::{append_of, below, create, encode_record, now, read_all, send},
    did::Did,
    rules::Rules,
    world::{DRAIN, Got, Has, Member, SESSION, World, join, offset},
};
use crate::{
    broker::{
        Append, Error,
        groups::{CommitOutcome, Credit, GroupOffset, JoinGroup},
    },
    catalog::groups::{Instance, MemberId, Place},
    env::{
        Clock,
        sim::{CrashMode, SimRandom},
    },
    types::{Offset, PartitionId},
};

/// The number of seeds. Each decides everything that happens.
const SEEDS: u64 = 1_000;

/// The steps of each run.
const STEPS: u32 = 120;

/// The most members at a time.
const MOST: usize = 16;

/// The most partitions of a topic.
const MOST_PARTITIONS: u32 = 8;

/// The most topics.
const TOPICS: u32 = 3;

/// How long a group may take to come to rest.
const REST: Duration = DRAIN.saturating_add(SESSION.saturating_mul(3));

/// A client of a group.
struct Client {
    /// `None` while the client is away.
    member: Option<Member>,
    id: MemberId,
    instance: Option<Instance>,
    name: String,
    heartbeat: bool,
    /// The client does nothing until then.
    busy_until: Duration,
    /// Whether the client is late to hand over partitions and to commit.
    is_slow: bool,
}

struct Chaos {
    world: World,
    chance: SimRandom,
    rules: Rules,
    clients: Vec<Client>,
    topics: u32,
    appended: BTreeSet<u64>,
    handled: BTreeSet<u64>,
    /// Whether members append their output together with the commit, for exactly once.
    writes_out: bool,
    did: Did,
}

#[test]
fn whatever_happens_to_members_and_the_broker_groups_keep_their_promises() {
    let mut did = Did::default();
    for seed in 1..=SEEDS {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        match run {
            Ok(run) => did.add(&run),
            Err(panic) => {
                eprintln!("failed with seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{did:#?}");
    assert!(did.joined > SEEDS && did.came_back > SEEDS / 2 && did.fenced > SEEDS / 10);
    assert!(did.killed > SEEDS && did.left > SEEDS && did.restarted > SEEDS / 2);
    assert!(did.partitions_added > SEEDS && did.power_failed > SEEDS / 2);
    assert!(did.doubtful_present > SEEDS / 2 && did.doubtful_absent > SEEDS / 2);
    assert!(did.reset > SEEDS && did.committed > SEEDS && did.late_commits_refused > SEEDS / 10);
    assert!(did.stolen_commits_refused > SEEDS && did.fenced_as_it_came_back > SEEDS / 10);
    assert!(did.records > 10 * SEEDS && did.again > SEEDS / 10);
}

fn run(seed: u64) -> Did {
    let mut chaos = Chaos::new(seed);
    for _ in 0..STEPS {
        chaos.step();
        chaos.rules.look(&chaos.world);
    }
    chaos.come_to_rest();
    chaos.did
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let world = World::new(seed);
        let chance = SimRandom::new(seed);
        create(world.broker(), "out", 2);
        world.create_plain("t0", 1 + below(&chance, 4) as u32);
        Self {
            world,
            chance,
            rules: Rules::default(),
            clients: Vec::new(),
            topics: 1,
            appended: BTreeSet::new(),
            handled: BTreeSet::new(),
            writes_out: seed.is_multiple_of(2),
            did: Did::default(),
        }
    }

    fn step(&mut self) {
        match below(&self.chance, 100) {
            0..20 => self.append(),
            20..60 => self.let_a_client_work(),
            60..68 => self.join(),
            68..72 => self.come_back(),
            72..76 => self.kill_a_client(),
            76..79 => self.leave(),
            79..83 => self.keep_a_client_busy(),
            83..86 => self.reset(),
            86..87 => self.add_topic(),
            87..88 => self.fail_power(),
            88..89 => self.restart(),
            91..93 => self.add_partitions(),
            89..91 => {
                self.world.broker().keep_house(true);
                self.world.broker().commit_all();
            }
            _ => {
                let time = [100, 1_000, 5_000, 15_000][below(&self.chance, 4) as usize];
                self.advance(Duration::from_millis(1 + below(&self.chance, time)));
            }
        }
    }

    fn now(&self) -> Duration {
        self.world.clock.elapsed()
    }

    fn advance(&mut self, time: Duration) {
        let rules = &mut self.rules;
        self.world.advance_looking(time, |world| rules.look(world));
    }

    fn append(&mut self) {
        let topic = format!("t{}", below(&self.chance, u64::from(self.topics)));
        let described = self.world.broker().describe_topic(&topic);
        let partitions = described.expect("it is there").1.len() as u64;
        let partition = below(&self.chance, partitions) as u32;
        let ids = self
            .world
            .append(&topic, partition, 1 + below(&self.chance, 5));
        self.did.records += ids.len() as u64;
        self.appended.extend(ids);
    }

    fn join(&mut self) {
        if self.clients.len() >= MOST {
            return;
        }
        // One of a few names, which another member may have already, or no name.
        let name = match below(&self.chance, 12) {
            number @ 0..6 => format!("name-{number}"),
            _ => String::new(),
        };
        let client = Client {
            member: None,
            id: MemberId(0),
            instance: None,
            name,
            heartbeat: below(&self.chance, 2) == 0,
            busy_until: Duration::ZERO,
            is_slow: below(&self.chance, 4) == 0,
        };
        self.clients.push(client);
        self.join_as(self.clients.len() - 1);
        self.did.joined += 1;
    }

    fn join_as(&mut self, at: usize) {
        let client = &self.clients[at];
        let few = below(&self.chance, 2) == 0;
        let records = if few {
            1 + below(&self.chance, 8)
        } else {
            1_000
        };
        let join = JoinGroup {
            topics: vec!["t0".to_owned()],
            prefixes: vec!["t".to_owned()],
            name: client.name.clone(),
            member_id: (client.id != MemberId(0)).then_some(client.id),
            instance: client.instance,
            heartbeat: client.heartbeat,
            credit: Credit {
                records: 1_000,
                bytes: 1 << 20,
            },
            partition_credit: Some(Credit {
                records,
                bytes: 1 << 20,
            }),
            ..join()
        };
        let member = match self.world.try_join(join) {
            Ok(member) => member,
            Err(Error::MemberFenced { .. }) if client.instance.is_some() => {
                self.did.fenced_as_it_came_back += 1;
                self.clients.swap_remove(at);
                return;
            }
            Err(error) => panic!("it cannot join: {error}"),
        };
        self.rules.joined(&member, client.heartbeat, self.now());
        self.rules.look(&self.world);
        let client = &mut self.clients[at];
        client.id = member.id;
        client.instance = Some(member.session.instance());
        client.member = Some(member);
    }

    /// A client joins again that was killed, or whose broker was.
    fn come_back(&mut self) {
        let away = |client: &Client| client.member.is_none();
        if let Some(at) = self.pick(away) {
            self.join_as(at);
            self.did.came_back += 1;
        }
    }

    fn pick(&self, is_meant: impl Fn(&Client) -> bool) -> Option<usize> {
        let meant = self.clients.iter().enumerate();
        let meant: Vec<usize> = meant
            .filter(|(_, client)| is_meant(client))
            .map(|(at, _)| at)
            .collect();
        let count = meant.len() as u64;
        (count > 0).then(|| meant[below(&self.chance, count) as usize])
    }

    fn pick_running(&self) -> Option<usize> {
        self.pick(|client| client.member.is_some())
    }

    fn kill_a_client(&mut self) {
        if let Some(at) = self.pick_running()
            && let Some(member) = self.clients[at].member.take()
        {
            self.rules.lost(&member, self.now());
            self.did.killed += 1;
        }
    }

    fn leave(&mut self) {
        let Some(at) = self.pick_running() else {
            return;
        };
        let client = self.clients.swap_remove(at);
        let member = client.member.expect("it runs");
        match member.session.leave() {
            Ok(_) => self.rules.left(client.id, self.world.clock.elapsed()),
            Err(Error::MemberFenced { .. } | Error::SessionEnded { .. }) => {}
            Err(error) => panic!("it cannot leave: {error}"),
        }
        self.world.broker().commit_all();
        self.did.left += 1;
    }

    fn keep_a_client_busy(&mut self) {
        if let Some(at) = self.pick_running() {
            let time = Duration::from_millis(below(&self.chance, 25_000));
            self.clients[at].busy_until = self.now() + time;
        }
    }

    /// Resets a partition's offset to the group's or further back, so that nothing is skipped.
    fn reset(&mut self) {
        let state = self.world.state("g");
        let count = state.offsets.len() as u64;
        if count == 0 {
            return;
        }
        let nth = below(&self.chance, count) as usize;
        let Some((&place, committed)) = state.offsets.iter().nth(nth) else {
            return;
        };
        let back = match below(&self.chance, 2) {
            _ if self.writes_out => 0,
            0 => 0,
            _ => below(&self.chance, committed.next.0 + 1),
        };
        self.rules.reset(place);
        self.world.reset(place, Offset(committed.next.0 - back));
        self.did.reset += 1;
    }

    fn add_topic(&mut self) {
        if self.topics < TOPICS {
            let partitions = 1 + below(&self.chance, 3) as u32;
            let name = format!("t{}", self.topics);
            self.world.create_plain(&name, partitions);
            self.topics += 1;
        }
    }

    fn add_partitions(&mut self) {
        let topic = format!("t{}", below(&self.chance, u64::from(self.topics)));
        let broker = self.world.broker();
        let (described, _) = broker.describe_topic(&topic).expect("it is there");
        let partitions = described.partitions + 1 + below(&self.chance, 2) as u32;
        if partitions <= MOST_PARTITIONS {
            let added = broker.add_partitions(topic.as_str().into(), partitions);
            broker.commit_all();
            now(added.expect("it may be"))
                .expect("an answer")
                .expect("nothing fails");
            self.did.partitions_added += 1;
        }
    }

    fn restart(&mut self) {
        match below(&self.chance, 3) {
            0 => self.world.stop(),
            _ => {
                let modes = CrashMode::ALL.len() as u64;
                let mode = CrashMode::ALL[below(&self.chance, modes) as usize];
                self.world.kill(mode);
            }
        }
        self.start_again(&BTreeMap::new());
    }

    /// Starts the broker again. These offsets may or may not be committed.
    fn start_again(&mut self, doubtful: &BTreeMap<Place, Offset>) {
        for client in &mut self.clients {
            client.member = None;
        }
        self.world.start();
        self.rules.restarted(&self.world, doubtful);
        self.did.restarted += 1;
        // Most clients come back at once.
        for at in (0..self.clients.len()).rev() {
            if below(&self.chance, 4) > 0 {
                self.join_as(at);
                self.did.came_back += 1;
            }
        }
    }

    fn let_a_client_work(&mut self) {
        let now = self.now();
        let ready = |client: &Client| client.member.is_some() && client.busy_until <= now;
        if let Some(at) = self.pick(ready) {
            let events = 1 + below(&self.chance, 12);
            self.work(at, events);
        }
    }

    /// A client takes events, handles and commits records, and hands over partitions as told.
    fn work(&mut self, at: usize, events: u64) {
        let now = self.now();
        let is_slow = self.clients[at].is_slow && below(&self.chance, 4) > 0;
        let Some(mut member) = self.clients[at].member.take() else {
            return;
        };
        if self.clients[at].heartbeat {
            member.session.heard();
            self.rules.heard(&member, now);
        }
        // Its partitions as it was last told, which may be out of date.
        let had = member.has.clone();
        if below(&self.chance, 4) == 0 {
            match self.writes_out {
                true => self.write_out(&mut member),
                false => self.commit(&mut member, &had),
            }
        }
        for _ in 0..events {
            match member.take() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(Error::MemberFenced { .. }) => {
                    self.did.fenced += 1;
                    // It never joins again by itself.
                    self.clients.swap_remove(at);
                    return;
                }
                Err(Error::SessionEnded { .. }) => {
                    self.clients[at].id = MemberId(0);
                    return;
                }
                Err(error) => panic!("the session ends: {error}"),
            }
        }
        self.rules.told(&member);
        if !self.writes_out {
            for got in member.got.drain(..) {
                self.did.again += u64::from(!self.handled.insert(got.id));
            }
        }
        if below(&self.chance, 8) == 0 {
            self.steal(&mut member);
        }
        if !is_slow {
            let has = member.has.clone();
            match self.writes_out {
                true => self.write_out(&mut member),
                false => self.commit(&mut member, &has),
            }
            let handed_over = member.to_hand_over.clone();
            let named = member.named(&handed_over);
            if member.session.drained(&named).is_ok() {
                member.to_hand_over.clear();
                self.rules.handed_over(member.id, &handed_over);
            }
        }
        self.world.broker().commit_all();
        self.rules.look(&self.world);
        member.session.credit(Credit {
            records: 100,
            bytes: 1 << 16,
        });
        self.clients[at].member = Some(member);
    }

    /// Commits the offsets that a member has handled.
    fn commit(&mut self, member: &mut Member, has: &BTreeMap<Place, Has>) {
        for (&place, has) in has {
            let owned = self.world.state("g").owned.get(&place).copied();
            let is_its_own = owned
                .is_some_and(|owned| owned.owner == member.id && owned.since == has.generation);
            match member.commit_at(&self.world, place, has) {
                Ok(CommitOutcome::Done) => {
                    assert!(is_its_own, "{place:?} is not its own: {has:?}, {owned:?}");
                    self.did.committed += 1;
                }
                Ok(CommitOutcome::Unchanged { .. }) => {
                    assert!(is_its_own, "{place:?} is not its own: {has:?}, {owned:?}");
                }
                Ok(CommitOutcome::Fenced { .. }) => {
                    assert!(!is_its_own, "{place:?} is its own: {has:?}, {owned:?}");
                    self.did.late_commits_refused += 1;
                }
                Ok(outcome) => panic!("{outcome:?} for {place:?}"),
                Err(Error::MemberFenced { .. } | Error::SessionEnded { .. }) => {
                    self.did.late_commits_refused += 1;
                }
                Err(error) => panic!("it cannot commit: {error}"),
            }
            self.rules.look(&self.world);
        }
    }

    /// Writes a member's output, and commits the offsets in the same append.
    fn write_out(&mut self, member: &mut Member) {
        let mut by_place: BTreeMap<Place, Vec<Got>> = BTreeMap::new();
        for got in member.got.drain(..) {
            by_place.entry(got.place).or_default().push(got);
        }
        for (place, got) in by_place {
            let has = member.has.get(&place).or(member.leaving.get(&place));
            let has = has.expect("it was assigned");
            let owned = self.world.state("g").owned.get(&place).copied();
            let is_its_own = owned
                .is_some_and(|owned| owned.owner == member.id && owned.since == has.generation);
            let records: Vec<Vec<u8>> = got.iter().map(|got| encode_record(got.id, 40)).collect();
            let append = Append {
                group_offsets: vec![("g".to_owned(), vec![offset_of(member, place, has)])],
                ..append_of("out", Some(place.1.0 % 2), &records)
            };
            match send(self.world.broker(), append) {
                Ok(_) => {
                    assert!(is_its_own, "{place:?} is not its own: {has:?}, {owned:?}");
                    for got in got {
                        let is_new = self.handled.insert(got.id);
                        assert!(is_new, "{got:?} is written out twice");
                    }
                    self.did.committed += 1;
                }
                Err(Error::CommitFenced { .. }) => {
                    assert!(!is_its_own, "{place:?} is its own: {has:?}, {owned:?}");
                    self.did.late_commits_refused += 1;
                }
                Err(error) => panic!("it cannot append: {error}"),
            }
            self.rules.look(&self.world);
        }
        member.leaving.clear();
    }

    /// Asserts that the output is complete, and has each record once.
    fn check_written_out(&self) {
        let mut found = BTreeSet::new();
        for partition in 0..2 {
            for (_, id) in read_all(self.world.broker(), "out", PartitionId(partition)) {
                assert!(found.insert(id), "record {id} is written out twice");
            }
        }
        assert_eq!(found, self.appended);
    }

    /// From now on all clients that are present behave, and the others stay away.
    fn come_to_rest(&mut self) {
        for client in &mut self.clients {
            client.is_slow = false;
            client.busy_until = Duration::ZERO;
        }
        self.clients.retain(|client| client.member.is_some());
        if self.clients.is_empty() {
            self.join();
        }
        let began = self.now();
        while !self.is_at_rest() {
            let waited = self.now() - began;
            assert!(
                waited <= REST,
                "not at rest after {waited:?}: {:?}, {:?}",
                self.world.state("g").owned,
                self.world.state("g").offsets
            );
            for at in (0..self.clients.len()).rev() {
                self.work(at, u64::MAX);
            }
            if self.clients.is_empty() {
                self.join();
            }
            for at in (0..self.clients.len()).rev() {
                if self.clients[at].member.is_none() {
                    self.join_as(at);
                }
            }
            self.advance(Duration::from_millis(250));
        }
        self.did.longest_rest = self.now() - began;
        if self.writes_out {
            self.check_written_out();
        }
        let lost: Vec<&u64> = self.appended.difference(&self.handled).collect();
        assert!(lost.is_empty(), "nobody has handled {lost:?}");
    }

    /// Whether the group is balanced and has committed everything.
    fn is_at_rest(&self) -> bool {
        let state = self.world.state("g");
        let mut partitions = 0;
        for topic in 0..self.topics {
            let name = format!("t{topic}");
            let (topic, described) = self
                .world
                .broker()
                .describe_topic(&name)
                .expect("it is there");
            for partition in described {
                let place = (topic.id, PartitionId(partition.partition.0));
                let committed = state.offsets.get(&place).map(|committed| committed.next);
                if committed.unwrap_or_default() != partition.high_watermark {
                    return false;
                }
                partitions += 1;
            }
        }
        let is_still = state.owned.values().all(|owned| !owned.is_draining);
        let shares = state.members.keys().map(|id| {
            let owned = state.owned.values();
            owned.filter(|owned| owned.owner == *id).count()
        });
        let (least, most) = (shares.clone().min(), shares.max());
        let is_balanced = most.unwrap_or(0) - least.unwrap_or(0) <= 1;
        let running = self.clients.iter().filter(|client| client.member.is_some());
        let all_run = state.members.len() == running.count();
        is_still && is_balanced && all_run && state.owned.len() == partitions
    }
}

/// The offset that this member commits for a partition.
fn offset_of(member: &Member, place: Place, has: &Has) -> GroupOffset {
    GroupOffset {
        member: Some(member.id),
        ..offset(place, has)
    }
}
