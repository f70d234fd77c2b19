//! The fast decoder against the oracle: same rows, same refusals, for any bytes.

use arrow::datatypes::Fields;
use proptest::prelude::*;
use tidemill_engine::format::Format;

use super::super::oracle::{self, Cell};
use super::super::{JsonFormat, JsonOptions, Tombstones};
use super::generate::Generator;
use super::{chunk, compare, every_type};

fn as_values(records: &[Vec<u8>]) -> Vec<Option<&[u8]>> {
    records.iter().map(|r| Some(r.as_slice())).collect()
}

fn compare_all_ways(options: &JsonOptions, values: &[Option<&[u8]>]) {
    let format = JsonFormat::new(options.clone()).unwrap();
    let expected = compare::expected(options, values);
    compare::all_ways(&expected, &format, &mut *format.decoder(), values).unwrap();
}

/// Cells of the columns named.
fn project(fields: &Fields, kept: &[&str], row: Vec<Cell>) -> Vec<Cell> {
    row.into_iter().zip(fields).filter(|(_, f)| kept.contains(&f.name().as_str())).map(|(cell, _)| cell).collect()
}

/// As many cases as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_records_of_generated_schemas(seed: u64, coerce: bool) {
        let mut g = Generator::new(seed);
        let options = JsonOptions { coerce, ..JsonOptions::new(g.fields(3)) };
        let fault_in = *[10, 50, 1_000_000].get((seed % 3) as usize).unwrap_or(&10);
        let records: Vec<Vec<u8>> = (0..20).map(|_| g.record(&options.fields, fault_in).into_bytes()).collect();
        let mut values = as_values(&records);
        if seed % 2 == 0 {
            values.insert(values.len() / 2, None);
        }
        compare_all_ways(&options, &values);
    }

    #[test]
    fn damaged_records(seed: u64) {
        let mut g = Generator::new(seed);
        let options = JsonOptions::new(if seed % 4 == 0 { every_type() } else { g.fields(2) });
        let records: Vec<Vec<u8>> = (0..20)
            .map(|_| {
                let mut record = g.record(&options.fields, 1_000_000).into_bytes();
                while g.once_in(2) {
                    g.damage(&mut record);
                }
                record
            })
            .collect();
        compare_all_ways(&options, &as_values(&records));
    }

    #[test]
    fn arbitrary_bytes(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..10)) {
        compare_all_ways(&JsonOptions::new(every_type()), &as_values(&records));
    }

    #[test]
    fn arbitrary_tokens(records in prop::collection::vec(
        prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ":", ",", "\"", "\\", "\"f0\":", "\"f1\"", "\"f26\":", "\"f28\":", "\"a\"", "1", "-", "0",
            ".", "e", "true", "null", " ", "\n", "\0", "\\u", "d800", "é", "\"x\"", "{\"a\":1}", "[1]",
        ]), 0..14), 0..10))
    {
        let records: Vec<Vec<u8>> = records.into_iter().map(|r| r.concat().into_bytes()).collect();
        let in_object: Vec<Vec<u8>> = records.iter().map(|r| [b"{\"f0\":\"\",", r.as_slice(), b"}"].concat()).collect();
        let options = JsonOptions::new(every_type());
        compare_all_ways(&options, &as_values(&records));
        compare_all_ways(&options, &as_values(&in_object));
    }

    #[test]
    fn numbers_at_every_edge(text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", float: f64, single: f32) {
        let fields = every_type();
        let mut records = Vec::new();
        for text in [text, format!("{float:e}"), format!("{float}"), format!("{single}"), format!("\"{single:e}\"")] {
            records.extend((0..26).map(|i| format!("{{\"f{i}\":{text}}}").into_bytes()));
        }
        compare_all_ways(&JsonOptions::new(fields), &as_values(&records));
    }

    #[test]
    fn integers_near_powers(shift in 0u32..70, near in -3i128..=3, negative: bool) {
        let n = (1i128 << shift) + near;
        let text = if negative { -n } else { n };
        let records: Vec<Vec<u8>> = (0..26).map(|i| format!("{{\"f{i}\":{text}}}").into_bytes()).collect();
        compare_all_ways(&JsonOptions::new(every_type()), &as_values(&records));
    }

    #[test]
    fn projection_changes_nothing_else(seed: u64) {
        let mut g = Generator::new(seed);
        let options = JsonOptions { tombstones: Tombstones::Reject, ..JsonOptions::new(g.fields(2)) };
        let names: Vec<&str> = options.fields.iter().map(|f| f.name().as_str()).collect();
        let kept: Vec<&str> = names.iter().copied().filter(|_| g.once_in(2)).collect();
        let records: Vec<Vec<u8>> = (0..20).map(|_| g.record(&options.fields, 60).into_bytes()).collect();
        let format = JsonFormat::new(options.clone()).unwrap();
        let all = format.decoder().decode(&chunk(&as_values(&records)));
        let some = format.with_projection(&kept).unwrap().decoder().decode(&chunk(&as_values(&records)));
        let good = |records: &Option<Vec<u32>>| records.clone().unwrap_or((0..20).collect());
        let (all_good, some_good) = (good(&all.records), good(&some.records));
        for (row, i) in all_good.iter().enumerate() {
            let projected = some_good.binary_search(i).expect("a good record stays good");
            let expected = project(&options.fields, &kept, oracle::row(&all.rows, row));
            prop_assert_eq!(oracle::row(&some.rows, projected), expected);
        }
        for reject in &all.rejects {
            if matches!(reject.cause, "not_json" | "too_deep" | "duplicate_key") {
                prop_assert!(some.rejects.iter().any(|r| (&r.record, r.cause) == (&reject.record, reject.cause)));
            }
        }
    }
}
