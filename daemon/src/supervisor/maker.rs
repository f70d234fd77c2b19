//! Makes a job's parts and its thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::jobs::{Live, RunningJob};
use crate::plan::PlannedJob;
use crate::state::State;
use crate::wire::budget::Budget;
use crate::wire::{self, GroupParts};
use tidemill_config as config;
use tidemill_engine::bounds::BoundsHandle;
use tidemill_engine::clock::Clock;
use tidemill_engine::gate::CommitGate;
use tidemill_engine::job::{self, JobEnd, Restart};
use tidemill_engine::scheduler::CommitLimits;
use tidemill_engine::tuning::Tuning;

/// What all jobs of a daemon are made from.
pub(crate) struct Maker {
    pub(crate) state: Arc<State>,
    /// Budget of all jobs together, bytes.
    pub(crate) memory: u64,
    /// Processors to decode on.
    pub(crate) cores: usize,
    pub(crate) limits: wire::sql::Limits,
    pub(crate) clock: Clock,
    pub(crate) runtime: tokio::runtime::Handle,
    /// By group; they outlive reloads.
    pub(crate) gates: BTreeMap<String, CommitGate>,
}

impl Maker {
    /// The gate of a group.
    fn gate(&mut self, name: &str, group: &config::Group) -> CommitGate {
        let make = || CommitGate::new(limits(group), self.clock.clone());
        self.gates.entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// Groups have other limits now.
    pub(crate) fn regroup(&mut self, live: &Live) {
        for (name, gate) in &self.gates {
            gate.set(live.groups.get(name).map(limits).unwrap_or_default());
        }
    }

    /// Starts a job on a thread of its own, with so many bytes of memory.
    pub(crate) fn spawn(
        &mut self,
        planned: &PlannedJob,
        running: &RunningJob,
        live: &Live,
        memory: u64,
    ) -> std::io::Result<JoinHandle<JobEnd>> {
        let group = live.groups.get(planned.settings.group.as_str()).cloned().unwrap_or_default();
        let restart = Restart {
            first: group.restart.first,
            longest: group.restart.longest,
            give_up: group.restart.give_up_after.map(|most| (most, group.restart.within)),
        };
        let parts = GroupParts { gate: self.gate(&planned.settings.group, &group), restart };
        let spec = wire::job(planned, &self.state, Budget::of(memory, 1, self.cores), &self.clock, running, &parts);
        job::spawn(spec, running.progress.clone(), self.runtime.clone(), running.control.clone())
    }

    /// The tuner that its settings ask for; `former` goes on, or hands its knowledge on.
    pub(crate) fn tuner(
        &self,
        planned: &PlannedJob,
        bounds: &BoundsHandle,
        former: Option<&Arc<Tuning>>,
    ) -> Option<Arc<Tuning>> {
        wire::tuning::tuner(&planned.name, &planned.settings.window, bounds, former, &self.state, &self.clock)
    }

    /// Saves what a job's tuner knows.
    pub(crate) fn save(&self, job: &RunningJob) {
        let Some(saved) = job.tuning.as_ref().and_then(|tuning| tuning.save()) else { return };
        if let Err(error) = self.state.save_tuning(&job.name, &saved) {
            tracing::warn!(job = job.name, error = %format_args!("{error:#}"), "what the tuner has learned is not saved");
        }
    }
}

fn limits(group: &config::Group) -> CommitLimits {
    CommitLimits { concurrent: group.max_concurrent_commits, per_minute: group.commits_per_minute }
}
