//! Watches what readers of the sink can see while a run goes on: per partition, up to which offset, and when it moved.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often it looks: pauses are known to this.
const TICK: Duration = Duration::from_millis(50);
/// Longest look before it counts as not seen.
pub const LOOK: Duration = Duration::from_secs(2);

/// Sees the visible positions of one sink.
pub trait Look: Send {
    /// The next offset of each partition that readers cannot see yet. An error: nothing could be seen now.
    fn positions(&mut self) -> Result<Vec<i64>>;
}

/// A thread that looks, and what it saw.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Track>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts looking.
    pub fn start(mut look: Box<dyn Look>, partitions: usize) -> Result<Self> {
        let seen = Arc::new(Mutex::new(Track::new(partitions)));
        let stop = Arc::new(AtomicBool::new(false));
        let (theirs, stopped) = (seen.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                match look.positions() {
                    Ok(found) => lock(&theirs).see(Instant::now(), &found),
                    Err(error) => lock(&theirs).error = format!("{error:#}"),
                }
                std::thread::sleep(TICK);
            }
        })?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// The positions as last seen.
    #[must_use]
    pub fn positions(&self) -> Vec<i64> {
        lock(&self.seen).last.clone()
    }

    /// See [`Track::pause`].
    #[must_use]
    pub fn pause(&self, from: Instant, to: Instant) -> Duration {
        lock(&self.seen).pause(from, to)
    }

    /// Waits until every partition of `positions` that may move has gone beyond what is given there. `alive` is asked
    /// in between: its error ends the wait.
    pub fn wait_beyond(&self, positions: &[i64], limit: Duration, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
        let begun = Instant::now();
        loop {
            let now = self.positions();
            let waiting: Vec<usize> = (0..now.len()).filter(|p| now[*p] <= positions[*p]).collect();
            if waiting.is_empty() {
                return Ok(());
            }
            alive()?;
            if begun.elapsed() > limit {
                bail!(
                    "partitions {waiting:?} have not moved for {limit:?} (visible up to {now:?}; last error of the \
                     watch: {:?})",
                    lock(&self.seen).error
                );
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When each partition moved.
#[derive(Debug)]
pub struct Track {
    last: Vec<i64>,
    moved: Vec<Vec<Instant>>,
    error: String,
}

impl Track {
    fn new(partitions: usize) -> Self {
        Self { last: vec![-1; partitions], moved: vec![Vec::new(); partitions], error: String::new() }
    }

    fn see(&mut self, at: Instant, found: &[i64]) {
        for (p, position) in found.iter().enumerate().take(self.last.len()) {
            if *position > self.last[p] {
                self.last[p] = *position;
                self.moved[p].push(at);
            }
        }
    }

    /// The longest time between two moves of any partition that has something in common with `[from, to]`.
    fn pause(&self, from: Instant, to: Instant) -> Duration {
        let of = |moves: &Vec<Instant>| {
            let first = moves.partition_point(|at| *at < from).saturating_sub(1);
            let gaps = moves[first..].windows(2).take_while(|pair| pair[0] <= to).map(|pair| pair[1] - pair[0]);
            let open = moves.last().filter(|last| **last < to).map(|last| to - *last);
            gaps.chain(open).max().unwrap_or_default()
        };
        self.moved.iter().map(of).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_the_longest_gap_of_any_partition_around_the_fault() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let mut track = Track::new(2);
        for (ms, positions) in [(0, [1, 1]), (300, [2, 2]), (600, [3, 2]), (2_000, [4, 3]), (2_300, [4, 4])] {
            track.see(at(ms), &positions);
        }
        assert_eq!(track.pause(at(700), at(800)), Duration::from_millis(1_700), "partition 1, from 300 to 2000");
        assert_eq!(track.pause(at(2_100), at(2_200)), Duration::from_millis(300));
        assert_eq!(track.pause(at(2_100), at(9_000)), Duration::from_millis(7_000), "partition 0 has not moved since");
        track.see(at(9_000), &[1, 1]);
        assert_eq!(track.last, [4, 4], "what was visible stays visible");
    }
}
