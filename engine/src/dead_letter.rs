//! Refused records as rows of a fixed schema, for the sink that keeps them.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder, StructBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::format::Reject;

fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)])
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let ms = DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
    let headers = Field::new("item", DataType::Struct(header_fields()), true);
    Arc::new(Schema::new(vec![
        Field::new("_topic", DataType::Utf8, false),
        Field::new("_partition", DataType::Int32, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_timestamp", ms.clone(), true),
        Field::new("_key", DataType::Binary, true),
        Field::new("_value", DataType::Binary, true),
        Field::new("_headers", DataType::List(Arc::new(headers)), true),
        Field::new("stage", DataType::Utf8, false),
        Field::new("cause", DataType::Utf8, false),
        Field::new("error", DataType::Utf8, false),
        Field::new("rejected_at", ms, false),
    ]))
});

/// Schema of dead letters: the record as it came (`_topic utf8, _partition int32, _offset int64, _timestamp
/// timestamp(ms, UTC), _key binary, _value binary, _headers list<struct<key utf8, value binary>>`) and why it was
/// refused (`stage utf8, cause utf8, error utf8, rejected_at timestamp(ms, UTC)`).
#[must_use]
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

/// Rejects as rows of [`schema`]. `now_ms` is wall time in ms since the epoch.
///
/// # Panics
/// Never: the columns are built to the schema.
#[must_use]
pub fn rows(rejects: &[Reject], now_ms: i64) -> RecordBatch {
    let mut topic = StringBuilder::new();
    let mut partition = Int32Builder::new();
    let mut offset = Int64Builder::new();
    let mut timestamp = TimestampMillisecondBuilder::new().with_timezone("+00:00");
    let mut key = BinaryBuilder::new();
    let mut value = BinaryBuilder::new();
    let mut headers = ListBuilder::new(StructBuilder::from_fields(header_fields(), 0));
    let (mut stage, mut cause, mut error) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let mut rejected_at = TimestampMillisecondBuilder::new().with_timezone("+00:00");
    for reject in rejects {
        let r = &reject.record;
        topic.append_value(&r.partition.topic);
        partition.append_value(r.partition.index);
        offset.append_value(r.offset);
        timestamp.append_option(r.timestamp_ms);
        key.append_option(r.key.as_deref());
        value.append_option(r.value.as_deref());
        for (name, content) in &r.headers {
            let item = headers.values();
            if let Some(names) = item.field_builder::<StringBuilder>(0) {
                names.append_value(name);
            }
            if let Some(values) = item.field_builder::<BinaryBuilder>(1) {
                values.append_option(content.as_deref());
            }
            item.append(true);
        }
        headers.append(true);
        stage.append_value(reject.stage.as_str());
        cause.append_value(reject.cause);
        // It may quote the record, and not every target takes a NUL in a text.
        error.append_value(reject.error.replace('\0', "\u{2400}"));
        rejected_at.append_value(now_ms);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(topic.finish()),
        Arc::new(partition.finish()),
        Arc::new(offset.finish()),
        Arc::new(timestamp.finish()),
        Arc::new(key.finish()),
        Arc::new(value.finish()),
        Arc::new(headers.finish()),
        Arc::new(stage.finish()),
        Arc::new(cause.finish()),
        Arc::new(error.finish()),
        Arc::new(rejected_at.finish()),
    ];
    RecordBatch::try_new(schema(), columns).expect("columns are built to the schema")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::OwnedRecord;
    use crate::format::Stage;
    use crate::partition::Partition;

    #[test]
    fn a_reject_keeps_the_record_as_it_came() {
        let record = OwnedRecord {
            partition: Partition::new("t", 2),
            offset: 7,
            timestamp_ms: None,
            value: Some(b"\xff".to_vec()),
            key: None,
            headers: vec![("h".into(), None)],
        };
        let reject = Reject { record, stage: Stage::Decode, cause: "not_json", error: "e".into() };
        let batch = rows(&[reject.clone(), reject], 5);
        assert_eq!((batch.num_rows(), batch.schema()), (2, schema()));
    }
}
