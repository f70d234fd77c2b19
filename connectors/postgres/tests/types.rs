//! Every type into a table that the sink makes, and into tables that are there already; read back as psql shows it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use support::{fresh_table, options, sql};
use tidemill_engine::partition::{OffsetRange, OffsetRanges, Partition, Position};
use tidemill_engine::sink::{Commit, Reaction, Sink, SinkError};
use tidemill_postgres::{PostgresOptions, PostgresSink, TableName};
use tidemill_test_servers::postgres::Postgres;

fn ranges(start: Option<i64>, end: i64) -> OffsetRanges {
    let range = match start {
        Some(start) => OffsetRange::new(start, end),
        None => OffsetRange::anchor(Position::at(end)),
    };
    [(Partition::new("t", 0), range)].into_iter().collect()
}

async fn write(options: PostgresOptions, rows: RecordBatch) -> Result<(), SinkError> {
    let mut sink = PostgresSink::new(options)?;
    let held = sink.recover(&[Partition::new("t", 0)]).await?;
    let at = match held.offset(&Partition::new("t", 0)) {
        Some(at) => at,
        None => {
            sink.commit(None, &ranges(None, 0)).await?;
            0
        }
    };
    let mut staging = sink.open().await?;
    staging.write(rows).await?;
    let staged = staging.seal().await?;
    match sink.commit(Some(staged), &ranges(Some(at), at + 10)).await? {
        Commit::Landed(_) => Ok(()),
        lost @ Commit::Lost(_) => panic!("{lost:?}"),
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn with(table: &TableName, rows: &RecordBatch) -> PostgresOptions {
    options(&Postgres::shared().url(), table.clone(), rows.schema())
}

fn every_type() -> RecordBatch {
    let tz: Arc<str> = "+00:00".into();
    let ms = 1_790_000_000_123_i64;
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("a\"b"), None, Some("ä,c")]);
    tags.append_null();
    tags.append_value([None::<&str>; 0]);
    let mut matrix = ListBuilder::new(ListBuilder::new(Int32Builder::new()));
    matrix.values().append_value([Some(1), Some(2)]);
    matrix.values().append_value([Some(3)]);
    matrix.append(true);
    matrix.append_null();
    matrix.append(true);
    let address = StructArray::from(vec![
        (
            Arc::new(Field::new("city", DataType::Utf8, true)),
            Arc::new(StringArray::from(vec![Some("Köln"), None, Some("x")])) as ArrayRef,
        ),
        (
            Arc::new(Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some(tz.clone())), true)),
            Arc::new(TimestampMillisecondArray::from(vec![Some(0), None, None]).with_timezone(tz.clone())) as ArrayRef,
        ),
        (
            Arc::new(Field::new("price", DataType::Decimal128(10, 2), true)),
            Arc::new(Decimal128Array::from(vec![Some(150), None, None]).with_precision_and_scale(10, 2).unwrap())
                as ArrayRef,
        ),
    ]);
    let dictionary: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("y")].into_iter().collect();
    batch(vec![
        ("bool", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("i8", Arc::new(Int8Array::from(vec![Some(-128), None, Some(127)]))),
        ("i16", Arc::new(Int16Array::from(vec![Some(i16::MIN), None, Some(i16::MAX)]))),
        ("i32", Arc::new(Int32Array::from(vec![Some(i32::MIN), None, Some(i32::MAX)]))),
        ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
        ("u8", Arc::new(UInt8Array::from(vec![Some(0), None, Some(u8::MAX)]))),
        ("u16", Arc::new(UInt16Array::from(vec![Some(0), None, Some(u16::MAX)]))),
        ("u32", Arc::new(UInt32Array::from(vec![Some(0), None, Some(u32::MAX)]))),
        ("u64", Arc::new(UInt64Array::from(vec![Some(0), None, Some(u64::MAX)]))),
        ("f32", Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)]))),
        ("f64", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(f64::INFINITY)]))),
        ("text", Arc::new(StringArray::from(vec![Some("Größe \"x\"\n\\"), None, Some("")]))),
        ("view", Arc::new(StringViewArray::from(vec![Some("a longer text than fits in"), None, Some("")]))),
        ("bin", Arc::new(BinaryArray::from(vec![Some(b"\x00\xff".as_ref()), None, Some(b"")]))),
        ("date", Arc::new(Date32Array::from(vec![Some(0), None, Some(-719_162)]))),
        ("time", Arc::new(Time32MillisecondArray::from(vec![Some(86_399_999), None, Some(0)]))),
        ("ts", Arc::new(TimestampMillisecondArray::from(vec![Some(ms), None, Some(-1)]))),
        (
            "tstz",
            Arc::new(TimestampMicrosecondArray::from(vec![Some(ms * 1000 + 7), None, Some(-1)]).with_timezone(tz)),
        ),
        ("ns", Arc::new(TimestampNanosecondArray::from(vec![Some(-1), None, Some(1_999)]))),
        (
            "dec",
            Arc::new(
                Decimal128Array::from(vec![Some(-123_456_789), None, Some(5)]).with_precision_and_scale(12, 4).unwrap(),
            ),
        ),
        ("tags", Arc::new(tags.finish())),
        ("matrix", Arc::new(matrix.finish())),
        ("address", Arc::new(address)),
        ("dict", Arc::new(dictionary)),
        ("nothing", Arc::new(NullArray::new(3))),
    ])
}

