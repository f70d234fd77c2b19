//! The jobs of a daemon as everybody else sees them: HTTP, the live line, the demo.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tidemill_config as config;
use tidemill_engine::bounds::BoundsHandle;
use tidemill_engine::clock::Clock;
use tidemill_engine::control::Control;
use tidemill_engine::progress::Progress;
use tidemill_engine::tuning::Tuning;

use crate::supervisor::Asking;
use crate::wire;

/// A job under supervision. A job that starts again is published anew; progress and bounds stay the same.
pub struct RunningJob {
    /// Its name.
    pub name: String,
    /// What it publishes.
    pub progress: Arc<Progress>,
    /// Its window bounds, which may be changed.
    pub bounds: BoundsHandle,
    /// Tunes its windows, where it has a freshness to keep.
    pub tuning: Option<Arc<Tuning>>,
    /// Tells it what to do.
    pub control: Control,
    /// Its settings.
    pub settings: config::Job,
}

impl RunningJob {
    /// Whether it ends by itself.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        wire::source::is_bounded(&self.settings.source)
    }

    /// Kind of its source and its sink.
    #[must_use]
    pub fn kinds(&self) -> (&'static str, &'static str) {
        (wire::source::kind(&self.settings.source), self.settings.sink.kind())
    }
}

/// What a reload may change of the daemon itself.
#[derive(Clone)]
pub struct Live {
    /// How long nothing may happen before a job counts as stalled.
    pub stall_after: Duration,
    /// What is to stay free on disks; `None`: the default.
    pub disk_reserve: Option<u64>,
    /// What the API's verbs ask for.
    pub api_token: Option<config::Text>,
    /// All groups, `default` among them.
    pub groups: BTreeMap<String, config::Group>,
}

impl Live {
    /// As this configuration says.
    #[must_use]
    pub fn of(config: &config::Config) -> Self {
        let mut groups = config.groups.clone();
        groups.entry("default".to_owned()).or_default();
        let daemon = &config.daemon;
        Self {
            stall_after: daemon.stall_after,
            disk_reserve: daemon.disk_reserve,
            api_token: daemon.api_token.clone(),
            groups,
        }
    }
}

/// What of a service outlives its start: shared with HTTP.
pub struct Shared {
    /// The clock.
    pub clock: Clock,
    /// This daemon's name.
    pub instance: String,
    /// Takes what is asked of the supervisor.
    pub asking: Asking,
    jobs: RwLock<BTreeMap<String, Arc<RunningJob>>>,
    live: RwLock<Live>,
}

impl Shared {
    /// Without jobs yet.
    #[must_use]
    pub fn new(clock: Clock, instance: String, asking: Asking, live: Live) -> Self {
        Self { clock, instance, asking, jobs: RwLock::default(), live: RwLock::new(live) }
    }

    /// All jobs, by name.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<RunningJob>> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The job of this name.
    #[must_use]
    pub fn job(&self, name: &str) -> Option<Arc<RunningJob>> {
        self.jobs.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// What a reload may change.
    #[must_use]
    pub fn live(&self) -> Live {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_live(&self, live: Live) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    pub(crate) fn publish(&self, job: Arc<RunningJob>) {
        self.jobs.write().unwrap_or_else(PoisonError::into_inner).insert(job.name.clone(), job);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.jobs.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
