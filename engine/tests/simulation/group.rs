//! The simulated consumer group: who is told to own what, in order or not.

/// What a member has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Finish by this tick, then answer.
    Revoked(u32),
    /// Your membership is over; others own your partitions already.
    Lost,
}

#[derive(Clone, Debug, Default)]
struct Member {
    told: Option<Vec<usize>>,
    event: Option<Event>,
    answered: bool,
}

/// The group's coordinator.
pub struct Group {
    members: Vec<Member>,
    /// The assignment that waits for everybody's answer.
    coming: Option<Vec<Vec<usize>>>,
}

impl Group {
    pub fn new(members: usize) -> Self {
        Self { members: vec![Member::default(); members], coming: None }
    }

    /// Begins a rebalance towards `target`. Members that own something are told by `deadline`.
    pub fn rebalance(&mut self, target: Vec<Vec<usize>>, deadline: u32) {
        self.coming = Some(target);
        for member in &mut self.members {
            member.answered = member.told.is_none();
            if !member.answered && member.event.is_none() {
                member.event = Some(Event::Revoked(deadline));
            }
        }
        self.settle();
    }

    /// The group does not wait for this member any more. It may go on for long before it hears of that.
    pub fn expel(&mut self, member: usize) {
        let m = &mut self.members[member];
        if m.told.is_some() {
            m.event = Some(Event::Lost);
        }
        m.answered = true;
        self.settle();
    }

    /// A process that is gone: it has nothing to hear.
    pub fn gone(&mut self, member: usize) {
        self.members[member] = Member { told: None, event: None, answered: true };
        self.settle();
    }

    /// The member has ended its run.
    pub fn answer(&mut self, member: usize) {
        let m = &mut self.members[member];
        m.answered = true;
        if m.event.take() == Some(Event::Lost) {
            // It joins again; the next rebalance gives it something, or what is coming already does.
            m.told = self.coming.is_none().then(Vec::new);
        }
        self.settle();
    }

    /// What the member hears when it looks.
    pub fn event(&self, member: usize) -> Option<Event> {
        self.members[member].event
    }

    /// The member's assignment, unless a rebalance is under way.
    pub fn assignment(&self, member: usize) -> Option<Vec<usize>> {
        if self.coming.is_some() { None } else { self.members[member].told.clone() }
    }

    pub fn is_settled(&self) -> bool {
        self.coming.is_none()
    }

    fn settle(&mut self) {
        if self.members.iter().all(|m| m.answered)
            && let Some(target) = self.coming.take()
        {
            for (member, told) in self.members.iter_mut().zip(target) {
                member.told = Some(told);
            }
        }
    }
}
