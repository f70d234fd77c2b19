//! What the group gave this member, as pure bookkeeping: rebalances come in, what to do about them comes out.

use std::collections::{BTreeSet, VecDeque};

use tidemill_engine::partition::Partition;

/// One rebalance step as librdkafka reports it; each wants one answer, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GroupEvent {
    /// These partitions were added (all of them, under the eager protocol).
    Assigned(Vec<Partition>),
    /// These partitions are to be handed back.
    Revoked {
        /// Which.
        partitions: Vec<Partition>,
        /// They already belong to somebody else.
        lost: bool,
    },
}

/// What the oldest unanswered event asks for while a run is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing.
    None,
    /// Answer it at once: it changes nothing of what is read.
    AnswerNow,
    /// End the run, then answer.
    EndRun,
    /// The assignment is gone: end the run without a commit.
    Lost,
}

/// Partitions held, and the events not answered yet.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// The group has told us our share since we (re)joined.
    known: bool,
    /// What librdkafka's assignment consists of: what was answered with an assign and not taken back.
    assigned: BTreeSet<Partition>,
    pub(super) pending: VecDeque<GroupEvent>,
    /// A revocation was answered; the assign that follows it has not come yet.
    settling: bool,
}

impl Membership {
    /// What to do about the unanswered events while a run is on.
    pub(super) fn wish(&self) -> Wish {
        if self.pending.iter().any(|e| matches!(e, GroupEvent::Revoked { lost: true, .. })) {
            return Wish::Lost;
        }
        match self.pending.front() {
            None => Wish::None,
            Some(GroupEvent::Assigned(list)) if list.is_empty() => Wish::AnswerNow,
            Some(GroupEvent::Revoked { partitions, .. }) if !partitions.iter().any(|p| self.assigned.contains(p)) => {
                Wish::AnswerNow
            }
            Some(_) => Wish::EndRun,
        }
    }

    /// True when an unanswered event takes partitions away.
    pub(super) fn is_revoking(&self) -> bool {
        self.pending.iter().any(|e| matches!(e, GroupEvent::Revoked { .. }))
    }

    /// Between runs: the next event that can be answered without knowing positions.
    ///
    /// A revocation behind an assign that waits for positions comes first. What it revokes is no longer assigned; after
    /// a lost one nothing is.
    pub(super) fn next_to_answer(&mut self) -> Option<GroupEvent> {
        let waits = |e: &GroupEvent| matches!(e, GroupEvent::Assigned(list) if !list.is_empty());
        let i = self.pending.iter().position(|e| !waits(e))?;
        let event = self.pending.remove(i)?;
        if let GroupEvent::Revoked { partitions, lost } = &event {
            let later = self.pending.split_off(i);
            for earlier in &mut self.pending {
                if let GroupEvent::Assigned(list) = earlier {
                    list.retain(|p| !lost && !partitions.contains(p));
                }
            }
            self.pending.retain(waits);
            self.pending.extend(later);
        }
        Some(event)
    }

    /// A revocation was answered.
    pub(super) fn revoked(&mut self, partitions: &[Partition], lost: bool, eager: bool) {
        for partition in partitions {
            self.assigned.remove(partition);
        }
        if lost || eager {
            self.known = false;
            self.assigned.clear();
        }
        self.settling = !lost;
    }

    /// An empty assign was answered.
    pub(super) fn assigned_nothing(&mut self) {
        self.known = true;
        self.settling = false;
    }

    /// librdkafka's assignment was replaced by `partitions`. That answers the assign waiting at the front, if it is of
    /// these partitions; one that came after they were asked for has others, and waits for the next run.
    pub(super) fn placed(&mut self, partitions: impl Iterator<Item = Partition>) {
        self.assigned = partitions.collect();
        while let Some(GroupEvent::Assigned(list)) = self.pending.front()
            && list.iter().all(|p| self.assigned.contains(p))
        {
            self.pending.pop_front();
        }
        self.known = true;
        self.settling = false;
    }

    /// What librdkafka's assignment consists of.
    pub(super) fn assigned(&self) -> &BTreeSet<Partition> {
        &self.assigned
    }

    /// True while the assign that follows a revocation is awaited.
    pub(super) fn is_settling(&self) -> bool {
        self.settling && self.pending.is_empty()
    }

