use super::*;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Int32Type, Schema as ArrowSchema};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use crate::types::{self, Fit};

fn described(columns: Vec<(&str, ArrayRef)>, group_rows: usize) -> (Schema, DataFile) {
    let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let table = types::new_schema(&rows.schema(), false).unwrap();
    let Fit::Fits(target) = types::fit(&table, &rows.schema(), false).unwrap() else { panic!("fits") };
    let columns = rows.columns().iter().zip(target.fields());
    let columns = columns.map(|(c, f)| arrow::compute::cast(c, f.data_type()).unwrap()).collect();
    let rows = RecordBatch::try_new(Arc::new(ArrowSchema::new(target.fields().clone())), columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    let footer = writer.close().unwrap();
    let file = Finished {
        uri: "file:///a".into(),
        bytes: 10,
        rows: rows.num_rows() as u64,
        partition: Struct::empty(),
        spec_id: 0,
        footer: &footer,
    };
    let file = data_file(file, &table).unwrap();
    (table, file)
}

#[test]
fn bounds_and_counts_over_row_groups() {
    let list =
        ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), Some(2)]), None, Some(vec![]), None]);
    let prices = Decimal128Array::from(vec![Some(-150), None, Some(2_000), Some(7)]);
    let wide = Decimal128Array::from(vec![Some(-1), Some(300), None, Some(5)]).with_precision_and_scale(38, 3).unwrap();
    let (table, file) = described(
        vec![
            ("n", Arc::new(Int64Array::from(vec![5, -7, 9, 0]))),
            ("s", Arc::new(StringArray::from(vec![Some("b"), None, Some("zä"), Some("a")]))),
            ("f", Arc::new(Float64Array::from(vec![f64::NAN, 1.5, -2.5, 0.0]))),
            ("price", Arc::new(prices.with_precision_and_scale(9, 2).unwrap())),
            ("wide", Arc::new(wide)),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![3, 1, 2, 4]))),
            ("none", Arc::new(StringArray::from(vec![None::<&str>; 4]))),
            ("list", Arc::new(list)),
        ],
        2,
    );
    let id = |name: &str| table.field_id_by_name(name).unwrap();
    let bounds =
        |name: &str| (file.lower_bounds().get(&id(name)).cloned(), file.upper_bounds().get(&id(name)).cloned());
    let some = |a: Datum, b: Datum| (Some(a), Some(b));
    assert_eq!(file.split_offsets().unwrap().len(), 2);
    assert_eq!(bounds("n"), some(Datum::long(-7_i64), Datum::long(9_i64)));
    assert_eq!(bounds("s"), some(Datum::string("a"), Datum::string("zä")));
    assert_eq!(bounds("f"), some(Datum::double(-2.5), Datum::double(1.5)));
    assert_eq!(bounds("at"), some(Datum::timestamp_micros(1), Datum::timestamp_micros(4)));
    let number = |d: &Datum| Literal::from(d.clone());
    use iceberg::spec::Literal;
    let (low, high) = bounds("price");
    assert_eq!((number(&low.unwrap()), number(&high.unwrap())), (Literal::decimal(-150), Literal::decimal(2_000)));
    let (low, high) = bounds("wide");
    assert_eq!((number(&low.unwrap()), number(&high.unwrap())), (Literal::decimal(-1), Literal::decimal(300)));
    assert_eq!(bounds("none"), (None, None));
    assert_eq!(bounds("list.element"), (None, None));
    assert_eq!(file.null_value_counts()[&id("s")], 1);
    assert_eq!(file.null_value_counts()[&id("none")], 4);
    assert_eq!(file.value_counts()[&id("n")], 4);
    assert!(file.column_sizes()[&id("list.element")] > 0);
}

#[test]
fn a_cut_text_is_still_a_bound() {
    let long = "x".repeat(300);
    let (table, file) = described(vec![("s", Arc::new(StringArray::from(vec![long.as_str()])))], 10);
    let id = table.field_id_by_name("s").unwrap();
    let text = |d: &Datum| d.to_human_string().trim_matches('"').to_owned();
    let (low, high) = (text(&file.lower_bounds()[&id]), text(&file.upper_bounds()[&id]));
    assert!(low <= long && high >= long && low.len() < 100 && high.len() < 100, "{low} {high}");
}
