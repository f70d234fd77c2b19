//! `tidemill positions`: what a job's sink holds, and changes by hand.
//!
//! A change is a compare-and-append with no rows: it lands only if the sink still holds what was shown.

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tidemill_config as config;
use tidemill_connectors::files::read_log;
use tidemill_connectors::kafka::sink::{KafkaSink, KafkaSinkOptions};
use tidemill_connectors::kafka::{KafkaOptions, KafkaSource, Start};
use tidemill_connectors::kept::KeptPositions;
use tidemill_engine::clock::Clock;
use tidemill_engine::dead_letter;
use tidemill_engine::mark::{Mark, MarkStore};
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position, Positions};
use tidemill_engine::sink::{Commit, Sink};
use tidemill_engine::source::Source;

use crate::cli::{FAILED, FAULTY, OK, print_faults, say};
use crate::plan::{self, PlannedJob};
use crate::state::State;
use crate::wire;
use crate::wire::budget::Budget;
use crate::wire::kafka_sink::FromJob;
use crate::wire::sink::Role;

/// What was asked.
#[derive(Debug)]
pub struct Request {
    /// The job.
    pub job: String,
    /// Its config.
    pub config: PathBuf,
    /// `P=N` or `TOPIC/P=N`.
    pub set: Vec<String>,
    /// `earliest`, `latest` or a time.
    pub reset: Option<String>,
    /// Do not ask.
    pub yes: bool,
}

