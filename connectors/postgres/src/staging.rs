//! A window on its way: rows stream into an open transaction, where no reader sees them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::SinkExt as _;
use tidemill_engine::failpoint;
use tidemill_engine::sink::{Reaction, SinkError, Staged, Staging};
use tokio_postgres::CopyInSink;

use crate::catalog::Plan;
use crate::error::During;
use crate::keys::{self, keyed};
use crate::rows::Rows;
use crate::session::{Idle, Lane};

/// Rows of a window. Each batch is a `COPY` of its own, so that the server's timeouts measure its work and not our
/// waiting for records; what a batch has in memory beyond itself is one piece of a few hundred KiB.
///
/// Dropped = the connection is closed, and the server rolls back.
pub(crate) struct PostgresStaging {
    /// None: it had an error.
    lane: Option<Lane>,
    idle: Idle,
    plan: Arc<Plan>,
    delete_column: Option<String>,
    rows: u64,
    bytes: u64,
    deletes: bool,
    buffer: BytesMut,
}

/// What a commit needs.
pub(crate) struct Sealed {
    pub lane: Lane,
    pub rows: u64,
    /// Whether any row deletes.
    pub deletes: bool,
}

impl PostgresStaging {
    pub(crate) fn new(lane: Lane, plan: Arc<Plan>, delete_column: Option<String>, idle: Idle) -> Self {
        Self { lane: Some(lane), idle, plan, delete_column, rows: 0, bytes: 0, deletes: false, buffer: BytesMut::new() }
    }

    /// After a refused row the connection serves on, once the window is taken back.
    async fn refused(&self, mut lane: Lane, error: SinkError) -> SinkError {
        if error.reaction == Reaction::BadRow && lane.rollback().await.is_ok() {
            self.idle.give_back(lane);
        }
        error
    }

    async fn copy(&mut self, lane: &mut Lane, batch: &RecordBatch) -> Result<(), SinkError> {
        let keyed = match &self.plan.upsert {
            Some(upsert) => Some(keyed(&self.plan, upsert, self.delete_column.as_deref(), batch)?),
            None => None,
        };
        self.deletes |= keyed.as_ref().is_some_and(|k| keys::any(&k.deletes));
        let mut rows = Rows::new(&self.plan, batch, keyed, self.rows)?;
        let what = format!("copying into {}", self.plan.table);
        lane.begin().await?;
        failpoint!("postgres.before_copy");
        let session = &lane.session;
        let to: CopyInSink<Bytes> = session.wait(During::Rows, &what, session.client.copy_in(&lane.copy)).await?;
        let mut to = Box::pin(to);
        while let Some(piece) = rows.next(&mut self.buffer)? {
            self.bytes += piece.len() as u64;
            // A refusal of the server, or its end, is told by the end of the copy.
            if session.wait(During::Rows, &what, to.send(piece)).await.is_err() {
                break;
            }
            failpoint!("postgres.mid_copy");
        }
        let taken = session.wait(During::Rows, &what, to.as_mut().finish()).await?;
        if taken != batch.num_rows() as u64 {
            let given = batch.num_rows();
            return Err(SinkError::bug(format!("{}: took {taken} of {given} rows", self.plan.table)));
        }
        Ok(())
    }
}

#[async_trait]
impl Staging for PostgresStaging {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let mut lane = self.lane.take().ok_or_else(|| SinkError::bug("a staging goes on after its error"))?;
        if let Err(error) = self.copy(&mut lane, &rows).await {
            return Err(self.refused(lane, error).await);
        }
        self.lane = Some(lane);
        self.rows += rows.num_rows() as u64;
        failpoint!("postgres.after_copy");
        Ok(())
    }

    async fn seal(mut self: Box<Self>) -> Result<Staged, SinkError> {
        let lane = self.lane.take().ok_or_else(|| SinkError::bug("a staging goes on after its error"))?;
        if self.rows > 0 {
            failpoint!("postgres.before_seal");
            let what = format!("writing into {}", self.plan.table);
            let session = &lane.session;
            // What is deferred to the commit is looked at here: a refused row has to be known before.
            let sql = match &self.plan.upsert {
                None => Some("SET CONSTRAINTS ALL IMMEDIATE".to_owned()),
                Some(upsert) => upsert.rehearse.then(|| upsert.rehearsal(self.deletes)),
            };
            if let Some(sql) = sql
                && let Err(error) = session.batch(During::Rows, &what, &sql).await
            {
                return Err(self.refused(lane, error).await);
            }
        }
        failpoint!("postgres.after_seal");
        let Self { rows, bytes, deletes, .. } = *self;
        Ok(Staged { rows, bytes, files: 0, payload: Box::new(Sealed { lane, rows, deletes }) })
    }
}
