//! Keys of upserts: which rows delete, and where a tombstone's key comes from.
//!
//! A tombstone is a record without a value. As a row (`tombstones = "row"`) all its fields are null, the key's columns
//! too: its key is the record's key, in the metadata column `_key`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef};
use serde_json::value::RawValue;
use tidemill_engine::sink::{Reaction, SinkError};

use crate::catalog::{Plan, Upsert};

/// The column of the record's key.
pub(crate) const RECORD_KEY: &str = "_key";
const RECORD_VALUE: &str = "_value";
const METADATA: &[&str] = &["_topic", "_partition", "_offset", "_timestamp", RECORD_KEY, RECORD_VALUE, "_headers"];

/// What an upsert adds to a batch.
pub(crate) struct Keyed {
    /// Key columns that hold more than the batch's, by their place in the plan.
    pub columns: Vec<(usize, ArrayRef)>,
    /// Rows that delete.
    pub deletes: BooleanArray,
}

fn bad(plan: &Plan, why: impl std::fmt::Display) -> SinkError {
    SinkError::new(Reaction::BadRow, format!("{}: {why}", plan.table))
}

/// Finds deleting rows and completes keys. Every row has a whole key afterwards, or the batch is refused.
pub(crate) fn keyed(
    plan: &Plan,
    upsert: &Upsert,
    delete_column: Option<&str>,
    batch: &RecordBatch,
) -> Result<Keyed, SinkError> {
    let deletes = match delete_column {
        Some(name) => flags(batch.column_by_name(name), batch.num_rows()),
        None => tombstones(batch),
    };
    let key = |place: usize| batch.column(plan.columns[place].source);
    let mut missing = BooleanBuffer::new_unset(batch.num_rows());
    for place in &upsert.key {
        if let Some(nulls) = key(*place).logical_nulls() {
            missing = &missing | &!nulls.inner();
        }
    }
    let mut columns = Vec::new();
    if missing.count_set_bits() > 0 {
        if let Some(row) = missing.set_indices().find(|row| !deletes.value(*row)) {
            let null = upsert.key.iter().find(|place| key(**place).is_null(row));
            let name = null.map_or("", |place| plan.columns[*place].field.name().as_str());
            return Err(bad(plan, format!("the key's column {name} is null")));
        }
        let names: Vec<&str> = upsert.key.iter().map(|p| plan.columns[*p].field.name().as_str()).collect();
        let texts = record_keys(plan, batch, &missing, &names)?;
        let mask = BooleanArray::new(missing, None);
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        for ((place, texts), name) in upsert.key.iter().zip(texts).zip(names) {
            let whole = cast_with_options(&texts, key(*place).data_type(), &strict)
                .and_then(|derived| zip(&mask, &derived, key(*place)))
                .map_err(|e| bad(plan, format!("a tombstone's key does not fit the column {name}: {e}")))?;
            columns.push((*place, whole));
        }
    }
    Ok(Keyed { columns, deletes })
}

fn flags(column: Option<&ArrayRef>, rows: usize) -> BooleanArray {
    let Some(column) = column else { return BooleanArray::new(BooleanBuffer::new_unset(rows), None) };
    let column = column.as_boolean();
    match column.nulls() {
        Some(nulls) => BooleanArray::new(column.values() & nulls.inner(), None),
        None => column.clone(),
    }
}

/// With `_value` at hand a tombstone is known by it; else by all fields being null.
fn tombstones(batch: &RecordBatch) -> BooleanArray {
    let rows = batch.num_rows();
    let none = || BooleanBuffer::new_unset(rows);
    if batch.column_by_name(RECORD_KEY).is_none() {
        return BooleanArray::new(none(), None);
    }
    let nulls = |array: &ArrayRef| array.logical_nulls().map_or_else(none, |nulls| !nulls.inner());
    if let Some(values) = batch.column_by_name(RECORD_VALUE) {
        return BooleanArray::new(nulls(values), None);
    }
    let fields = fields(&batch.schema());
    let mut all = if fields.is_empty() { none() } else { BooleanBuffer::new_set(rows) };
    for field in fields {
        all = &all & &nulls(batch.column(field));
    }
    BooleanArray::new(all, None)
}

fn fields(schema: &SchemaRef) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| !METADATA.contains(&field.name().as_str())).map(|(i, _)| i).collect()
}

/// For each key column the texts that the records' keys give, in the rows that need them.
fn record_keys(
    plan: &Plan,
    batch: &RecordBatch,
    needed: &BooleanBuffer,
    names: &[&str],
) -> Result<Vec<ArrayRef>, SinkError> {
    let column = batch.column_by_name(RECORD_KEY).ok_or_else(|| {
        let ask = "a tombstone's key is the record's: add \"key\" to the format's metadata and keep _key in the SQL";
        bad(plan, format!("the key of a deleting row is null, and there is no column {RECORD_KEY}; {ask}"))
    })?;
    let column = cast(column, &DataType::Binary).map_err(|e| bad(plan, format!("{RECORD_KEY}: {e}")))?;
    let column = column.as_binary::<i32>();
    let mut texts: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
    for row in 0..batch.num_rows() {
        if !needed.value(row) {
            texts.iter_mut().for_each(StringBuilder::append_null);
            continue;
        }
        if column.is_null(row) {
            return Err(bad(plan, "a tombstone without a key"));
        }
        let parts = parse(column.value(row), names).map_err(|why| bad(plan, why))?;
        for (to, part) in texts.iter_mut().zip(parts) {
            to.append_value(part);
        }
    }
    Ok(texts.iter_mut().map(|to| Arc::new(to.finish()) as ArrayRef).collect())
}

/// The key's columns out of a record's key: a JSON object's members of their names (also inside the `payload` of
/// Kafka Connect's JSON with a schema), or, for one column, a JSON string's content or the text as it is.
fn parse(key: &[u8], names: &[&str]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(key).map_err(|_| "a tombstone's key is not UTF-8 text".to_owned())?;
    if let Ok(mut members) = serde_json::from_str::<HashMap<String, Box<RawValue>>>(text) {
        if members.contains_key("schema")
            && let Some(payload) = members.remove("payload")
        {
            return parse(payload.get().as_bytes(), names);
        }
        let member = |name: &&str| {
            let value = members.get(*name).ok_or_else(|| format!("a tombstone's key has no member {name}"))?.get();
            if value == "null" { Err(format!("a tombstone's key has null as {name}")) } else { Ok(unquoted(value)) }
        };
        return names.iter().map(member).collect();
    }
    match names {
        [_] => Ok(vec![unquoted(text)]),
        _ => Err(format!("a tombstone's key has to be a JSON object with the members {}", names.join(", "))),
    }
}

fn unquoted(text: &str) -> String {
    serde_json::from_str::<String>(text).unwrap_or_else(|_| text.to_owned())
}

/// Whether any row deletes.
pub(crate) fn any(deletes: &BooleanArray) -> bool {
    deletes.values().count_set_bits() > 0
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
