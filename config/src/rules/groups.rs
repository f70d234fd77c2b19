//! Rules about groups, and about the order of jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Rules;
use crate::fault::{FaultKind, quote};
use crate::forms::size;
use crate::near::did_you_mean;
use crate::tree::join;
use crate::types::{Config, Group, Job, Sink, Source};

pub(super) fn check(rules: &mut Rules<'_>, config: &Config) {
    for (name, group) in &config.groups {
        let path = join("group", name);
        if let Some(memory) = group.memory.filter(|memory| *memory < 16 << 20) {
            let found = size::show(memory);
            rules.bad(&format!("{path}.memory"), format!("expected at least \"16MiB\", found {found:?}"));
        }
        rules.positive(&format!("{path}.restart.first"), group.restart.first);
        rules.positive(&format!("{path}.restart.within"), group.restart.within);
        if group.restart.longest < group.restart.first {
            rules.conflict(&format!("{path}.restart.longest"), "expected no less than `first`");
        }
        turns(rules, config, name, group);
    }
    for (name, job) in &config.jobs {
        let path = join("job", name);
        if &*job.group != "default" && !config.groups.contains_key(job.group.as_str()) {
            let known = config.groups.keys().map(String::as_str);
            let hint = did_you_mean(&job.group, known).map_or_else(String::new, |hint| format!("; {hint}"));
            rules.bad(&format!("{path}.group"), format!("no [group.{}] table{hint}", job.group.shown()));
        }
        for (i, before) in job.after.iter().enumerate() {
            let key = format!("{path}.after[{i}]");
            match config.jobs.get(before.as_str()) {
                None => {
                    let hint = did_you_mean(before, config.jobs.keys().map(String::as_str));
                    let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
                    rules.bad(&key, format!("no job `{}`{hint}", before.shown()));
                }
                Some(before) if !ends(before) => {
                    let message = "that job has no end (`until`, `records`): this one never begins, but with \
                                   `tidemill run --until-end`";
                    rules.warn(FaultKind::NoEffect, &key, message);
                }
                Some(_) => {}
            }
        }
    }
    if let Some(cycle) = cycle(config) {
        let shown = cycle.join("` after `");
        rules.conflict(&format!("{}.after", join("job", cycle[0])), format!("jobs wait for each other: `{shown}`"));
    }
}

/// A transaction may be as good as idle while the window before it waits for its turn, and then for its own.
fn turns(rules: &mut Rules<'_>, config: &Config, name: &str, group: &Group) {
    let Some(per_minute) = group.commits_per_minute.filter(|n| *n > 0) else { return };
    let of_group = || config.jobs.iter().filter(|(_, job)| job.group.as_str() == name && job.sink.takes_turns());
    let jobs = u32::try_from(of_group().count()).unwrap_or(u32::MAX);
    let rounds = (Duration::from_secs(60) / per_minute).saturating_mul(jobs).saturating_mul(2);
    for (job, settings) in of_group() {
        let Sink::Postgres(sink) = &settings.sink else { continue };
        if sink.idle_in_transaction_timeout <= rounds {
            let message = format!(
                "expected more than {} s: {jobs} jobs of group {} take turns at commits_per_minute = {per_minute}, and the \
                 server may end a transaction that waits for two rounds of them",
                rounds.as_secs(),
                quote(name)
            );
            let key = format!("{}.sink.idle_in_transaction_timeout", join("job", job));
            rules.warn(FaultKind::Conflict, &key, message);
        }
    }
}

fn ends(job: &Job) -> bool {
    match &job.source {
        Source::Kafka(kafka) => kafka.until.is_some(),
        Source::Generator(generator) => generator.records.is_some(),
    }
}

/// A cycle of `after`, from a job back to itself, if there is one.
fn cycle(config: &Config) -> Option<Vec<&str>> {
    let before = |job: &'_ str| config.jobs.get(job).map_or(&[][..], |job| &job.after);
    // Take away what waits for nothing that is left, until nothing more goes: what stays waits in circles.
    let mut left: BTreeSet<&str> = config.jobs.keys().map(String::as_str).collect();
    loop {
        let count = left.len();
        let stuck: BTreeSet<&str> =
            left.iter().copied().filter(|job| before(job).iter().any(|b| left.contains(b.as_str()))).collect();
        left = stuck;
        if left.len() == count {
            break;
        }
    }
    let mut path = vec![*left.first()?];
    loop {
        let next = before(path[path.len() - 1]).iter().map(|b| b.as_str()).find(|b| left.contains(b))?;
        if let Some(at) = path.iter().position(|seen| *seen == next) {
            let mut cycle = path.split_off(at);
            cycle.push(next);
            return Some(cycle);
        }
        path.push(next);
    }
}
