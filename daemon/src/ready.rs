//! Whether a job is doing its work: a pure decision for `/readyz`.

use std::time::Duration;

use tidemill_engine::progress::{JobState, Snapshot};

const NOT_POLLED: &str = "not_polled";
const NOT_COMMITTED: &str = "not_committed";
/// Every [`Stall::kind`].
pub const STALLS: [&str; 2] = [NOT_POLLED, NOT_COMMITTED];

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
    let unasked = now.saturating_sub(snapshot.asked_at);
    // While a commit is waited for nothing may have been taken.
    let quiet = now.saturating_sub(snapshot.polled_at.max(snapshot.landed_at));
    match snapshot.pending_since.map(|since| now.saturating_sub(since)) {
        Some(waiting) => (waiting > stall_after + max_age).then(|| Stall {
            kind: NOT_COMMITTED,
            why: format!("records were taken {} s ago and nothing has been committed since", waiting.as_secs()),
        }),
        None if lag > 0 && quiet > stall_after => Some(Stall {
            kind: NOT_POLLED,
            why: format!("the source has {lag} more records and none was taken for {} s", quiet.as_secs()),
        }),
        // Whoever hangs learns of no new end either.
        None => (unasked > stall_after).then(|| Stall {
            kind: NOT_POLLED,
            why: format!("the source was not asked for records for {} s: its thread hangs", unasked.as_secs()),
        }),
    }
}

/// Why a job is not ready; `None`: it is. `now` is the engine clock's reading, `max_age` the window's bound.
#[must_use]
pub fn trouble(snapshot: &Snapshot, now: Duration, max_age: Duration, stall_after: Duration) -> Option<String> {
    match snapshot.state {
        JobState::Failed => return Some(format!("failed, it waits for a person: {}", snapshot.why)),
        JobState::BackingOff => return Some(format!("its run ended and starts again: {}", snapshot.why)),
        JobState::Held => return Some(format!("held, it takes nothing: {}", snapshot.why)),
        JobState::Paused | JobState::Finished => return None,
        // Between two runs a job is stopped, or waits.
        JobState::Waiting | JobState::Starting | JobState::Running | JobState::Draining | JobState::Stopped => {}
    }
    if let Some(stall) = stall(snapshot, now, max_age, stall_after) {
        return Some(stall.why);
    }
    // A new run proves nothing: it may hang as the last one did.
    if let Some(why) = &snapshot.stalled {
        return Some(format!("it stalled and has committed nothing since: {why}"));
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
        snapshot.asked_at = s(1000);
        assert_eq!(trouble(&snapshot, s(1000), s(5), s(60)), None, "nothing to do");
        snapshot.ends.insert(p, 9);
        assert!(trouble(&snapshot, s(61), s(5), s(60)).unwrap().contains("4 more records"));
        assert_eq!(trouble(&snapshot, s(60), s(5), s(60)), None);
        snapshot.landed_at = s(1);
        assert_eq!(trouble(&snapshot, s(61), s(5), s(60)), None, "a long commit has just landed");
        snapshot.pending_since = Some(s(0));
        snapshot.polled_at = s(66);
        assert!(trouble(&snapshot, s(66), s(5), s(60)).unwrap().contains("nothing has been committed"));
        assert_eq!(trouble(&snapshot, s(65), s(5), s(60)), None, "a window may take its age");
        snapshot.state = JobState::Failed;
        assert!(trouble(&snapshot, s(0), s(5), s(60)).is_some());
    }

    #[test]
    fn a_thread_that_hangs_is_a_stall_even_when_no_lag_is_known() {
        let s = Duration::from_secs;
        let mut snapshot = Progress::new("j", Clock::held(0)).snapshot();
        snapshot.state = JobState::Running;
        assert_eq!(stall(&snapshot, s(60), s(5), s(60)), None);
        let found = stall(&snapshot, s(61), s(5), s(60)).unwrap();
        assert!(found.kind == "not_polled" && found.why.contains("hangs"), "{found:?}");
        snapshot.asked_at = s(61);
        assert_eq!(stall(&snapshot, s(61), s(5), s(60)), None, "an idle topic");
    }

    #[test]
    fn a_stall_is_trouble_until_something_was_committed() {
        let s = Duration::from_secs;
        let progress = Progress::new("j", Clock::held(0));
        progress.set_state(JobState::Running, "");
        progress.stalled("nothing was taken");
        for state in [JobState::Running, JobState::Draining, JobState::Stopped, JobState::Waiting, JobState::Starting] {
            progress.set_state(state, "");
            let found = trouble(&progress.snapshot(), s(1), s(5), s(60)).unwrap();
            assert!(found.contains("nothing since: nothing was taken"), "{state:?}: {found}");
        }
        progress.set_state(JobState::Paused, "");
        assert_eq!(trouble(&progress.snapshot(), s(1), s(5), s(60)), None, "a person's doing");
        progress.forget_stall();
        for state in [JobState::Running, JobState::Draining, JobState::Stopped, JobState::Waiting] {
            progress.set_state(state, "");
            assert_eq!(trouble(&progress.snapshot(), s(100), s(5), s(100)), None, "{state:?}");
        }
    }

    #[test]
    fn a_held_job_says_what_it_waits_for() {
        let mut snapshot = Progress::new("j", Clock::held(0)).snapshot();
        (snapshot.state, snapshot.why) = (JobState::Held, "no room".into());
        let found = trouble(&snapshot, Duration::ZERO, Duration::ZERO, Duration::ZERO).unwrap();
        assert_eq!(found, "held, it takes nothing: no room");
    }
}
