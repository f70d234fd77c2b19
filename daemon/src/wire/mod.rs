//! From settings to the engine's parts: the only place that knows the configuration and the components.

pub mod budget;
#[cfg(feature = "delta")]
pub mod delta;
pub mod format;
pub mod history;
#[cfg(feature = "iceberg")]
pub mod iceberg;
pub mod kafka_sink;
pub mod postgres;
pub mod sink;
pub mod slow;
pub mod source;
pub mod sql;
pub mod storage;
pub mod tuning;

use std::sync::Arc;

use tidemill_config as config;
use tidemill_engine::clock::Clock;
use tidemill_engine::dead_letter;
use tidemill_engine::gate::{CommitGate, GatedSink};
use tidemill_engine::intake::Keep;
use tidemill_engine::job::{JobSpec, MakeSink, OnError, Restart};
use tidemill_engine::progress::Progress;
use tidemill_engine::sink::Sink;
use tidemill_engine::window::WindowBounds;

use crate::jobs::RunningJob;
use crate::plan::PlannedJob;
use crate::state::State;
use budget::Budget;

/// The bounds that these settings allow.
#[must_use]
pub fn window(settings: &config::Window) -> WindowBounds {
    WindowBounds {
        max_age: settings.max_age,
        max_rows: settings.max_rows,
        max_bytes: settings.max_bytes,
        idle: settings.idle,
    }
}

/// What a job has of its group.
#[derive(Clone, Debug)]
pub struct GroupParts {
    /// Where its commits wait for their turn.
    pub gate: CommitGate,
    /// How it starts again.
    pub restart: Restart,
}

/// Makes a sink whose commits go through the group's gate.
fn gated(make: MakeSink, group: &GroupParts, progress: &Arc<Progress>) -> MakeSink {
    let (gate, progress) = (group.gate.clone(), progress.clone());
    Box::new(move |over| {
        let (inner, gate, progress, over) = (make(over)?, gate.clone(), progress.clone(), over.clone());
        Ok(Box::new(GatedSink { inner, gate, progress, over }) as Box<dyn Sink>)
    })
}

/// Builds a job whose windows have these bounds.
#[must_use]
pub fn job(
    planned: &PlannedJob,
    state: &Arc<State>,
    budget: Budget,
    clock: &Clock,
    running: &RunningJob,
    group: &GroupParts,
) -> JobSpec {
    let settings = &planned.settings;
    let on_error = match settings.on_error {
        config::OnError::Fail => OnError::Fail,
        config::OnError::Skip => OnError::Skip,
        config::OnError::DeadLetter => OnError::DeadLetter,
    };
    let dead = on_error == OnError::DeadLetter;
    let uses = |column| settings.format.metadata().contains(&column);
    let from = kafka_sink::FromJob::new(settings, &planned.name);
    let commit_landed = !kafka_sink::commits_to_the_group(&settings.sink);
    let make = |settings: &config::Sink, role, schema, memory| {
        sink::factory(sink::Order {
            settings: settings.clone(),
            storages: planned.storages.clone(),
            job: planned.name.clone(),
            role,
            schema,
            memory,
            from: from.clone(),
            state: state.clone(),
            clock: clock.clone(),
        })
    };
    JobSpec {
        name: planned.name.clone(),
        source: source::factory(&settings.source, &planned.name, state, budget, clock, &from.slot, commit_landed),
        format: planned.format.clone(),
        operators: planned.operators.clone(),
        sink: gated(
            make(&settings.sink, sink::Role::Main, planned.schema.clone(), budget.encode_bytes),
            group,
            &running.progress,
        ),
        dead_letter: settings
            .dead_letter
            .as_ref()
            .filter(|_| dead)
            .map(|s| make(s, sink::Role::DeadLetter, dead_letter::schema(), budget.dead_letter_bytes)),
        on_error,
        max_errors_per_minute: Some(settings.max_errors_per_minute),
        bounds: running.bounds.clone(),
        tuning: running.tuning.clone(),
        keep: Keep { key: dead || uses(config::Metadata::Key), headers: dead || uses(config::Metadata::Headers) },
        limits: budget.limits(),
        restart: group.restart,
        marks: Box::new(state.marks(&planned.name)),
        clock: clock.clone(),
    }
}
