//! Whether a job is doing its work: a pure decision for `/readyz`.

use std::time::Duration;

use tidemill_engine::progress::{JobState, Snapshot};

/// Why a job is not ready; `None`: it is. `now` is the engine clock's reading, `max_age` the window's bound.
#[must_use]
pub fn trouble(snapshot: &Snapshot, now: Duration, max_age: Duration, stall_after: Duration) -> Option<String> {
    match snapshot.state {
        JobState::Failed => return Some(format!("failed, it waits for a person: {}", snapshot.why)),
        JobState::BackingOff => return Some(format!("its run ended and starts again: {}", snapshot.why)),
        JobState::Finished | JobState::Stopped | JobState::Stopping => return None,
        JobState::Starting | JobState::Running => {}
    }
    let lag: i64 =
        snapshot.passed.iter().filter_map(|(p, at)| snapshot.ends.get(p).map(|end| (end - at.offset).max(0))).sum();
    let quiet = now.saturating_sub(snapshot.polled_at);
    if let Some(since) = snapshot.pending_since {
        let waiting = now.saturating_sub(since);
        if waiting > stall_after + max_age {
            return Some(format!(
                "records were taken {} s ago and nothing has been committed since",
                waiting.as_secs()
            ));
        }
    } else if lag > 0 && quiet > stall_after {
        return Some(format!("the source has {lag} more records and none was taken for {} s", quiet.as_secs()));
    }
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
