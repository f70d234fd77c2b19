//! `tidemill verify`: whether a sink's commits cover every offset once, read from the sink and nothing else.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidemill_config as config;
use tidemill_engine::history::{self, Flaw, PartitionReport, Report};

use crate::cli::{FAILED, FAULTY, OK, print_faults, say};
use crate::plan::{self, PlannedJob};
use crate::wire::history::{self as wire_history, Remembered};
use crate::wire::sink::Role;

/// Offsets prove nothing about this sink.
pub const NOT_PROVABLE: u8 = 2;

/// What was asked.
#[derive(Debug)]
pub struct Request {
    /// The job.
    pub job: String,
    /// Its config.
    pub config: PathBuf,
    /// JSON instead of a table.
    pub json: bool,
}

/// What came of one sink.
#[derive(Debug)]
enum Verdict {
    /// Its commits were checked.
    Checked(Report),
    /// It remembers no commit.
    Empty,
    /// It cannot be read, or is broken otherwise.
    Broken(String),
    /// Offsets prove nothing.
    NotProvable(&'static str),
}

impl Verdict {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Checked(report) if report.is_proven() => "proven",
            Self::Checked(_) | Self::Empty | Self::Broken(_) => "broken",
            Self::NotProvable(_) => "not_provable",
        }
    }
}

/// Checks the sinks of a job and says what they prove: [`OK`], [`FAILED`] or [`NOT_PROVABLE`].
///
/// # Errors
/// When there is no such job.
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
    let mut sinks = vec![("sink", runtime.block_on(check(&job.settings.sink, job, Role::Main)))];
    if let Some(dead) =
        job.settings.dead_letter.as_ref().filter(|_| job.settings.on_error == config::OnError::DeadLetter)
    {
        sinks.push(("dead_letter", runtime.block_on(check(dead, job, Role::DeadLetter))));
    }
    let text = if request.json {
        let all: Vec<_> = sinks.iter().map(|(role, verdict)| as_json(role, verdict)).collect();
        format!("{:#}\n", json!({ "job": job.name, "verdict": overall(&sinks).0, "sinks": all }))
    } else {
        sinks.iter().map(|(role, verdict)| table(&job.name, role, verdict)).collect()
    };
    say(&text)?;
    Ok(overall(&sinks).1)
}

async fn check(settings: &config::Sink, job: &PlannedJob, role: Role) -> Verdict {
    match wire_history::of(settings, job, role).await {
        Ok(Remembered::Commits(history)) if history.commits.is_empty() && history.positions.is_empty() => {
            Verdict::Empty
        }
        Ok(Remembered::Commits(history)) => Verdict::Checked(history::verify(&history)),
        Ok(Remembered::NotProvable(why)) => Verdict::NotProvable(why),
        Err(error) => Verdict::Broken(error.message),
    }
}

/// The worst of all sinks.
fn overall(sinks: &[(&str, Verdict)]) -> (&'static str, u8) {
    let any = |what| sinks.iter().any(|(_, verdict)| verdict.as_str() == what);
    match () {
        () if any("broken") => ("broken", FAILED),
        () if any("not_provable") => ("not_provable", NOT_PROVABLE),
        () => ("proven", OK),
    }
}

