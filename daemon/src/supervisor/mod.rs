//! Starts jobs, reaps them, does what is asked of them, and takes over changed configurations.
//!
//! One thread owns all of it and never waits for a job: what takes time (a drain) is noted in [`Managed::next`] and
//! done at the tick that finds the job's thread ended. [`ask`] is what can be asked, [`changes`] the decision of a reload.

mod ask;
mod changes;
mod hold;
mod maker;
mod memory;
mod reload;
mod reserve;
mod scale;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use tidemill_config::Config;
use tidemill_engine::bounds::BoundsHandle;
use tidemill_engine::control::Control;
use tidemill_engine::job::{JobEnd, Stop};
use tidemill_engine::progress::{JobState, Progress};

use crate::cli::{FAILED, OK};
use crate::disk::{Disks, LOOK_EVERY, Place};
use crate::jobs::{RunningJob, Shared};
use crate::plan::PlannedJob;
use crate::{ready, wire};
use ask::Ask;
use scale::Scale;
use watch::Watch;

pub use ask::{Asking, Refused, Reloaded, Verb};
pub(crate) use ask::{Heard, channel};
pub(crate) use maker::Maker;
pub use reload::Origin;

/// How often the jobs are looked at; each look is a wake-up of an idle daemon.
const TICK: Duration = Duration::from_millis(50);
/// How often what tuners have learned is saved.
const SAVE_EVERY: Duration = Duration::from_secs(30);
/// How long a job that is to start anew may take for its last commit; then it is ended without.
const DRAIN_WITHIN: Duration = Duration::from_secs(60);
/// How long a thread may take to end at once; then it is said that it does not.
const END_WITHIN: Duration = Duration::from_secs(60);
/// As [`DRAIN_WITHIN`], for a job that does nothing any more.
const STALLED_DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// A job and its thread.
struct Managed {
    job: Arc<RunningJob>,
    planned: Arc<PlannedJob>,
    thread: Option<JoinHandle<JobEnd>>,
    /// How it ended; `None`: it has a thread, or has not begun.
    end: Option<JobEnd>,
    next: Next,
    /// When a drain that is under way becomes an end at once.
    deadline: Option<Duration>,
    /// Memory that it holds while it has a thread.
    held: u64,
    /// When it was last started anew because it stalled.
    healed_at: Option<Duration>,
}

/// What to do once the thread has ended.
enum Next {
    /// Nothing.
    Stay,
    /// Start with these parts.
    Start { planned: Arc<PlannedJob>, why: String },
    /// Forget the job.
    Remove,
}

/// See the module.
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    heard: Heard,
    stop: Stop,
    maker: Maker,
    /// How the configuration can be read again, if it can.
    origin: Option<Origin>,
    config: Config,
    jobs: BTreeMap<String, Managed>,
    watch: Option<Watch>,
    /// When tuners' knowledge was last saved.
    saved_at: Duration,
    /// The room on disks.
    disks: Arc<Disks>,
    /// When disks and stalls were last looked at.
    looked_at: Option<Duration>,
    scale: Scale,
}

impl Supervisor {
    /// A supervisor of these jobs. They are started by [`run`](Self::run).
    pub(crate) fn new(
        shared: Arc<Shared>,
        heard: Heard,
        stop: Stop,
        maker: Maker,
        origin: Option<Origin>,
        config: Config,
        planned: Vec<PlannedJob>,
    ) -> Self {
        let watch = origin.as_ref().map(|origin| Watch::new(&origin.path, shared.clock.now()));
        let saved_at = shared.clock.now();
        let disks = Disks::start(planned.iter().flat_map(|planned| Place::of(&planned.settings, &config.daemon)));
        let jobs = BTreeMap::new();
        let mut supervisor = Self {
            shared,
            heard,
            stop,
            maker,
            origin,
            config,
            jobs,
            watch,
            saved_at,
            disks,
            looked_at: None,
            scale: Scale::default(),
        };
        for planned in planned {
            supervisor.add(Arc::new(planned));
        }
        supervisor
    }

    /// Runs until the daemon is told to stop and all jobs have, or until all jobs are bounded and over. The answer is
    /// the process's exit code.
    pub(crate) fn run(mut self) -> u8 {
        loop {
            self.tick();
            if self.is_done() {
                break;
            }
            match self.heard.0.recv_timeout(TICK) {
                Ok(ask) => self.answer(ask),
                Err(RecvTimeoutError::Timeout) => {}
                // Nobody can ask any more; the jobs go on.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
            }
        }
        self.save(self.shared.clock.now());
        self.result()
    }

