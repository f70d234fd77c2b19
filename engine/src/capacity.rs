//! What one instance can do of a job, learned from its windows. Pure: what windows took goes in, records a second come out.
//!
//! This is the *true processing rate* of DS2 (Kalavri et al., "Three steps is all you need: fast, accurate, automatic
//! scaling decisions for distributed streaming dataflows", OSDI '18): records over useful time, which is time spent
//! neither waiting for input nor for room. It can be measured long before an instance is busy. A job is a pipeline, so
//! each of its stages has a rate, and the slowest is the job's.
//!
//! Two things are different here:
//! - A part of a window's cost does not depend on what is in it (most of all in a commit), and windows grow under load.
//!   So each stage's cost is split into that part and the rest, and the rate is that of the largest window allowed.
//! - Stages disturb each other (they share processors), and some time is nobody's (the client, encoders behind their
//!   queue). When input never ran out between two commits, what really passed is known, and how it compares with the
//!   stages' word is remembered.

use std::time::Duration;

use crate::tuner::cost::{CostModel, Sample};
use crate::tuning::Spent;

/// Seconds of full load until an earlier comparison counts a third.
const REMEMBERED: f64 = 30.0;
/// How far what passes may differ from what the stages say.
const FACTOR: (f64, f64) = (0.02, 2.0);

/// What holds a job's windows, and who works on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Room {
    /// Threads that decode at the same time.
    pub workers: f64,
    /// Most records of a window.
    pub rows: f64,
    /// Most bytes of a window.
    pub bytes: f64,
    /// The longest that a commit may take, seconds, where freshness asks for that.
    pub commit: Option<f64>,
}

/// What was learned of one job.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// Decoding and row-wise operators, by many workers.
    decode: CostModel,
    /// What one task does: window operators, and handing rows to the sink.
    pass: CostModel,
    /// Seal and commit, one at a time.
    commit: CostModel,
    bytes_per_row: f64,
    /// What passed at full load over what the stages said.
    factor: f64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            decode: CostModel::default(),
            pass: CostModel::default(),
            commit: CostModel::default(),
            bytes_per_row: 0.0,
            factor: 1.0,
        }
    }
}

/// Seconds of one stage for the largest window, divided by its records.
fn per_row(model: &CostModel, rows: f64, bytes_per_row: f64) -> f64 {
    model.cost().map_or(0.0, |cost| cost.seconds(rows, rows * bytes_per_row) / rows)
}

impl Capacity {
    /// A window of these records and bytes was worked on; its commit is still to come.
    pub fn worked(&mut self, rows: f64, bytes: f64, spent: &Spent) {
        if rows < 1.0 {
            return;
        }
        let share = if self.bytes_per_row == 0.0 { 1.0 } else { 0.3 };
        self.bytes_per_row += share * (bytes / rows - self.bytes_per_row);
        for (model, took) in [(&mut self.decode, spent.decode), (&mut self.pass, spent.operators + spent.write)] {
            if !took.is_zero() {
                model.learn(Sample { rows, bytes, seconds: took.as_secs_f64() });
            }
        }
    }

    /// Its commit, or that of several windows, took so long.
    pub fn committed(&mut self, rows: f64, bytes: f64, took: Duration) {
        if rows >= 1.0 && !took.is_zero() {
            self.commit.learn(Sample { rows, bytes, seconds: took.as_secs_f64() });
        }
    }

    /// These records passed within `time`, and more were waiting all the while.
    pub fn passed(&mut self, rows: f64, time: Duration, room: &Room) {
        let (Some(said), seconds) = (self.by_stages(room), time.as_secs_f64()) else { return };
        if rows < 1.0 || seconds <= 0.0 {
            return;
        }
        let factor = (rows / seconds / said).clamp(FACTOR.0, FACTOR.1);
        self.factor += (1.0 - (-seconds / REMEMBERED).exp()) * (factor - self.factor);
    }

    /// The largest window that the bounds allow, and that can be committed in time. Where even an empty one takes
    /// longer, smaller windows do not help, and more instances neither.
    fn window(&self, room: &Room) -> f64 {
        let largest = room.rows.min(room.bytes / self.bytes_per_row.max(1.0)).max(1.0);
        match (room.commit, self.commit.cost()) {
            (Some(longest), Some(cost)) if cost.fixed < longest => {
                let marginal = cost.marginal(self.bytes_per_row);
                if marginal > 0.0 { ((longest - cost.fixed) / marginal).clamp(1.0, largest) } else { largest }
            }
            _ => largest,
        }
    }

