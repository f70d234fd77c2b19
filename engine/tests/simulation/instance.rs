//! A simulated daemon. Every decision of the protocol is asked of `tidemill_engine::protocol`; what is here is what the
//! real run does around it: reading, cutting, sending, waiting, giving up.

use std::collections::BTreeSet;
use std::time::Duration;

use tidemill_engine::mark::Mark;
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Positions};
use tidemill_engine::protocol::{self, Answer, Leave, Patience, Start, Step, Target};

use crate::group::Event;
use crate::store::Request;
use crate::topic::{Kind, Place, kind};
use crate::world::{Mutation, World};

/// One daemon.
#[derive(Default)]
pub struct Instance {
    pub id: usize,
    run: u64,
    pub state: State,
    /// What it remembers on its disk.
    mark: Option<Mark>,
    /// Not scheduled before this tick.
    pub frozen_until: u32,
    /// Answers that arrived and were not looked at yet: of which run, to which commit.
    pub inbox: Vec<(u64, u64, Answer)>,
    /// With the mutation "no anchor": partitions that it reads without having given them a position.
    loose: BTreeSet<(bool, Partition)>,
}

/// Where a daemon is.
#[derive(Default)]
pub enum State {
    /// The process is gone.
    Down,
    /// Between runs.
    #[default]
    Waiting,
    /// On its way to reading; the commit it waits for.
    Starting(Box<Start>, Option<(u64, Target, OffsetRanges)>),
    /// Reading.
    Reading(Box<Run>),
}

/// A run that reads.
pub struct Run {
    main: Positions,
    dead: Positions,
    /// Rejects below are in the dead letters already.
    floor: Positions,
    next: Vec<(usize, i64)>,
    open: Window,
    /// Cut, waiting for the commit before it.
    cut: Option<Window>,
    flight: Option<Flight>,
    /// A window without rows whose positions wait, and since when.
    held_back: Option<(Window, Duration)>,
    /// How long a run that ends waits for its commits.
    leaving: Option<(Patience, u32)>,
}

#[derive(Default)]
struct Window {
    ends: Vec<(usize, i64)>,
    rows: Vec<Place>,
    rejects: Vec<Place>,
    records: usize,
}

/// A window while it commits.
struct Flight {
    window: Window,
    /// Which of the two commits.
    step: usize,
    /// The one that waits for its answer.
    sent: Option<(u64, Target, OffsetRanges)>,
}

/// A run that ended.
struct Over;

impl Instance {
    pub fn new(id: usize) -> Self {
        Self { id, ..Self::default() }
    }

    /// The process is killed: only its disk remains.
    pub fn crash(&mut self) {
        self.state = State::Down;
        self.inbox.clear();
        self.frozen_until = 0;
        self.loose.clear();
    }

    /// Whether this commit's answer is waited for.
    pub fn waits_for(&self, token: u64) -> bool {
        match &self.state {
            State::Starting(_, waits) => waits.as_ref().is_some_and(|w| w.0 == token),
            State::Reading(run) => run.flight.as_ref().and_then(|f| f.sent.as_ref()).is_some_and(|s| s.0 == token),
            State::Down | State::Waiting => false,
        }
    }

    /// Whether everything it read has landed.
    pub fn is_idle(&self) -> bool {
        match &self.state {
            State::Reading(run) => {
                run.flight.is_none() && run.cut.is_none() && run.held_back.is_none() && run.open.records == 0
            }
            _ => false,
        }
    }

    /// Does one thing.
    pub fn step(&mut self, world: &mut World) {
        match std::mem::take(&mut self.state) {
            State::Down => self.state = State::Down,
            State::Waiting => match world.group.assignment(self.id) {
                // Without a run there is nothing to end first.
                _ if world.group.event(self.id).is_some() => world.group.answer(self.id),
                Some(assigned) => {
                    world.runs += 1;
                    self.run = world.runs;
                    self.loose.clear();
                    let assigned = assigned.iter().map(|&p| world.topic.names[p].clone()).collect();
                    self.state = State::Starting(Box::new(Start::new(assigned, self.mark.clone(), true)), None);
                }
                None => {}
            },
            State::Starting(mut start, waits) => {
                if let Ok(state) = self.start(world, &mut start, waits) {
                    self.state = state.unwrap_or_else(|waits| State::Starting(start, waits));
                }
            }
            State::Reading(mut run) => match self.read(world, &mut run) {
                Ok(()) => self.state = State::Reading(run),
                Err(Over) => world.log(|| format!("{}: run {} is over", self.id, self.run)),
            },
        }
    }

