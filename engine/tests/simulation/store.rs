//! The simulated sink: compare-and-append, a fence for earlier runs of an instance, and what was staged.

use std::collections::HashMap;

use tidemill_engine::history::{CommitRecord, History};
use tidemill_engine::partition::{OffsetRanges, Positions};
use tidemill_engine::protocol::{Answer, Target};

use crate::topic::Place;

/// A commit on its way.
#[derive(Clone, Debug)]
pub struct Request {
    pub instance: usize,
    pub run: u64,
    /// Names this commit: a duplicate has the same.
    pub token: u64,
    pub target: Target,
    pub ranges: OffsetRanges,
    /// Whether it moves positions over what is gone from the source.
    pub passes_over: bool,
}

struct Staged {
    instance: usize,
    run: u64,
    places: Vec<Place>,
}

/// One sink.
#[derive(Default)]
pub struct Store {
    pub positions: Positions,
    commits: Vec<CommitRecord>,
    /// How often each record is visible, by partition and offset.
    visible: Vec<Vec<u32>>,
    staged: HashMap<u64, Staged>,
    /// What was decided: a duplicate gets the same answer.
    decided: HashMap<u64, Answer>,
    /// The run of each instance that may commit.
    runs: HashMap<usize, u64>,
    /// `recover` shuts out earlier runs of the instance, and sweeps what they staged. Sinks without that only compare.
    fences: bool,
    /// Switched off to show that the simulation notices.
    compares: bool,
}

impl Store {
    pub fn new(fences: bool, compares: bool) -> Self {
        Self { fences, compares, ..Self::default() }
    }

    /// What is invisible until its commit lands.
    pub fn stage(&mut self, token: u64, instance: usize, run: u64, places: Vec<Place>) {
        self.staged.insert(token, Staged { instance, run, places });
    }

    /// The owner deletes what a commit staged.
    pub fn free(&mut self, token: u64) {
        self.staged.remove(&token);
    }

    /// The start of a run.
    pub fn recover(&mut self, instance: usize, run: u64) -> Positions {
        if self.fences {
            self.runs.insert(instance, run);
            self.staged.retain(|_, s| s.instance != instance || s.run >= run);
        }
        self.positions.clone()
    }

    /// One atomic step. True beside the answer: it landed just now.
    pub fn commit(&mut self, request: &Request) -> (Answer, bool) {
        if let Some(answer) = self.decided.get(&request.token) {
            return (*answer, false);
        }
        let fenced = self.runs.get(&request.instance).is_some_and(|&run| run > request.run);
        let answer = if fenced {
            Answer::Failed
        } else if self.compares && !request.ranges.continue_from(&self.positions) {
            Answer::Lost
        } else {
            self.land(request);
            Answer::Landed
        };
        self.decided.insert(request.token, answer);
        (answer, answer == Answer::Landed)
    }

    fn land(&mut self, request: &Request) {
        request.ranges.apply_to(&mut self.positions);
        let places = self.staged.remove(&request.token).map(|s| s.places).unwrap_or_default();
        for &(partition, offset) in &places {
            if self.visible.len() <= partition {
                self.visible.resize_with(partition + 1, Vec::new);
            }
            let counts = &mut self.visible[partition];
            if counts.len() <= offset as usize {
                counts.resize(offset as usize + 1, 0);
            }
            counts[offset as usize] += 1;
        }
        let id = (self.commits.len() + 1).to_string();
        let rows = Some(places.len() as u64);
        self.commits.push(CommitRecord { id, ranges: request.ranges.clone(), at_ms: None, rows });
    }

    /// How often the record at `place` is visible.
    pub fn count(&self, (partition, offset): Place) -> u32 {
        self.visible.get(partition).and_then(|counts| counts.get(offset as usize)).copied().unwrap_or(0)
    }

    pub fn history(&self) -> History {
        History { commits: self.commits.clone(), positions: self.positions.clone() }
    }
}
