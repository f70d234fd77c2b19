//! The JSON decoder against the same records that the other tests send: two descriptions of the same rules, made
//! apart from each other. No broker.

use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, TimeUnit};
use tidemill_connectors::json::{JsonFormat, JsonOptions};
use tidemill_engine::chunk::Chunk;
use tidemill_engine::format::{Format, Stage};
use tidemill_engine::partition::Partition;
use tidemill_integration_tests::checker::rows_of;
use tidemill_integration_tests::records::{Fate, MAX_RECORD_BYTES, Maker, Mix};

fn fields() -> Vec<Field> {
    let city = Field::new("city", DataType::Utf8, true);
    let types = [
        ("event_id", DataType::Utf8),
        ("seq", DataType::Int64),
        ("user_id", DataType::Int64),
        ("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()))),
        ("type", DataType::Utf8),
        ("url", DataType::Utf8),
        ("price", DataType::Float64),
        ("quantity", DataType::Int32),
        ("country", DataType::Utf8),
        ("mobile", DataType::Boolean),
        ("amount", DataType::Decimal128(10, 2)),
        ("tags", DataType::new_list(DataType::Utf8, true)),
        ("address", DataType::Struct(vec![city].into())),
    ];
    types.into_iter().map(|(name, of)| Field::new(name, of, name != "seq")).collect()
}

#[test]
fn the_decoder_does_with_each_record_what_its_fate_says() {
    let options = JsonOptions { max_record_bytes: MAX_RECORD_BYTES, ..JsonOptions::new(fields()) };
    let format = JsonFormat::new(options).unwrap();
    let mut decoder = format.decoder();
    let maker = Maker { seed: 11, mix: Mix { bad: 0.3, tombstones: 0.05, odd: 0.4 } };
    let (mut good, mut bad) = (0, 0);
    let mut faults: Vec<String> = Vec::new();
    let begun = Instant::now();
    for chunk_number in 0..60_u64 {
        let mut chunk = Chunk::new(Arc::from([Partition::new("t", 0)]), 1 << 20);
        let numbers: Vec<u64> = (chunk_number * 1000..(chunk_number + 1) * 1000).collect();
        let records: Vec<_> = numbers.iter().map(|&n| maker.record(n)).collect();
        for (record, &n) in records.iter().zip(&numbers) {
            chunk.push(0, n as i64, None, record.value.as_deref(), record.key.as_deref(), []);
        }
        chunk.seal();
        let decoded = decoder.decode(&chunk);
        let mut rows = rows_of(&decoded.rows).unwrap().into_iter();
        let taken: Vec<u32> = decoded.records.unwrap_or_else(|| (0..records.len() as u32).collect());
        let mut found: Vec<Option<_>> = vec![None; records.len()];
        for i in taken {
            found[i as usize] = rows.next();
        }
        assert!(rows.next().is_none());
        let mut rejects: Vec<Option<_>> = vec![None; records.len()];
        for reject in decoded.rejects {
            let i = reject.record.offset as usize - numbers[0] as usize;
            assert_eq!((reject.stage, &reject.record.value), (Stage::Decode, &records[i].value));
            rejects[i] = Some(reject);
        }
        for (i, record) in records.iter().enumerate() {
            let raw = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
            let raw = &raw[..raw.floor_char_boundary(300)];
            match (&record.fate, &found[i], &rejects[i]) {
                (Fate::Good(row), Some(found), None) if **row == *found => good += 1,
                (Fate::Bad(_), None, Some(reject)) if !reject.error.is_empty() => bad += 1,
                (Fate::Tombstone, None, None) => (),
                (fate, found, reject) => {
                    let error = reject.as_ref().map(|r| r.error.clone());
                    faults.push(format!("{raw}\n  must be {fate:?}\n  is {found:?}, reject {error:?}"));
                }
            }
        }
    }
    eprintln!("{good} good, {bad} bad in {:?}", begun.elapsed());
    assert!(faults.is_empty(), "{} records, the first:\n{}", faults.len(), faults[..faults.len().min(15)].join("\n"));
    assert!(good > 35_000 && bad > 15_000, "{good} {bad}");
}
