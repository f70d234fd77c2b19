//! One connection, with every wait bounded: by the server, and by us where the server is the one that hangs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_engine::sink::SinkError;
use tokio_postgres::{Client, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::catalog::Plan;
use crate::error::{self, During};
use crate::ledger::{Ledger, Statements};
use crate::options::PostgresOptions;
use crate::url::Target;

/// What the answer of a statement may take longer than the statement.
const GRACE: Duration = Duration::from_secs(15);

/// How to connect; made once for a sink.
#[derive(Clone)]
pub(crate) struct Connector {
    pub(crate) target: Target,
    tls: MakeRustlsConnect,
    settings: String,
    limit: Duration,
}

impl Connector {
    pub(crate) fn new(options: &PostgresOptions) -> Result<Self, SinkError> {
        let mut target = Target::parse(&options.url, options.ca.is_some())?;
        let tls = crate::tls::connector(target.verify, options.ca.as_deref())?;
        if target.config.get_application_name().is_none() {
            let name: String = format!("tidemill/{}/{}", options.job, options.instance).chars().take(63).collect();
            target.config.application_name(name);
        }
        let settings = format!(
            "SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3; \
             SET client_encoding = 'UTF8'; SET row_security = on",
            millis(options.statement_timeout),
            millis(options.lock_timeout),
            millis(options.idle_in_transaction_timeout),
        );
        Ok(Self { target, tls, settings, limit: options.statement_timeout + GRACE })
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<Session, SinkError> {
        let what = format!("cannot connect to {}", self.target.place);
        let connecting = self.target.config.connect(self.tls.clone());
        let (client, connection) = match tokio::time::timeout(self.limit, connecting).await {
            Ok(connected) => connected.map_err(|e| error::from(During::Setup, &what, &e))?,
            Err(_) => return Err(error::late(During::Setup, &what, self.limit)),
        };
        // It ends with its client, or with the server.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "postgres connection ended");
            }
        });
        let session = Session { client, place: Arc::from(self.target.place.as_str()), limit: self.limit };
        session.batch(During::Setup, "settings of the session", &self.settings).await?;
        Ok(session)
    }
}

/// Zero would mean for ever.
fn millis(limit: Duration) -> u128 {
    limit.as_millis().clamp(1, 86_400_000)
}

/// A connection. An error of its statements leaves it unusable, unless it is rolled back.
pub(crate) struct Session {
    pub(crate) client: Client,
    place: Arc<str>,
    limit: Duration,
}

impl Session {
    /// Waits for `work`, at most as long as a statement may take and some.
    pub(crate) async fn wait<T>(
        &self,
        during: During,
        what: &str,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SinkError> {
        match tokio::time::timeout(self.limit, work).await {
            Ok(done) => done.map_err(|e| error::from(during, &format!("{}: {what}", self.place), &e)),
            Err(_) => Err(error::late(during, &format!("{}: {what}", self.place), self.limit)),
        }
    }

    /// Statements without parameters or results.
    pub(crate) async fn batch(&self, during: During, what: &str, sql: &str) -> Result<(), SinkError> {
        self.wait(during, what, self.client.batch_execute(sql)).await
    }
}

/// Connections kept for the next window: one stages while the other commits.
const KEPT: usize = 2;

/// Connections that wait for a window; shared by a sink and its stagings.
#[derive(Clone, Default)]
pub(crate) struct Idle(Arc<Mutex<Vec<Lane>>>);

impl Idle {
    pub(crate) fn take(&self) -> Option<Lane> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| !lane.session.client.is_closed());
        lanes.pop()
    }

    /// Keeps a connection that is in no transaction.
    pub(crate) fn give_back(&self, lane: Lane) {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() < KEPT && !lane.in_transaction {
            lanes.push(lane);
        }
    }
}

/// A connection that stages windows: one window at a time, in one transaction.
pub(crate) struct Lane {
    pub(crate) session: Session,
    pub(crate) copy: Statement,
    pub(crate) statements: Statements,
    in_transaction: bool,
}

impl Lane {
    pub(crate) async fn new(session: Session, plan: &Plan, ledger: &Ledger) -> Result<Self, SinkError> {
        let what = format!("preparing to write {}", plan.table);
        if let Some(upsert) = &plan.upsert {
            session.batch(During::Setup, &what, &upsert.stage).await?;
        }
        let copy = session.wait(During::Setup, &what, session.client.prepare(&plan.copy)).await?;
        let statements = ledger.statements(&session).await?;
        Ok(Self { session, copy, statements, in_transaction: false })
    }

    /// Begins a transaction, unless one is open. Its isolation is named: a database may have another default, and
    /// under one that keeps a snapshot the compare would look at the past.
    pub(crate) async fn begin(&mut self) -> Result<(), SinkError> {
        if !self.in_transaction {
            let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
            self.session.batch(During::Setup, "begin", begin).await?;
            self.in_transaction = true;
        }
        Ok(())
    }

    /// Ends the transaction; an error may leave open whether it landed.
    pub(crate) async fn commit(&mut self) -> Result<(), SinkError> {
        self.session.batch(During::Commit, "commit", "COMMIT").await?;
        self.in_transaction = false;
        Ok(())
    }

    /// Gives the transaction up.
    pub(crate) async fn rollback(&mut self) -> Result<(), SinkError> {
        self.session.batch(During::Setup, "rollback", "ROLLBACK").await?;
        self.in_transaction = false;
        Ok(())
    }
}