    /// One step of a start: another state, or what it waits for.
    #[allow(clippy::type_complexity)]
    fn start(
        &mut self,
        world: &mut World,
        start: &mut Start,
        waits: Option<(u64, Target, OffsetRanges)>,
    ) -> Result<Result<State, Option<(u64, Target, OffsetRanges)>>, Over> {
        if let Some((token, target, ranges)) = waits {
            let Some(answer) = self.answer_to(world, token) else { return Ok(Err(Some((token, target, ranges)))) };
            if answer == Answer::Unknown || answer == Answer::Failed {
                return Err(Over);
            }
            start.moved(target, &ranges, answer);
            return Ok(Err(None));
        }
        match start.step() {
            Step::Recover(target) => {
                if world.trouble(0.03) {
                    return Err(Over);
                }
                let held = world.store(target).recover(self.id, self.run);
                if let Err(error) = start.recovered(target, held, Some("sink".into())) {
                    world.fail(format!("instance {} needs a person: {error}", self.id));
                    return Err(Over);
                }
            }
            Step::Resolve { partitions, first } => start.resolved(world.resolve(&partitions, first)),
            Step::Move(target, ranges) => {
                if world.mutation == Mutation::NoAnchor && ranges.iter().all(|(_, r)| r.start.is_none()) {
                    let dead = target == Target::DeadLetters;
                    self.loose.extend(ranges.iter().map(|(p, _)| (dead, p.clone())));
                    start.moved(target, &ranges, Answer::Landed);
                    return Ok(Err(None));
                }
                let token = self.send(world, target, ranges.clone(), None, true);
                return Ok(Err(Some((token, target, ranges))));
            }
            Step::Remember(mark) => {
                if world.mutation != Mutation::NoAnchor {
                    self.mark = Some(mark);
                }
                start.remembered();
            }
            Step::Begin(starts) => {
                let lost = starts.iter().filter_map(|(p, at)| {
                    let low = world.topic.low[p.index as usize];
                    (at.offset < low).then(|| (p.clone(), OffsetRange::new(at.offset, low)))
                });
                start.begun(lost.collect());
            }
            Step::Read(from) => {
                let next: Vec<_> = from.iter().map(|(p, at)| (p.index as usize, *at)).collect();
                world.begins(&next);
                world.log(|| format!("{}: run {} reads from {next:?}", self.id, self.run));
                let dead = start.held(Target::DeadLetters).clone();
                return Ok(Ok(State::Reading(Box::new(Run {
                    main: start.held(Target::Main).clone(),
                    floor: dead.clone(),
                    dead,
                    next,
                    open: Window::default(),
                    cut: None,
                    flight: None,
                    held_back: None,
                    leaving: None,
                }))));
            }
            Step::Again => return Ok(Ok(State::Waiting)),
        }
        Ok(Err(None))
    }

    fn read(&mut self, world: &mut World, run: &mut Run) -> Result<(), Over> {
        self.commit(world, run)?;
        if let Some((patience, deadline)) = run.leaving {
            let landed = run.flight.is_none() && run.cut.is_none() && run.held_back.is_none();
            let waits = match patience {
                Patience::None => false,
                Patience::UntilDeadline => world.tick < deadline,
                Patience::UntilLanded => true,
            };
            if landed || !waits {
                world.group.answer(self.id);
                return Err(Over);
            }
            return Ok(());
        }
        if let Some(event) = world.group.event(self.id)
            && world.random(0.5)
        {
            let (why, deadline) = match event {
                Event::Revoked(deadline) => (Leave::Revoked, deadline),
                Event::Lost => (Leave::Lost, 0),
            };
            let leaving = protocol::leave(why);
            if leaving.cut && run.open.records > 0 {
                if run.cut.is_some() {
                    return Ok(()); // the queue is full: it looks again when there is room
                }
                run.close();
            }
            run.leaving = Some((leaving.patience, deadline));
            return Ok(());
        }
        self.take(world, run)?;
        if run.cut.is_none() && run.open.records > 0 && (run.open.records >= 12 || world.random(0.3)) {
            run.close();
        }
        Ok(())
    }

    /// Takes a few records of one partition.
    fn take(&self, world: &mut World, run: &mut Run) -> Result<(), Over> {
        if run.next.is_empty() || run.open.records >= 12 {
            return Ok(());
        }
        let slot = world.below(run.next.len());
        let (partition, next) = &mut run.next[slot];
        if *next < world.topic.low[*partition] {
            return Err(Over); // "offset out of range": the run ends, and the next one finds out what is gone
        }
        for _ in 0..=world.below(4) {
            if *next >= world.topic.end[*partition] {
                break;
            }
            let place = (*partition, *next);
            *next += 1;
            match kind(place) {
                Kind::Row => run.open.rows.push(place),
                Kind::Reject => {
                    if protocol::is_new(&run.floor, &world.topic.names[*partition], place.1) {
                        run.open.rejects.push(place);
                    }
                }
                Kind::Filtered => {}
                Kind::Hole => continue, // it moves the end of a window, and opens none
            }
            run.open.records += 1;
        }
        Ok(())
    }

