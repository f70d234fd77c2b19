//! How much memory a job gets when it starts: a pure decision.
//!
//! A job holds its share for as long as its thread lives: the client's queues and the sink's encoders are made with it.
//! Shares are by the groups' weights, and evenly within a group, among the jobs that live. What others do not use is
//! lent: a job that starts alone gets everything. It comes back when a job starts that finds too little: then those
//! that hold more than their share now are started anew, at a cut.

use std::collections::BTreeMap;

use tidemill_config::Group;
use tidemill_engine::scheduler::{Claim, divide};

/// The least that a job can work with.
const LEAST: u64 = 8 << 20;
/// One part in so many is kept for jobs that a reload adds: the first of them touches no other. When it is used up, those
/// that hold more than their share give back.
const RESERVE: u64 = 8;

/// A job that lives or is about to.
#[derive(Clone, Debug)]
pub(super) struct Party {
    pub name: String,
    pub group: String,
    /// What it holds; `None`: it has not started.
    pub held: Option<u64>,
}

/// What to do with a job that is to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Start it with so many bytes.
    Start(u64),
    /// Let these give back what they were lent, and ask again.
    After(Vec<String>),
}

/// The share of the party `name` in `total` bytes.
pub(super) fn share(total: u64, groups: &BTreeMap<String, Group>, parties: &[Party], name: &str) -> Share {
    let own = own_shares(total - total / RESERVE, groups, parties);
    let own_of = |name: &str| own.get(name).copied().unwrap_or(LEAST);
    let held: u64 = parties.iter().filter_map(|p| p.held).sum();
    let free = total.saturating_sub(held);
    let wanted = own_of(name);
    if free >= wanted || free >= (wanted / 4).max(LEAST) {
        return Share::Start(wanted.min(free));
    }
    let lent = |p: &&Party| p.held.is_some_and(|held| held > own_of(&p.name) + own_of(&p.name) / 4);
    let back: Vec<String> = parties.iter().filter(lent).map(|p| p.name.clone()).collect();
    // With more jobs than memory for them there is nothing to give back.
    if back.is_empty() { Share::Start(LEAST.max(free)) } else { Share::After(back) }
}

fn own_shares(total: u64, groups: &BTreeMap<String, Group>, parties: &[Party]) -> BTreeMap<String, u64> {
    let mut members: BTreeMap<&str, Vec<&Party>> = BTreeMap::new();
    for party in parties {
        members.entry(&party.group).or_default().push(party);
    }
    let claim = |group: &&str| {
        let settings = groups.get(*group);
        let most = settings.and_then(|g| g.memory).unwrap_or(u64::MAX);
        Claim { weight: settings.map_or(1, |g| g.weight), most }
    };
    let claims: Vec<Claim> = members.keys().map(claim).collect();
    let parts = divide(total, &claims);
    members
        .values()
        .zip(parts)
        .flat_map(|(jobs, part)| {
            let each = (part / jobs.len().max(1) as u64).max(LEAST);
            jobs.iter().map(move |job| (job.name.clone(), each))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn party(name: &str, group: &str, held: Option<u64>) -> Party {
        Party { name: name.into(), group: group.into(), held: held.map(|mib| mib * MIB) }
    }

    fn groups() -> BTreeMap<String, Group> {
        let group = |weight, memory| Group { weight, memory, ..Group::default() };
        [("default", group(1, None)), ("hot", group(3, None)), ("small", group(1, Some(64 * MIB)))]
            .into_iter()
            .map(|(name, group)| (name.to_owned(), group))
            .collect()
    }

    #[test]
    fn shares_are_by_weight_and_evenly_within_a_group() {
        let all = [party("a", "default", None), party("b", "hot", None), party("c", "hot", None)];
        let of = |name| share(800 * MIB, &groups(), &all, name);
        // 700 MiB beside the reserve: 175 for a, 525 for hot.
        assert_eq!(of("a"), Share::Start(175 * MIB));
        assert_eq!(of("b"), Share::Start(525 * MIB / 2));
        let capped = [party("a", "default", None), party("s", "small", None)];
        assert_eq!(share(800 * MIB, &groups(), &capped, "s"), Share::Start(64 * MIB));
        assert_eq!(share(800 * MIB, &groups(), &capped, "a"), Share::Start(636 * MIB), "what is left is lent");
    }

    #[test]
    fn a_job_added_first_takes_the_reserve_and_then_what_was_lent_comes_back() {
        let one = [party("a", "default", Some(700)), party("b", "default", None)];
        assert_eq!(share(800 * MIB, &groups(), &one, "b"), Share::Start(100 * MIB), "the reserve: a is not touched");
        let two = [party("a", "default", Some(700)), party("b", "default", Some(100)), party("c", "default", None)];
        assert_eq!(share(800 * MIB, &groups(), &two, "c"), Share::After(vec!["a".into()]));
        let back = [party("a", "default", Some(233)), party("b", "default", Some(100)), party("c", "default", None)];
        assert_eq!(share(800 * MIB, &groups(), &back, "c"), Share::Start(700 * MIB / 3));
    }

    #[test]
    fn many_jobs_start_one_after_the_other_within_the_total() {
        let mut all: Vec<Party> = (0..20).map(|i| party(&format!("j{i}"), "default", None)).collect();
        for i in 0..all.len() {
            let name = all[i].name.clone();
            let Share::Start(bytes) = share(512 * MIB, &groups(), &all, &name) else { panic!("nothing was lent") };
            all[i].held = Some(bytes);
        }
        assert!(all.iter().filter_map(|p| p.held).sum::<u64>() <= 512 * MIB);
        assert!(all.iter().all(|p| p.held >= Some(22 * MIB)));
    }

    #[test]
    fn with_too_little_for_all_each_gets_the_least() {
        let all: Vec<Party> = (0..9).map(|i| party(&format!("j{i}"), "default", (i > 0).then_some(8))).collect();
        assert_eq!(share(64 * MIB, &groups(), &all, "j0"), Share::Start(LEAST));
    }
}
