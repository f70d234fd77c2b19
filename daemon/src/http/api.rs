//! Jobs as JSON.

use serde_json::{Value, json};

use crate::ready;
use crate::service::{RunningJob, Shared};

/// All jobs.
pub(super) fn jobs(shared: &Shared) -> Value {
    json!({
        "instance": shared.instance,
        "version": env!("CARGO_PKG_VERSION"),
        "jobs": shared.jobs.iter().map(|j| job(shared, j)).collect::<Vec<_>>(),
    })
}

/// One job.
pub(super) fn job(shared: &Shared, job: &RunningJob) -> Value {
    let s = job.progress.snapshot();
    let bounds = job.bounds.get();
    let trouble = ready::trouble(&s, shared.clock.now(), bounds.max_age, shared.stall_after);
    let partitions: Vec<Value> = s
        .positions
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
        .collect();
    let lag: i64 = partitions.iter().filter_map(|p| p["lag"].as_i64()).sum();
    json!({
        "name": job.name,
        "source": job.kinds.0,
        "sink": job.kinds.1,
        "state": s.state,
        "since_ms": s.since_ms,
        "why": s.why,
        "ready": trouble.is_none(),
        "trouble": trouble,
        "records": s.records,
        "bytes": s.bytes,
        "rows": s.rows,
        "rejects": s.rejects,
        "files": s.files,
        "commits_landed": s.landed,
        "runs": s.runs,
        "lag": lag,
        "window": {
            "max_age_seconds": bounds.max_age.as_secs_f64(),
            "max_rows": bounds.max_rows,
            "max_bytes": bounds.max_bytes,
            "idle_seconds": bounds.idle.map(|d| d.as_secs_f64()),
        },
        "partitions": partitions,
        "commits": s.commits,
        "last_error": s.last_error.map(|(at_ms, text)| json!({"at_ms": at_ms, "error": text})),
    })
}

/// An error.
pub(super) fn error(text: &str) -> Value {
    json!({ "error": text })
}
