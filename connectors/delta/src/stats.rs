//! Statistics of a data file as Delta has them, from its Parquet footer: bounds by which readers pass over files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate};
use parquet::basic::{LogicalType, Type};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescriptor;

/// Columns (at the top) that get statistics, unless the table says otherwise: as many as other writers give.
const COLUMNS: usize = 32;

/// A tree of JSON values along the columns' structs.
#[derive(Default)]
struct Tree(BTreeMap<String, Node>);

enum Node {
    Value(String),
    Inner(Tree),
}

impl Tree {
    fn set(&mut self, path: &[String], value: String) {
        let Some((first, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            self.0.insert(first.clone(), Node::Value(value));
        } else if let Node::Inner(inner) = self.0.entry(first.clone()).or_insert_with(|| Node::Inner(Tree::default())) {
            inner.set(rest, value);
        }
    }

    fn write(&self, out: &mut String) {
        out.push('{');
        for (i, (name, node)) in self.0.iter().enumerate() {
            let _ = write!(out, "{}{}:", if i > 0 { "," } else { "" }, quoted(name));
            match node {
                Node::Value(value) => out.push_str(value),
                Node::Inner(inner) => inner.write(out),
            }
        }
        out.push('}');
    }
}

/// The statistics of a file as JSON. `indexed`: the table's `delta.dataSkippingNumIndexedCols` (-1: all columns).
///
/// Bounds are given for integers, decimals, dates, timestamps and text, and counts of nulls for these and for floats,
/// booleans and bytes; within structs too, not within lists and maps. Floats have no bounds: a Parquet footer leaves NaN
/// out of them, and for a reader NaN is the largest.
pub(crate) fn of<'f>(footer: &'f ParquetMetaData, indexed: Option<&str>) -> String {
    let columns = match indexed.and_then(|text| text.parse::<i64>().ok()) {
        None => COLUMNS,
        Some(count) => usize::try_from(count).unwrap_or(usize::MAX),
    };
    let (mut min, mut max, mut nulls) = (Tree::default(), Tree::default(), Tree::default());
    let schema = footer.file_metadata().schema_descr();
    let tops: Vec<&str> = schema.root_schema().get_fields().iter().take(columns).map(|field| field.name()).collect();
    for (i, column) in schema.columns().iter().enumerate() {
        let path = column.path().parts();
        let plain = column.max_rep_level() == 0;
        if !plain || !path.first().is_some_and(|top| tops.contains(&top.as_str())) {
            continue;
        }
        let chunk = |group: &'f RowGroupMetaData| Some((group.column(i).statistics()?, group.column(i).num_values()));
        let Some(chunks) = footer.row_groups().iter().map(chunk).collect::<Option<Vec<_>>>() else { continue };
        if let Some(count) = chunks.iter().map(|(s, _)| s.null_count_opt()).sum::<Option<u64>>() {
            nulls.set(path, count.to_string());
        }
        let bounded = |s: &Statistics| s.min_bytes_opt().is_some() && s.max_bytes_opt().is_some();
        let all_null = |s: &Statistics, values: i64| s.null_count_opt() == u64::try_from(values).ok();
        // A chunk of nothing but nulls has no bounds, and needs none.
        if !chunks.iter().all(|(s, values)| bounded(s) || all_null(s, *values)) {
            continue;
        }
        let chunks: Vec<&Statistics> = chunks.into_iter().map(|(s, _)| s).filter(|s| bounded(s)).collect();
        if let Some((low, high)) = bounds(column, &chunks) {
            min.set(path, low);
            max.set(path, high);
        }
    }
    let mut out = format!("{{\"numRecords\":{},\"minValues\":", footer.file_metadata().num_rows());
    min.write(&mut out);
    out.push_str(",\"maxValues\":");
    max.write(&mut out);
    out.push_str(",\"nullCount\":");
    nulls.write(&mut out);
    out.push('}');
    out
}

