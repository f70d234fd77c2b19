//! Does one fault to the world, and undoes it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::kind::{Kind, Outage, Part, Trouble};
use crate::proxy::{Mode, Proxy};
use crate::schedule::Planned;
use crate::world::World;

/// How long a daemon may take to get to a step.
const STEP_LIMIT: Duration = Duration::from_secs(25);
/// How long others may take to have a frozen daemon's partitions.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(60);
/// How long a thawed daemon may take to hear that its commit is refused.
const REFUSAL_LIMIT: Duration = Duration::from_secs(8);
/// How long to wait for a commit whose answer is to be swallowed.
const COMMIT_LIMIT: Duration = Duration::from_secs(15);

/// Steps that every job passes.
const STEPS: &[&str] =
    &["run.after_write", "run.after_dead_letter", "run.before_commit", "run.after_commit", "run.before_recover"];

/// Wall clock jumps in ms: seconds, an hour, and more days than any limit of the product.
const JUMPS_MS: [i64; 8] =
    [5_000, -5_000, 3_600_000, -3_600_000, 4 * 86_400_000, -4 * 86_400_000, 35 * 86_400_000, -35 * 86_400_000];

/// What is worth telling of a fault.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Some words.
    pub note: String,
    /// Zombies: whether the commit in their hands was refused.
    pub refused: Option<bool>,
    /// False if it did not come about: a step was not reached, no commit came by.
    pub happened: bool,
}

impl Outcome {
    fn of(note: impl Into<String>) -> Self {
        Self { note: note.into(), refused: None, happened: true }
    }
}

/// From the beginning to the end of the fault; not to the recovery.
pub fn apply(world: &mut World, planned: &Planned) -> Result<Outcome> {
    let trouble = planned.during.map(|trouble| (trouble, planned.dice));
    if let Some((trouble, dice)) = trouble {
        begin(&world.ways(Part::Broker, planned.daemon, planned.all)?, trouble, dice);
    }
    let outcome = one(world, planned);
    if trouble.is_some() {
        end(&world.ways(Part::Broker, planned.daemon, planned.all)?);
    }
    outcome
}

fn one(world: &mut World, planned: &Planned) -> Result<Outcome> {
    let Planned { daemon, hold, dice, .. } = *planned;
    match planned.kind {
        Kind::Kill => {
            world.members[daemon].kill()?;
            std::thread::sleep(hold);
            world.members[daemon].start()?;
            Ok(Outcome::of(""))
        }
        Kind::KillAll => {
            world.members.iter_mut().try_for_each(crate::fleet::Member::kill)?;
            std::thread::sleep(hold);
            world.members.iter_mut().try_for_each(crate::fleet::Member::start)?;
            Ok(Outcome::of(""))
        }
        Kind::Failpoint => failpoint(world, planned),
        Kind::Revoke => revoke(world, planned),
        Kind::Freeze => {
            world.members[daemon].freeze()?;
            std::thread::sleep(hold);
            let taken = taken_over(world);
            world.members[daemon].thaw()?;
            taken.map(|()| Outcome::of(""))
        }
        Kind::Zombie => zombie(world, planned),
        Kind::Storm => storm(world, planned),
        Kind::Clock => {
            let jump = JUMPS_MS[usize::try_from(dice % 8)?];
            world.members[daemon].set_clock(jump)?;
            // Every other time the daemon is started anew with the wrong clock.
            if dice & 8 == 0 {
                world.members[daemon].kill()?;
                world.members[daemon].start()?;
            }
            std::thread::sleep(hold);
            world.members[daemon].set_clock(0)?;
            Ok(Outcome::of(format!("{} s", jump / 1_000)))
        }
        Kind::DiskFull => {
            let disk = || world.sink.disk().context("no disk of its own");
            disk()?.fill()?;
            std::thread::sleep(hold);
            disk()?.grow()?;
            Ok(Outcome::of(""))
        }
        Kind::Outage(part, how) => {
            // A lonely broker that has just started is not in its own metadata, and a client that asks then forgets it,
            // the producer's for good (librdkafka 2.12). The daemons have to live with that; the producer has not.
            if part == Part::Broker {
                world.producer_link.set(Mode::Refuse);
            }
            let server = world.server(part)?;
            match how {
                Outage::Stop => server.stop()?,
                Outage::Kill => server.kill9()?,
                Outage::Hang => server.freeze()?,
            }
            std::thread::sleep(hold);
            if how == Outage::Hang {
                server.thaw()?
            } else {
                server.restart()?
            }
            if part == Part::Broker {
                world.kafka.wait_ready()?;
                world.producer_link.set(Mode::Open);
            }
            Ok(Outcome::of(""))
        }
        Kind::Link(part, trouble) => {
            let ways = world.ways(part, daemon, planned.all)?;
            let begun = Instant::now();
            begin(&ways, trouble, dice);
            while begun.elapsed() < hold {
                std::thread::sleep(Duration::from_millis(200).min(hold));
                if trouble == Trouble::Cut {
                    ways.iter().for_each(|way| way.cut());
                }
            }
            end(&ways);
            Ok(Outcome::of(""))
        }
        Kind::CommitSwallowed(part) => {
            let ways = world.ways(part, daemon, planned.all)?;
            let hits = || ways.iter().map(|way| way.hits()).sum::<u64>();
            let before = hits();
            ways.iter().for_each(|way| way.set(Mode::SwallowCommit));
            let begun = Instant::now();
            while hits() == before && begun.elapsed() < COMMIT_LIMIT {
                std::thread::sleep(Duration::from_millis(5));
            }
            let happened = hits() > before;
            std::thread::sleep(hold);
            end(&ways);
            Ok(Outcome { happened, ..Outcome::default() })
        }
        Kind::Status(part, status) => {
            let ways = world.ways(part, daemon, planned.all)?;
            let hits = || ways.iter().map(|way| way.hits()).sum::<u64>();
            let before = hits();
            let nth = [1, 1, 2, 3, 5][usize::try_from(dice % 5)?];
            let after = status == 500 && dice & 32 == 0;
            ways.iter().for_each(|way| way.set(Mode::Answer { status, nth, after }));
            std::thread::sleep(hold);
            end(&ways);
            Ok(Outcome { happened: hits() > before, ..Outcome::default() })
        }
    }
}

