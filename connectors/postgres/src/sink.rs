//! The sink: takes positions over, hands out connections to stage on, and commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tidemill_engine::failpoint;
use tidemill_engine::partition::{OffsetRanges, Partition, Positions};
use tidemill_engine::sink::{Commit, Reaction, Receipt, Sink, SinkError, Staged, Staging};

use crate::catalog::{self, Plan};
use crate::error::During;
use crate::ledger::{FIRST_EPOCH, Ledger};
use crate::options::PostgresOptions;
use crate::session::{Connector, Idle, Lane};
use crate::staging::{PostgresStaging, Sealed};

/// Commits between two prunings, which delete more than were made since the last.
const PRUNE_EVERY: u64 = 500;

/// A table in Postgres, with positions beside it.
///
/// Promises, beside those of [`Sink`]:
/// 1. Rows, positions and the row in `tidemill_commit` are one transaction.
/// 2. A commit is refused when any position, or its epoch, is not the one this sink knows: `recover` raises the epochs
///    that this instance's former runs would need.
/// 3. Every wait is bounded; an answer to `COMMIT` that does not come is [`Reaction::Unknown`].
pub struct PostgresSink {
    options: PostgresOptions,
    connector: Connector,
    ledger: Ledger,
    ready: Option<Ready>,
    idle: Idle,
    commits: u64,
}

/// What `recover` found out.
struct Ready {
    plan: Arc<Plan>,
    epochs: BTreeMap<Partition, i64>,
    identity: String,
}

/// Checks options and the rows' schema without a server.
///
/// # Errors
/// A person error that says what is wrong.
pub fn check(options: &PostgresOptions) -> Result<(), SinkError> {
    options.check()?;
    catalog::check(options).map_err(SinkError::person)?;
    Connector::new(options).map(drop)
}

impl PostgresSink {
    /// A sink that has not connected yet.
    ///
    /// # Errors
    /// As [`check`].
    pub fn new(options: PostgresOptions) -> Result<Self, SinkError> {
        check(&options)?;
        let (connector, ledger) = (Connector::new(&options)?, Ledger::new(&options));
        Ok(Self { options, connector, ledger, ready: None, idle: Idle::default(), commits: 0 })
    }

    fn ready(&self) -> Result<&Ready, SinkError> {
        self.ready.as_ref().ok_or_else(|| SinkError::bug("the sink has not recovered"))
    }

    async fn lane(&self) -> Result<Lane, SinkError> {
        if let Some(lane) = self.idle.take() {
            return Ok(lane);
        }
        let plan = self.ready()?.plan.clone();
        Lane::new(self.connector.connect().await?, &plan, &self.ledger).await
    }

    /// Everything up to `COMMIT`. `None`: the compare failed.
    async fn decide(
        &self,
        lane: &mut Lane,
        rows: u64,
        deletes: bool,
        ranges: &OffsetRanges,
    ) -> Result<Option<i64>, SinkError> {
        let ready = self.ready()?;
        lane.begin().await?;
        if let Some(upsert) = ready.plan.upsert.as_ref().filter(|_| rows > 0) {
            // Not when the window is sealed: whoever is frozen then would keep others from these keys.
            failpoint!("postgres.before_merge");
            let what = format!("merging into {}", ready.plan.table);
            lane.session.batch(During::Rows, &what, &upsert.merge(deletes)).await.map_err(|mut e| {
                if e.reaction == Reaction::BadRow && upsert.rehearse {
                    // It was not refused a moment ago: the table changed meanwhile, and the next look will tell.
                    e.reaction = Reaction::Retry;
                }
                e
            })?;
        }
        // Last, so that whoever waits for these rows does not wait for the window's.
        failpoint!("postgres.before_positions");
        self.ledger.advance(&lane.session, &lane.statements, ranges, &ready.epochs, rows).await
    }

    /// What the sink holds instead of what `ranges` start from.
    async fn lost(&mut self, mut lane: Lane, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        lane.rollback().await?;
        let (held, _) = self.ledger.read(&lane.session).await?;
        self.idle.give_back(lane);
        if ranges.continue_from(&held) {
            let message = format!("{}: a later run of instance {} began", self.options.table, self.options.instance);
            return Err(SinkError::new(Reaction::Fenced, message));
        }
        Ok(Commit::Lost(ranges.found_in(&held)))
    }

    /// Now and then, where nothing waits for it: what fails here is nobody's trouble.
    async fn prune(&mut self) {
        if self.commits % PRUNE_EVERY != 1 {
            return;
        }
        if let Some(lane) = self.idle.take() {
            match self.ledger.prune(&lane.session).await {
                Ok(_) => self.idle.give_back(lane),
                Err(error) => tracing::warn!(job = self.options.job, %error, "old commits were not pruned"),
            }
        }
    }
}

#[async_trait]
impl Sink for PostgresSink {
    async fn recover(&mut self, partitions: &[Partition]) -> Result<Positions, SinkError> {
        let session = self.connector.connect().await?;
        failpoint!("postgres.in_recover");
        // One at a time: daemons that start together would create the same tables.
        let alone =
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock(7595415131246387564)";
        session.batch(During::Setup, "recover", alone).await?;
        let plan = Arc::new(catalog::plan(&session, &self.options).await?);
        self.ledger.prepare(&session).await?;
        session.batch(During::Setup, "recover", "COMMIT").await?;
        session.batch(During::Setup, "recover", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        let found = self.ledger.take_over(&session, partitions).await?;
        failpoint!("postgres.before_epoch");
        session.batch(During::Setup, "recover", "COMMIT").await?;
        failpoint!("postgres.after_epoch");
        let lane = Lane::new(session, &plan, &self.ledger).await?;
        self.idle.give_back(lane);
        self.ready = Some(Ready { plan, epochs: found.epochs, identity: found.identity });
        Ok(found.positions)
    }

    async fn open(&mut self) -> Result<Box<dyn Staging>, SinkError> {
        let lane = self.lane().await?;
        let plan = self.ready()?.plan.clone();
        Ok(Box::new(PostgresStaging::new(lane, plan, self.options.delete_column.clone(), self.idle.clone())))
    }

    async fn commit(&mut self, staged: Option<Staged>, ranges: &OffsetRanges) -> Result<Commit, SinkError> {
        let bytes = staged.as_ref().map_or(0, |staged| staged.bytes);
        let (mut lane, rows, deletes) = match staged {
            Some(staged) => {
                let sealed = staged.payload.downcast::<Sealed>();
                let sealed = sealed.map_err(|_| SinkError::bug("a window of another sink"))?;
                (sealed.lane, sealed.rows, sealed.deletes)
            }
            None => (self.lane().await?, 0, false),
        };
        let Some(id) = self.decide(&mut lane, rows, deletes, ranges).await? else {
            return self.lost(lane, ranges).await;
        };
        failpoint!("postgres.before_commit");
        lane.commit().await?;
        failpoint!("postgres.after_commit");
        self.idle.give_back(lane);
        if let Some(ready) = self.ready.as_mut() {
            for (partition, _) in ranges.iter().filter(|(_, range)| range.start.is_none()) {
                ready.epochs.insert(partition.clone(), FIRST_EPOCH);
            }
        }
        self.commits += 1;
        self.prune().await;
        Ok(Commit::Landed(Receipt { rows, bytes, files: 0, id: id.to_string() }))
    }

    fn identity(&self) -> Option<String> {
        self.ready.as_ref().map(|ready| ready.identity.clone())
    }
}
