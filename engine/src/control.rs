//! What a person, or a supervisor, tells a running job: pause, go on, cut now, drain.
//!
//! Control comes sideways: the job looks here between two polls of its source. Nobody waits for anybody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::job::Stop;

/// Tells one job what to do. Clones tell the same job.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Drains the job, or ends it at once.
    pub stop: Stop,
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    is_paused: AtomicBool,
    why: Mutex<String>,
    cut: AtomicBool,
    why_drained: Mutex<Option<String>>,
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
        *self.inner.why.lock().unwrap_or_else(PoisonError::into_inner) = why.into();
        self.inner.is_paused.store(true, Ordering::Release);
    }

    /// The job goes on, from the positions in its sink. False: it was not paused.
    pub fn resume(&self) -> bool {
        self.inner.is_paused.swap(false, Ordering::AcqRel)
    }

    /// Why the job is paused; `None`: it is not.
    #[must_use]
    pub fn paused(&self) -> Option<String> {
        let paused = self.inner.is_paused.load(Ordering::Acquire);
        paused.then(|| self.inner.why.lock().unwrap_or_else(PoisonError::into_inner).clone())
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
}