    /// Saves what tuners have learned.
    fn save(&mut self, now: Duration) {
        self.saved_at = now;
        for managed in self.jobs.values() {
            self.maker.save(&managed.job);
        }
    }

    fn add(&mut self, planned: Arc<PlannedJob>) {
        let clock = self.shared.clock.clone();
        let bounds = BoundsHandle::new(wire::window(&planned.settings.window));
        let job = Arc::new(RunningJob {
            name: planned.name.clone(),
            progress: Arc::new(Progress::new(&planned.name, clock)),
            tuning: self.maker.tuner(&planned, &bounds, None),
            bounds,
            control: self.control(),
            settings: planned.settings.clone(),
        });
        for kind in ready::STALLS {
            // There at 0 before the first one: a rise from nothing is none to a dashboard.
            let _ = crate::metrics::stalls(&planned.name, kind);
        }
        job.progress.set_state(JobState::Waiting, "it is about to start");
        self.shared.publish(job.clone());
        let name = planned.name.clone();
        let managed = Managed {
            job,
            planned,
            thread: None,
            end: None,
            next: Next::Stay,
            deadline: None,
            held: 0,
            healed_at: None,
        };
        self.jobs.insert(name, managed);
    }

    fn control(&self) -> Control {
        Control::new(Stop { gracefully: self.stop.gracefully.child_token(), now: self.stop.now.child_token() })
    }

    fn is_stopping(&self) -> bool {
        self.stop.gracefully.is_cancelled()
    }

    fn tick(&mut self) {
        let now = self.shared.clock.now();
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in &names {
            self.reap(name, now);
        }
        if now.saturating_sub(self.saved_at) >= SAVE_EVERY {
            self.save(now);
        }
        if self.scale.is_due(now) {
            self.scale.look(now, self.maker.cores, &self.shared.jobs());
        }
        if self.is_stopping() {
            self.stop_waiting();
            return;
        }
        if self.looked_at.is_none_or(|at| now.saturating_sub(at) >= LOOK_EVERY) {
            self.looked_at = Some(now);
            self.watch_disks();
            for name in &names {
                self.heal(name, now);
            }
        }
        for name in &names {
            self.go_on(name);
        }
        self.start_waiting();
        let due = self.config.daemon.watch && self.watch.as_mut().is_some_and(|watch| watch.is_due(now));
        if due {
            tracing::info!("the configuration was written");
            let _ = self.reload(false);
        }
    }

    /// Takes back the thread of a job that ended, and ends one whose time is up.
    fn reap(&mut self, name: &str, now: Duration) {
        let Some(managed) = self.jobs.get_mut(name) else { return };
        if managed.deadline.is_some_and(|at| now >= at) && managed.job.control.stop.now.is_cancelled() {
            managed.deadline = None;
            let why = "its thread hangs and cannot be ended: restart the daemon, nothing is lost by that";
            tracing::error!(job = name, error = why, "job failed, it waits for a person");
            managed.job.progress.set_state(JobState::Failed, why);
        } else if managed.deadline.is_some_and(|at| now >= at) {
            managed.deadline = Some(now + END_WITHIN);
            tracing::warn!(job = name, "it does not come to an end in order, its open window is given up");
            managed.job.control.stop.now.cancel();
        }
        if let Some(thread) = managed.thread.take_if(|thread| thread.is_finished()) {
            let end = thread.join().unwrap_or_else(|_| {
                let why = "its thread panicked; this is a bug, please report it";
                managed.job.progress.set_state(JobState::Failed, why);
                JobEnd::Failed(why.into())
            });
            managed.end = Some(end);
            managed.deadline = None;
            managed.held = 0;
            if matches!(managed.next, Next::Stay) {
                managed.job.progress.forget_stall();
            }
        }
    }

