//! The scheduler: it decides by a seed who does what next, and what goes wrong.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tidemill_engine::history;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position, Positions};
use tidemill_engine::protocol::{Answer, Target};

use crate::group::Group;
use crate::instance::{Instance, State};
use crate::store::{Request, Store};
use crate::topic::{Kind, Topic, kind};

/// A part of the protocol that is left out, to show that the simulation notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Nothing is left out.
    Nothing,
    /// The sink does not compare positions.
    NoCompare,
    /// First positions are not committed before reading.
    NoAnchor,
    /// An answer that never came is taken for a failure: what was staged is deleted.
    UnknownIsFailed,
    /// Dead letters are committed after the rows.
    DeadLettersLast,
    /// An answer is believed whoever asked.
    AnyAnswer,
}

/// Ticks of trouble; after them everything has to come to rest.
const TROUBLE: u32 = 500;
/// Ticks in which it has to.
const REST: u32 = 6000;
/// Most records of a partition.
const RECORDS: i64 = 60;

/// What happened, over all histories.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub landed: u64,
    pub lost: u64,
    pub fenced: u64,
    pub unknown: u64,
    /// Commits that landed although nobody waited for them any more.
    pub late_commits: u64,
    /// Answers to a run that was over.
    pub late_answers: u64,
    pub duplicates: u64,
    pub crashes: u64,
    pub freezes: u64,
    pub rebalances: u64,
    /// Members that lost their partitions without being asked first.
    pub expelled: u64,
    pub resets: u64,
    pub retention: u64,
    pub grown: u64,
}

impl Counts {
    fn each(&mut self) -> [(&'static str, &mut u64); 14] {
        [
            ("landed", &mut self.landed),
            ("lost", &mut self.lost),
            ("fenced", &mut self.fenced),
            ("unknown", &mut self.unknown),
            ("late commits", &mut self.late_commits),
            ("late answers", &mut self.late_answers),
            ("duplicates", &mut self.duplicates),
            ("crashes", &mut self.crashes),
            ("freezes", &mut self.freezes),
            ("rebalances", &mut self.rebalances),
            ("expelled", &mut self.expelled),
            ("resets", &mut self.resets),
            ("retention", &mut self.retention),
            ("grown", &mut self.grown),
        ]
    }

    pub fn add(&mut self, mut other: Self) {
        for ((_, sum), (_, more)) in self.each().into_iter().zip(other.each()) {
            *sum += *more;
        }
    }

    /// Name and number of each kind of event.
    pub fn named(mut self) -> Vec<(&'static str, u64)> {
        self.each().into_iter().map(|(name, n)| (name, *n)).collect()
    }
}

/// Everything but the instances.
pub struct World {
    random: SmallRng,
    pub tick: u32,
    pub topic: Topic,
    pub group: Group,
    pub mutation: Mutation,
    pub counts: Counts,
    pub runs: u64,
    pub tokens: u64,
    main: Store,
    dead: Store,
    net: Vec<Request>,
    /// The job's `start`: the end of the log, else its beginning.
    latest: bool,
    /// Partitions may have two owners at once.
    sloppy: bool,
    calm: bool,
    failure: Option<String>,
    trace: Option<Vec<String>>,
    expected: Expected,
}

/// How often each record has to be in the main sink.
#[derive(Default)]
struct Expected {
    /// From this offset on, by partition: where the first run began, or the first anchor, whichever came first.
    base: Vec<Option<i64>>,
    /// Ranges that a person set back (+1) or over (-1), and ranges that were gone from the source (-1).
    changes: Vec<(usize, i64, i64, i32)>,
}

/// What came of a history.
pub struct Outcome {
    pub failure: Option<String>,
    pub counts: Counts,
    pub trace: Vec<String>,
}

/// Plays the history of `seed`.
pub fn play(seed: u64, mutation: Mutation, traced: bool) -> Outcome {
    let mut random = SmallRng::seed_from_u64(seed);
    let members = random.random_range(2..=4);
    let mut topic = Topic::new(random.random_range(1..=3));
    for end in &mut topic.end {
        *end = random.random_range(0..15);
    }
    let fences = random.random_bool(0.5);
    let store = || Store::new(fences, mutation != Mutation::NoCompare);
    let mut world = World {
        tick: 0,
        topic,
        group: Group::new(members),
        mutation,
        counts: Counts::default(),
        runs: 0,
        tokens: 0,
        main: store(),
        dead: store(),
        net: vec![],
        latest: random.random_bool(0.5),
        sloppy: random.random_bool(0.3),
        calm: false,
        failure: None,
        trace: traced.then(Vec::new),
        expected: Expected::default(),
        random,
    };
    let mut instances: Vec<_> = (0..members).map(Instance::new).collect();
    world.rebalance(&instances);
    while world.tick < TROUBLE && world.failure.is_none() {
        world.tick += 1;
        match world.below(100) {
            0..=61 => world.step_one(&mut instances),
            62..=85 => world.deliver(&mut instances),
            86..=95 => world.produce(),
            _ => world.misfortune(&mut instances),
        }
    }
    world.rest(&mut instances);
    world.judge();
    Outcome { failure: world.failure, counts: world.counts, trace: world.trace.unwrap_or_default() }
}

impl World {
    pub fn store(&mut self, target: Target) -> &mut Store {
        match target {
            Target::Main => &mut self.main,
            Target::DeadLetters => &mut self.dead,
        }
    }

