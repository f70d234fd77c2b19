//! Window bounds that change while a job runs: a handle that the cutter reads before each decision.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use std::time::Duration;

use crate::tuner::Line;
use crate::window::{Facts, WindowBounds};

/// The bounds of one job's windows, shared by whoever sets them and the cutter. Clones are the same bounds.
///
/// Two parties set them. A person (configuration, reload, API) sets the *caps*; a tuner *chooses* within them. What the
/// cutter reads is the choice, never beyond the caps, and the caps where nothing was chosen. A change holds from the
/// next decision on, for the open window too.
#[derive(Clone, Debug)]
pub struct BoundsHandle(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    caps: WindowBounds,
    chosen: Option<WindowBounds>,
    line: Option<Line>,
}

impl BoundsHandle {
    /// A handle with these caps and nothing chosen.
    #[must_use]
    pub fn new(caps: WindowBounds) -> Self {
        Self(Arc::new(Mutex::new(Inner { caps, chosen: None, line: None })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds now, for an empty window.
    #[must_use]
    pub fn get(&self) -> WindowBounds {
        self.at(&Facts::default())
    }

    /// What holds now for the open window. Where a tuner follows a line, `max_age` depends on what is in the window.
    #[must_use]
    pub fn at(&self, facts: &Facts) -> WindowBounds {
        let inner = self.inner();
        let mut bounds = match &inner.chosen {
            Some(chosen) => chosen.within(&inner.caps),
            None => inner.caps.clone(),
        };
        if let Some(line) = &inner.line {
            #[allow(clippy::cast_precision_loss)] // far below 2^52
            let age = line.age(facts.rows as f64, facts.bytes as f64);
            bounds.max_age = Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX).min(bounds.max_age);
        }
        bounds
    }

    /// What a person allows at most.
    #[must_use]
    pub fn caps(&self) -> WindowBounds {
        self.inner().caps.clone()
    }

    /// Sets what a person allows at most. What was chosen stays chosen, within the new caps. Answers the former caps.
    pub fn set(&self, caps: WindowBounds) -> WindowBounds {
        std::mem::replace(&mut self.inner().caps, caps)
    }

    /// Sets the line that a tuner cuts along, within caps and choice; `None`: none.
    pub fn follow(&self, line: Option<Line>) {
        self.inner().line = line;
    }

    /// Sets what a tuner chooses; `None`: the caps hold.
    pub fn choose(&self, chosen: Option<WindowBounds>) {
        self.inner().chosen = chosen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn bounds(seconds: u64, max_rows: u64) -> WindowBounds {
        WindowBounds { max_age: Duration::from_secs(seconds), max_rows, max_bytes: 1000, idle: None }
    }

    #[test]
    fn a_choice_holds_within_the_caps_and_clones_are_the_same_bounds() {
        let handle = BoundsHandle::new(bounds(5, 100));
        let other = handle.clone();
        assert_eq!(handle.get(), bounds(5, 100));
        other.choose(Some(bounds(9, 10)));
        assert_eq!(handle.get(), bounds(5, 10), "never older than the cap");
        assert_eq!(other.set(bounds(8, 5)), bounds(5, 100));
        assert_eq!(handle.get(), bounds(8, 5), "a cap set later holds for what was chosen before");
        assert_eq!(handle.caps(), bounds(8, 5));
        handle.choose(None);
        assert_eq!(other.get(), bounds(8, 5));
    }

    #[test]
    fn along_a_line_more_rows_mean_an_earlier_cut_within_the_caps() {
        let handle = BoundsHandle::new(bounds(5, 1_000_000));
        handle.follow(Some(Line { budget: 6.0, per_row: 1e-5, per_byte: 0.0, shortest: 0.5 }));
        let at = |rows| handle.at(&Facts { rows, ..Facts::default() }).max_age.as_secs_f64();
        assert_eq!([at(0), at(200_000), at(550_000), at(900_000)], [5.0, 4.0, 0.5, 0.5]);
        handle.follow(None);
        assert_eq!(at(900_000), 5.0);
    }

    #[test]
    fn idle_is_the_shorter_one() {
        let s = Duration::from_secs;
        let with = |idle| WindowBounds { idle, ..bounds(5, 100) };
        let handle = BoundsHandle::new(with(Some(s(2))));
        for (chosen, expected) in [(None, s(2)), (Some(s(1)), s(1)), (Some(s(3)), s(2))] {
            handle.choose(Some(with(chosen)));
            assert_eq!(handle.get().idle, Some(expected));
        }
    }
}
