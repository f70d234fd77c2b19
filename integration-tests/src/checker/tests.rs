//! The checker can fail: each fault that it is there to find is made here by hand.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, ListBuilder, StringBuilder, StructArray, StructBuilder};
use arrow::array::{BooleanArray, Decimal128Array, Float64Array, TimestampMillisecondArray};
use arrow::datatypes::{Field, Fields};
use parquet::arrow::ArrowWriter;

use super::*;
use crate::records::{Maker, Mix, Record};

const MAKER: Maker = Maker { seed: 3, mix: Mix { bad: 0.2, tombstones: 0.1, odd: 0.3 } };

/// Two partitions with holes, aborted records and all kinds of records, and the files of a perfect daemon.
struct World {
    ledger: Ledger,
    dir: tempfile::TempDir,
}

impl World {
    fn perfect() -> World {
        let mut ledger = Ledger::new("t", 2, MAKER);
        for n in 0..1000_u64 {
            // Every tenth offset is a hole, every seventh record aborted.
            let offset = i64::try_from(n / 2 + n / 20).expect("fits");
            ledger.note(i32::from(n % 2 == 1), offset, n, n % 7 == 0);
        }
        let world = World { ledger, dir: tempfile::tempdir().expect("tempdir") };
        let (mut rows, mut letters) = (Vec::new(), Vec::new());
        for partition in 0..2 {
            for offset in 0..world.ledger.end(partition) {
                if let Expected::Record(record) = world.ledger.expected(partition, offset) {
                    match record.fate.clone() {
                        Fate::Good(row) => rows.push((partition, offset, *row)),
                        Fate::Bad(_) => letters.push((partition, offset, record)),
                        Fate::Tombstone => (),
                    }
                }
            }
        }
        for (i, some) in rows.chunks(100).enumerate() {
            world.write(&format!("out/country=X/{i}.parquet"), &rows_batch(some));
        }
        for (i, some) in letters.chunks(50).enumerate() {
            world.write(&format!("dead/{i}.parquet"), &letters_batch(some));
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, batch: &RecordBatch) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        let mut writer = ArrowWriter::try_new(File::create(path).expect("creates"), batch.schema(), None).expect("new");
        writer.write(batch).expect("writes");
        writer.close().expect("closes");
    }

    fn check(&self) -> Report {
        check(&[&self.ledger], &self.path("out"), Some(&self.path("dead"))).expect("reads")
    }
}

fn places<T>(of: &[(usize, usize, T)]) -> Vec<(&'static str, ArrayRef)> {
    let partitions = Int32Array::from_iter_values(of.iter().map(|r| i32::try_from(r.0).expect("fits")));
    let offsets = Int64Array::from_iter_values(of.iter().map(|r| i64::try_from(r.1).expect("fits")));
    let topics = StringArray::from_iter_values(of.iter().map(|_| "t"));
    vec![("_topic", Arc::new(topics)), ("_partition", Arc::new(partitions)), ("_offset", Arc::new(offsets))]
}

fn rows_batch(rows: &[(usize, usize, Row)]) -> RecordBatch {
    let text = |get: fn(&Row) -> &Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(rows.iter().map(|r| get(&r.2).clone())))
    };
    let mut tags = ListBuilder::new(StringBuilder::new());
    for row in rows {
        tags.append_option(row.2.tags.clone());
    }
    let city = StringArray::from_iter(rows.iter().map(|r| r.2.address.clone().flatten()));
    let address = StructArray::new(
        Fields::from(vec![Field::new("city", DataType::Utf8, true)]),
        vec![Arc::new(city)],
        Some(rows.iter().map(|r| r.2.address.is_some()).collect::<Vec<_>>().into()),
    );
    let ts = TimestampMillisecondArray::from_iter(rows.iter().map(|r| r.2.ts)).with_timezone("UTC");
    let amount = Decimal128Array::from_iter(rows.iter().map(|r| r.2.amount)).with_precision_and_scale(10, 2);
    let mut columns = places(rows);
    columns.extend([
        ("event_id", text(|r| &r.event_id)),
        ("seq", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.2.seq))) as ArrayRef),
        ("user_id", Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.2.user_id)))),
        ("ts", Arc::new(ts)),
        ("type", text(|r| &r.kind)),
        ("url", text(|r| &r.url)),
        ("price", Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.2.price.map(f64::from_bits))))),
        ("quantity", Arc::new(Int32Array::from_iter(rows.iter().map(|r| r.2.quantity)))),
        ("country", text(|r| &r.country)),
        ("mobile", Arc::new(BooleanArray::from_iter(rows.iter().map(|r| r.2.mobile)))),
        ("amount", Arc::new(amount.expect("precision"))),
        ("tags", Arc::new(tags.finish())),
        ("address", Arc::new(address)),
    ]);
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("a batch")
}

