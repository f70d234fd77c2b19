//! Says how many daemons the jobs need, every few seconds: the decision is [`scaling`](tidemill_engine::scaling)'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use tidemill_engine::capacity::Room;
use tidemill_engine::demand::Demanded;
use tidemill_engine::progress::JobState;
use tidemill_engine::scaling::Stable;
use tidemill_engine::tuning::TuningMode;

use crate::jobs::RunningJob;
use crate::metrics::{ARRIVALS, CAPACITY, DESIRED_DAEMONS, DESIRED_INSTANCES};
use crate::wire::budget;

const EVERY: Duration = Duration::from_secs(5);

/// What is known of the jobs' needs.
#[derive(Default)]
pub(super) struct Scale {
    looked_at: Duration,
    jobs: BTreeMap<String, Stable>,
    /// Of all jobs together, by the work of the processors.
    machines: Stable,
}

/// What a job looks like to the decision.
enum Seen {
    /// Nothing new: it begins, or it is too early.
    Unknown,
    /// It does not run, and asks for nothing.
    Idle,
    Asks(Demanded),
}

fn see(job: &RunningJob, cores: usize) -> Seen {
    match job.progress.state() {
        JobState::Starting | JobState::BackingOff => Seen::Unknown,
        JobState::Running => job.progress.demand.look_at(room(job, cores)).map_or(Seen::Unknown, Seen::Asks),
        _ => Seen::Idle,
    }
}

#[allow(clippy::cast_precision_loss)] // bounds
fn room(job: &RunningJob, cores: usize) -> Room {
    let caps = job.bounds.caps();
    let tuned = job.tuning.as_ref().filter(|tuning| tuning.mode() == TuningMode::On);
    Room {
        workers: budget::workers(cores) as f64,
        rows: caps.max_rows as f64,
        bytes: caps.max_bytes as f64,
        // A window is as old as its commit takes when that begins, and both have to pass within the target.
        commit: tuned.map(|tuning| tuning.target().as_secs_f64() / 2.0),
    }
}

impl Scale {
    /// Whether it is time for a look.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.looked_at) >= EVERY
    }

    /// Looks at the jobs.
    pub(super) fn look(&mut self, now: Duration, cores: usize, jobs: &[Arc<RunningJob>]) {
        self.looked_at = now;
        let (mut machines, mut most, mut asked) = (0.0, 1, false);
        for job in jobs {
            let stable = self.jobs.entry(job.name.clone()).or_default();
            let label = || job.name.clone();
            match see(job, cores) {
                Seen::Unknown => {}
                Seen::Idle => {
                    stable.ask(now, 0.0, 1);
                }
                Seen::Asks(found) => {
                    stable.ask(now, found.need.instances(found.capacity.unwrap_or(f64::INFINITY)), found.partitions);
                    #[allow(clippy::cast_precision_loss)] // processors
                    let cores = cores as f64;
                    machines += found.need.machines(found.work, cores);
                    most = most.max(found.partitions);
                    asked = true;
                    gauge!(ARRIVALS, "job" => label()).set(found.need.arrivals);
                    if let Some(capacity) = found.capacity {
                        gauge!(CAPACITY, "job" => label()).set(capacity);
                    }
                }
            }
            if let Some(instances) = stable.now() {
                gauge!(DESIRED_INSTANCES, "job" => label()).set(f64::from(instances));
            }
        }
        self.jobs.retain(|name, _| {
            let is_there = jobs.iter().any(|job| job.name == *name);
            if !is_there {
                gauge!(DESIRED_INSTANCES, "job" => name.clone()).set(0.0);
            }
            is_there
        });
        if asked {
            self.machines.ask(now, machines, most);
        }
        let jobs = self.jobs.values().filter_map(Stable::now);
        if let Some(daemons) = jobs.chain(self.machines.now()).max() {
            gauge!(DESIRED_DAEMONS).set(f64::from(daemons));
        }
    }
}