    fn by_stages(&self, room: &Room) -> Option<f64> {
        self.commit.cost()?;
        let rows = self.window(room);
        let of = |model: &CostModel| per_row(model, rows, self.bytes_per_row);
        let slowest = (of(&self.decode) / room.workers.max(1.0)).max(of(&self.pass)).max(of(&self.commit));
        (slowest > 0.0).then(|| 1.0 / slowest)
    }

    /// Records a second of one instance with nothing else to do; `None` before the first window.
    #[must_use]
    pub fn per_second(&self, room: &Room) -> Option<f64> {
        self.by_stages(room).map(|rate| rate * self.factor)
    }

    /// Seconds of a processor that a record takes: all stages but the commit, which mostly waits for somebody else.
    #[must_use]
    pub fn work(&self, room: &Room) -> f64 {
        let rows = self.window(room);
        per_row(&self.decode, rows, self.bytes_per_row) + per_row(&self.pass, rows, self.bytes_per_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { workers: 2.0, rows: 10_000.0, bytes: 1e9, commit: None };

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1000.0)
    }

    /// Windows of these sizes: each record takes 20 µs of decoding and 4 µs of writing, a commit 100 ms and 2 µs a
    /// record.
    fn learned(sizes: &[f64]) -> Capacity {
        let mut capacity = Capacity::default();
        for rows in sizes {
            let spent = Spent {
                decode: ms(0.02 * rows),
                operators: Duration::ZERO,
                write: ms(0.004 * rows),
                ..Spent::default()
            };
            capacity.worked(*rows, 200.0 * rows, &spent);
            capacity.committed(*rows, 200.0 * rows, ms(100.0 + 0.002 * rows));
        }
        capacity
    }

    fn close(found: f64, wanted: f64) {
        assert!((found / wanted - 1.0).abs() < 0.15, "{found} instead of {wanted}");
    }

    #[test]
    fn the_slowest_stage_is_the_jobs_rate_long_before_it_is_busy() {
        assert_eq!(Capacity::default().per_second(&ROOM), None);
        let sizes: Vec<f64> = (0..60).map(|i| 100.0 + f64::from(i * 37 % 20) * 100.0).collect();
        let capacity = learned(&sizes);
        // Windows of 10,000: 20 µs over two workers, 4 µs, and 12 µs of commit.
        close(capacity.per_second(&ROOM).unwrap(), 83_000.0);
        close(capacity.per_second(&Room { workers: 1.0, ..ROOM }).unwrap(), 50_000.0);
        close(capacity.work(&ROOM), 24e-6);
        // Windows of 1,000 records or 200,000 bytes: 102 µs of commit for each.
        close(capacity.per_second(&Room { rows: 1000.0, ..ROOM }).unwrap(), 9_800.0);
        close(capacity.per_second(&Room { bytes: 200_000.0, ..ROOM }).unwrap(), 9_800.0);
    }

    #[test]
    fn freshness_bounds_the_window_where_windows_can_help() {
        let sizes: Vec<f64> = (0..60).map(|i| 100.0 + f64::from(i * 37 % 20) * 1000.0).collect();
        let capacity = learned(&sizes);
        let within = |seconds| capacity.per_second(&Room { rows: 1e6, commit: Some(seconds), ..ROOM }).unwrap();
        close(within(0.12), 83_000.0);
        close(within(10.0), 100_000.0);
        close(within(0.05), 100_000.0);
    }

    #[test]
    fn what_really_passes_at_full_load_is_remembered() {
        let sizes: Vec<f64> = (0..60).map(|i| 100.0 + f64::from(i * 37 % 20) * 100.0).collect();
        let mut capacity = learned(&sizes);
        for _ in 0..60 {
            capacity.passed(40_000.0, Duration::from_secs(2), &ROOM);
        }
        close(capacity.per_second(&ROOM).unwrap(), 20_000.0);
        capacity.passed(0.0, Duration::from_secs(100), &ROOM);
        close(capacity.per_second(&ROOM).unwrap(), 20_000.0);
    }

    #[test]
    fn a_quiet_job_of_slow_commits_is_far_from_busy() {
        // Ten records in each window, a second for its commit: whatever part of that is the records', and the commits
        // come one after the other.
        let mut capacity = Capacity::default();
        for _ in 0..50 {
            capacity.worked(10.0, 2000.0, &Spent { decode: ms(1.0), write: ms(0.1), ..Spent::default() });
            capacity.committed(10.0, 2000.0, ms(1000.0));
        }
        let rate = capacity.per_second(&ROOM).unwrap();
        assert!(rate > 30.0, "ten a second come and {rate} is what it can do");
    }
}
