//! The faults there are.

use serde::{Serialize, Serializer};

/// A part of the system under test that a daemon talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The Kafka broker.
    Broker,
    /// The S3 server.
    S3,
    /// The Postgres server.
    Postgres,
    /// The Iceberg catalog.
    Catalog,
}

impl Part {
    /// As in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::S3 => "S3",
            Self::Postgres => "Postgres",
            Self::Catalog => "catalog",
        }
    }
}

/// How a server goes away. It always comes back, with its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outage {
    /// SIGTERM, a clean stop.
    Stop,
    /// SIGKILL.
    Kill,
    /// SIGSTOP: connections stay, nothing answers.
    Hang,
}

/// What a network does to the connections between a daemon and a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    /// Connections are cut, several times.
    Cut,
    /// Cut, and new ones are refused.
    Refuse,
    /// Every piece takes longer.
    Delay,
    /// Few bytes a second.
    Throttle,
    /// Accepted, and never answered.
    HalfOpen,
    /// Requests arrive, answers do not.
    SwallowAnswers,
}

/// A kind of fault: a line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// SIGKILL of one daemon at any time.
    Kill,
    /// SIGKILL of all daemons at once.
    KillAll,
    /// A daemon aborts at a named step.
    Failpoint,
    /// A daemon aborts while it hands partitions back to one that was frozen, and is there again at once.
    Revoke,
    /// SIGSTOP of a daemon at any time, past its session timeout, until others have its partitions; then SIGCONT.
    Freeze,
    /// The same right before a commit: it wakes up with a finished window in its hands.
    Zombie,
    /// Daemons leave, die and join, one after the other.
    Storm,
    /// The wall clock of a daemon jumps, and back.
    Clock,
    /// The sink's disk is full for a while.
    DiskFull,
    /// A server goes away and comes back.
    Outage(Part, Outage),
    /// Trouble on the way between one daemon, or all, and a part.
    Link(Part, Trouble),
    /// A commit lands and its answer never comes.
    CommitSwallowed(Part),
    /// An HTTP server answers some requests, or all, with this status, whether or not it did what was asked.
    Status(Part, u16),
}

impl Kind {
    /// As in the table.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Kill => "SIGKILL of a daemon".into(),
            Self::KillAll => "SIGKILL of all daemons".into(),
            Self::Failpoint => "abort at a step".into(),
            Self::Revoke => "abort in a rebalance".into(),
            Self::Freeze => "SIGSTOP past the session, SIGCONT".into(),
            Self::Zombie => "SIGSTOP before a commit, SIGCONT".into(),
            Self::Storm => "join/leave storm".into(),
            Self::Clock => "clock jump".into(),
            Self::DiskFull => "disk full".into(),
            Self::Outage(part, how) => {
                let how = match how {
                    Outage::Stop => "stop",
                    Outage::Kill => "SIGKILL",
                    Outage::Hang => "SIGSTOP",
                };
                format!("{} {how} and restart", part.name())
            }
            Self::Link(part, trouble) => {
                let trouble = match trouble {
                    Trouble::Cut => "cut",
                    Trouble::Refuse => "refused",
                    Trouble::Delay => "delay",
                    Trouble::Throttle => "throttled",
                    Trouble::HalfOpen => "half-open",
                    Trouble::SwallowAnswers => "answers swallowed",
                };
                format!("daemon-{}: {trouble}", part.name())
            }
            Self::CommitSwallowed(part) => format!("{}: commit's answer swallowed", part.name()),
            Self::Status(part, status) => format!("{}: {status}", part.name()),
        }
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// What a sink's surroundings allow.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Servers of the sink, besides the broker; each has a link.
    pub servers: Vec<Part>,
    /// Those that speak HTTP.
    pub http: Vec<Part>,
    /// Where commits go, if they go over a link.
    pub commits: Option<Part>,
    /// Whether the sink lies on a small disk.
    pub disk: bool,
    /// How many daemons there are.
    pub daemons: usize,
}

/// Every kind that applies.
#[must_use]
pub fn kinds(around: &Surroundings) -> Vec<Kind> {
    let mut kinds = vec![Kind::Kill, Kind::KillAll, Kind::Failpoint, Kind::Freeze, Kind::Storm, Kind::Clock];
    if around.daemons > 1 {
        kinds.extend([Kind::Zombie, Kind::Revoke]);
    }
    if around.disk {
        kinds.push(Kind::DiskFull);
    }
    for part in std::iter::once(Part::Broker).chain(around.servers.iter().copied()) {
        kinds.push(Kind::Outage(part, Outage::Stop));
        if part != Part::S3 {
            // S3Mock writes its objects in place: killed at it, it answers 500 for one of them ever after (tried). S3
            // has no such death.
            kinds.push(Kind::Outage(part, Outage::Kill));
        }
        if part != Part::Postgres {
            // Postgres is a process for each connection: those would go on.
            kinds.push(Kind::Outage(part, Outage::Hang));
        }
        let troubles = [
            Trouble::Cut,
            Trouble::Refuse,
            Trouble::Delay,
            Trouble::Throttle,
            Trouble::HalfOpen,
            Trouble::SwallowAnswers,
        ];
        kinds.extend(troubles.map(|trouble| Kind::Link(part, trouble)));
    }
    kinds.extend(around.commits.map(Kind::CommitSwallowed));
    kinds.extend(around.http.iter().flat_map(|part| [500, 503].map(|status| Kind::Status(*part, status))));
    kinds
}
