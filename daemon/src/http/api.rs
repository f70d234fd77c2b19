//! Jobs and groups as JSON.

use std::time::Duration;

use serde_json::{Value, json};
use tidemill_config as config;
use tidemill_engine::progress::{JobState, Snapshot};
use tidemill_engine::tuning::{Tuning, TuningMode};
use tidemill_engine::window::WindowBounds;

use crate::jobs::{RunningJob, Shared};
use crate::ready;

/// Errors within this time are shown as a crash loop when they are many.
const RECENT: Duration = Duration::from_secs(600);
/// How many are many.
const CRASH_LOOP: usize = 5;

/// All jobs.
pub(super) fn jobs(shared: &Shared) -> Value {
    json!({
        "instance": shared.instance,
        "version": env!("CARGO_PKG_VERSION"),
        "jobs": shared.jobs().iter().map(|j| job(shared, j)).collect::<Vec<_>>(),
    })
}

/// One job.
pub(super) fn job(shared: &Shared, job: &RunningJob) -> Value {
    let s = job.progress.snapshot();
    let stall_after = shared.live().stall_after;
    let trouble = ready::trouble(&s, shared.clock.now(), job.bounds.get().max_age, stall_after);
    let partitions = partitions(&s);
    let lag: i64 = partitions.iter().filter_map(|p| p["lag"].as_i64()).sum();
    let errors = s.errors_within(RECENT, shared.clock.wall_ms());
    json!({
        "name": job.name,
        "group": &*job.settings.group,
        "source": job.kinds().0,
        "sink": job.kinds().1,
        "state": s.state,
        "since_ms": s.since_ms,
        "why": s.why,
        "ready": trouble.is_none(),
        "trouble": trouble,
        "errors_in_10_minutes": errors,
        "crash_loop": errors >= CRASH_LOOP,
        "next_try_ms": s.next_try_ms,
        "waits_to_commit": s.waits_to_commit,
        "records": s.records,
        "bytes": s.bytes,
        "rows": s.rows,
        "rejects": s.rejects,
        "files": s.files,
        "commits_landed": s.landed,
        "runs": s.runs,
        "lag": lag,
        "window": window(job),
        "forecast": forecast(job, shared.clock.wall_ms()),
        "partitions": partitions,
        "commits": s.commits,
        "last_error": s.last_error.map(|(at_ms, text)| json!({"at_ms": at_ms, "error": text})),
    })
}

/// Positions of the partitions assigned here.
pub(super) fn partitions(s: &Snapshot) -> Vec<Value> {
    s.positions
        .iter()
        .map(|(p, at)| {
            let end = s.ends.get(p);
            let passed = s.passed.offset(p).unwrap_or(at.offset);
            json!({
                "topic": &*p.topic,
                "partition": p.index,
                "position": at.offset,
                "end": end,
                "lag": end.map(|end| (end - passed).max(0)),
            })
        })
        .collect()
}

/// The bounds that hold, and what they may be at most.
pub(super) fn window(job: &RunningJob) -> Value {
    let mut window = bounds(&job.bounds.get());
    window["caps"] = bounds(&job.bounds.caps());
    window["tuning"] = job.tuning.as_ref().map(|tuning| tuned(tuning)).into();
    window
}

/// What becomes of a tuner's choices.
fn tuned(tuning: &Tuning) -> &'static str {
    match tuning.mode() {
        TuningMode::Observe => "observe",
        TuningMode::On if tuning.is_frozen() => "frozen",
        TuningMode::On => "on",
    }
}

/// Bounds, as numbers.
pub(super) fn bounds(bounds: &WindowBounds) -> Value {
    json!({
        "max_age_seconds": bounds.max_age.as_secs_f64(),
        "max_rows": bounds.max_rows,
        "max_bytes": bounds.max_bytes,
        "idle_seconds": bounds.idle.map(|d| d.as_secs_f64()),
    })
}

/// What its tuner knows and does, and why, in words too.
pub(super) fn tuning(job: &RunningJob) -> Value {
    let words = match &job.tuning {
        Some(tuning) => tuning.explain(),
        None => vec![
            "its windows are not tuned: `freshness` in its `window` table would turn that on (docs/tuning.md).".into(),
        ],
    };
    json!({
        "job": job.name,
        "tuning": job.tuning.as_ref().map(|tuning| tuning.view()),
        "explanation": words,
    })
}

/// How far a bounded job is, and when it will end.
fn forecast(job: &RunningJob, wall_ms: i64) -> Option<Value> {
    if !job.is_bounded() || job.progress.state().is_over() {
        return None;
    }
    let (done, left) = job.progress.forecast();
    Some(json!({
        "done": done,
        "seconds_left": left.map(|left| left.as_secs_f64()),
        "ends_at_ms": left.map(|left| wall_ms.saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX))),
    }))
}

/// All groups.
pub(super) fn groups(shared: &Shared) -> Value {
    let groups = shared.live().groups;
    json!({ "groups": groups.iter().map(|(name, settings)| group(shared, name, settings)).collect::<Vec<_>>() })
}

/// One group.
pub(super) fn group(shared: &Shared, name: &str, settings: &config::Group) -> Value {
    let jobs: Vec<_> = shared.jobs().into_iter().filter(|job| &*job.settings.group == name).collect();
    let count = |is: fn(JobState) -> bool| jobs.iter().filter(|job| is(job.progress.state())).count();
    json!({
        "name": name,
        "settings": settings,
        "jobs": jobs.iter().map(|job| json!({"name": job.name, "state": job.progress.state()})).collect::<Vec<_>>(),
        "running": count(|state| state == JobState::Running),
        "failed": count(|state| state == JobState::Failed),
        "backing_off": count(|state| state == JobState::BackingOff),
    })
}

/// An error.
pub(super) fn error(text: &str) -> Value {
    json!({ "error": text })
}
