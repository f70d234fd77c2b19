//! The table: made when it is missing, read and compared with the rows' schema.

use std::collections::BTreeSet;

use arrow::array::new_empty_array;
use arrow::datatypes::{DataType, Field, FieldRef};
use tidemill_engine::sink::SinkError;

use crate::encode::Column;
use crate::error::During;
use crate::options::{Mode, PostgresOptions, quoted};
use crate::session::Session;
use crate::types::{Described, Kind, column_type};

/// Where the rows' columns go.
#[derive(Debug)]
pub(crate) struct Plan {
    /// `schema.table`, for messages.
    pub table: String,
    pub columns: Vec<Planned>,
    /// `COPY … FROM STDIN (FORMAT binary)`
    pub copy: String,
    pub upsert: Option<Upsert>,
}

/// One column.
#[derive(Debug)]
pub(crate) struct Planned {
    /// Its place in the rows.
    pub source: usize,
    pub field: FieldRef,
    pub kind: Kind,
}

/// The statements of an upsert.
#[derive(Debug)]
pub(crate) struct Upsert {
    /// Places of the key's columns in [`Plan::columns`].
    pub key: Vec<usize>,
    /// The table that a window's rows wait in, of each connection its own.
    pub stage: String,
    /// Deletes the keys whose last row in the window says so.
    pub delete: String,
    /// Inserts or replaces the others.
    pub insert: String,
    /// Something beside the columns' types may refuse a row (a check, a foreign key, a trigger, another unique index, a
    /// null where none may be): it has to be known when the window is sealed.
    pub rehearse: bool,
}

impl Upsert {
    /// Merges the window; takes locks of the rows that it replaces.
    pub(crate) fn merge(&self, deletes: bool) -> String {
        if deletes { format!("{}; {}", self.delete, self.insert) } else { self.insert.clone() }
    }

    /// Merges and takes it back: what the table refuses comes to light, and no lock is left.
    pub(crate) fn rehearsal(&self, deletes: bool) -> String {
        let merge = self.merge(deletes);
        format!(
            "SAVEPOINT rehearsal; {merge}; SET CONSTRAINTS ALL IMMEDIATE; \
             ROLLBACK TO SAVEPOINT rehearsal; RELEASE SAVEPOINT rehearsal"
        )
    }
}

/// A column as the server describes it.
#[derive(Clone, Debug)]
struct Found {
    name: String,
    /// As `\d` shows it.
    shown: String,
    kind: Kind,
    /// Has to be given a value.
    demanding: bool,
    /// Cannot be given a value.
    computed: bool,
    not_null: bool,
}

/// What an upsert needs to know of the table's indexes and constraints.
#[derive(Debug, Default)]
struct Rules {
    /// The sets of columns that `ON CONFLICT` may name.
    keys: Vec<BTreeSet<String>>,
    /// Constraints, triggers or further unique indexes.
    others: bool,
}

/// Finds the table, or makes it, and plans how rows get in.
pub(crate) async fn plan(session: &Session, options: &PostgresOptions) -> Result<Plan, SinkError> {
    let mut oid = find(session, options).await?;
    if oid.is_none() && options.create {
        create(session, options).await?;
        oid = find(session, options).await?;
    }
    let Some(oid) = oid else {
        let table = &options.table;
        let message = format!("{table}: there is no such table; create it, or let the sink do it with create = true");
        return Err(SinkError::person(message));
    };
    let found = columns(session, oid).await?;
    let rules = if options.mode == Mode::Upsert { rules(session, oid).await? } else { Rules::default() };
    compare(options, &found, &rules).map_err(SinkError::person)
}

async fn find(session: &Session, options: &PostgresOptions) -> Result<Option<u32>, SinkError> {
    let table = &options.table;
    let sql = "SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2";
    let what = format!("looking for {table}");
    let row = session.wait(During::Setup, &what, session.client.query_opt(sql, &[&table.schema, &table.table])).await?;
    let Some(row) = row else { return Ok(None) };
    match u8::try_from(row.get::<_, i8>(1)).unwrap_or(0) {
        b'r' | b'p' => Ok(Some(row.get(0))),
        other => {
            let other = match other {
                b'v' => "a view",
                b'm' => "a materialized view",
                b'f' => "a foreign table",
                _ => "no table",
            };
            Err(SinkError::person(format!("{table}: expected a table, found {other}")))
        }
    }
}

