//! Operators of Tidemill: SQL through DataFusion, apart so that the engine builds without it.
//!
//! [`SqlOperator::plan`] takes one query over the one table `input` and gives an engine
//! [`Operator`](tidemill_engine::operator::Operator). A query that looks at each row on its own (columns, expressions,
//! `WHERE`) becomes a [row operator](tidemill_engine::operator::RowOperator): compiled once, evaluated batch by batch
//! on the decode workers while the window is still filling. Every other query (`GROUP BY`, `ORDER BY`, `DISTINCT`,
//! `LIMIT`, window functions, joins of the input with itself, `UNION`, `unnest`) becomes a
//! [window operator](tidemill_engine::operator::WindowOperator): it runs over the window's rows in accounted memory
//! and spills to disk.
//!
//! Reading order: [`query`] parses and refuses, [`plan`] decides, [`rows`] is the one kind, [`window`] the other
//! (with [`hold`], its buffer, and [`drive`], what runs the query), [`conform`] makes the output's types plain.
//!
//! # What a query means here
//! * Identifiers are taken as they are written: `userId` is the column `userId`, quoted or not.
//! * Integer `+`, `-` and `*` that overflow are errors of the row, not wrapped values, wherever the expression stands
//!   in a select list or a `WHERE`; `sum()` of integers wraps (DataFusion's choice, in every version so far).
//! * Division by zero of integers and failing casts are errors of the row; `TRY_CAST` gives null instead. Floats
//!   follow IEEE 754. `AND` protects what stands to the right of it.
//! * `now()`, `current_timestamp`, `current_date`, `current_time` are never frozen into the plan: they are the time at
//!   which a batch is worked on (row-wise queries), or at which the window's first row came (all others).
//! * Output names: a column keeps its name, `AS` gives one, anything else is named by its own text (`price * quantity`).
//! * Output types are plain: views, dictionaries and run-length encodings come out as what they hold.
//! * A window without rows is not run: `SELECT count(*) FROM input` gives no row for it.

pub mod conform;
pub mod drive;
pub mod error;
mod functions;
mod guard;
pub mod hold;
pub mod limits;
pub mod plan;
mod pool;
pub mod query;
pub mod rows;
pub mod window;

pub use error::SqlError;
pub use limits::{Memory, SqlLimits};
pub use plan::SqlOperator;
