//! One sink through a schedule of faults, and the count afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tidemill_integration_tests::checker::{Counts, check};

use crate::apply::apply;
use crate::kind::{Kind, Surroundings, kinds};
use crate::schedule::{Planned, Schedule};
use crate::tally::{Tally, Verdict};
use crate::world::World;

/// Longest time from the end of a fault to rows of every partition.
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);
/// Longest time to the first rows, and to the last.
const DRAIN_LIMIT: Duration = Duration::from_secs(180);

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Each kind of fault so many times; 0: as `minutes` allow.
    pub faults: usize,
    /// Stop beginning new faults after this time; zero: when `faults` are done.
    pub time: Duration,
    /// Of schedule and records.
    pub seed: u64,
    /// 1 to 3.
    pub daemons: usize,
    /// Records a second.
    pub rate: u64,
    /// Go on producing until there are so many.
    pub records: u64,
    /// Only kinds whose name has one of these texts in it; empty: all that apply.
    pub only: Vec<String>,
    /// Faults overlap.
    pub mixed: bool,
    /// How long a dead or frozen member keeps its partitions.
    pub session: Duration,
    /// Properties of the daemons' consumers.
    pub properties: Vec<(String, String)>,
    /// Variables for the daemons.
    pub env: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            faults: 1,
            time: Duration::ZERO,
            seed: 1,
            daemons: 2,
            rate: 2_000,
            records: 0,
            only: Vec::new(),
            mixed: false,
            session: Duration::from_secs(3),
            properties: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// One fault that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Incident {
    /// What.
    pub kind: Kind,
    /// Whether there was trouble with the broker as well.
    pub mixed: bool,
    /// Begin, since the start of the run.
    pub at_ms: u64,
    /// From its begin to its end.
    pub held_ms: u64,
    /// From its end until rows of every partition were visible that were not before.
    pub recovery_ms: u64,
    /// The longest time around it in which some partition had no new visible rows.
    pub pause_ms: u64,
    /// Zombies: whether their commit was refused.
    pub refused: Option<bool>,
    /// False if it did not come about.
    pub happened: bool,
    /// Some words.
    pub note: String,
    /// Visible positions before it and after the recovery.
    #[serde(skip)]
    pub span: Vec<(i64, i64)>,
}

/// A sink's run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The sink.
    pub sink: String,
    /// The seed.
    pub seed: u64,
    /// Daemons.
    pub daemons: usize,
    /// Records acknowledged.
    pub records: usize,
    /// Seconds from the first rows to the last.
    pub seconds: u64,
    /// All faults, in order.
    pub incidents: Vec<Incident>,
    /// The rows.
    pub rows: Verdict,
    /// Dead letters that are not there once with the right content.
    pub letters_wrong: usize,
    /// Dead letters expected.
    pub letters: usize,
    /// Rows with a wrong value in any column, where every value was compared.
    pub values_wrong: Option<usize>,
}

impl Outcome {
    /// Nothing lost, doubled, wrong or foreign, and every zombie refused.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let refused = self.incidents.iter().all(|i| i.refused != Some(false));
        self.rows.is_clean() && self.letters_wrong == 0 && self.values_wrong.unwrap_or(0) == 0 && refused
    }
}

/// Runs one sink. `root`: an empty folder for everything; `say` hears of each fault.
pub fn run(sink: &str, options: &Options, root: &Path, say: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let mut world = World::start(sink, options, root)?;
    through(&mut world, options, say).map_err(|error| {
        let logs = world.logs();
        error.context(format!("sink {sink}, seed {}; {logs}", options.seed))
    })
}