const EXPECTED: [&str; 3] = [
    "true|-128|-32768|-2147483648|-9223372036854775808|0|0|0|0|1.5|0.1|Größe \"x\"~\\|a longer text than fits in|\\x00ff|\
     1970-01-01|23:59:59.999|2026-09-21 14:13:20.123|2026-09-21 14:13:20.123007+00|1969-12-31 23:59:59.999999|\
     -12345.6789|{\"a\\\"b\",NULL,\"ä,c\"}|[[1, 2], [3]]|{\"at\": \"1970-01-01T00:00:00Z\", \"city\": \"Köln\", \
     \"price\": 1.50}|x|-",
    "-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|-|{\"at\": null, \"city\": null, \"price\": null}|-|-",
    "false|127|32767|2147483647|9223372036854775807|255|65535|4294967295|18446744073709551615|NaN|Infinity|||\\x|\
     0001-01-01|00:00:00|1969-12-31 23:59:59.999|1969-12-31 23:59:59.999999+00|1970-01-01 00:00:00.000001|0.0005|{}|[]|\
     {\"at\": null, \"city\": \"x\", \"price\": null}|y|-",
];

fn shown(table: &TableName, rows: &RecordBatch) -> Vec<String> {
    let columns: Vec<String> = rows
        .schema()
        .fields()
        .iter()
        .map(|f| format!("coalesce(replace(\"{}\"::text, E'\\n', '~'), '-')", f.name()))
        .collect();
    // The middle row is all null.
    let order = "ORDER BY coalesce(u8, 1)";
    sql(
        Postgres::shared(),
        &format!("SET timezone = 'UTC'; SELECT {} FROM {} {order}", columns.join(", "), table.sql()),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_is_read_back_as_it_was() {
    let (table, rows) = (fresh_table("Every type"), every_type());
    write(with(&table, &rows), rows.clone()).await.unwrap();
    assert_eq!(shown(&table, &rows), EXPECTED);
    let types = sql(
        Postgres::shared(),
        &format!(
            "SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) \
             FROM pg_attribute WHERE attrelid = '{}'::regclass AND attnum > 0",
            table.sql()
        ),
    );
    assert_eq!(
        types,
        ["bool boolean, i8 smallint, i16 smallint, i32 integer, i64 bigint, u8 smallint, u16 integer, u32 bigint, \
          u64 numeric(20,0), f32 real, f64 double precision, text text, view text, bin bytea, date date, \
          time time without time zone, ts timestamp without time zone, tstz timestamp with time zone, \
          ns timestamp without time zone, dec numeric(12,4), tags text[], matrix jsonb, address jsonb, dict text, \
          nothing text"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_wider_and_other_types_takes_them_too() {
    let table = fresh_table("mine");
    let postgres = Postgres::shared();
    postgres
        .sql(&format!(
            "CREATE SCHEMA {0}; CREATE DOMAIN {0}.short AS varchar(8); CREATE TYPE {0}.mood AS ENUM ('good', 'bad'); \
             CREATE TABLE {0}.mine (id serial PRIMARY KEY, n numeric, j jsonb, js json, u uuid, m {0}.mood, s {0}.short, \
             f float8, raw text, rawj jsonb, l bigint[], a jsonb, more text DEFAULT 'x', twice int GENERATED ALWAYS AS (1) STORED)",
            table.schema
        ))
        .unwrap();
    let mut list = ListBuilder::new(Int32Builder::new());
    list.append_value([Some(7), None]);
    let inner: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let struct_array = StructArray::from(vec![(Arc::new(Field::new("x", DataType::Int64, true)), inner)]);
    let rows = batch(vec![
        ("n", Arc::new(Int64Array::from(vec![i64::MAX]))),
        ("j", Arc::new(StringArray::from(vec![r#"{"b": [1, {"c": null}]}"#]))),
        ("js", Arc::new(StringArray::from(vec!["[1,  2]"]))),
        ("u", Arc::new(StringArray::from(vec!["0190AB12-0000-7000-8000-00000000000f"]))),
        ("m", Arc::new(StringArray::from(vec!["bad"]))),
        ("s", Arc::new(StringArray::from(vec!["12345678"]))),
        ("f", Arc::new(Float32Array::from(vec![0.5]))),
        ("raw", Arc::new(BinaryArray::from(vec!["text".as_bytes()]))),
        ("rawj", Arc::new(BinaryArray::from(vec![b"{\"k\": 1}".as_ref()]))),
        ("l", Arc::new(list.finish())),
        ("a", Arc::new(struct_array)),
    ]);
    write(with(&table, &rows), rows).await.unwrap();
    let found = sql(postgres, &format!("SELECT * FROM {}", table.sql()));
    assert_eq!(
        found,
        [
            "1|9223372036854775807|{\"b\": [1, {\"c\": null}]}|[1,  2]|0190ab12-0000-7000-8000-00000000000f|bad|12345678|\
          0.5|text|{\"k\": 1}|{7,NULL}|{\"x\": 1}|x|1"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_rows_are_bad_rows_with_their_place() {
    let table = fresh_table("strict");
    let postgres = Postgres::shared();
    postgres
        .sql(&format!(
            "CREATE SCHEMA {0}; CREATE TABLE {0}.strict (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, n smallint CHECK (n > 0), \
             s varchar(3), d numeric(4,2), j jsonb, u uuid, t timestamp, r text NOT NULL DEFAULT 'r')",
            table.schema
        ))
        .unwrap();
    let one: Vec<(&str, ArrayRef, &str)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 1])), "strict_id_key"),
        ("id", Arc::new(Int64Array::from(vec![i64::MAX])), "strict.id: a value 9223372036854775807 does not fit"),
        ("n", Arc::new(Int64Array::from(vec![0])), "strict_n_check"),
        ("n", Arc::new(Int64Array::from(vec![40_000])), "does not fit into smallint"),
        ("s", Arc::new(StringArray::from(vec!["long"])), "22001"),
        ("s", Arc::new(StringArray::from(vec!["a\0b"])), "22021"),
        (
            "d",
            Arc::new(Decimal128Array::from(vec![12_345]).with_precision_and_scale(10, 2).unwrap()),
            "numeric field overflow",
        ),
        ("j", Arc::new(StringArray::from(vec!["{"])), "22P02"),
        ("j", Arc::new(StringArray::from(vec!["\"\\u0000\""])), "22P05"),
        ("j", Arc::new(BinaryArray::from(vec![b"\xff".as_ref()])), "strict.j: a value is not UTF-8 at byte 0"),
        ("u", Arc::new(StringArray::from(vec!["no"])), "strict.u: a value is not a UUID"),
        ("t", Arc::new(TimestampSecondArray::from(vec![i64::MAX])), "out of the range of timestamp"),
        ("t", Arc::new(TimestampMicrosecondArray::from(vec![-300_000_000_000_000_000])), "timestamp out of range"),
        ("r", Arc::new(StringArray::from(vec![None::<&str>])), "column r"),
    ];
    for (name, array, part) in one {
        let rows = batch(vec![(name, array)]);
        let error = write(with(&table, &rows), rows).await.expect_err(part);
        assert_eq!(error.reaction, Reaction::BadRow, "{error}");
        assert!(error.message.contains(part), "{part} in {error}");
    }
    assert_eq!(sql(postgres, &format!("SELECT count(*) FROM {}", table.sql())), ["0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_does_not_fit_is_a_person_s_matter() {
    let table = fresh_table("other");
    let postgres = Postgres::shared();
    let rows = batch(vec![("id", Arc::new(Int64Array::from(vec![1])))]);
    let mut missing = with(&table, &rows);
    missing.create = false;
    let error = write(missing.clone(), rows.clone()).await.expect_err("no table");
    assert_eq!(error.reaction, Reaction::Person);
    assert!(error.message.contains("there is no such table"), "{error}");
    postgres
        .sql(&format!("CREATE SCHEMA {0}; CREATE TABLE {0}.other (id text, n int NOT NULL)", table.schema))
        .unwrap();
    let error = write(missing, rows.clone()).await.expect_err("another type");
    assert_eq!(error.reaction, Reaction::Person);
    for part in
        ["other.id: rows hold Int64, which needs the column type bigint; found text", "other.n: integer NOT NULL"]
    {
        assert!(error.message.contains(part), "{part} in {error}");
    }
    // A role that may not write.
    postgres
        .sql(&format!(
            "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA {0} TO reader; DROP TABLE {0}.other; \
             CREATE TABLE {0}.other (id bigint); GRANT SELECT ON {0}.other TO reader",
            table.schema
        ))
        .unwrap();
    let mut options = with(&table, &rows);
    options.url = options.url.replace("tide@", "reader@");
    let error = write(options, rows).await.expect_err("no permission");
    assert_eq!(error.reaction, Reaction::Person, "{error}");
    assert!(error.message.contains("42501"), "{error}");
}
