//! What was committed, read without touching anything.

use tidemill_engine::history::History;
use tidemill_engine::partition::Positions;
use tidemill_engine::sink::SinkError;

use crate::ledger::Ledger;
use crate::options::PostgresOptions;
use crate::session::Connector;

/// The positions that the job holds; none where it never began.
///
/// # Errors
/// When the server cannot be asked.
pub async fn positions(options: &PostgresOptions) -> Result<Positions, SinkError> {
    let session = Connector::new(options)?.connect().await?;
    Ok(Ledger::new(options).peek(&session).await?.unwrap_or_default())
}

/// The job's commits, as far as `tidemill_commit` keeps them, and its positions, as of one moment.
///
/// # Errors
/// When the server cannot be asked, or holds records of a later release.
pub async fn history(options: &PostgresOptions) -> Result<History, SinkError> {
    let session = Connector::new(options)?.connect().await?;
    let ledger = Ledger::new(options);
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    session.batch(crate::error::During::Setup, "history", begin).await?;
    let Some(positions) = ledger.peek(&session).await? else { return Ok(History::default()) };
    Ok(History { commits: ledger.commits(&session).await?, positions })
}