fn begin(ways: &[&Proxy], trouble: Trouble, dice: u64) {
    let mode = match trouble {
        Trouble::Cut => return ways.iter().for_each(|way| way.cut()),
        Trouble::Refuse => Mode::Refuse,
        Trouble::Delay => Mode::Delay(Duration::from_millis(20 + dice % 300)),
        Trouble::Throttle => Mode::Throttle(64 << (10 + dice % 4)),
        Trouble::HalfOpen => Mode::HalfOpen,
        Trouble::SwallowAnswers => Mode::SwallowAnswers,
    };
    ways.iter().for_each(|way| way.set(mode.clone()));
}

fn end(ways: &[&Proxy]) {
    ways.iter().for_each(|way| way.set(Mode::Open));
}

/// Waits until all partitions move again though a daemon is frozen. Alone there is nobody to take over.
fn taken_over(world: &mut World) -> Result<()> {
    if world.members.len() == 1 {
        return Ok(());
    }
    let (watch, members) = (&world.watch, &mut world.members);
    watch
        .wait_beyond(&watch.positions(), TAKEOVER_LIMIT, || {
            members.iter_mut().try_for_each(crate::fleet::Member::check)
        })
        .context("nobody took the partitions of a frozen daemon over")
}

fn failpoint(world: &mut World, planned: &Planned) -> Result<Outcome> {
    let steps: Vec<&str> = STEPS.iter().chain(world.sink.failpoints()).copied().collect();
    let dice = usize::try_from(planned.dice % 1_000_000)?;
    let step = steps[dice % steps.len()];
    let member = &mut world.members[planned.daemon];
    member.kill()?;
    member.start_with(Some(&format!("{step}:{}", 1 + dice / steps.len() % 3)))?;
    let happened = member.died(STEP_LIMIT)?;
    member.kill()?;
    std::thread::sleep(planned.hold);
    member.start()?;
    Ok(Outcome { note: step.to_owned(), happened, refused: None })
}

/// A daemon that dies between the two halves of a rebalance.
fn revoke(world: &mut World, planned: &Planned) -> Result<Outcome> {
    let other = (planned.daemon + 1) % world.members.len();
    let member = &mut world.members[planned.daemon];
    member.kill()?;
    // The first change of its assignment is that it takes over, the second that it hands back.
    member.start_with(Some("run.in_revoke:2"))?;
    let (watch, positions) = (&world.watch, world.watch.positions());
    watch.wait_beyond(&positions, TAKEOVER_LIMIT, || Ok(()))?;
    world.members[other].freeze()?;
    std::thread::sleep(planned.hold);
    let taken = taken_over(world);
    world.members[other].thaw()?;
    taken?;
    let member = &mut world.members[planned.daemon];
    let happened = member.died(STEP_LIMIT)?;
    member.kill()?;
    member.start()?;
    Ok(Outcome { happened, ..Outcome::default() })
}

/// A daemon that stops itself right before a commit, whose partitions others take over, and that then goes on.
fn zombie(world: &mut World, planned: &Planned) -> Result<Outcome> {
    let member = &mut world.members[planned.daemon];
    member.kill()?;
    member.start_with(Some(&format!("stop:run.before_commit:{}", 2 + planned.dice % 4)))?;
    if !member.stopped_itself(STEP_LIMIT)? {
        return Ok(Outcome { note: "not reached".into(), ..Outcome::default() });
    }
    std::thread::sleep(planned.hold);
    let taken = taken_over(world);
    let member = &mut world.members[planned.daemon];
    member.thaw()?;
    taken?;
    let begun = Instant::now();
    let mut refused = false;
    while !refused && begun.elapsed() < REFUSAL_LIMIT {
        std::thread::sleep(Duration::from_millis(100));
        member.check()?;
        // Right after it woke up it may be too busy to answer.
        refused = member.refused().is_ok_and(|n| n > 0);
    }
    Ok(Outcome { note: String::new(), refused: Some(refused), happened: true })
}

fn storm(world: &mut World, planned: &Planned) -> Result<Outcome> {
    let mut rng = SmallRng::seed_from_u64(planned.dice);
    let begun = Instant::now();
    let mut turns = 0;
    while begun.elapsed() < planned.hold || turns < 3 {
        turns += 1;
        let which = rng.random_range(0..world.members.len());
        let member = &mut world.members[which];
        match (member.runs(), rng.random_bool(0.5)) {
            (false, _) => member.start()?,
            (true, true) => member.term()?,
            (true, false) => member.kill()?,
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(50..900)));
        world.check()?;
        if turns > 100 {
            bail!("a storm without an end");
        }
    }
    for member in world.members.iter_mut().filter(|member| !member.runs()) {
        member.start()?;
    }
    Ok(Outcome::of(format!("{turns} turns")))
}