fn letters_batch(letters: &[(usize, usize, Record)]) -> RecordBatch {
    let fields = vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Binary, true)];
    let pair = StructBuilder::new(fields, vec![Box::new(StringBuilder::new()), Box::new(BinaryBuilder::new())]);
    let mut headers = ListBuilder::new(pair);
    for (_, _, record) in letters {
        for (key, value) in &record.headers {
            let pair = headers.values();
            pair.field_builder::<StringBuilder>(0).expect("key").append_value(key);
            pair.field_builder::<BinaryBuilder>(1).expect("value").append_option(value.as_deref());
            pair.append(true);
        }
        headers.append(true);
    }
    let bytes = |get: fn(&Record) -> Option<&[u8]>| -> ArrayRef {
        Arc::new(letters.iter().map(|l| get(&l.2)).collect::<BinaryArray>())
    };
    let text =
        |text: &'static str| -> ArrayRef { Arc::new(StringArray::from_iter_values(letters.iter().map(|_| text))) };
    let mut columns = places(letters);
    columns.extend([
        ("_value", bytes(|r| r.value.as_deref())),
        ("_key", bytes(|r| r.key.as_deref())),
        ("_headers", Arc::new(headers.finish()) as ArrayRef),
        ("stage", text("decode")),
        ("error", text("bad")),
    ]);
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("a batch")
}

use arrow::array::BinaryArray;

#[test]
fn a_perfect_sink_is_clean() {
    let report = World::perfect().check();
    report.assert_clean(700);
    assert_eq!(report.good.expected + report.bad.expected + report.tombstones + report.aborted, 1000);
    assert!(report.good.expected > 400 && report.bad.expected > 100 && report.tombstones > 50);
    assert_eq!(report.aborted, 143);
}

#[test]
fn a_deleted_file_is_lost() {
    let world = World::perfect();
    std::fs::remove_file(world.path("out/country=X/2.parquet")).expect("deletes");
    std::fs::remove_file(world.path("dead/1.parquet")).expect("deletes");
    let report = world.check();
    assert_eq!((report.good.lost, report.bad.lost), (100, 50), "{report}");
    assert_eq!(report.good.doubled + report.bad.doubled, 0);
    assert!(!report.is_clean());
}

#[test]
fn a_copied_file_is_doubled_wherever_it_lies() {
    let world = World::perfect();
    std::fs::create_dir_all(world.path("out/deep/er")).expect("makes");
    std::fs::copy(world.path("out/country=X/0.parquet"), world.path("out/deep/er/again.parquet")).expect("copies");
    std::fs::copy(world.path("dead/0.parquet"), world.path("dead/again.parquet")).expect("copies");
    let report = world.check();
    assert_eq!((report.good.doubled, report.bad.doubled), (100, 50), "{report}");
    assert_eq!(report.good.lost + report.bad.lost, 0);
    assert!(!report.is_clean());
}

#[test]
fn rows_that_must_not_be_there_are_foreign() {
    let world = World::perfect();
    // An aborted record (number 0 at offset 0), a hole, an offset beyond the end, an unknown partition.
    let row = Row { seq: 0, ..Row::default() };
    let end = world.ledger.end(0);
    let rows = [(0, 0, row.clone()), (0, end + 5, row.clone()), (7, 1, row.clone())];
    world.write("out/more.parquet", &rows_batch(&rows));
    world.write("dead/more.parquet", &letters_batch(&[(0, 0, MAKER.record(0))]));
    let report = world.check();
    assert_eq!((report.good.foreign, report.bad.foreign), (3, 1), "{report}");
    assert_eq!(report.good.doubled + report.good.lost, 0);
}

#[test]
fn a_good_record_in_the_dead_letters_and_a_bad_one_in_the_sink_are_foreign() {
    let world = World::perfect();
    let find = |good: bool| {
        (0..world.ledger.end(1)).find(|&offset| match world.ledger.expected(1, offset) {
            Expected::Record(record) => {
                if good {
                    matches!(record.fate, Fate::Good(_))
                } else {
                    matches!(record.fate, Fate::Bad(_))
                }
            }
            _ => false,
        })
    };
    let (good, bad) = (find(true).expect("one"), find(false).expect("one"));
    world.write("out/bad.parquet", &rows_batch(&[(1, bad, Row::default())]));
    world.write("dead/good.parquet", &letters_batch(&[(1, good, MAKER.record(1))]));
    let report = world.check();
    assert_eq!((report.good.foreign, report.bad.foreign), (1, 1), "{report}");
}

#[test]
fn other_values_are_wrong() {
    let world = World::perfect();
    let find = (0..world.ledger.end(0)).find_map(|offset| match world.ledger.expected(0, offset) {
        Expected::Record(Record { fate: Fate::Good(row), .. }) if row.price.is_some() => Some((0, offset, *row)),
        _ => None,
    });
    let (partition, offset, mut row) = find.expect("one");
    row.price = row.price.map(|bits| bits ^ 1);
    world.write("out/wrong.parquet", &rows_batch(&[(partition, offset, row)]));
    let report = world.check();
    assert_eq!((report.good.wrong, report.good.doubled), (1, 1), "{report}");

    let find = (0..world.ledger.end(0)).find_map(|offset| match world.ledger.expected(0, offset) {
        Expected::Record(record) if matches!(record.fate, Fate::Bad(_)) => Some((0, offset, record)),
        _ => None,
    });
    let (partition, offset, mut record) = find.expect("one");
    record.key = Some(b"another".to_vec());
    world.write("dead/wrong.parquet", &letters_batch(&[(partition, offset, record)]));
    let report = world.check();
    assert_eq!((report.bad.wrong, report.bad.doubled), (1, 1), "{report}");
}

#[test]
fn a_partial_file_is_found() {
    let world = World::perfect();
    let path = world.path("out/country=X/1.parquet");
    let bytes = std::fs::read(&path).expect("reads");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).expect("writes");
    let report = world.check();
    assert_eq!((report.unreadable, report.good.lost), (1, 100), "{report}");
    assert!(!report.is_clean());
}