    /// Does what was noted for a job whose thread has ended.
    fn go_on(&mut self, name: &str) {
        let Some(managed) = self.jobs.get_mut(name).filter(|managed| managed.thread.is_none()) else { return };
        match std::mem::replace(&mut managed.next, Next::Stay) {
            Next::Stay => {}
            Next::Start { planned, why } => {
                managed.planned = planned;
                // Back into the line of those that have not begun, should memory come back first.
                managed.end = None;
                if !self.start(name, &why)
                    && let Some(managed) = self.jobs.get_mut(name)
                {
                    managed.next = Next::Start { planned: managed.planned.clone(), why };
                }
            }
            Next::Remove => {
                tracing::info!(job = name, "removed");
                self.jobs.remove(name);
                self.shared.remove(name);
            }
        }
    }

    /// Starts a job that has no thread. False: its neighbours have to give memory back first.
    fn start(&mut self, name: &str, why: &str) -> bool {
        let memory = match memory::share(self.maker.memory, &self.shared.live().groups, &self.parties(name), name) {
            memory::Share::Start(memory) => memory,
            memory::Share::After(lenders) => {
                self.give_back(name, &lenders);
                return false;
            }
        };
        let control = self.control();
        let Some(managed) = self.jobs.get_mut(name) else { return true };
        let paused = match self.maker.state.pause(name).load() {
            Ok(kept) => kept.map(|why| format!("{why}, before the job started")),
            Err(error) => {
                let why = format!("{error:#}");
                tracing::error!(job = name, error = why, "job failed, it waits for a person");
                managed.job.progress.set_state(JobState::Failed, &why);
                managed.end = Some(JobEnd::Failed(why));
                return true;
            }
        };
        // What is not kept, because its file could not be written, holds in this process all the same.
        if let Some(why) = managed.job.control.paused().or(paused) {
            control.pause(why);
        }
        if let Some(why) = managed.job.control.held() {
            control.hold(why);
        }
        let job = Arc::new(RunningJob {
            name: name.to_owned(),
            progress: managed.job.progress.clone(),
            bounds: managed.job.bounds.clone(),
            tuning: self.maker.tuner(&managed.planned, &managed.job.bounds, managed.job.tuning.as_ref()),
            control,
            settings: managed.planned.settings.clone(),
        });
        job.progress.set_state(JobState::Starting, why);
        match self.maker.spawn(&managed.planned, &job, &self.shared.live(), memory) {
            Ok(thread) => (managed.thread, managed.end, managed.held) = (Some(thread), None, memory),
            Err(error) => {
                let why = format!("no thread for it: {error}");
                job.progress.set_state(JobState::Failed, &why);
                managed.end = Some(JobEnd::Failed(why));
            }
        }
        managed.job = job.clone();
        self.shared.publish(job);
        true
    }

    /// The jobs that share the memory while `name` starts: those that live, and those that may begin at once.
    fn parties(&self, name: &str) -> Vec<memory::Party> {
        let begins = |job: &str, m: &Managed| {
            job == name || matches!(m.next, Next::Start { .. }) || (m.is_waiting() && self.waits_for(job).is_none())
        };
        let parties = self.jobs.iter().filter(|(job, m)| m.thread.is_some() || begins(job, m));
        parties
            .map(|(job, m)| memory::Party {
                name: job.clone(),
                group: m.planned.settings.group.as_str().to_owned(),
                held: m.thread.is_some().then_some(m.held),
            })
            .collect()
    }

    /// Starts jobs anew that hold memory which was lent to them, once for each of them.
    fn give_back(&mut self, name: &str, lenders: &[String]) {
        let deadline = self.shared.clock.now() + DRAIN_WITHIN;
        for lender in lenders {
            let Some(managed) = self.jobs.get_mut(lender) else { continue };
            if matches!(managed.next, Next::Stay) && !managed.job.control.stop.gracefully.is_cancelled() {
                tracing::info!(job = lender, to = name, "it gives memory back, its run starts anew");
                managed.start_anew(managed.planned.clone(), format!("it gives memory back to `{name}`"), deadline);
            }
        }
        if let Some(managed) = self.jobs.get(name)
            && managed.job.progress.state() != JobState::Waiting
        {
            managed.job.progress.set_state(JobState::Waiting, format!("memory comes back from {}", lenders.join(", ")));
        }
    }

