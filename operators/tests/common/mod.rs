//! Rows, splits of them, and both kinds of operator run over a split.
#![allow(dead_code)] // each test file uses its part

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use tidemill_engine::operator::{Operator, OperatorError, RowOperator, WindowOperator};

pub fn schema() -> SchemaRef {
    let city = Fields::from(vec![Field::new("city", DataType::Utf8, true)]);
    Arc::new(Schema::new(vec![
        Field::new("user_id", DataType::Int64, false),
        Field::new("type", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
        Field::new("quantity", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), true),
        Field::new("country", DataType::Utf8, true),
        Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), true),
        Field::new("address", DataType::Struct(city), true),
        Field::new("userName", DataType::Utf8, true),
        Field::new("big", DataType::Int64, true),
    ]))
}
use arrow::datatypes::Fields;

pub fn rows() -> RecordBatch {
    let text = include_bytes!("../golden/input.ndjson");
    let mut reader = arrow::json::ReaderBuilder::new(schema()).build(&text[..]).expect("a reader");
    reader.next().expect("has rows").expect("is JSON")
}

/// `rows` in pieces of the given lengths, the rest as the last.
pub fn split(rows: &RecordBatch, lengths: &[usize]) -> Vec<RecordBatch> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for length in lengths {
        let length = (*length).min(rows.num_rows() - at);
        pieces.push(rows.slice(at, length));
        at += length;
    }
    pieces.push(rows.slice(at, rows.num_rows() - at));
    pieces
}

/// What the engine does with a row operator: whole batches, and halves where one errs, down to the row.
pub fn apply(op: &dyn RowOperator, rows: RecordBatch) -> (Vec<RecordBatch>, Vec<OperatorError>) {
    match op.apply(rows.clone()) {
        Ok(done) => (vec![done], Vec::new()),
        Err(error) if rows.num_rows() <= 1 => (Vec::new(), vec![error]),
        Err(_) => {
            let half = rows.num_rows() / 2;
            let (mut done, mut errors) = apply(op, rows.slice(0, half));
            let (more, more_errors) = apply(op, rows.slice(half, rows.num_rows() - half));
            done.extend(more);
            errors.extend(more_errors);
            (done, errors)
        }
    }
}

pub async fn run_window(op: &dyn WindowOperator, pieces: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, OperatorError> {
    let mut window = op.open();
    for piece in pieces {
        window.push(piece).await?;
    }
    let mut results = window.finish();
    let mut batches = Vec::new();
    while let Some(batch) = results.next().await {
        batches.push(batch?);
    }
    Ok(batches)
}

/// The result of a split in one batch, and the errors of single rows.
pub async fn run(op: &Operator, pieces: Vec<RecordBatch>) -> (RecordBatch, Vec<String>) {
    let mut errors = Vec::new();
    let batches = match op {
        Operator::Rows(op) => {
            let mut all = Vec::new();
            for piece in pieces {
                let (done, refused) = apply(op.as_ref(), piece);
                all.extend(done);
                errors.extend(refused.into_iter().map(|e| e.message));
            }
            all
        }
        Operator::Window(op) => match run_window(op.as_ref(), pieces).await {
            Ok(batches) => batches,
            Err(e) => {
                errors.push(e.message);
                Vec::new()
            }
        },
    };
    for batch in &batches {
        assert_eq!(batch.schema(), op.schema(), "every batch has exactly the operator's schema");
    }
    (concat_batches(&op.schema(), &batches).expect("one schema"), errors)
}
