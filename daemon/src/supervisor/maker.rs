//! Makes a job's parts and its thread.

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::jobs::{Live, RunningJob};
use crate::plan::PlannedJob;
use crate::state::State;
use crate::wire;
use crate::wire::budget::Budget;
use tidemill_engine::clock::Clock;
use tidemill_engine::job::{self, JobEnd, Restart};

/// What all jobs of a daemon are made from.
pub(crate) struct Maker {
    pub(crate) state: Arc<State>,
    pub(crate) budget: Budget,
    pub(crate) limits: wire::sql::Limits,
    pub(crate) clock: Clock,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Maker {
    /// Starts a job on a thread of its own.
    pub(crate) fn spawn(
        &self,
        planned: &PlannedJob,
        running: &RunningJob,
        live: &Live,
    ) -> std::io::Result<JoinHandle<JobEnd>> {
        let group = live.groups.get(planned.settings.group.as_str()).cloned().unwrap_or_default();
        let restart = Restart {
            first: group.restart.first,
            longest: group.restart.longest,
            give_up: group.restart.give_up_after.map(|most| (most, group.restart.within)),
        };
        let spec = wire::job(planned, &self.state, self.budget, &self.clock, &running.bounds, restart);
        job::spawn(spec, running.progress.clone(), self.runtime.clone(), running.control.clone())
    }
}