fn through(world: &mut World, options: &Options, say: &mut dyn FnMut(&str)) -> Result<Outcome> {
    let around = Surroundings { daemons: options.daemons, ..world.sink.surroundings() };
    let kinds: Vec<Kind> = kinds(&around)
        .into_iter()
        .filter(|kind| options.only.is_empty() || options.only.iter().any(|text| kind.name().contains(text.as_str())))
        .collect();
    if kinds.is_empty() {
        bail!("no kind of fault has {:?} in its name", options.only);
    }
    // The first rows come at the record of the anchor: everything before it is setting up.
    recover(world, &vec![0; world.watch.positions().len()], DRAIN_LIMIT).context("no rows at the start")?;
    let begun = Instant::now();
    let limit = if options.faults == 0 { usize::MAX } else { options.faults * kinds.len() };
    let mut incidents = Vec::new();
    for planned in Schedule::new(&kinds, options.daemons, options.session, options.mixed, options.seed).take(limit) {
        if !options.time.is_zero() && begun.elapsed() >= options.time {
            break;
        }
        let incident = one(world, &planned, begun)?;
        say(&line(&incident));
        incidents.push(incident);
    }
    while world.acked() < options.records {
        world.check()?;
        std::thread::sleep(Duration::from_millis(200));
    }
    let producer = world.producer.take().context("the producer runs")?;
    let ledger = producer.finish()?;
    let ends: Vec<i64> = (0..ledger.partitions()).map(|p| i64::try_from(ledger.end(p)).unwrap_or(0) - 1).collect();
    recover(world, &ends, DRAIN_LIMIT).context("the last rows")?;
    let seconds = begun.elapsed().as_secs();
    for member in &mut world.members {
        member.term()?;
    }
    let mut tally = Tally::new(&ledger);
    world.sink.read(&mut tally).context("cannot read the sink back")?;
    let rows = tally.verdict();
    let letters = check(&[&ledger], Path::new(""), Some(&world.letters))?.bad;
    let values_wrong = world.sink.values(&ledger)?.map(|report| report.good.wrong + report.unreadable);
    Ok(Outcome {
        sink: world.sink.name().to_owned(),
        seed: options.seed,
        daemons: options.daemons,
        records: ledger.committed(),
        seconds,
        incidents,
        rows,
        letters: letters.expected,
        letters_wrong: faults_in(&letters),
        values_wrong,
    })
}

fn faults_in(counts: &Counts) -> usize {
    counts.lost + counts.doubled + counts.foreign + counts.wrong
}

fn one(world: &mut World, planned: &Planned, run_begun: Instant) -> Result<Incident> {
    std::thread::sleep(planned.gap);
    world.check()?;
    let before = world.watch.positions();
    let begun = Instant::now();
    let outcome = apply(world, planned).with_context(|| format!("while this went on: {planned:?}"))?;
    let ended = Instant::now();
    recover(world, &world.watch.positions(), RECOVERY_LIMIT).with_context(|| format!("after {planned:?}"))?;
    let recovered = Instant::now();
    let after = world.watch.positions();
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(Incident {
        kind: planned.kind,
        mixed: planned.during.is_some(),
        at_ms: ms(begun - run_begun),
        held_ms: ms(ended - begun),
        recovery_ms: ms(recovered - ended),
        pause_ms: ms(world.watch.pause(begun, recovered)),
        refused: outcome.refused,
        happened: outcome.happened,
        note: outcome.note,
        span: before.into_iter().zip(after).collect(),
    })
}

fn recover(world: &mut World, positions: &[i64], limit: Duration) -> Result<()> {
    let (watch, members) = (&world.watch, &mut world.members);
    watch.wait_beyond(positions, limit, || members.iter_mut().try_for_each(crate::fleet::Member::check))
}

fn line(incident: &Incident) -> String {
    let Incident { kind, mixed, at_ms, held_ms, recovery_ms, pause_ms, refused, happened, note, .. } = incident;
    let mut text = format!(
        "{:>7.1} s  {:<36} held {:>5.1} s, recovered {:>5.1} s, pause {:>5.1} s",
        *at_ms as f64 / 1e3,
        kind.name(),
        *held_ms as f64 / 1e3,
        *recovery_ms as f64 / 1e3,
        *pause_ms as f64 / 1e3
    );
    let words = [
        (*mixed).then_some("with trouble at the broker"),
        (!*happened).then_some("did not come about"),
        refused.map(|refused| if refused { "commit refused" } else { "NOT REFUSED" }),
        (!note.is_empty()).then_some(note.as_str()),
    ];
    for word in words.into_iter().flatten() {
        text += ", ";
        text += word;
    }
    text
}
