//! Whether a job is doing its work: a pure decision for `/readyz`.

use std::time::Duration;

use tidemill_engine::progress::{JobState, Snapshot};

/// A job that has work and does not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stall {
    /// `not_polled`: the source has records and none is taken; `not_committed`: records are taken and none committed.
    pub kind: &'static str,
    /// In words.
    pub why: String,
}

/// Whether a reading job has stalled; arguments as those of [`trouble`]. A new run may cure it.
#[must_use]
pub fn stall(snapshot: &Snapshot, now: Duration, max_age: Duration, stall_after: Duration) -> Option<Stall> {
    // A turn that has not come is the group's doing, not the job's.
    if snapshot.state != JobState::Running || snapshot.waits_to_commit {
        return None;
    }
    let lag: i64 =
        snapshot.passed.iter().filter_map(|(p, at)| snapshot.ends.get(p).map(|end| (end - at.offset).max(0))).sum();
    let quiet = now.saturating_sub(snapshot.polled_at);
    match snapshot.pending_since.map(|since| now.saturating_sub(since)) {
        Some(waiting) => (waiting > stall_after + max_age).then(|| Stall {
            kind: "not_committed",
            why: format!("records were taken {} s ago and nothing has been committed since", waiting.as_secs()),
        }),
        None => (lag > 0 && quiet > stall_after).then(|| Stall {
            kind: "not_polled",
            why: format!("the source has {lag} more records and none was taken for {} s", quiet.as_secs()),
        }),
    }
}

/// Why a job is not ready; `None`: it is. `now` is the engine clock's reading, `max_age` the window's bound.
#[must_use]
pub fn trouble(snapshot: &Snapshot, now: Duration, max_age: Duration, stall_after: Duration) -> Option<String> {
    match snapshot.state {
        JobState::Failed => return Some(format!("failed, it waits for a person: {}", snapshot.why)),
        JobState::BackingOff => return Some(format!("its run ended and starts again: {}", snapshot.why)),
        JobState::Waiting | JobState::Paused | JobState::Draining => return None,
        JobState::Finished | JobState::Stopped => return None,
        JobState::Starting | JobState::Running => {}
    }
    if let Some(stall) = stall(snapshot, now, max_age, stall_after) {
        return Some(stall.why);
    }
    let quiet = now.saturating_sub(snapshot.polled_at);
    (snapshot.state == JobState::Starting && quiet > stall_after)
        .then(|| format!("starting for {} s: {}", quiet.as_secs(), snapshot.why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_engine::clock::Clock;
    use tidemill_engine::partition::{Partition, Position};
    use tidemill_engine::progress::Progress;

    #[test]
    fn a_stall_is_named_and_an_idle_topic_is_none() {
        let s = Duration::from_secs;
        let mut snapshot = Progress::new("j", Clock::held(0)).snapshot();
        snapshot.state = JobState::Running;
        let p = Partition::new("t", 0);
        snapshot.passed.set(p.clone(), Position::at(5));
        snapshot.ends.insert(p.clone(), 5);
        assert_eq!(trouble(&snapshot, s(1000), s(5), s(60)), None, "nothing to do");
        snapshot.ends.insert(p, 9);
        assert!(trouble(&snapshot, s(61), s(5), s(60)).unwrap().contains("4 more records"));
        assert_eq!(trouble(&snapshot, s(60), s(5), s(60)), None);
        snapshot.pending_since = Some(s(0));
        snapshot.polled_at = s(66);
        assert!(trouble(&snapshot, s(66), s(5), s(60)).unwrap().contains("nothing has been committed"));
        assert_eq!(trouble(&snapshot, s(65), s(5), s(60)), None, "a window may take its age");
        snapshot.state = JobState::Failed;
        assert!(trouble(&snapshot, s(0), s(5), s(60)).is_some());
    }
}
