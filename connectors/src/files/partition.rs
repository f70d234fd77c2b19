//! Hive-style folders: `country=DE/day=2026-01-31/…`, from the values of columns.
//!
//! Values are whatever comes out of a topic, so they are escaped until they are one harmless path component. The
//! escaping is Hive's (which Spark, DuckDB and pyarrow undo); as in Hive an empty text cannot be told from null.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill_engine::sink::{Reaction, SinkError};

/// The folder of null and of empty text.
pub const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// Longest path component that file systems take.
const MAX_COMPONENT: usize = 255;

/// The rows of a batch that belong into one folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// `""`: the root.
    pub folder: String,
    /// The first of its rows in the batch.
    pub first: u32,
    /// Its rows, without the partition columns.
    pub rows: RecordBatch,
}

/// Splits batches by the values of some columns and takes those columns out.
#[derive(Clone, Debug)]
pub struct Partitioner {
    columns: Vec<(usize, String)>,
    kept: Vec<usize>,
    schema: SchemaRef,
}

impl Partitioner {
    /// Splits rows of `schema` by the columns `by`, in that order; no columns: one folder, the root.
    pub fn new(schema: &SchemaRef, by: &[String]) -> Result<Self, SinkError> {
        let mut columns: Vec<(usize, String)> = Vec::new();
        for name in by {
            let index = schema.index_of(name).map_err(|_| {
                let known: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                SinkError::person(format!(
                    "partition_by: there is no column `{name}`; columns are: {}",
                    known.join(", ")
                ))
            })?;
            let data_type = schema.field(index).data_type();
            if !can_be_folder(data_type) {
                return Err(SinkError::person(format!(
                    "partition_by: column `{name}` is {data_type}; text, integers, booleans, decimals, dates and times can be folders"
                )));
            }
            if columns.iter().any(|(known, _)| *known == index) {
                return Err(SinkError::person(format!("partition_by names column `{name}` twice")));
            }
            columns.push((index, escape(name)));
        }
        let kept: Vec<usize> = (0..schema.fields().len()).filter(|i| columns.iter().all(|(c, _)| c != i)).collect();
        if kept.is_empty() && !columns.is_empty() {
            return Err(SinkError::person("partition_by takes all columns: nothing is left to write into the files"));
        }
        let schema = if columns.is_empty() {
            schema.clone()
        } else {
            let fields: Vec<_> = kept.iter().map(|i| schema.fields()[*i].clone()).collect();
            Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
        };
        Ok(Self { columns, kept, schema })
    }

    /// Schema of the rows inside the files.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The values of the partition columns in a row: one row with those columns, in their order. `None` where there is
    /// no partition column.
    pub fn values(&self, rows: &RecordBatch, row: u32) -> Result<Option<RecordBatch>, SinkError> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let bug = |e| SinkError::bug(format!("cannot take the values of a folder: {e}"));
        let columns: Vec<usize> = self.columns.iter().map(|(index, _)| *index).collect();
        let values = rows.project(&columns).map_err(bug)?;
        // Taken, not sliced: a slice would hold the whole batch.
        take_record_batch(&values, &UInt32Array::from(vec![row])).map(Some).map_err(bug)
    }

    /// The rows by folder, rows of a folder in order.
    pub fn split(&self, rows: &RecordBatch) -> Result<Vec<Part>, SinkError> {
        if self.columns.is_empty() {
            return Ok(vec![Part { folder: String::new(), first: 0, rows: rows.clone() }]);
        }
        let options = FormatOptions::new().with_null("");
        let columns: Vec<(&ArrayRef, &str)> = self.columns.iter().map(|(i, n)| (rows.column(*i), n.as_str())).collect();
        let formatters = columns
            .iter()
            .map(|(array, _)| ArrayFormatter::try_new(array.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| SinkError::bug(format!("partition_by: {e}")))?;
        let mut groups: HashMap<String, usize> = HashMap::new();
        let mut members: Vec<(String, Vec<u32>)> = Vec::new();
        let (mut raw, mut folder) = (String::new(), String::new());
        // The values as they are, until a row brings others: most neighbours share a folder.
        let mut last: Option<(String, usize)> = None;
        for row in 0..rows.num_rows() {
            raw.clear();
            for ((array, name), formatter) in columns.iter().zip(&formatters) {
                let start = raw.len();
                formatter
                    .value(row)
                    .write(&mut raw)
                    .map_err(|e| SinkError::new(Reaction::BadRow, format!("partition_by: column {name}: {e}")))?;
                // With its length behind it, so that two rows read alike only if they are.
                let len = raw.len() - start;
                let _ = write!(raw, "\0{len}{}", if array.is_null(row) { 'n' } else { 'v' });
            }
            let index = u32::try_from(row).map_err(|_| SinkError::bug("a batch of more than 2^32 rows"))?;
            if let Some((known, group)) = &last
                && *known == raw
            {
                members[*group].1.push(index);
                continue;
            }
            folder.clear();
            for ((array, name), formatter) in columns.iter().zip(&formatters) {
                let value = if array.is_null(row) { String::new() } else { formatter.value(row).to_string() };
                let component = component(name, &value)?;
                if !folder.is_empty() {
                    folder.push('/');
                }
                folder.push_str(&component);
            }
            let group = match groups.get(folder.as_str()) {
                Some(group) => *group,
                None => {
                    groups.insert(folder.clone(), members.len());
                    members.push((folder.clone(), Vec::new()));
                    members.len() - 1
                }
            };
            members[group].1.push(index);
            last = Some((std::mem::take(&mut raw), group));
        }
        let bug = |e| SinkError::bug(format!("cannot split rows by folder: {e}"));
        let kept = rows.project(&self.kept).map_err(bug)?;
        let whole = members.len() == 1;
        members
            .into_iter()
            .map(|(folder, rows)| {
                let first = rows.first().copied().unwrap_or(0);
                let rows = match whole {
                    true => kept.clone(),
                    false => take_record_batch(&kept, &UInt32Array::from(rows)).map_err(bug)?,
                };
                Ok(Part { folder, first, rows })
            })
            .collect()
    }
}

fn can_be_folder(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => can_be_folder(value),
        t => t.is_integer() || t.is_temporal() || t.is_decimal() || t.is_string() || *t == DataType::Boolean,
    }
}

/// `name=value` as one path component. `name` is escaped already.
fn component(name: &str, value: &str) -> Result<String, SinkError> {
    let value = if value.is_empty() {
        NULL_PARTITION.to_owned()
    } else if value == NULL_PARTITION {
        // A text that reads like null is not null.
        format!("%5F{}", &NULL_PARTITION[1..])
    } else {
        escape(value)
    };
    let component = format!("{name}={value}");
    if component.len() > MAX_COMPONENT {
        return Err(SinkError::new(
            Reaction::BadRow,
            format!(
                "partition_by: a value of column {name} makes a folder name of {} bytes, {MAX_COMPONENT} are possible",
                component.len()
            ),
        ));
    }
    Ok(component)
}

/// Hive's escaping: what means something in a path, a URL or a shell becomes `%XX`. Other text, Unicode too, stays.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && (c.is_ascii_control() || "\"#%'*/:=?\\{}[]^<>|&;`$!~".contains(c)) {
            let _ = write!(out, "%{:02X}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