    /// Starts jobs that have not begun and wait for nothing any more.
    fn start_waiting(&mut self) {
        let waiting: Vec<String> = self.jobs.iter().filter(|(_, m)| m.is_waiting()).map(|(n, _)| n.clone()).collect();
        for name in waiting {
            match self.waits_for(&name) {
                None => {
                    self.start(&name, "the daemon started it");
                }
                Some(why) => {
                    let progress = &self.jobs[&name].job.progress;
                    if progress.snapshot().why != why {
                        progress.set_state(JobState::Waiting, why);
                    }
                }
            }
        }
    }

    /// What keeps a job from beginning, in words.
    fn waits_for(&self, name: &str) -> Option<String> {
        let state = |before: &str| match self.jobs.get(before) {
            Some(managed) if managed.end == Some(JobEnd::Finished) => None,
            Some(managed) => Some(managed.job.progress.state().as_str()),
            None => Some("gone"),
        };
        let after = &self.jobs.get(name)?.planned.settings.after;
        let left: Vec<String> =
            after.iter().filter_map(|b| Some(format!("`{}` ({})", b.as_str(), state(b)?))).collect();
        (!left.is_empty()).then(|| format!("it comes after {}", left.join(", ")))
    }

    fn stop_waiting(&mut self) {
        for managed in self.jobs.values_mut().filter(|managed| managed.is_waiting()) {
            managed.end = Some(JobEnd::Stopped);
            managed.job.progress.set_state(JobState::Stopped, "the daemon stops");
        }
    }