fn time(at_ms: Option<i64>) -> String {
    at_ms
        .and_then(chrono::DateTime::from_timestamp_millis)
        .map_or_else(|| "-".to_owned(), |at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

fn offset(at: Option<i64>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

const EMPTY: &str =
    "no commit of this job is there: it has not run yet, its settings point elsewhere, or its log is gone";

fn table(job: &str, role: &str, verdict: &Verdict) -> String {
    let mut text = format!("{role} of job {job}\n");
    let report = match verdict {
        Verdict::Checked(report) => report,
        Verdict::Empty => return format!("{text}broken: {EMPTY}\n"),
        Verdict::Broken(why) => return format!("{text}broken: {why}\n"),
        Verdict::NotProvable(why) => return format!("{text}not provable from offsets: {why}\n"),
    };
    let mut rows = vec![["partition", "from", "to", "commits", "newest commit", "visible since"].map(str::to_owned)];
    for (partition, p) in &report.partitions {
        rows.push([
            partition.to_string(),
            offset(p.from),
            offset(p.position),
            p.commits.to_string(),
            p.newest.clone().unwrap_or_else(|| "-".to_owned()),
            time(p.newest_ms),
        ]);
    }
    let mut widths = [0; 6];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.len().max(*width));
    }
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for (partition, p) in &report.partitions {
        for reset in &p.resets {
            let (to, from) = (reset.to, reset.from);
            let at = time(reset.at_ms);
            let _ = writeln!(
                text,
                "reset: {partition}: commit {} of {at} set the position back from {from} to {to}: offsets [{to}, {from}) \
                 were asked for again",
                reset.commit
            );
        }
    }
    for flaw in &report.flaws {
        let _ = writeln!(text, "broken: {flaw}");
    }
    if let Some((commit, at)) = &report.newest {
        let _ = writeln!(text, "newest data: commit {commit}, visible since {}", time(*at));
    }
    let rows = report.rows.map_or_else(|| "an unknown number of".to_owned(), |n| n.to_string());
    let commits = report.commits;
    let _ = match report.flaws.len() {
        0 => {
            writeln!(text, "proven: {rows} rows in {commits} commits, which cover each offset [from, to) exactly once")
        }
        n => writeln!(text, "broken: {n} flaws in {commits} commits with {rows} rows"),
    };
    text
}

fn as_json(role: &str, verdict: &Verdict) -> Value {
    let report = match verdict {
        Verdict::Checked(report) => report,
        Verdict::Empty => return json!({ "role": role, "verdict": verdict.as_str(), "reason": EMPTY }),
        Verdict::Broken(why) => return json!({ "role": role, "verdict": verdict.as_str(), "reason": why }),
        Verdict::NotProvable(why) => return json!({ "role": role, "verdict": verdict.as_str(), "reason": why }),
    };
    let partition = |(p, r): (&_, &PartitionReport)| -> Value {
        let p: &tidemill_engine::partition::Partition = p;
        let reset = |r: &history::Reset| json!({ "commit": r.commit, "from": r.from, "to": r.to, "at_ms": r.at_ms });
        json!({
            "topic": &*p.topic, "partition": p.index, "from": r.from, "position": r.position, "anchor": r.anchor,
            "commits": r.commits, "resets": r.resets.iter().map(reset).collect::<Vec<_>>(),
            "newest_commit": r.newest, "newest_at_ms": r.newest_ms,
        })
    };
    json!({
        "role": role,
        "verdict": verdict.as_str(),
        "commits": report.commits,
        "rows": report.rows,
        "newest_commit": report.newest.as_ref().map(|n| &n.0),
        "newest_at_ms": report.newest.as_ref().and_then(|n| n.1),
        "partitions": report.partitions.iter().map(partition).collect::<Vec<_>>(),
        "flaws": report.flaws.iter().map(flaw_json).collect::<Vec<_>>(),
    })
}

fn flaw_json(flaw: &Flaw) -> Value {
    let message = flaw.to_string();
    let (kind, p, commits, from, to) = match flaw {
        Flaw::Gap { partition, from, to, after, commit } => {
            ("gap", partition, vec![after, commit], Some(*from), Some(*to))
        }
        Flaw::Overlap { partition, from, to, after, commit } => {
            ("overlap", partition, vec![after, commit], Some(*from), Some(*to))
        }
        Flaw::AnchoredAgain { partition, held, commit } => {
            ("anchored_again", partition, vec![commit], Some(*held), None)
        }
        Flaw::OtherPosition { partition, held, left_at, commit } => {
            ("other_position", partition, vec![commit], Some(*left_at), *held)
        }
    };
    json!({
        "kind": kind, "topic": &*p.topic, "partition": p.index, "commits": commits, "from": from, "to": to,
        "message": message,
    })
}