async fn create(session: &Session, options: &PostgresOptions) -> Result<(), SinkError> {
    let what = format!("creating {}", options.table);
    let mut sql = ddl(options).map_err(SinkError::person)?;
    // Not `IF NOT EXISTS`: that asks for a right that nobody needs whose schema is there.
    let exists = "SELECT 1 FROM pg_namespace WHERE nspname = $1";
    let name: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&options.table.schema];
    if session.wait(During::Setup, &what, session.client.query_opt(exists, &name)).await?.is_none() {
        sql = format!("CREATE SCHEMA {}; {sql}", quoted(&options.table.schema));
    }
    tracing::info!(job = options.job, table = %options.table, sql, "creating the table");
    session.batch(During::Setup, &what, &sql).await
}

/// `CREATE TABLE` for the rows' schema.
fn ddl(options: &PostgresOptions) -> Result<String, String> {
    let mut lines = Vec::new();
    for field in written(options).map(|(_, field)| field) {
        let kind = column_type(field.data_type()).ok_or_else(|| unfit(options, field))?;
        let not_null = if field.is_nullable() { "" } else { " NOT NULL" };
        lines.push(format!("{} {kind}{not_null}", quoted(field.name())));
    }
    if options.mode == Mode::Upsert {
        lines.push(format!("PRIMARY KEY ({})", list(&options.key)));
    }
    Ok(format!("CREATE TABLE {} ({})", options.table.sql(), lines.join(", ")))
}

fn unfit(options: &PostgresOptions, field: &Field) -> String {
    format!(
        "{}.{}: there is no column type for {}; cast it in the job's SQL",
        options.table,
        field.name(),
        field.data_type()
    )
}

/// Columns of the rows that are written, with their places.
fn written(options: &PostgresOptions) -> impl Iterator<Item = (usize, &FieldRef)> {
    let fields = options.schema.fields().iter().enumerate();
    let left_out = options.delete_column.as_ref().filter(|_| options.mode == Mode::Upsert);
    fields.filter(move |(_, field)| Some(field.name()) != left_out)
}

fn list(names: &[impl AsRef<str>]) -> String {
    names.iter().map(|name| quoted(name.as_ref())).collect::<Vec<_>>().join(", ")
}

async fn columns(session: &Session, oid: u32) -> Result<Vec<Found>, SinkError> {
    // A domain is written as what it is made of.
    let sql = "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), b.typname::text, b.typtype, \
               CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END, b.typelem, e.typname::text, \
               a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' OR a.attidentity = 'a', \
               a.attnotnull \
               FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
               JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
               LEFT JOIN pg_type e ON e.oid = b.typelem AND b.typelem <> 0 \
               WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let rows = session.wait(During::Setup, "reading columns", session.client.query(sql, &[&oid])).await?;
    let column = |row: &tokio_postgres::Row| Found {
        name: row.get(0),
        shown: row.get(1),
        kind: Kind::of(&Described {
            name: row.get(2),
            typtype: row.get(3),
            typmod: row.get(4),
            element_oid: row.get(5),
            element: row.get(6),
        }),
        demanding: row.get(7),
        computed: row.get(8),
        not_null: row.get(9),
    };
    Ok(rows.iter().map(column).collect())
}

async fn rules(session: &Session, oid: u32) -> Result<Rules, SinkError> {
    let sql = "SELECT array_agg(a.attname::text) FROM pg_index i \
               JOIN LATERAL unnest(i.indkey[0:i.indnkeyatts - 1]) AS k(attnum) ON true \
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
               WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate \
               AND i.indpred IS NULL AND i.indexprs IS NULL GROUP BY i.indexrelid";
    let rows = session.wait(During::Setup, "reading indexes", session.client.query(sql, &[&oid])).await?;
    let keys = rows.iter().map(|row| row.get::<_, Vec<String>>(0).into_iter().collect()).collect();
    let sql = "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = $1 AND contype IN ('c', 'f', 'x')) \
               OR EXISTS (SELECT FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal) \
               OR EXISTS (SELECT FROM pg_class WHERE oid = $1 AND relkind = 'p') \
               OR (SELECT count(*) FROM pg_index WHERE indrelid = $1 AND indisunique) > 1";
    let row = session.wait(During::Setup, "reading constraints", session.client.query_one(sql, &[&oid])).await?;
    Ok(Rules { keys, others: row.get(0) })
}

