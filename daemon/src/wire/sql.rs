//! SQL operators, where the binary has them (cargo feature `sql`).

#[cfg(feature = "sql")]
pub use with::{Limits, columns_used, limits, of_job, plan};
#[cfg(not(feature = "sql"))]
pub use without::{Limits, columns_used, limits, of_job, plan};

#[cfg(feature = "sql")]
mod with {
    use std::path::PathBuf;

    use arrow::datatypes::SchemaRef;
    use tidemill_engine::clock::Clock;
    use tidemill_engine::operator::Operator;
    use tidemill_operators::{Memory, SqlLimits, SqlOperator};

    /// What queries may use.
    pub type Limits = SqlLimits;

    /// `bytes` of memory, and a folder for what does not fit.
    #[must_use]
    pub fn limits(bytes: usize, spill_dir: PathBuf, clock: Clock) -> Limits {
        SqlLimits { memory: Memory::Bytes(bytes), spill_dir: Some(spill_dir), clock, ..SqlLimits::default() }
    }

    /// The same for the queries of one job, whose memory is shown.
    #[must_use]
    pub fn of_job(limits: &Limits, job: &str) -> Limits {
        SqlLimits { job: Some(job.to_owned()), ..limits.clone() }
    }

    /// The columns of `schema` that `query` reads.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub fn columns_used(query: &str, schema: SchemaRef) -> Result<Vec<String>, String> {
        SqlOperator::columns_used(query, schema).map_err(|e| e.to_string())
    }

    /// `query` as an operator on rows of `schema`.
    ///
    /// # Errors
    /// What is wrong with the query.
    pub fn plan(query: &str, schema: SchemaRef, limits: Limits) -> Result<Operator, String> {
        SqlOperator::plan(query, schema, limits).map_err(|e| e.to_string())
    }
}

#[cfg(not(feature = "sql"))]
mod without {
    use std::path::PathBuf;

    use arrow::datatypes::SchemaRef;
    use tidemill_engine::clock::Clock;
    use tidemill_engine::operator::Operator;

    const MISSING: &str = "this binary was built without SQL: build it with the cargo feature `sql` (on by default)";

    /// What queries may use.
    #[derive(Clone, Debug, Default)]
    pub struct Limits;

    /// Limits of nothing.
    #[must_use]
    pub fn limits(_bytes: usize, _spill_dir: PathBuf, _clock: Clock) -> Limits {
        Limits
    }

    /// Limits of nothing.
    #[must_use]
    pub fn of_job(limits: &Limits, _job: &str) -> Limits {
        limits.clone()
    }

    /// The columns that a query reads.
    ///
    /// # Errors
    /// Always.
    pub fn columns_used(_query: &str, _schema: SchemaRef) -> Result<Vec<String>, String> {
        Err(MISSING.to_owned())
    }

    /// A query as an operator.
    ///
    /// # Errors
    /// Always.
    pub fn plan(_query: &str, _schema: SchemaRef, _limits: Limits) -> Result<Operator, String> {
        Err(MISSING.to_owned())
    }
}
