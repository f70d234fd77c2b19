//! Tidemill's own tables, beside the table it writes: `tidemill_position` (the truth), `tidemill_commit` (what moved it)
//! and `tidemill_target` (a name for each table that no other has).

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_engine::history::CommitRecord;
use tidemill_engine::partition::{OffsetRanges, Partition, Position, Positions};
use tidemill_engine::sink::{Reaction, SinkError};
use tokio_postgres::types::{Json, ToSql};
use tokio_postgres::{Row, Statement};

use crate::error::During;
use crate::options::PostgresOptions;
use crate::session::Session;

type Param<'a> = &'a (dyn ToSql + Sync);

/// The version of the rows here.
const V: i32 = 1;
/// A transaction that holds positions' locks and goes no further is ended after this long: less than others wait.
const HOLD_MS: u64 = 10_000;
/// Rows that one pruning deletes, at most.
const PRUNED_AT_ONCE: i64 = 2_000;

/// The tables of one job's sink.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    job: String,
    /// The table's name: a job may write one table and its dead letters another, in the same schema.
    target: String,
    instance: String,
    schema: String,
    position: String,
    commit: String,
    targets: String,
    history_seconds: f64,
}

/// See [`Ledger::statements`].
pub(crate) struct Statements {
    moves: Statement,
    record: Statement,
}

/// What `recover` found.
pub(crate) struct Recovered {
    pub positions: Positions,
    pub epochs: BTreeMap<Partition, i64>,
    pub identity: String,
}

impl Ledger {
    pub(crate) fn new(options: &PostgresOptions) -> Self {
        Self {
            job: options.job.clone(),
            target: options.table.table.clone(),
            instance: options.instance.clone(),
            schema: options.table.schema.clone(),
            position: options.table.beside("tidemill_position"),
            commit: options.table.beside("tidemill_commit"),
            targets: options.table.beside("tidemill_target"),
            history_seconds: options.history.max(Duration::from_secs(1)).as_secs_f64(),
        }
    }

    fn ddl(&self) -> String {
        let Self { position, commit, targets, .. } = self;
        format!(
            "CREATE TABLE IF NOT EXISTS {position} (job text, target text, topic text, partition integer, \
             position bigint NOT NULL, topic_id text, epoch bigint NOT NULL, instance text NOT NULL, \
             updated_at timestamptz NOT NULL DEFAULT now(), v integer NOT NULL, \
             PRIMARY KEY (job, target, topic, partition)) WITH (fillfactor = 50); \
             CREATE TABLE IF NOT EXISTS {commit} (id bigint GENERATED ALWAYS AS IDENTITY, job text NOT NULL, \
             target text NOT NULL, instance text NOT NULL, ranges jsonb NOT NULL, rows bigint NOT NULL, \
             committed_at timestamptz NOT NULL DEFAULT clock_timestamp(), v integer NOT NULL, \
             PRIMARY KEY (job, target, id)); \
             CREATE TABLE IF NOT EXISTS {targets} (target text PRIMARY KEY, \
             id uuid NOT NULL DEFAULT gen_random_uuid(), v integer NOT NULL)"
        )
    }

    /// Whether the tables are there.
    async fn exist(&self, session: &Session) -> Result<bool, SinkError> {
        let sql = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE \
                   n.nspname = $1 AND c.relname IN ('tidemill_position', 'tidemill_commit', 'tidemill_target')";
        let what = "looking for tidemill's tables";
        let row = session.wait(During::Setup, what, session.client.query_one(sql, &[&self.schema])).await?;
        Ok(row.get::<_, i64>(0) == 3)
    }

    /// Makes the tables that are missing. Whoever starts at the same moment waits.
    pub(crate) async fn prepare(&self, session: &Session) -> Result<(), SinkError> {
        if self.exist(session).await? {
            return Ok(());
        }
        let ddl = self.ddl();
        session.batch(During::Setup, "creating tidemill's tables", &ddl).await.map_err(|mut e| {
            if e.reaction == Reaction::Person {
                e.message = format!("{}; the role may be allowed to, or somebody else runs: {ddl}", e.message);
            }
            e
        })
    }