    pub fn random(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    /// As `random`, while there is trouble.
    pub fn trouble(&mut self, probability: f64) -> bool {
        !self.calm && self.random(probability)
    }

    /// Whether somebody who waits for an answer waits no longer.
    pub fn gives_up(&mut self) -> bool {
        self.random(if self.calm { 0.01 } else { 0.04 })
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.random.random_range(0..n)
    }

    pub fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    pub fn log(&mut self, line: impl FnOnce() -> String) {
        let tick = self.tick;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{tick:5} {}", line()));
        }
    }

    pub fn send(&mut self, request: Request) {
        self.log(|| {
            format!("{}: commit {} to {:?}: {}", request.instance, request.token, request.target, show(&request.ranges))
        });
        self.net.push(request);
    }

    /// What the source answers about partitions without a position.
    pub fn resolve(&self, partitions: &[Partition], first: bool) -> Positions {
        let topic = &self.topic;
        if first {
            let at = if self.latest { &topic.end } else { &topic.low };
            topic.names.iter().zip(at).map(|(p, at)| (p.clone(), Position::at(*at))).collect()
        } else {
            partitions.iter().map(|p| (p.clone(), Position::at(topic.low[p.index as usize]))).collect()
        }
    }

    /// A run reads from here: from now on nothing behind may be missing.
    pub fn begins(&mut self, from: &[(usize, i64)]) {
        for &(p, at) in from {
            self.expected.begins(p, at);
        }
    }

    fn step_one(&mut self, instances: &mut [Instance]) {
        let i = self.below(instances.len());
        if instances[i].frozen_until <= self.tick {
            instances[i].step(self);
        }
    }

    /// Carries out a commit that is on its way, in any order, and perhaps twice; the answer may be lost.
    fn deliver(&mut self, instances: &mut [Instance]) {
        if self.net.is_empty() {
            return;
        }
        let at = self.below(self.net.len());
        if self.trouble(0.04) {
            self.net.swap_remove(at); // it never arrives
            return;
        }
        let again = self.trouble(0.05);
        let request = if again { self.net[at].clone() } else { self.net.swap_remove(at) };
        self.counts.duplicates += u64::from(again);
        let (answer, just_landed) = self.store(request.target).commit(&request);
        self.log(|| {
            format!("sink {:?}: commit {} of {}: {}", request.target, request.token, request.instance, answer.as_str())
        });
        match answer {
            Answer::Landed if just_landed => {
                self.counts.landed += 1;
                self.landed(&request);
                let waits = &instances[request.instance];
                self.counts.late_commits += u64::from(!waits.waits_for(request.token));
            }
            Answer::Lost => self.counts.lost += 1,
            Answer::Failed => self.counts.fenced += 1,
            _ => {}
        }
        if !self.trouble(0.06) && !matches!(instances[request.instance].state, State::Down) {
            instances[request.instance].inbox.push((request.run, request.token, answer));
        }
    }