/// The least and the greatest value of some chunks, as JSON.
fn bounds(column: &ColumnDescriptor, chunks: &[&Statistics]) -> Option<(String, String)> {
    let logical = column.logical_type_ref();
    match column.physical_type() {
        Type::INT32 | Type::INT64 => {
            let both = |s: &Statistics| -> Option<(i64, i64)> {
                match s {
                    Statistics::Int32(v) => Some(((*v.min_opt()?).into(), (*v.max_opt()?).into())),
                    Statistics::Int64(v) => Some((*v.min_opt()?, *v.max_opt()?)),
                    _ => None,
                }
            };
            let all = chunks.iter().map(|s| both(s)).collect::<Option<Vec<_>>>()?;
            let low = all.iter().map(|(low, _)| *low).min()?;
            let high = all.iter().map(|(_, high)| *high).max()?;
            Some((integer(low, logical)?, integer(high, logical)?))
        }
        Type::FIXED_LEN_BYTE_ARRAY | Type::BYTE_ARRAY => {
            let bytes = chunks.iter().map(|s| Some((s.min_bytes_opt()?, s.max_bytes_opt()?)));
            let bytes = bytes.collect::<Option<Vec<_>>>()?;
            match logical? {
                LogicalType::Decimal(decimal) => {
                    let scale = decimal.scale;
                    let all = bytes.iter().map(|(low, high)| Some((big_endian(low)?, big_endian(high)?)));
                    let all = all.collect::<Option<Vec<_>>>()?;
                    let low = all.iter().map(|(low, _)| *low).min()?;
                    let high = all.iter().map(|(_, high)| *high).max()?;
                    Some((scaled(low, scale), scaled(high, scale)))
                }
                LogicalType::String => {
                    let low = bytes.iter().map(|(low, _)| *low).min()?;
                    let high = bytes.iter().map(|(_, high)| *high).max()?;
                    Some((quoted(std::str::from_utf8(low).ok()?), quoted(std::str::from_utf8(high).ok()?)))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn integer(value: i64, logical: Option<&LogicalType>) -> Option<String> {
    Some(match logical {
        None | Some(LogicalType::Integer(_)) => value.to_string(),
        Some(LogicalType::Decimal(decimal)) => scaled(value.into(), decimal.scale),
        Some(LogicalType::Date) => {
            let days = i32::try_from(value).ok()?;
            let date = NaiveDate::from_epoch_days(days)?;
            format!("\"{}\"", date.format("%Y-%m-%d"))
        }
        // Files of this sink have microseconds.
        Some(LogicalType::Timestamp(timestamp)) => {
            let at = DateTime::from_timestamp_micros(value)?;
            let zone = if timestamp.is_adjusted_to_u_t_c { "Z" } else { "" };
            format!("\"{}{zone}\"", at.format("%Y-%m-%dT%H:%M:%S%.6f"))
        }
        Some(_) => return None,
    })
}

/// An exact decimal: a float would round bounds to the wrong side.
fn scaled(value: i128, scale: i32) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

/// A number of two's complement, most significant byte first.
fn big_endian(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x80 != 0;
    let mut all = [if negative { 0xff } else { 0 }; 16];
    let start = 16usize.checked_sub(bytes.len())?;
    all[start..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(all))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
        StructArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Int64Type};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    fn footer(columns: Vec<(&str, ArrayRef)>) -> ParquetMetaData {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn bounds_are_exact_and_reach_over_all_row_groups() {
        let n: ArrayRef = Arc::new(Int64Array::from(vec![Some(-3), None, None, None, Some(i64::MAX)]));
        let day: ArrayRef = Arc::new(Date32Array::from(vec![Some(-1), Some(0), Some(20_000), None, None]));
        let ts = TimestampMicrosecondArray::from(vec![Some(1_700_000_000_123_456), None, Some(-1), None, None]);
        let money = Decimal128Array::from(vec![Some(-105), Some(5), None, Some(12_345_678_901_234_567_890_123), None]);
        let money: ArrayRef = Arc::new(money.with_precision_and_scale(30, 2).unwrap());
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("ä\""), None, Some("a"), Some("z"), None]));
        let float: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, None, None]));
        let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1)]); 5]));
        let inner = StructArray::from(vec![(Arc::new(Field::new("x", n.data_type().clone(), true)), n.clone())]);
        let stats = of(
            &footer(vec![
                ("n", n),
                ("day", day),
                ("ts", Arc::new(ts.with_timezone("UTC"))),
                ("money", money),
                ("text", text),
                ("float", float),
                ("list", list),
                ("s", Arc::new(inner)),
            ]),
            None,
        );
        assert_eq!(
            stats,
            "{\"numRecords\":5,\
             \"minValues\":{\"day\":\"1969-12-31\",\"money\":-1.05,\"n\":-3,\"s\":{\"x\":-3},\"text\":\"a\",\
             \"ts\":\"1969-12-31T23:59:59.999999Z\"},\
             \"maxValues\":{\"day\":\"2024-10-04\",\"money\":123456789012345678901.23,\"n\":9223372036854775807,\
             \"s\":{\"x\":9223372036854775807},\"text\":\"ä\\\"\",\"ts\":\"2023-11-14T22:13:20.123456Z\"},\
             \"nullCount\":{\"day\":2,\"float\":3,\"money\":2,\"n\":3,\"s\":{\"x\":3},\"text\":2,\"ts\":3}}"
        );
    }

    #[test]
    fn the_table_says_how_many_columns_have_statistics() {
        let column = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
        let footer = footer(vec![("a", column()), ("b", column())]);
        assert!(!of(&footer, Some("1")).contains("\"b\""));
        assert!(of(&footer, Some("-1")).contains("\"b\""));
        assert_eq!(of(&footer, Some("0")), "{\"numRecords\":1,\"minValues\":{},\"maxValues\":{},\"nullCount\":{}}");
    }
}