/// Shows positions, or changes them.
///
/// # Errors
/// What went wrong; nothing was changed then, unless the message says that it is unknown.
pub fn run(request: &Request) -> anyhow::Result<u8> {
    let plan = match plan::load(&request.config) {
        Ok(plan) => plan,
        Err(faults) => {
            print_faults(&faults);
            return Ok(FAULTY);
        }
    };
    let job = plan.job(&request.job, &request.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let state_dir = Path::new(plan.loaded.config.daemon.state_dir.as_str());
    let held = runtime.block_on(read(job, state_dir))?;
    if request.set.is_empty() && request.reset.is_none() {
        say(&table(&held))?;
        return Ok(OK);
    }
    let state = State::open(state_dir, plan.loaded.config.daemon.instance.as_deref())
        .context("positions are changed while the daemon is stopped")?;
    let wanted = match &request.reset {
        Some(to) => {
            // What a mark remembers and the sink has lost is reset too.
            let marked = state.marks(&job.name).load().map_err(anyhow::Error::msg)?.map(|m| m.partitions);
            let mut partitions: std::collections::BTreeSet<Partition> = held.iter().map(|(p, _)| p.clone()).collect();
            partitions.extend(marked.into_iter().flatten());
            reset(job, to, partitions.into_iter().collect())?
        }
        None => request.set.iter().map(|text| parse(text, job, &held)).collect::<anyhow::Result<Positions>>()?,
    };
    let ranges = ranges(&held, &wanted);
    if ranges.is_empty() {
        say("nothing changes\n")?;
        return Ok(OK);
    }
    say(&diff(&ranges))?;
    if !request.yes && !confirmed()? {
        say("nothing was changed\n")?;
        return Ok(FAILED);
    }
    runtime.block_on(change(job, &state, &ranges))
}

/// What the sink holds, without touching it.
async fn read(job: &PlannedJob, state_dir: &Path) -> anyhow::Result<Positions> {
    if let Some((options, _)) = in_the_group(job, "positions") {
        return wire::kafka_sink::read(options).await;
    }
    if let config::Sink::Postgres(postgres) = &job.settings.sink {
        return Ok(wire::postgres::positions(postgres, &job.name, &job.schema).await?);
    }
    #[cfg(feature = "delta")]
    if let config::Sink::Delta(delta) = &job.settings.sink {
        let place = wire::delta::place(delta, &job.storages)?;
        return Ok(tidemill_delta::read_positions(&place, &job.name).await?);
    }
    let (sink, clock) = (&job.settings.sink, Clock::system());
    #[cfg(feature = "iceberg")]
    if let config::Sink::Iceberg(iceberg) = sink {
        let options =
            wire::iceberg::options(iceberg, &job.storages, &job.name, "positions", &job.schema, 1 << 20, &clock);
        return Ok(tidemill_iceberg::history(&options).await?.positions);
    }
    match wire::sink::files(sink, &job.storages, &job.name, "positions", &job.schema, 1 << 20, &clock)? {
        Some(options) => Ok(read_log(&*options.store, &job.name).await?.positions()),
        None => {
            let path = state_dir.join("jobs").join(&job.name).join("sink-positions.json");
            Ok(KeptPositions::in_file(path).load()?)
        }
    }
}

/// Options of a sink that keeps positions in the source's consumer group.
fn in_the_group(job: &PlannedJob, instance: &str) -> Option<(KafkaSinkOptions, FromJob)> {
    let config::Sink::Kafka(kafka) = &job.settings.sink else { return None };
    let from = FromJob::new(&job.settings, &job.name);
    let options = wire::kafka_sink::options(kafka, &job.name, instance, &job.schema, 1 << 20, &from);
    kafka.transactional.then_some((options, from))
}

async fn change(job: &PlannedJob, state: &State, ranges: &OffsetRanges) -> anyhow::Result<u8> {
    if let Some((options, from)) = in_the_group(job, state.instance())
        && let config::Source::Kafka(kafka) = &job.settings.source
    {
        let partitions = ranges.iter().map(|(p, _)| p.clone()).collect();
        let member = wire::kafka_sink::join(kafka, &job.name, state.instance(), from.slot.clone(), partitions).await?;
        let sink = Box::new(KafkaSink::new(options, from.slot, Clock::system())?);
        let changed = commit(job, state, sink, ranges).await;
        tokio::task::spawn_blocking(move || drop(member)).await?;
        return changed;
    }
    let (settings, instance) = (&job.settings.sink, format!("positions-{}", state.instance()));
    let clock = Clock::system();
    let sink = wire::sink::holding(settings, &job.storages, &job.name, &instance, &job.schema, 1 << 20, &clock)?;
    let Some(sink) = sink else {
        bail!(
            "the sink of job `{}` keeps positions in state_dir only: delete {} to begin anew",
            job.name,
            "its positions file"
        );
    };
    commit(job, state, sink, ranges).await
}

/// Changes positions through the sink, and writes down that the job has begun them.
async fn commit(job: &PlannedJob, state: &State, mut sink: Box<dyn Sink>, ranges: &OffsetRanges) -> anyhow::Result<u8> {
    let partitions: Vec<Partition> = ranges.iter().map(|(p, _)| p.clone()).collect();
    sink.recover(&partitions).await?;
    // First, as at a run's start: failing after it, this can be asked for again.
    dead_letters_follow(job, state, ranges).await?;
    match sink.commit(None, ranges).await? {
        Commit::Landed(receipt) => {
            let marks = state.marks(&job.name);
            let known = marks.load().unwrap_or_default().map(|m| m.partitions).unwrap_or_default();
            let partitions = known.into_iter().chain(partitions).collect();
            let mark = Mark { v: 1, sink: sink.identity(), partitions };
            marks.store(&mark).map_err(anyhow::Error::msg)?;
            say(&format!("changed, as record {}\n", receipt.id))?;
            Ok(OK)
        }
        Commit::Lost(found) => {
            bail!("the sink's positions changed meanwhile, nothing was done; now it holds\n{}", table(&found))
        }
    }
}

/// Sets dead letters back with the rows where [`followers`] says so.
async fn dead_letters_follow(job: &PlannedJob, state: &State, ranges: &OffsetRanges) -> anyhow::Result<()> {
    let back: OffsetRanges = ranges
        .iter()
        .filter(|(_, r)| r.start.is_some_and(|from| r.end < from))
        .map(|(p, r)| (p.clone(), r.clone()))
        .collect();
    let dead = job.settings.dead_letter.as_ref().filter(|_| job.settings.on_error == config::OnError::DeadLetter);
    let Some(settings) = dead.filter(|_| !back.is_empty()) else { return Ok(()) };
    let partitions: Vec<Partition> = back.iter().map(|(p, _)| p.clone()).collect();
    let (schema, clock) = (dead_letter::schema(), Clock::system());
    let instance = format!("positions-{}", state.instance());
    let sink = wire::sink::holding(settings, &job.storages, &job.name, &instance, &schema, 1 << 20, &clock)?;
    let moved = if let Some(mut sink) = sink {
        let moved = followers(&sink.recover(&partitions).await?, &back);
        if !moved.is_empty() && matches!(sink.commit(None, &moved).await?, Commit::Lost(_)) {
            bail!("the dead letters' positions changed meanwhile, nothing was done");
        }
        moved
    } else {
        let kept = KeptPositions::in_file(state.positions_file(&job.name, Role::DeadLetter.as_str()));
        let moved = followers(&kept.load()?, &back);
        kept.advance(&moved)?;
        moved
    };
    let line = |(p, r): (&Partition, &OffsetRange)| format!("dead letters of {p} -> {}\n", r.end);
    say(&moved.iter().map(line).collect::<String>())?;
    Ok(())
}

/// The dead letters that go back with the rows. Where topic ids are known the next run sees by them whether the topic
/// is another one. Without an id it may be: what the dead letters hold must not keep its rejects out.
fn followers(dead: &Positions, back: &OffsetRanges) -> OffsetRanges {
    back.iter()
        .filter_map(|(p, range)| {
            let at = dead.get(p)?;
            let known = at.topic_id.is_some() && range.topic_id.is_some();
            let range = OffsetRange { start: Some(at.offset), ..range.clone() };
            (!known && range.end < at.offset).then(|| (p.clone(), range))
        })
        .collect()
}

/// Ranges from what is held to what is wanted, where they differ.
fn ranges(held: &Positions, wanted: &Positions) -> OffsetRanges {
    wanted
        .iter()
        .filter(|(p, to)| {
            let at = held.get(p);
            // A new id at the old offset is a change too: the topic was made again.
            at.map(|at| at.offset) != Some(to.offset)
                || to.topic_id.is_some() && at.and_then(|at| at.topic_id.as_ref()) != to.topic_id.as_ref()
        })
        .map(|(p, to)| {
            let topic_id = to.topic_id.clone().or_else(|| held.get(p).and_then(|h| h.topic_id.clone()));
            (p.clone(), OffsetRange { start: held.offset(p), end: to.offset, topic_id })
        })
        .collect()
}

/// `P=N` (where the job has one topic) or `TOPIC/P=N`.
fn parse(text: &str, job: &PlannedJob, held: &Positions) -> anyhow::Result<(Partition, Position)> {
    let expected = || format!("--set {text}: expected PARTITION=OFFSET or TOPIC/PARTITION=OFFSET, such as 0=1500");
    let (place, offset) = text.split_once('=').with_context(expected)?;
    let offset: i64 = offset.trim().parse().ok().filter(|n| *n >= 0).with_context(expected)?;
    let (topic, index) = match place.rsplit_once('/') {
        Some((topic, index)) => (topic.to_owned(), index),
        None => (only_topic(job, held).with_context(expected)?, place),
    };
    let index: i32 = index.trim().parse().ok().filter(|n| *n >= 0).with_context(expected)?;
    Ok((Partition::new(topic, index), Position::at(offset)))
}

fn only_topic(job: &PlannedJob, held: &Positions) -> anyhow::Result<String> {
    let mut topics: Vec<String> = match &job.settings.source {
        config::Source::Kafka(kafka) if kafka.topics.iter().all(|t| !t.starts_with('^')) => {
            kafka.topics.iter().map(|t| t.as_str().to_owned()).collect()
        }
        _ => held.iter().map(|(p, _)| p.topic.to_string()).collect(),
    };
    topics.dedup();
    match topics.as_slice() {
        [topic] => Ok(topic.clone()),
        _ => bail!("job `{}` has several topics: name one", job.name),
    }
}

/// Asks the broker where `to` is, for these partitions.
fn reset(job: &PlannedJob, to: &str, partitions: Vec<Partition>) -> anyhow::Result<Positions> {
    let config::Source::Kafka(kafka) = &job.settings.source else {
        bail!("--reset asks a broker, and the source of job `{}` has none: use --set", job.name);
    };
    let start = match to {
        "earliest" => Start::Earliest,
        "latest" => Start::Latest,
        time => Start::Time(
            chrono::DateTime::parse_from_rfc3339(time)
                .with_context(|| {
                    format!("--reset {to}: expected earliest, latest or a time such as 2026-01-31T00:00:00Z")
                })?
                .timestamp_millis(),
        ),
    };
    if partitions.is_empty() {
        bail!("the sink holds no position: the job's `start` decides where it begins");
    }
    let budget = Budget::of(64 << 20, 1, 1);
    let options = KafkaOptions {
        start,
        static_membership: false,
        ..wire::source::kafka_options(kafka, &job.name, "positions", budget)
    };
    let mut source = KafkaSource::new(options, Clock::system())?;
    let found = source.start_positions(&partitions, true)?;
    source.close();
    Ok(partitions.into_iter().filter_map(|p| found.get(&p).map(|at| (p.clone(), at.clone()))).collect())
}

fn table(held: &Positions) -> String {
    if held.is_empty() {
        return "the sink holds no position of this job\n".into();
    }
    held.iter().map(|(p, at)| format!("{p} {}\n", at.offset)).collect()
}

fn diff(ranges: &OffsetRanges) -> String {
    let line = |(p, r): (&Partition, &OffsetRange)| match r.start {
        None => format!("{p} (none) -> {}\n", r.end),
        Some(from) if r.end < from => {
            format!("{p} {from} -> {}  ({} offsets come again: rows double)\n", r.end, from - r.end)
        }
        Some(from) => format!("{p} {from} -> {}  ({} offsets are passed over)\n", r.end, r.end - from),
    };
    ranges.iter().map(line).collect()
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody to ask: say --yes");
    }
    say("change? [y/N] ")?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_says_what_a_change_costs() {
        let p = |i| Partition::new("t", i);
        let held: Positions = [(p(0), Position::at(10)), (p(1), Position::at(5))].into_iter().collect();
        let wanted: Positions =
            [(p(0), Position::at(4)), (p(1), Position::at(5)), (p(2), Position::at(7))].into_iter().collect();
        let ranges = ranges(&held, &wanted);
        assert_eq!(diff(&ranges), "t/0 10 -> 4  (6 offsets come again: rows double)\nt/2 (none) -> 7\n");
        assert!(ranges.continue_from(&held));
    }

    #[test]
    fn dead_letters_go_back_with_the_rows_where_no_id_tells_a_topic_made_again() {
        let p = |i| Partition::new("t", i);
        let on = |offset, id: Option<&str>| Position { offset, topic_id: id.map(Into::into) };
        let dead: Positions =
            [(p(0), on(10, None)), (p(1), on(10, Some("a"))), (p(2), on(3, None)), (p(3), on(10, None))]
                .into_iter()
                .collect();
        let back = |id: Option<&str>| OffsetRange { topic_id: id.map(Into::into), ..OffsetRange::new(9, 4) };
        let back: OffsetRanges = [
            (p(0), back(None)),
            (p(1), back(Some("b"))),
            (p(2), back(None)),
            (p(3), back(Some("b"))),
            (p(4), back(None)),
        ]
        .into_iter()
        .collect();
        let moved = followers(&dead, &back);
        assert!(moved.continue_from(&dead));
        let moved: Vec<_> = moved.iter().map(|(p, r)| (p.index, r.end)).collect();
        assert_eq!(moved, [(0, 4), (3, 4)], "the second by the start of its next run, the third lies below already");
    }
}