    /// All partitions of this member, once the group has told: those assigned and those of an unanswered assign.
    pub(super) fn share(&self) -> Option<BTreeSet<Partition>> {
        let mut share = self.assigned.clone();
        let mut known = self.known;
        for event in &self.pending {
            if let GroupEvent::Assigned(list) = event {
                known = true;
                share.extend(list.iter().cloned());
            }
        }
        if !known {
            return None;
        }
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(i: i32) -> Partition {
        Partition::new("t", i)
    }

    #[test]
    fn a_share_is_known_only_after_the_group_told_it() {
        let mut m = Membership::default();
        assert_eq!(m.share(), None);
        m.pending.push_back(GroupEvent::Assigned(vec![p(0), p(1)]));
        assert_eq!(m.share(), Some([p(0), p(1)].into()));
        assert_eq!(m.next_to_answer(), None, "a full assign waits for positions");
        m.placed([p(0), p(1)].into_iter());
        assert!(m.pending.is_empty());
        assert_eq!(m.wish(), Wish::None);
    }

    #[test]
    fn an_empty_assign_changes_nothing() {
        let mut m = Membership::default();
        m.placed([p(0)].into_iter());
        m.pending.push_back(GroupEvent::Assigned(vec![]));
        assert_eq!(m.wish(), Wish::AnswerNow);
        assert_eq!(m.next_to_answer(), Some(GroupEvent::Assigned(vec![])));
        m.assigned_nothing();
        assert_eq!(m.share(), Some([p(0)].into()));
    }

    #[test]
    fn an_assign_that_comes_while_others_are_placed_is_not_forgotten() {
        let mut m = Membership::default();
        m.placed([p(0)].into_iter());
        m.pending.push_back(GroupEvent::Assigned(vec![p(4)]));
        m.placed([p(0)].into_iter());
        assert_eq!(m.wish(), Wish::EndRun);
        assert_eq!(m.share(), Some([p(0), p(4)].into()));
        m.placed([p(0), p(4)].into_iter());
        assert_eq!(m.wish(), Wish::None);
    }

    #[test]
    fn a_revocation_ends_the_run_and_the_rest_stays() {
        let mut m = Membership::default();
        m.placed([p(0), p(1)].into_iter());
        m.pending.push_back(GroupEvent::Revoked { partitions: vec![p(1)], lost: false });
        assert_eq!(m.wish(), Wish::EndRun);
        let Some(GroupEvent::Revoked { partitions, lost }) = m.next_to_answer() else { panic!("a revocation") };
        m.revoked(&partitions, lost, false);
        assert!(m.is_settling());
        assert_eq!(m.share(), Some([p(0)].into()));
        m.pending.push_back(GroupEvent::Assigned(vec![p(5)]));
        assert!(!m.is_settling());
        assert_eq!(m.share(), Some([p(0), p(5)].into()));
    }

    #[test]
    fn a_revocation_behind_an_assign_takes_only_what_it_names() {
        let mut m = Membership::default();
        m.placed([p(0), p(1)].into_iter());
        m.pending.push_back(GroupEvent::Assigned(vec![p(4), p(5)]));
        m.pending.push_back(GroupEvent::Revoked { partitions: vec![p(1), p(5)], lost: false });
        assert_eq!(m.wish(), Wish::EndRun);
        let Some(GroupEvent::Revoked { partitions, .. }) = m.next_to_answer() else { panic!("a revocation") };
        m.revoked(&partitions, false, false);
        assert_eq!(m.next_to_answer(), None);
        assert_eq!(m.share(), Some([p(0), p(4)].into()));
    }

    #[test]
    fn what_is_lost_is_unknown_until_told_again_and_an_older_assign_is_forgotten() {
        let mut m = Membership::default();
        m.placed([p(0)].into_iter());
        m.pending.push_back(GroupEvent::Assigned(vec![p(1)]));
        m.pending.push_back(GroupEvent::Revoked { partitions: vec![p(0)], lost: true });
        assert_eq!(m.wish(), Wish::Lost);
        assert_eq!(m.next_to_answer(), Some(GroupEvent::Revoked { partitions: vec![p(0)], lost: true }));
        m.revoked(&[p(0)], true, false);
        assert_eq!(m.share(), None);
    }
}
