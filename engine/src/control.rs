//! What a person, or a supervisor, tells a running job: pause, go on, cut now, drain.
//!
//! Control comes sideways: the job looks here between two polls of its source. Nobody waits for anybody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::job::Stop;
use crate::progress::JobState;

/// Tells one job what to do. Clones tell the same job.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Drains the job, or ends it at once.
    pub stop: Stop,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Whether there is a reason to rest: looked at between two polls.
    rests: AtomicBool,
    reasons: Mutex<Reasons>,
    cut: AtomicBool,
    why_drained: Mutex<Option<String>>,
}

/// Why a job takes nothing; each goes away by itself.
#[derive(Debug, Default)]
struct Reasons {
    /// A person paused it.
    paused: Option<String>,
    /// The supervisor holds it.
    held: Option<String>,
}

/// A job that takes nothing: the state to show, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// [`JobState::Paused`] when a person asked for it, whatever else there is; else [`JobState::Held`].
    pub state: JobState,
    /// In words.
    pub why: String,
}

impl Control {
    /// Control over a job that `stop` stops.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self { stop, inner: Arc::default() }
    }

    /// The job commits what it has read and takes no more, but stays a member of its group: its partitions stay here.
    /// `why` is shown. Holds over runs, until [`resume`](Self::resume).
    pub fn pause(&self, why: impl Into<String>) {
        let why = why.into();
        self.change(|reasons| reasons.paused = Some(why));
    }

    /// The job goes on, from the positions in its sink, unless it is held. False: it was not paused.
    pub fn resume(&self) -> bool {
        self.change(|reasons| reasons.paused.take()).is_some()
    }

    /// As [`pause`](Self::pause), by the supervisor and until [`release`](Self::release): the two know nothing of each
    /// other. False: it was held already, and `why` is shown from now on.
    pub fn hold(&self, why: impl Into<String>) -> bool {
        let why = why.into();
        self.change(|reasons| reasons.held.replace(why)).is_none()
    }

    /// Ends a hold. False: it was not held.
    pub fn release(&self) -> bool {
        self.change(|reasons| reasons.held.take()).is_some()
    }

    /// Why a person paused the job; `None`: nobody did.
    #[must_use]
    pub fn paused(&self) -> Option<String> {
        self.reasons().paused.clone()
    }

    /// Why the supervisor holds the job; `None`: it does not.
    #[must_use]
    pub fn held(&self) -> Option<String> {
        self.reasons().held.clone()
    }

    /// Why the job takes nothing; `None`: it may.
    #[must_use]
    pub fn rest(&self) -> Option<Rest> {
        if !self.inner.rests.load(Ordering::Acquire) {
            return None;
        }
        let reasons = self.reasons();
        match (&reasons.paused, &reasons.held) {
            (Some(why), None) => Some(Rest { state: JobState::Paused, why: why.clone() }),
            (Some(why), Some(held)) => Some(Rest { state: JobState::Paused, why: format!("{why}; besides, {held}") }),
            (None, Some(held)) => Some(Rest { state: JobState::Held, why: held.clone() }),
            (None, None) => None,
        }
    }

    fn reasons(&self) -> MutexGuard<'_, Reasons> {
        self.inner.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut Reasons) -> R) -> R {
        let mut reasons = self.reasons();
        let before = change(&mut reasons);
        self.inner.rests.store(reasons.paused.is_some() || reasons.held.is_some(), Ordering::Release);
        before
    }

    /// Ends the open window now, whatever its bounds say. Without effect when it is empty.
    pub fn cut(&self) {
        self.inner.cut.store(true, Ordering::Release);
    }

    /// The job cuts, commits and stops. `why` is shown, of several the first.
    pub fn drain(&self, why: impl Into<String>) {
        self.inner.why_drained.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why.into());
        self.stop.gracefully.cancel();
    }

    /// Why the job stops.
    pub(crate) fn why_drained(&self) -> String {
        let why = self.inner.why_drained.lock().unwrap_or_else(PoisonError::into_inner).clone();
        why.unwrap_or_else(|| "the daemon stops".into())
    }

    /// Whether a cut was asked for since the last call.
    pub(crate) fn take_cut(&self) -> bool {
        self.inner.cut.load(Ordering::Relaxed) && self.inner.cut.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_holds_until_resumed_and_a_cut_is_taken_once() {
        let control = Control::default();
        let told = control.clone();
        assert_eq!((control.paused(), told.resume()), (None, false));
        told.pause("maintenance");
        assert_eq!(control.paused().as_deref(), Some("maintenance"));
        assert!(told.resume() && control.paused().is_none());
        told.cut();
        assert!(control.take_cut() && !control.take_cut());
        told.drain("first");
        told.drain("second");
        assert!(control.stop.gracefully.is_cancelled());
        assert_eq!(control.why_drained(), "first");
    }

    #[test]
    fn a_pause_and_a_hold_end_apart_and_the_persons_word_is_the_state() {
        let control = Control::default();
        let rest = |state, why: &str| Some(Rest { state, why: why.into() });
        assert_eq!((control.rest(), control.release()), (None, false));
        assert!(control.hold("no room") && !control.hold("less room"));
        assert_eq!(control.rest(), rest(JobState::Held, "less room"));
        control.pause("asked");
        assert_eq!(control.rest(), rest(JobState::Paused, "asked; besides, less room"));
        assert!(control.resume());
        assert_eq!(control.rest(), rest(JobState::Held, "less room"));
        control.pause("asked");
        assert!(control.release());
        assert_eq!(control.rest(), rest(JobState::Paused, "asked"));
        assert!(control.resume());
        assert_eq!(control.rest(), None);
    }
}
