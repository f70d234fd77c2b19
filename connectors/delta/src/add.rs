//! From a data file to the action that makes it part of the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::DateTime;
use tidemill_connectors::files::StagedFile;
use tidemill_engine::sink::SinkError;

use super::actions::{Add, Metadata};
use super::stats;

/// The action that adds `file`.
pub(crate) fn action(file: &StagedFile, metadata: &Metadata, now_ms: i64) -> Result<Add, SinkError> {
    let footer = file.footer.as_ref().ok_or_else(|| SinkError::bug("a data file without a footer"))?;
    let partition_values = match &file.values {
        Some(values) => self::partition_values(values)?,
        None => BTreeMap::new(),
    };
    Ok(Add {
        path: encode(&file.staged),
        partition_values,
        size: file.bytes,
        modification_time: now_ms,
        data_change: true,
        stats: stats::of(footer, metadata.property("delta.dataSkippingNumIndexedCols")),
    })
}

/// A name as a relative URI.
fn encode(name: &str) -> String {
    let mut uri = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~=".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// The values of the partition columns as Delta writes them. Null and the empty text are both null.
fn partition_values(values: &RecordBatch) -> Result<BTreeMap<String, Option<String>>, SinkError> {
    let schema = values.schema();
    let columns = schema.fields().iter().zip(values.columns());
    columns
        .map(|(field, column)| {
            let text = text(column).map_err(|e| SinkError::bug(format!("partition column `{}`: {e}", field.name())))?;
            Ok((field.name().clone(), text.filter(|text| !text.is_empty())))
        })
        .collect()
}

fn text(column: &ArrayRef) -> Result<Option<String>, String> {
    if column.is_null(0) {
        return Ok(None);
    }
    if let DataType::Timestamp(TimeUnit::Microsecond, _) = column.data_type() {
        let micros = column.as_primitive::<TimestampMicrosecondType>().value(0);
        let at = DateTime::from_timestamp_micros(micros).ok_or("a time out of range")?;
        return Ok(Some(at.format("%Y-%m-%d %H:%M:%S%.6f").to_string()));
    }
    let formatter = ArrayFormatter::try_new(column, &FormatOptions::new()).map_err(|e| e.to_string())?;
    formatter.value(0).try_to_string().map(Some).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{
        BooleanArray, Date32Array, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray,
    };

    #[test]
    fn partition_values_are_written_as_the_protocol_says() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("text", Arc::new(StringArray::from(vec!["a b/ä"]))),
            ("empty", Arc::new(StringArray::from(vec![""]))),
            ("null", Arc::new(Int64Array::from(vec![None]))),
            ("n", Arc::new(Int64Array::from(vec![-7]))),
            ("flag", Arc::new(BooleanArray::from(vec![true]))),
            ("day", Arc::new(Date32Array::from(vec![20_000]))),
            ("money", Arc::new(Decimal128Array::from(vec![-5]).with_precision_and_scale(10, 2).unwrap())),
            ("ts", Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_123_456]).with_timezone("UTC"))),
        ];
        let values = partition_values(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        let expected = [
            ("text", Some("a b/ä")),
            ("empty", None),
            ("null", None),
            ("n", Some("-7")),
            ("flag", Some("true")),
            ("day", Some("2024-10-04")),
            ("money", Some("-0.05")),
            ("ts", Some("2023-11-14 22:13:20.123456")),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.map(str::to_owned)));
        assert_eq!(values, expected.into_iter().collect());
    }

    #[test]
    fn a_path_is_a_uri() {
        assert_eq!(encode("country=a b%2F/part-1.parquet"), "country=a%20b%252F/part-1.parquet");
        assert_eq!(encode("c=ä/x"), "c=%C3%A4/x");
    }
}
