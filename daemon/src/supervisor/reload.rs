//! Takes over a changed configuration: checked first, applied as the smallest change, refused whole.

use std::path::PathBuf;
use std::sync::Arc;

use tidemill_config::{Fault, FaultKind, Loaded};

use super::ask::{Refused, Reloaded};
use super::changes::{self, Change};
use super::{DRAIN_WITHIN, Next, Supervisor};
use crate::jobs::Live;
use crate::plan::{self, Plan};
use crate::wire;

/// How a configuration is read, at the start and again for each reload.
#[derive(Clone, Debug)]
pub struct Origin {
    /// File or folder.
    pub path: PathBuf,
    /// All jobs end at what is there when they start.
    pub until_end: bool,
}

impl Origin {
    /// Reads it.
    ///
    /// # Errors
    /// All faults there are.
    pub fn load(&self) -> Result<Loaded, Vec<Fault>> {
        let mut loaded = tidemill_config::load(&self.path, &tidemill_config::System)
            // With what is wrong in the sound parts' queries, so that all faults come at once.
            .map_err(|faults| plan::load(&self.path).err().unwrap_or(faults))?;
        if self.until_end {
            plan::until_end(&mut loaded)?;
        }
        Ok(loaded)
    }
}

impl Supervisor {
    /// Checks the configuration as its files are now, and takes it over unless `only_check`.
    pub(super) fn reload(&mut self, only_check: bool) -> Result<Reloaded, Refused> {
        let done = self.try_reload(only_check);
        match &done {
            Ok(_) if only_check => {}
            Ok(done) => tracing::info!(
                added = done.added.join(","),
                removed = done.removed.join(","),
                restarted = done.restarted.join(","),
                window = done.window.join(","),
                keys = done.keys.join(","),
                unchanged = done.unchanged.len(),
                "configuration taken over"
            ),
            Err(Refused::Faults(faults)) => {
                for fault in faults {
                    tracing::error!("{fault}");
                }
                tracing::error!(
                    faults = faults.len(),
                    "the changed configuration is refused, everything goes on as before"
                );
            }
            Err(refused) => tracing::error!(?refused, "the configuration was not taken over"),
        }
        done
    }

    fn try_reload(&mut self, only_check: bool) -> Result<Reloaded, Refused> {
        if self.is_stopping() {
            return Err(Refused::Conflict("the daemon is stopping".into()));
        }
        let Some(origin) = &self.origin else {
            return Err(Refused::Conflict("this daemon has no configuration file".into()));
        };
        if let (Some(watch), false) = (&mut self.watch, only_check) {
            watch.knows();
        }
        let loaded = origin.load().map_err(Refused::Faults)?;
        let keys = changes::refused(&self.config, &loaded.config);
        if !keys.is_empty() {
            let fault = |key: &String| {
                let message = "cannot change while the daemon runs: restart the daemon, or put the former value back";
                Fault { kind: FaultKind::Conflict, ..loaded.fault_at(&format!("daemon.{key}"), message) }
            };
            return Err(Refused::Faults(keys.iter().map(fault).collect()));
        }
        let plan = plan::plan(loaded, &self.maker.limits).map_err(Refused::Faults)?;
        let mut reloaded = changes::plan(&self.config, &plan.loaded.config);
        reloaded.warnings = plan.loaded.warnings.iter().map(ToString::to_string).collect();
        if !only_check {
            self.apply(plan);
        }
        Ok(reloaded)
    }

    fn apply(&mut self, plan: Plan) {
        let config = plan.loaded.config;
        let live = Live::of(&config);
        self.maker.regroup(&live);
        self.shared.set_live(live);
        let deadline = self.shared.clock.now() + DRAIN_WITHIN;
        for planned in plan.jobs {
            let planned = Arc::new(planned);
            let before = self.config.jobs.get(&planned.name);
            let Some(managed) = self.jobs.get_mut(&planned.name) else {
                self.add(planned);
                continue;
            };
            let change = changes::of_job(&planned.name, &self.config, &config);
            if before.is_none_or(|before| before.window != planned.settings.window) {
                managed.job.bounds.set(wire::window(&planned.settings.window));
            }
            if change == Change::Parts && !managed.is_waiting() {
                managed.start_anew(planned, "its configuration changed".into(), deadline);
                continue;
            }
            // Where a start is noted already it takes these settings, and a job that begins later does.
            match &mut managed.next {
                Next::Start { planned: next, .. } => *next = planned,
                next @ Next::Remove => *next = Next::Start { planned, why: "the configuration has it again".into() },
                Next::Stay => managed.planned = planned,
            }
        }
        for (name, managed) in &mut self.jobs {
            if !config.jobs.contains_key(name) {
                managed.job.control.drain("the configuration no longer has it");
                managed.next = Next::Remove;
            }
        }
        self.config = config;
    }
}