    /// A job that has data and does nothing gets a new run.
    fn heal(&mut self, name: &str, now: Duration) {
        let stall_after = self.shared.live().stall_after;
        let Some(managed) = self.jobs.get_mut(name) else { return };
        if managed.thread.is_none() || managed.deadline.is_some() || managed.job.control.stop.gracefully.is_cancelled()
        {
            return;
        }
        let Some(stall) =
            ready::stall(&managed.job.progress.snapshot(), now, managed.job.bounds.get().max_age, stall_after)
        else {
            return;
        };
        managed.job.progress.stalled(&stall.why);
        let since = managed.healed_at.map_or(Duration::MAX, |at| now.saturating_sub(at));
        if since < stall_after * 2 {
            return;
        }
        managed.healed_at = Some(now);
        tracing::error!(job = name, stall = stall.kind, why = stall.why, "stalled, its run starts anew");
        crate::metrics::stalls(name, stall.kind).increment(1);
        managed.start_anew(managed.planned.clone(), format!("it stalled: {}", stall.why), now + STALLED_DRAIN_WITHIN);
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Verb { job, verb, why, reply } => {
                let answer = self.verb(&job, verb, &why);
                match &answer {
                    Ok(done) => tracing::info!(job, verb = verb.as_str(), done, "asked by {why}"),
                    Err(refused) => tracing::info!(job, verb = verb.as_str(), ?refused, "refused to {why}"),
                }
                let _ = reply.send(answer);
            }
            Ask::Reload { only_check, reply } => {
                let _ = reply.send(self.reload(only_check));
            }
        }
    }

    fn verb(&mut self, name: &str, verb: Verb, why: &str) -> Result<String, Refused> {
        if self.is_stopping() {
            return Err(Refused::Conflict("the daemon is stopping".into()));
        }
        let now = self.shared.clock.now();
        let kept = self.maker.state.pause(name);
        let Some(managed) = self.jobs.get_mut(name) else { return Err(Refused::NoJob(name.to_owned())) };
        let control = managed.job.control.clone();
        let state = managed.job.progress.state().as_str();
        let why = format!("asked by {why}");
        let no = |why: &str| Err(Refused::Conflict(format!("job `{name}` {why}")));
        if matches!(managed.next, Next::Remove) {
            return no("is being removed: the configuration no longer has it");
        }
        // A thread may have published its end and not be gone yet.
        let is_over = managed.thread.is_none() || managed.job.progress.state().is_over();
        let is_draining = !is_over && control.stop.gracefully.is_cancelled();
        let starts_again = matches!(managed.next, Next::Start { .. });
        let forgotten = match verb {
            Verb::Resume | Verb::Restart => kept.clear(),
            Verb::Pause | Verb::Drain | Verb::Cut => Ok(()),
        };
        let done: String = match verb {
            Verb::Pause if is_over => return no(&format!("is {state}: there is nothing to pause")),
            Verb::Pause if is_draining && !starts_again => return no("is draining: it stops anyway"),
            Verb::Pause => {
                let before = control.paused();
                let done = match before {
                    Some(_) => "it is paused already",
                    None => "it commits what it has read, then takes no more",
                };
                let is_kept = before.is_some() && matches!(kept.load(), Ok(Some(_)));
                let why = before.unwrap_or(why);
                control.pause(why.as_str());
                let stored = if is_kept { Ok(()) } else { kept.store(&why, self.shared.clock.wall_ms()) };
                outlasting(name, done, stored, "the pause ends with the daemon")
            }
            Verb::Resume if is_over => {
                control.resume();
                managed.next = Next::Start { planned: managed.planned.clone(), why };
                "it starts".into()
            }
            Verb::Resume if control.resume() => match control.held() {
                Some(why) => format!("it goes on once it is not held any more: {why}"),
                None => "it goes on".into(),
            },
            Verb::Resume if is_draining && !starts_again => {
                managed.next = Next::Start { planned: managed.planned.clone(), why };
                "it starts again as soon as it is drained".into()
            }
            Verb::Resume => match control.held() {
                Some(why) => format!("it is not paused but held, and goes on by itself: {why}"),
                None => "it is not paused".into(),
            },
            Verb::Drain if is_over => {
                if managed.thread.is_none() && managed.end.is_none() {
                    managed.end = Some(JobEnd::Stopped);
                    managed.job.progress.set_state(JobState::Stopped, why);
                }
                managed.next = Next::Stay;
                managed.job.progress.forget_stall();
                "it does not run".into()
            }
            Verb::Drain => {
                managed.next = Next::Stay;
                control.drain(why);
                "it commits what it has read, then stops".into()
            }
            Verb::Restart => {
                control.resume();
                managed.start_anew(managed.planned.clone(), why, now + DRAIN_WITHIN);
                if is_over { "it starts".into() } else { "it commits what it has read, then starts anew".into() }
            }
            Verb::Cut if is_over || is_draining || control.rest().is_some() => {
                return no(&format!("is {state}: it has no open window"));
            }
            Verb::Cut => {
                control.cut();
                "its open window ends now, if it has anything".into()
            }
        };
        Ok(outlasting(name, &done, forgotten, "it is paused again when it starts anew"))
    }

    fn is_done(&self) -> bool {
        if self.jobs.values().any(|m| m.thread.is_some()) {
            return false;
        }
        if self.is_stopping() {
            return true;
        }
        // What still waits here waits for something that has not finished and never will by itself.
        self.jobs.values().all(|m| m.job.is_bounded() && matches!(m.next, Next::Stay))
            && !self.jobs.iter().any(|(name, m)| m.is_waiting() && self.waits_for(name).is_none())
    }

    /// Says what failed.
    fn result(&self) -> u8 {
        let mut failed = Vec::new();
        for (name, managed) in &self.jobs {
            match &managed.end {
                Some(JobEnd::Finished | JobEnd::Stopped) => continue,
                Some(JobEnd::Failed(why)) => tracing::error!(job = name, why, "this job failed"),
                None => tracing::error!(job = name, why = self.waits_for(name), "this job was not started"),
            }
            failed.push(name.as_str());
        }
        if failed.is_empty() {
            return OK;
        }
        tracing::error!(jobs = failed.join(", "), "not everything was done");
        FAILED
    }
}

/// What a verb did, and what does not hold because its file could not be changed.
fn outlasting(job: &str, done: &str, kept: anyhow::Result<()>, but: &str) -> String {
    match kept {
        Ok(()) => done.to_owned(),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(job, error, "{but}");
            format!("{done}; but {but}: {error}")
        }
    }
}

impl Managed {
    /// It has not begun, and nobody stopped it.
    fn is_waiting(&self) -> bool {
        self.thread.is_none() && self.end.is_none() && matches!(self.next, Next::Stay)
    }

    /// It does nothing, and will not by itself.
    fn is_over(&self) -> bool {
        self.thread.is_none() && self.end.is_some() && matches!(self.next, Next::Stay)
    }

    /// Drains it by the deadline, if it runs, and notes that it starts with these parts.
    fn start_anew(&mut self, planned: Arc<PlannedJob>, why: String, deadline: Duration) {
        if self.thread.is_some() {
            self.job.control.drain(why.as_str());
            self.deadline = Some(deadline);
        }
        self.next = Next::Start { planned, why };
    }
}