    /// Takes the positions over: waits for whoever is about to move them, and ends what former runs of this instance
    /// may still try. In a transaction.
    pub(crate) async fn take_over(&self, session: &Session, of: &[Partition]) -> Result<Recovered, SinkError> {
        let (topics, indexes) = columns(of.iter());
        let Self { position, targets, .. } = self;
        let what = "taking positions over";
        // Two statements: a lock that the second one does not need would never be taken.
        let lock = format!(
            "SELECT FROM {position} p JOIN unnest($3::text[], $4::int4[]) AS w(topic, partition) \
             USING (topic, partition) WHERE p.job = $1 AND p.target = $2 \
             ORDER BY p.topic, p.partition FOR UPDATE OF p"
        );
        let params: [Param<'_>; 4] = [&self.job, &self.target, &topics, &indexes];
        session.wait(During::Positions, what, session.client.execute(&lock, &params)).await?;
        let raise = format!(
            "UPDATE {position} p SET epoch = p.epoch + 1 FROM unnest($3::text[], $4::int4[]) AS w(topic, partition) \
             WHERE p.job = $1 AND p.target = $2 AND p.topic = w.topic AND p.partition = w.partition \
             AND p.instance = $5"
        );
        let params: [Param<'_>; 5] = [&self.job, &self.target, &topics, &indexes, &self.instance];
        session.wait(During::Positions, what, session.client.execute(&raise, &params)).await?;
        let sql = format!(
            "WITH made AS (INSERT INTO {targets} (target, v) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING id, v) \
             SELECT id::text, v FROM made UNION ALL SELECT id::text, v FROM {targets} WHERE target = $1 LIMIT 1"
        );
        let row = session.wait(During::Positions, what, session.client.query_one(&sql, &[&self.target, &V])).await?;
        known(row.get(1), "tidemill_target")?;
        let identity: String = row.get(0);
        let (positions, epochs) = self.read(session).await?;
        Ok(Recovered { positions, epochs, identity })
    }

    /// All positions of the job, with their epochs.
    pub(crate) async fn read(&self, session: &Session) -> Result<(Positions, BTreeMap<Partition, i64>), SinkError> {
        let sql = format!(
            "SELECT topic, partition, position, topic_id, epoch, v FROM {} WHERE job = $1 AND target = $2",
            self.position
        );
        let params: [Param<'_>; 2] = [&self.job, &self.target];
        let rows = session.wait(During::Positions, "reading positions", session.client.query(&sql, &params)).await?;
        let (mut positions, mut epochs) = (Positions::default(), BTreeMap::new());
        for row in &rows {
            known(row.get(5), "tidemill_position")?;
            let partition = Partition::new(row.get::<_, String>(0), row.get(1));
            let topic_id = row.get::<_, Option<String>>(3).map(Into::into);
            positions.set(partition.clone(), Position { offset: row.get(2), topic_id });
            epochs.insert(partition, row.get(4));
        }
        Ok((positions, epochs))
    }

    /// As [`read`](Ledger::read), where nobody may have begun: touches nothing.
    pub(crate) async fn peek(&self, session: &Session) -> Result<Option<Positions>, SinkError> {
        if !self.exist(session).await? {
            return Ok(None);
        }
        Ok(Some(self.read(session).await?.0))
    }

    /// The statements of each commit, parsed once for a connection.
    pub(crate) async fn statements(&self, session: &Session) -> Result<Statements, SinkError> {
        let moves = format!(
            "UPDATE {} p SET position = m.e, topic_id = m.id, instance = $8, updated_at = now() \
             FROM unnest($3::text[], $4::int4[], $5::int8[], $6::int8[], $7::text[], $9::int8[]) \
             AS m(topic, partition, s, e, id, epoch) WHERE p.job = $1 AND p.target = $2 \
             AND p.topic = m.topic AND p.partition = m.partition \
             AND ($10 OR (p.position = m.s AND p.epoch = m.epoch))",
            self.position
        );
        let record = format!(
            "INSERT INTO {} (job, target, instance, ranges, rows, v) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
            self.commit
        );
        let what = "preparing to move positions";
        Ok(Statements {
            moves: session.wait(During::Setup, what, session.client.prepare(&moves)).await?,
            record: session.wait(During::Setup, what, session.client.prepare(&record)).await?,
        })
    }

    /// **The compare.** Moves the positions of `ranges` and writes the commit down. Answers its id, or `None` when a
    /// position or its epoch was another one: the transaction has to be rolled back then.
    ///
    /// From here on others may wait for this transaction, so it may not idle for long.
    pub(crate) async fn advance(
        &self,
        session: &Session,
        statements: &Statements,
        ranges: &OffsetRanges,
        epochs: &BTreeMap<Partition, i64>,
        rows: u64,
    ) -> Result<Option<i64>, SinkError> {
        let off = tidemill_engine::failpoint::compare_is_off();
        let moves: Vec<_> = ranges.iter().filter(|(_, range)| range.start.is_some()).collect();
        let anchors = ranges.iter().filter(|(_, range)| range.start.is_none()).count();
        let (topics, indexes) = columns(moves.iter().map(|(p, _)| *p));
        let starts: Vec<i64> = moves.iter().filter_map(|(_, range)| range.start).collect();
        let ends: Vec<i64> = moves.iter().map(|(_, range)| range.end).collect();
        let ids: Vec<Option<&str>> = moves.iter().map(|(_, range)| range.topic_id.as_deref()).collect();
        let held: Vec<i64> = moves.iter().map(|(p, _)| epochs.get(*p).copied().unwrap_or(-1)).collect();
        let count = i64::try_from(rows).unwrap_or(i64::MAX);
        let (json, job, target, instance) = (Json(ranges), &self.job, &self.target, &self.instance);
        let moving: [Param<'_>; 10] = [job, target, &topics, &indexes, &starts, &ends, &ids, instance, &held, &off];
        let recording: [Param<'_>; 6] = [job, target, instance, &json, &count, &V];
        let briefly = format!("SET LOCAL idle_in_transaction_session_timeout = {HOLD_MS}");
        // One way there and back for all three: nothing hangs on the answer of another.
        let (client, what) = (&session.client, "moving positions");
        let (briefly, moved, recorded) = futures::join!(
            session.wait(During::Positions, what, client.batch_execute(&briefly)),
            session.wait(During::Positions, what, client.execute(&statements.moves, &moving)),
            session.wait(During::Positions, what, client.query_one(&statements.record, &recording)),
        );
        briefly?;
        if moved? != moves.len() as u64 && !off {
            return Ok(None);
        }
        if anchors > 0 && self.anchor(session, ranges).await? != anchors as u64 && !off {
            return Ok(None);
        }
        Ok(Some(recorded?.get(0)))
    }

    /// First positions. Answers how many there were none of.
    async fn anchor(&self, session: &Session, ranges: &OffsetRanges) -> Result<u64, SinkError> {
        let anchors: Vec<_> = ranges.iter().filter(|(_, range)| range.start.is_none()).collect();
        let (topics, indexes) = columns(anchors.iter().map(|(p, _)| *p));
        let ends: Vec<i64> = anchors.iter().map(|(_, range)| range.end).collect();
        let ids: Vec<Option<&str>> = anchors.iter().map(|(_, range)| range.topic_id.as_deref()).collect();
        let sql = format!(
            "INSERT INTO {} (job, target, topic, partition, position, topic_id, epoch, instance, v) \
             SELECT $1, $2, m.topic, m.partition, m.e, m.id, $8, $7, $9 \
             FROM unnest($3::text[], $4::int4[], $5::int8[], $6::text[]) AS m(topic, partition, e, id) \
             ORDER BY m.topic, m.partition ON CONFLICT DO NOTHING",
            self.position
        );
        let (job, target, instance) = (&self.job, &self.target, &self.instance);
        let params: [Param<'_>; 9] = [job, target, &topics, &indexes, &ends, &ids, instance, &FIRST_EPOCH, &V];
        session.wait(During::Positions, "anchoring", session.client.execute(&sql, &params)).await
    }

    /// Deletes some commits that are older than is asked for; from the oldest, by the key.
    pub(crate) async fn prune(&self, session: &Session) -> Result<u64, SinkError> {
        let sql = format!(
            "DELETE FROM {0} WHERE job = $1 AND target = $2 AND id IN (SELECT id FROM {0} WHERE job = $1 AND \
             target = $2 ORDER BY id LIMIT $3) AND committed_at < clock_timestamp() - make_interval(secs => $4)",
            self.commit
        );
        let (job, target) = (&self.job, &self.target);
        let params: [Param<'_>; 4] = [job, target, &PRUNED_AT_ONCE, &self.history_seconds];
        session.wait(During::Positions, "pruning tidemill_commit", session.client.execute(&sql, &params)).await
    }

    /// Commits as far as they are kept, oldest first.
    pub(crate) async fn commits(&self, session: &Session) -> Result<Vec<CommitRecord>, SinkError> {
        let sql = format!(
            "SELECT id, ranges, rows, (extract(epoch FROM committed_at) * 1000)::int8, v FROM {} \
             WHERE job = $1 AND target = $2 ORDER BY id",
            self.commit
        );
        let params: [Param<'_>; 2] = [&self.job, &self.target];
        let rows = session.wait(During::Positions, "reading commits", session.client.query(&sql, &params)).await?;
        rows.iter().map(record).collect()
    }
}

/// What an anchor is given.
pub(crate) const FIRST_EPOCH: i64 = 1;

fn record(row: &Row) -> Result<CommitRecord, SinkError> {
    known(row.get(4), "tidemill_commit")?;
    let id: i64 = row.get(0);
    let Json(ranges): Json<OffsetRanges> = row
        .try_get(1)
        .map_err(|e| SinkError::person(format!("tidemill_commit {id}: ranges are not understood: {e}")))?;
    let rows = u64::try_from(row.get::<_, i64>(2)).ok();
    Ok(CommitRecord { id: id.to_string(), ranges, at_ms: row.get(3), rows })
}

/// A later release may mean something else.
fn known(v: i32, table: &str) -> Result<(), SinkError> {
    if v == V {
        return Ok(());
    }
    Err(SinkError::person(format!("{table} holds version {v}, this release knows {V}: use the release that wrote it")))
}

fn columns<'a>(of: impl Iterator<Item = &'a Partition>) -> (Vec<&'a str>, Vec<i32>) {
    of.map(|p| (&*p.topic, p.index)).unzip()
}