    /// One step of what is cut.
    fn commit(&mut self, world: &mut World, run: &mut Run) -> Result<(), Over> {
        let Some(mut flight) = run.flight.take() else {
            run.begin_commit(Duration::from_secs(world.tick.into()));
            return Ok(());
        };
        if let Some((token, target, ranges)) = flight.sent.take() {
            let Some(answer) = self.answer_to(world, token) else {
                flight.sent = Some((token, target, ranges));
                run.flight = Some(flight);
                return Ok(());
            };
            let held = match target {
                Target::Main => &mut run.main,
                Target::DeadLetters => &mut run.dead,
            };
            world.log(|| format!("{}: commit {token} to {target:?}: {}", self.id, answer.as_str()));
            let unknown_is_failed = world.mutation == Mutation::UnknownIsFailed && answer == Answer::Unknown;
            if answer.frees_staged() || unknown_is_failed {
                world.store(target).free(token);
            }
            if !protocol::answered(held, &ranges, answer) {
                return Err(Over);
            }
            for (p, _) in ranges.iter() {
                self.loose.remove(&(target == Target::DeadLetters, p.clone()));
            }
            flight.step += 1;
        }
        let mut order = protocol::COMMIT_ORDER;
        if world.mutation == Mutation::DeadLettersLast {
            order.reverse();
        }
        while let Some(&target) = order.get(flight.step) {
            let (held, places) = match target {
                Target::Main => (&run.main, &flight.window.rows),
                Target::DeadLetters => (&run.dead, &flight.window.rejects),
            };
            let ends = flight.window.ends.iter().map(|&(p, end)| (&world.topic.names[p], end));
            let mut ranges = protocol::window_ranges(held, ends);
            if target == Target::DeadLetters && places.is_empty() || ranges.is_empty() {
                if !places.is_empty() {
                    world.fail(format!("instance {}: {} records belong to no range", self.id, places.len()));
                }
                flight.step += 1;
                continue;
            }
            for (p, range) in &mut ranges.0 {
                if self.loose.contains(&(target == Target::DeadLetters, p.clone())) {
                    range.start = None;
                }
            }
            let staged = (!places.is_empty()).then(|| places.clone());
            let token = self.send(world, target, ranges.clone(), staged, false);
            flight.sent = Some((token, target, ranges));
            run.flight = Some(flight);
            return Ok(());
        }
        Ok(())
    }

    fn send(
        &self,
        world: &mut World,
        target: Target,
        ranges: OffsetRanges,
        places: Option<Vec<Place>>,
        passes_over: bool,
    ) -> u64 {
        world.tokens += 1;
        let token = world.tokens;
        if let Some(places) = places {
            world.store(target).stage(token, self.id, self.run, places);
        }
        world.send(Request { instance: self.id, run: self.run, token, target, ranges, passes_over });
        token
    }

    /// The answer to what this run asked; `Unknown` when it has waited too long. Answers to others are dropped: in the
    /// real run nobody is left to hear them.
    fn answer_to(&mut self, world: &mut World, token: u64) -> Option<Answer> {
        let run = self.run;
        let mut found = None;
        for (of, to, answer) in self.inbox.drain(..) {
            if of == run && to == token || world.mutation == Mutation::AnyAnswer {
                found = Some(answer);
            } else {
                world.counts.late_answers += 1;
            }
        }
        if found.is_none() && world.gives_up() {
            world.counts.unknown += 1;
            return Some(Answer::Unknown);
        }
        found
    }
}

impl Run {
    /// What was cut is committed, or waits for rows.
    fn begin_commit(&mut self, now: Duration) {
        let begin = |window| Some(Flight { window, step: 0, sent: None });
        if let Some(window) = self.cut.take() {
            // The ends of a later window cover those of what waits.
            let since = self.held_back.take().map_or(now, |(_, since)| since);
            let has_rows = !window.rows.is_empty() || !window.rejects.is_empty();
            if protocol::holds_back(has_rows, since, now) {
                self.held_back = Some((window, since));
            } else {
                self.flight = begin(window);
            }
        } else if let Some((window, since)) = self.held_back.take() {
            if self.leaving.is_some() || !protocol::holds_back(false, since, now) {
                self.flight = begin(window);
            } else {
                self.held_back = Some((window, since));
            }
        }
    }

    fn close(&mut self) {
        let mut window = std::mem::take(&mut self.open);
        window.ends = self.next.clone();
        self.cut = Some(window);
    }
}
