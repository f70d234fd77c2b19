//! Makes chunks, has them decoded, keeps what is new, and makes small what is wrong.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;

use super::super::compare::shown;
use super::super::generate::Generator;
use super::corpus::Seed;
use super::mutate::{fill, mutate};
use super::outcome::hash;
use super::target::Target;

/// Records kept; beyond it a new one takes another's place.
const POOL_MAX: usize = 8192;
/// Tries to make a finding smaller.
const TRIES_MAX: usize = 3_000;

pub(super) struct Fuzzer {
    generator: Generator,
    targets: Vec<Target>,
    /// Seeds, then records with outcomes that were new.
    pool: Vec<Vec<u8>>,
    seeds: usize,
    seen: HashSet<u64>,
    /// Kinds of what was found.
    known: HashSet<String>,
    pub(super) executions: u64,
    pub(super) records: u64,
    /// Records that are rows.
    pub(super) taken: u64,
    /// Outcomes that were new.
    pub(super) grown: u64,
    pub(super) slowest: Duration,
    /// What is wrong, with the records that show it.
    pub(super) found: Vec<String>,
}

impl Fuzzer {
    pub(super) fn new(seed: u64, targets: Vec<Target>, seeds: Vec<Seed>) -> Self {
        let pool: Vec<_> = seeds.into_iter().map(|s| s.bytes).collect();
        Self {
            generator: Generator::new(seed),
            targets,
            seeds: pool.len(),
            pool,
            seen: HashSet::new(),
            known: HashSet::new(),
            executions: 0,
            records: 0,
            taken: 0,
            grown: 0,
            slowest: Duration::ZERO,
            found: Vec::new(),
        }
    }

    /// One chunk of records for one of the schemas.
    pub(super) fn step(&mut self) {
        let which = self.generator.rng.random_range(0..self.targets.len());
        let n = *[1, 2, 3, 3, 5, 8, 12].choose(&mut self.generator.rng).unwrap();
        let records: Vec<_> = (0..n).map(|_| self.record(which)).collect();
        let started = Instant::now();
        let result = self.targets[which].execute(&records);
        self.slowest = self.slowest.max(started.elapsed());
        self.executions += 1;
        self.records += n;
        match result {
            Ok(outcomes) => {
                for (record, outcome) in records.into_iter().zip(outcomes) {
                    self.taken += u64::from(outcome.taken);
                    let mut new = false;
                    for kind in outcome.kinds {
                        new |= self.seen.insert(hash((which, kind)));
                    }
                    if let (true, Some(record)) = (new, record) {
                        self.keep(record);
                    }
                }
            }
            Err(what) => self.report(which, records, &what),
        }
    }

    fn record(&mut self, which: usize) -> Option<Vec<u8>> {
        if self.generator.once_in(40) {
            return None;
        }
        let target = &self.targets[which];
        let mut record = match self.generator.rng.random_range(0..4) {
            // Good for this schema, or nearly.
            0 | 1 if target.generated => {
                let fault_in = *[30, 1_000_000].choose(&mut self.generator.rng).unwrap();
                self.generator.record(&target.options.fields, fault_in).into_bytes()
            }
            _ => self.pool.choose(&mut self.generator.rng).unwrap().clone(),
        };
        if self.generator.rng.random_ratio(3, 5) {
            let other = self.pool.choose(&mut self.generator.rng).unwrap();
            mutate(&mut self.generator.rng, &mut record, other, &target.keys);
        }
        if self.generator.once_in(20) {
            fill(&mut self.generator.rng, &mut record, target.options.max_record_bytes);
        }
        Some(record)
    }

    fn keep(&mut self, record: Vec<u8>) {
        self.grown += 1;
        if self.pool.len() < POOL_MAX {
            self.pool.push(record);
        } else {
            let place = self.generator.rng.random_range(self.seeds..POOL_MAX);
            self.pool[place] = record;
        }
    }

    fn report(&mut self, which: usize, records: Vec<Option<Vec<u8>>>, what: &str) {
        let target = &mut self.targets[which];
        let records = smaller(target, records);
        let what = target.execute(&records).err().unwrap_or_else(|| format!("only after other chunks: {what}"));
        // One finding for each way in which things are different.
        let kind: String = what.chars().take_while(|c| *c != '"').filter(|c| !c.is_ascii_digit()).collect();
        let kind = if kind.starts_with("panicked") { kind } else { format!("{which}{kind}") };
        if self.known.insert(kind) {
            let records: Vec<_> = records.iter().map(|r| shown(r.as_deref())).collect();
            self.found.push(format!("schema `{}`: {what}\n    records: {}", target.name, records.join(", ")));
        }
    }
}

/// Fewer and shorter records of which something is still wrong.
fn smaller(target: &mut Target, mut records: Vec<Option<Vec<u8>>>) -> Vec<Option<Vec<u8>>> {
    let mut tries = 0;
    let mut wrong = |target: &mut Target, records: &[Option<Vec<u8>>]| {
        tries += 1;
        tries <= TRIES_MAX && target.execute(records).is_err()
    };
    let mut i = 0;
    while i < records.len() {
        let mut fewer = records.clone();
        fewer.remove(i);
        if wrong(target, &fewer) { records = fewer } else { i += 1 }
    }
    for i in 0..records.len() {
        let Some(mut record) = records[i].clone() else { continue };
        let mut size = record.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < record.len() {
                let shorter = [&record[..at], &record[(at + size).min(record.len())..]].concat();
                let before = records[i].replace(shorter.clone());
                if wrong(target, &records) {
                    record = shorter;
                } else {
                    records[i] = before;
                    at += size;
                }
            }
            size /= 2;
        }
    }
    records
}