    fn landed(&mut self, request: &Request) {
        if request.target != Target::Main {
            return;
        }
        for (partition, range) in request.ranges.iter() {
            let p = partition.index as usize;
            match range.start {
                None => self.expected.begins(p, range.end),
                // Only the start of a run moves positions to behind what is gone.
                Some(start) if request.passes_over => self.expected.changes.push((p, start, range.end, -1)),
                Some(_) => {}
            }
        }
    }

    fn produce(&mut self) {
        let p = self.below(self.topic.partitions());
        let more = self.below(5) as i64;
        let end = &mut self.topic.end[p];
        *end = (*end + more).min(RECORDS);
    }

    fn rebalance(&mut self, instances: &[Instance]) {
        self.counts.rebalances += 1;
        let up: Vec<_> = instances.iter().filter(|i| !matches!(i.state, State::Down)).map(|i| i.id).collect();
        let mut target = vec![vec![]; instances.len()];
        for p in 0..self.topic.partitions() {
            let owners = if self.sloppy && self.trouble(0.3) { 2 } else { 1 };
            for _ in 0..owners {
                let owner = if up.is_empty() { self.below(instances.len()) } else { up[self.below(up.len())] };
                if !target[owner].contains(&p) {
                    target[owner].push(p);
                }
            }
        }
        self.log(|| format!("group: rebalance to {target:?}"));
        let deadline = self.tick + 20 + self.random.random_range(0..40);
        self.group.rebalance(target, deadline);
    }

    fn misfortune(&mut self, instances: &mut [Instance]) {
        let i = self.below(instances.len());
        match self.below(100) {
            0..=19 => self.rebalance(instances),
            20..=34 => {
                self.counts.expelled += 1;
                self.log(|| format!("group: {i} is expelled"));
                self.group.expel(i);
                self.rebalance(instances);
            }
            35..=54 => {
                if matches!(instances[i].state, State::Down) {
                    self.log(|| format!("{i}: starts"));
                    instances[i].state = State::Waiting;
                    self.rebalance(instances);
                } else {
                    self.counts.crashes += 1;
                    self.log(|| format!("{i}: crashes"));
                    instances[i].crash();
                    if self.random(0.5) {
                        self.group.gone(i);
                    }
                }
            }
            55..=74 => {
                self.counts.freezes += 1;
                let ticks = self.random.random_range(10..150);
                self.log(|| format!("{i}: freezes for {ticks}"));
                instances[i].frozen_until = self.tick + ticks;
                if self.random(0.6) {
                    self.counts.expelled += 1;
                    self.group.expel(i);
                    self.rebalance(instances);
                }
            }
            75..=79 if self.topic.partitions() < 4 => {
                self.counts.grown += 1;
                self.topic.grow();
            }
            80..=86 => self.person_resets(),
            87..=91 => {
                let p = self.below(self.topic.partitions());
                let (low, end) = (self.topic.low[p], self.topic.end[p]);
                if low < end {
                    self.counts.retention += 1;
                    self.topic.low[p] = (low + self.random.random_range(1..6)).min(end);
                    let low = self.topic.low[p];
                    self.log(|| format!("topic: {p} begins at {low} now"));
                }
            }
            _ => {}
        }
    }

    /// A compare-and-append without rows, as `tidemill positions --set` does it.
    fn person_resets(&mut self) {
        let p = self.below(self.topic.partitions());
        let name = self.topic.names[p].clone();
        let Some(at) = self.main.positions.offset(&name) else { return };
        // Not to before the job's first position: dead letters of what they never covered are not made up for.
        let first = self.expected.base.get(p).copied().flatten().unwrap_or(at);
        let to = self.random.random_range(self.topic.low[p].max(first)..=self.topic.end[p]);
        self.counts.resets += 1;
        self.tokens += 1;
        let ranges: OffsetRanges = [(name, OffsetRange::new(at, to))].into_iter().collect();
        let request = Request {
            instance: usize::MAX,
            run: 0,
            token: self.tokens,
            target: Target::Main,
            ranges,
            passes_over: false,
        };
        let (answer, _) = self.main.commit(&request);
        self.log(|| format!("person: sets {p} from {at} to {to}: {}", answer.as_str()));
        if answer == Answer::Landed {
            let change = if to < at { (p, to, at, 1) } else { (p, at, to, -1) };
            self.expected.changes.push(change);
        }
    }

