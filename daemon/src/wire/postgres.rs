//! PostgreSQL sinks. Without the feature `postgres` each use is an error that says so.

use arrow::datatypes::SchemaRef;
use tidemill_config as config;
use tidemill_engine::history::History;
use tidemill_engine::partition::Positions;
use tidemill_engine::sink::{Sink, SinkError};

#[cfg(feature = "postgres")]
mod with {
    use super::*;
    use tidemill_postgres::{Mode, PostgresOptions, PostgresSink, TableName};

    fn options(
        settings: &config::Postgres,
        job: &str,
        instance: &str,
        schema: &SchemaRef,
    ) -> Result<PostgresOptions, SinkError> {
        let table = TableName::parse(&settings.table)
            .map_err(|why| SinkError::person(format!("table {:?}: {why}", settings.table.shown())))?;
        let mut options = PostgresOptions::new(&settings.url, table, job, instance, schema.clone());
        options.ca = settings.ca.as_ref().map(|path| path.as_str().into());
        options.mode = match settings.mode {
            config::PostgresMode::Append => Mode::Append,
            config::PostgresMode::Upsert => Mode::Upsert,
        };
        options.key = settings.key.iter().map(|column| column.as_str().to_owned()).collect();
        options.delete_column = settings.delete_column.as_ref().map(|column| column.as_str().to_owned());
        options.create = settings.create;
        options.statement_timeout = settings.statement_timeout;
        options.lock_timeout = settings.lock_timeout;
        options.idle_in_transaction_timeout = settings.idle_in_transaction_timeout;
        options.history = settings.history;
        Ok(options)
    }

    /// The sink.
    ///
    /// # Errors
    /// When its settings are wrong.
    pub fn open(
        settings: &config::Postgres,
        job: &str,
        instance: &str,
        schema: &SchemaRef,
    ) -> Result<Box<dyn Sink>, SinkError> {
        Ok(Box::new(PostgresSink::new(options(settings, job, instance, schema)?)?))
    }

    /// Checks settings against the rows' schema, without a server.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(settings: &config::Postgres, job: &str, schema: &SchemaRef) -> Result<(), String> {
        options(settings, job, "check", schema).and_then(|o| tidemill_postgres::check(&o)).map_err(|e| e.message)
    }

    /// What the job holds, without touching it.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn positions(settings: &config::Postgres, job: &str, schema: &SchemaRef) -> Result<Positions, SinkError> {
        tidemill_postgres::positions(&options(settings, job, "positions", schema)?).await
    }

    /// The job's commits as far as they are kept, and its positions.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn history(settings: &config::Postgres, job: &str, schema: &SchemaRef) -> Result<History, SinkError> {
        tidemill_postgres::history(&options(settings, job, "history", schema)?).await
    }
}

#[cfg(not(feature = "postgres"))]
mod with {
    use super::*;

    const LEFT_OUT: &str = "this binary was built without the feature `postgres`: take the stock one";

    fn left_out() -> SinkError {
        SinkError::person(LEFT_OUT)
    }

    /// Says that the sink is not there.
    pub fn open(_: &config::Postgres, _: &str, _: &str, _: &SchemaRef) -> Result<Box<dyn Sink>, SinkError> {
        Err(left_out())
    }

    /// Says that the sink is not there.
    pub fn check(_: &config::Postgres, _: &str, _: &SchemaRef) -> Result<(), String> {
        Err(LEFT_OUT.into())
    }

    /// Says that the sink is not there.
    pub async fn positions(_: &config::Postgres, _: &str, _: &SchemaRef) -> Result<Positions, SinkError> {
        Err(left_out())
    }

    /// Says that the sink is not there.
    pub async fn history(_: &config::Postgres, _: &str, _: &SchemaRef) -> Result<History, SinkError> {
        Err(left_out())
    }
}

pub use with::{check, history, open, positions};
