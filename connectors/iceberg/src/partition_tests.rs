use super::*;
use arrow::array::{Date32Array, Decimal128Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};
use iceberg::spec::{NestedField, PartitionSpec};

const DAY: i64 = 86_400_000_000;

/// A table with one column and one partition field on it, and rows of it.
fn split(of: PrimitiveType, transform: Transform, column: ArrayRef) -> Result<Vec<(String, Struct)>, SinkError> {
    let table =
        Schema::builder().with_fields([NestedField::optional(1, "c", Type::Primitive(of)).into()]).build().unwrap();
    let spec = PartitionSpec::builder(table.clone()).add_partition_field("c", "p", transform).unwrap().build().unwrap();
    let rows = ArrowSchema::new(vec![Field::new("c", column.data_type().clone(), true)]);
    let splitter = Splitter::new(&Arc::new(spec), &table, &rows)?.expect("partitioned");
    let rows = RecordBatch::try_new(Arc::new(rows), vec![column]).unwrap();
    let mut partitions = Partitions::default();
    let labels = splitter.assign(&mut partitions, &rows)?;
    let labels = labels.as_string::<i32>();
    Ok((0..labels.len())
        .map(|i| partitions.get(labels.value(i)).map(|(values, folder)| (folder.to_owned(), values.clone())).unwrap())
        .collect())
}

fn folders(of: PrimitiveType, transform: Transform, column: ArrayRef) -> Vec<String> {
    split(of, transform, column).unwrap().into_iter().map(|(folder, _)| folder).collect()
}

#[test]
fn times_are_cut_at_their_units_before_and_after_1970() {
    let at = |days: i64, hour: i64| days * DAY + hour * 3_600_000_000 + 59 * 60_000_000;
    let times = || -> ArrayRef {
        let values = vec![Some(at(0, 0)), Some(at(0, 23)), Some(at(31, 0)), Some(at(-1, 23)), None, Some(at(365, 0))];
        Arc::new(TimestampMicrosecondArray::from(values))
    };
    let of = |transform| folders(PrimitiveType::Timestamp, transform, times());
    let day = ["p=1970-01-01", "p=1970-01-01", "p=1970-02-01", "p=1969-12-31", "p=null", "p=1971-01-01"];
    assert_eq!(of(Transform::Day), day);
    assert_eq!(of(Transform::Month), ["p=0", "p=0", "p=1", "p=-1", "p=null", "p=12"]);
    assert_eq!(of(Transform::Year), ["p=0", "p=0", "p=0", "p=-1", "p=null", "p=1"]);
    assert_eq!(of(Transform::Hour), ["p=0", "p=23", "p=744", "p=-1", "p=null", "p=8760"]);
    assert_eq!(of(Transform::Void), ["p=null"; 6]);
}

/// The unit's shortcut gives what the transform gives for the value itself.
#[test]
fn units_change_no_value() {
    let mut seed = 7_u64;
    for _ in 0..2_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let micros = (seed >> 8) as i64 % (200 * 366 * DAY) - 100 * 366 * DAY;
        for transform in [Transform::Hour, Transform::Day, Transform::Month, Transform::Year] {
            let column = Arc::new(TimestampMicrosecondArray::from(vec![micros]));
            let found = split(PrimitiveType::Timestamp, transform, column).unwrap();
            let function = create_transform_function(&transform).unwrap();
            let expected = function.transform_literal(&Datum::timestamp_micros(micros)).unwrap().map(Literal::from);
            assert_eq!(found[0].1.fields()[0], expected, "{transform} of {micros}");
        }
    }
}

#[test]
fn values_of_other_types() {
    let text = || -> ArrayRef { Arc::new(StringArray::from(vec![Some("a/../b"), Some("a%"), Some(""), None])) };
    let found = folders(PrimitiveType::String, Transform::Identity, text());
    assert_eq!(found, ["p=a_.._b", "p=a_", "p=", "p=null"]);
    let found = folders(PrimitiveType::String, Transform::Truncate(1), text());
    assert_eq!(found, ["p=a", "p=a", "p=", "p=null"]);
    // The hashes of Iceberg's specification: bucket(34) = 2017239379, bucket("iceberg") = 1210000089.
    let found = folders(PrimitiveType::Long, Transform::Bucket(1000), Arc::new(Int64Array::from(vec![34])));
    assert_eq!(found, ["p=379"]);
    let found = folders(PrimitiveType::String, Transform::Bucket(1000), Arc::new(StringArray::from(vec!["iceberg"])));
    assert_eq!(found, ["p=89"]);
    let prices = Decimal128Array::from(vec![1065, -5]).with_precision_and_scale(9, 2).unwrap();
    let of = PrimitiveType::Decimal { precision: 9, scale: 2 };
    let values: Vec<Struct> =
        split(of, Transform::Truncate(50), Arc::new(prices)).unwrap().into_iter().map(|(_, v)| v).collect();
    assert_eq!(values[0].fields()[0], Some(Literal::decimal(1050)));
    assert_eq!(values[1].fields()[0], Some(Literal::decimal(-50)));
    // Folders may be the same, partitions are not.
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a b", "a/b"]));
    let found = split(PrimitiveType::String, Transform::Identity, text).unwrap();
    assert!(found[0].0 == found[1].0 && found[0].1 != found[1].1);
    let long = folders(PrimitiveType::String, Transform::Identity, Arc::new(StringArray::from(vec!["ä".repeat(500)])));
    assert!(long[0].len() < 210, "{}", long[0].len());
}

#[test]
fn what_cannot_be_is_refused() {
    let error = split(PrimitiveType::Date, Transform::Year, Arc::new(Date32Array::from(vec![i32::MAX]))).unwrap_err();
    assert_eq!(error.reaction, Reaction::BadRow);
    let floats: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.0]));
    let error = split(PrimitiveType::Double, Transform::Identity, floats).unwrap_err().to_string();
    assert!(error.contains("`p`") && error.contains("double"), "{error}");
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("+00:00"));
    assert_eq!(column.data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())));
    assert_eq!(folders(PrimitiveType::Timestamptz, Transform::Day, column), ["p=1970-01-01"]);
}