    /// The trouble is over: everything that was read has to land, and everything that is there has to be read.
    fn rest(&mut self, instances: &mut [Instance]) {
        self.calm = true;
        for instance in instances.iter_mut() {
            instance.frozen_until = 0;
            if matches!(instance.state, State::Down) {
                instance.state = State::Waiting;
            }
        }
        let until = self.tick + REST;
        let mut settled = false;
        while self.failure.is_none() {
            self.tick += 1;
            if self.tick > until {
                self.fail(format!(
                    "no progress: the sink holds {:?}, the log ends at {:?}",
                    self.main.positions, self.topic.end
                ));
            }
            if self.below(3) == 0 {
                self.deliver(instances)
            } else {
                self.step_one(instances)
            }
            // One more assignment, with one owner for each partition, once the one before it is through.
            if !settled && self.group.is_settled() {
                settled = true;
                self.rebalance(instances);
            }
            let read = (0..self.topic.partitions()).all(|p| {
                self.main.positions.offset(&self.topic.names[p]).is_some_and(|at| at >= self.topic.read_up_to(p))
            });
            if settled && read && self.net.is_empty() && instances.iter().all(Instance::is_idle) {
                break;
            }
        }
    }

    fn judge(&mut self) {
        if self.failure.is_some() {
            return;
        }
        for (what, store) in [("main", &self.main), ("dead letters", &self.dead)] {
            let report = history::verify(&store.history());
            if let Some(flaw) = report.flaws.first() {
                self.failure = Some(format!("{what}: {flaw}"));
                return;
            }
        }
        for p in 0..self.topic.partitions() {
            for offset in 0..self.topic.end[p] {
                let (main, dead) = (self.main.count((p, offset)), self.dead.count((p, offset)));
                let (times, skipped) = self.expected.times(p, offset);
                let (rows, rejects) = match kind((p, offset)) {
                    Kind::Row => (times, 0..=0),
                    // Dead letters do not go back with the rows; what was passed over may have been there already.
                    Kind::Reject if skipped => (0, 0..=1),
                    Kind::Reject => (0, u32::from(times > 0)..=u32::from(times > 0)),
                    Kind::Filtered | Kind::Hole => (0, 0..=0),
                };
                if main != rows || !rejects.contains(&dead) {
                    self.failure = Some(format!(
                        "t/{p} offset {offset} ({:?}): {main} times in the main sink instead of {rows}, {dead} times in the dead letters instead of {rejects:?}",
                        kind((p, offset))
                    ));
                    return;
                }
            }
        }
    }
}

impl Expected {
    fn begins(&mut self, p: usize, at: i64) {
        if self.base.len() <= p {
            self.base.resize(p + 1, None);
        }
        self.base[p].get_or_insert(at);
    }

    /// How often the record has to be read, and whether it was passed over at some time.
    fn times(&self, p: usize, offset: i64) -> (u32, bool) {
        let base = i32::from(self.base.get(p).copied().flatten().is_some_and(|at| offset >= at));
        let of = self.changes.iter().filter(|(q, from, to, _)| *q == p && (*from..*to).contains(&offset));
        let (sum, skipped) = of.fold((base, false), |(sum, skipped), c| (sum + c.3, skipped || c.3 < 0));
        (u32::try_from(sum).unwrap_or(0), skipped)
    }
}

fn show(ranges: &OffsetRanges) -> String {
    let one = |(p, r): (&Partition, &OffsetRange)| match r.start {
        Some(start) => format!("{}:[{start},{})", p.index, r.end),
        None => format!("{}:anchor {}", p.index, r.end),
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(" ")
}