/// Whether the rows fit the table; every fault is said.
fn compare(options: &PostgresOptions, found: &[Found], rules: &Rules) -> Result<Plan, String> {
    let table = options.table.to_string();
    let mut faults = Vec::new();
    let mut columns = Vec::new();
    let mut rehearse = rules.others;
    for (source, field) in written(options) {
        let Some(column) = found.iter().find(|column| column.name == *field.name()) else {
            // Needed for tombstones only: it may stay out of the table.
            if !(options.mode == Mode::Upsert && field.name() == crate::keys::RECORD_KEY) {
                let expected = column_type(field.data_type()).map(|t| format!(" of type {t}")).unwrap_or_default();
                faults.push(format!("{table}: expected a column {}{expected}, found none", field.name()));
            }
            continue;
        };
        if column.computed {
            let (name, shown) = (field.name(), &column.shown);
            faults.push(format!("{table}.{name}: expected a column that takes values, found {shown} that is computed"));
            continue;
        }
        let plain = match field.data_type() {
            DataType::Dictionary(_, value) => value.as_ref(),
            other => other,
        };
        if Column::new(field, new_empty_array(plain).as_ref(), &column.kind).is_none() {
            let expected = column_type(field.data_type()).unwrap_or_else(|| "none: cast it in the job's SQL".into());
            faults.push(format!(
                "{table}.{}: rows hold {}, which needs the column type {expected}; found {}",
                field.name(),
                field.data_type(),
                column.shown
            ));
            continue;
        }
        rehearse |= column.not_null && field.is_nullable() && !options.key.contains(field.name());
        columns.push(Planned { source, field: field.clone(), kind: column.kind.clone() });
    }
    let given = |name: &str| options.schema.field_with_name(name).is_ok();
    for column in found.iter().filter(|c| c.demanding && !given(&c.name)) {
        let (name, shown) = (&column.name, &column.shown);
        faults.push(format!("{table}.{name}: {shown} NOT NULL without a default, and the rows have no such column"));
    }
    if options.mode == Mode::Upsert {
        let key: BTreeSet<String> = options.key.iter().cloned().collect();
        if !rules.keys.contains(&key) {
            let key = list(&options.key);
            faults.push(format!(
                "{table}: upserts need a unique index on exactly ({key}), not deferrable and not partial; \
                 ALTER TABLE {} ADD PRIMARY KEY ({key})",
                options.table.sql()
            ));
        }
    }
    if !faults.is_empty() {
        return Err(faults.join("\n"));
    }
    let names: Vec<&str> = columns.iter().map(|c| c.field.name().as_str()).collect();
    let upsert = (options.mode == Mode::Upsert).then(|| upsert(options, &names, rehearse));
    let copy = match &upsert {
        None => format!("COPY {} ({}) FROM STDIN (FORMAT binary)", options.table.sql(), list(&names)),
        Some(_) => {
            let staged: Vec<&str> = names.iter().copied().chain([NUMBER, DELETES]).collect();
            format!("COPY {STAGE} ({}) FROM STDIN (FORMAT binary)", list(&staged))
        }
    };
    Ok(Plan { table, columns, copy, upsert })
}

const STAGE: &str = "pg_temp.tidemill_staged";
const NUMBER: &str = "_tidemill_n";
const DELETES: &str = "_tidemill_deletes";

fn upsert(options: &PostgresOptions, names: &[&str], rehearse: bool) -> Upsert {
    let target = options.table.sql();
    let (columns, key) = (list(names), list(&options.key));
    // The last row of a key in the window decides. Sorted by key: two writers meet in the same order.
    let last =
        |what: &str| format!("(SELECT DISTINCT ON ({key}) {what} FROM {STAGE} ORDER BY {key}, {NUMBER} DESC) AS s");
    let same: Vec<String> = options.key.iter().map(|k| format!("t.{0} = s.{0}", quoted(k))).collect();
    let others: Vec<String> = names
        .iter()
        .filter(|name| !options.key.iter().any(|k| k == *name))
        .map(|name| format!("{0} = EXCLUDED.{0}", quoted(name)))
        .collect();
    let resolve = if others.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", others.join(", ")) };
    Upsert {
        rehearse,
        key: options.key.iter().filter_map(|k| names.iter().position(|name| name == k)).collect(),
        stage: format!(
            "CREATE TEMP TABLE tidemill_staged ON COMMIT DELETE ROWS AS \
             SELECT {columns}, 0::bigint AS {NUMBER}, false AS {DELETES} FROM {target} WITH NO DATA"
        ),
        delete: format!(
            "DELETE FROM {target} AS t USING {} WHERE s.{DELETES} AND {}",
            last(&format!("{key}, {DELETES}")),
            same.join(" AND ")
        ),
        insert: format!(
            "INSERT INTO {target} ({columns}) SELECT {columns} FROM {} WHERE NOT s.{DELETES} \
             ON CONFLICT ({key}) DO {resolve}",
            last("*")
        ),
    }
}

/// What can be said of the rows' schema without a server.
pub(crate) fn check(options: &PostgresOptions) -> Result<(), String> {
    if options.create { ddl(options).map(drop) } else { Ok(()) }
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
