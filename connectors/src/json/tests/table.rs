//! Every line of the table of outcomes, each record between good neighbours that must come out whole.

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use tidemill_engine::format::{Format, Stage};

use super::super::oracle::{self, Cell};
use super::super::{Cause, JsonFormat, JsonOptions, MAX_DEPTH, Tombstones};
use super::{agree, chunk, decode, list, timestamp};
use crate::metadata::Metadata;

/// Neighbours on both sides of each record under test.
const GOOD: &[u8] = br#"{"id":7,"name":"before","tags":["x","y"],"at":{"lat":1.5,"deep":[{"n":1},{"n":2}]}}"#;

pub(super) fn fields() -> Fields {
    let deep = DataType::Struct(vec![Field::new("n", DataType::Int64, false)].into());
    let at = Fields::from(vec![Field::new("lat", DataType::Float64, true), Field::new("deep", list(deep), true)]);
    Fields::from(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("tags", list(DataType::Utf8), true),
        Field::new("at", DataType::Struct(at), true),
        Field::new("ok", DataType::Boolean, true),
        Field::new("amount", DataType::Decimal128(6, 2), true),
        Field::new("ts", timestamp(TimeUnit::Millisecond), true),
        Field::new("ns", timestamp(TimeUnit::Nanosecond), true),
        Field::new("day", DataType::Date32, true),
        Field::new("time", DataType::Time32(TimeUnit::Millisecond), true),
        Field::new("small", DataType::Int8, true),
        Field::new("f", DataType::Float64, true),
        Field::new("f32", DataType::Float32, true),
        Field::new("bytes", DataType::Binary, true),
    ])
}

/// The outcome of a record between neighbours, and what is said of it.
fn outcome(options: &JsonOptions, record: Option<&[u8]>) -> Result<Option<Vec<Cell>>, (&'static str, String)> {
    let decoded = decode(options, &[Some(GOOD), record, Some(GOOD), record, Some(GOOD)]);
    let good = oracle::decode(options, Some(GOOD)).unwrap().unwrap();
    let rows: Vec<_> = (0..decoded.rows.num_rows()).map(|i| oracle::row(&decoded.rows, i)).collect();
    let taken = rows.len() == 5;
    assert!(taken || rows.len() == 3, "the record and its twin have one fate");
    for row in rows.iter().step_by(if taken { 2 } else { 1 }) {
        assert_eq!(row, &good, "a neighbour was touched");
    }
    assert_eq!(decoded.records, if taken { None } else { Some(vec![0, 2, 4]) });
    if taken {
        assert_eq!(rows[1], rows[3]);
        return Ok(Some(rows[1].clone()));
    }
    if decoded.tombstones_skipped == 2 {
        assert!(decoded.rejects.is_empty());
        return Ok(None);
    }
    let [first, second] = &decoded.rejects[..] else { panic!("two refused: {:?}", decoded.rejects) };
    assert_eq!((first.record.offset, second.record.offset, first.stage), (1, 3, Stage::Decode));
    assert_eq!(first.record.value.as_deref(), record);
    assert_eq!((first.cause, &first.error), (second.cause, &second.error));
    Err((first.cause, first.error.clone()))
}

/// A record is refused with this cause, and the oracle agrees.
fn refused(record: impl AsRef<[u8]>, cause: Cause) {
    let record = record.as_ref();
    let options = JsonOptions::new(fields());
    let shown = String::from_utf8_lossy(&record[..record.len().min(80)]);
    assert_eq!(outcome(&options, Some(record)).map_err(|(cause, _)| cause), Err(cause.as_str()), "{shown}");
    let of_oracle = oracle::decode(&options, Some(record)).expect_err("the oracle refuses it too");
    assert!(agree(of_oracle, cause.as_str(), Some(record)), "the oracle says {of_oracle:?} of {shown}");
}

/// A record is taken, and field `name` is `expected` in it.
fn taken_by(options: &JsonOptions, record: impl AsRef<[u8]>, name: &str, expected: Cell) {
    let record = record.as_ref();
    let shown = String::from_utf8_lossy(&record[..record.len().min(80)]);
    let row = outcome(options, Some(record)).unwrap_or_else(|e| panic!("{shown}: {e:?}")).unwrap();
    let (i, _) = options.fields.find(name).unwrap();
    assert_eq!(row[i], expected, "{shown}");
    assert_eq!(oracle::decode(options, Some(record)), Ok(Some(row)), "the oracle on {shown}");
}

fn taken(record: impl AsRef<[u8]>, name: &str, expected: Cell) {
    taken_by(&JsonOptions::new(fields()), record, name, expected);
}

/// Field `name` with this value.
fn with(name: &str, value: &str) -> String {
    format!(r#"{{"id":1,"{name}":{value}}}"#)
}

fn text(t: &str) -> Cell {
    Cell::Text(t.into())
}

#[test]
fn only_one_object_in_utf8_is_a_record() {
    let not_json: &[&[u8]] = &[
        b"",
        b" ",
        b"\n\t ",
        b"\0",
        b"x",
        b"hello",
        br#"{"id":1"#,
        br#"{"id":1,"#,
        br#"{"id""#,
        br#"{"id":"#,
        b"{",
        br#"{"id":1,"name":"cut"#,
        br#"{"id":1,"name":"cut\"#,
        br#"{"id":1,"tags":["a""#,
        br#"{"id":1} x"#,
        br#"{"id":1}}"#,
        br#"{"id":1}{"id":2}"#,
        br#"{"id":1} {"id":2}"#,
        b"{\"id\":1}\n{\"id\":2}\n",
        b"{\"id\":1}\0",
        b"{\"id\":1\0}",
        b"\xEF\xBB\xBF{\"id\":1}",
        b"{\"id\":1,\"name\":\"\xFF\"}",
        b"{\"id\":1,\"x\":\"\xC3\"}",
        b"{\"id\":1,\"\xE9\":2}",
        b"\xFE\xFF\0{\0}",
        b"{\"id\":1,\"name\":\"\xED\xA0\x80\"}",
        b"{\"id\":1,\"name\":\"a\nb\"}",
        br#"{"id":1,}"#,
        br#"{,"id":1}"#,
        br#"{"id" 1}"#,
        br#"{id:1}"#,
        br#"{'id':1}"#,
        br#"{"id":1 "f":2}"#,
        br#"{"id":01}"#,
        br#"{"id":+1}"#,
        br#"{"id":- 1}"#,
        br#"{"id":1,"f":1.}"#,
        br#"{"id":1,"f":.5}"#,
        br#"{"id":1,"f":1e}"#,
        br#"{"id":1,"f":NaN}"#,
        br#"{"id":1,"x":01}"#,
        br#"{"id":1,"x":tru}"#,
        br#"{"id":1,"x":nulll}"#,
        br#"{"id":1,"ok":True}"#,
        br#"{"id":1,"x":"\q"}"#,
        br#"{"id":1,"x":"\ud800"}"#,
        br#"{"id":1,"name":"\ud800\u0041"}"#,
        br#"{"id":1,"name":"\udc00"}"#,
        br#"{"id":1,"x":[1,]}"#,
        br#"{"id":1,"x":[1 2]}"#,
        br#"{"id":1,"x":{"a":1,}}"#,
        br#"{"id":1,"tags":["a",]}"#,
        br#"{"id":1} // c"#,
        b"\x1e{\"id\":1}",
    ];
    for record in not_json {
        refused(record, Cause::NotJson);
    }
    for record in ["null", "[]", r#"[{"id":1}]"#, "1", "\"x\"", "true", " 5 "] {
        refused(record, Cause::Type);
    }
    taken(" \t\r\n{ \"id\" : 1 , \"name\" : \"x\" } \n", "name", text("x"));
}

#[test]
fn time_is_bounded_by_the_bytes_of_a_chunk() {
    let options = JsonOptions::new(fields());
    let started = std::time::Instant::now();
    for record in [" ", "\n", "{", "{ ", "[", "\"", "{\"a\":[", "{\"a\":\"", "{\"a\":1 ", "{\"id\":1", "\\"] {
        let decoded = decode(&options, &vec![Some(record.as_bytes()); 200_000]);
        assert_eq!((decoded.rejects.len(), decoded.rows.num_rows()), (200_000, 0), "{record}");
    }
    // Scanning to the chunk's end for each of these would take minutes.
    assert!(started.elapsed().as_secs() < 40, "{:?}", started.elapsed());
}

#[test]
fn room_for_a_chunk_is_bounded_by_its_bytes() {
    let fields = Fields::from(vec![
        Field::new("s", DataType::Utf8, true),
        Field::new("l", list(DataType::Int64), true),
        Field::new("i", DataType::Int64, true),
    ]);
    let mut decoder = JsonFormat::new(JsonOptions::new(fields)).unwrap().decoder();
    // One large value, then very many small ones, which are not given as much each.
    let large = format!(r#"{{"s":"{}","l":[{}1]}}"#, "x".repeat(100_000), "1,".repeat(100_000));
    assert_eq!(decoder.decode(&chunk(&[Some(large.as_bytes())])).rows.num_rows(), 1);
    let small: Vec<Option<&[u8]>> = vec![Some(br#"{"s":"y","l":[2],"i":3}"#); 10_000];
    let rows = decoder.decode(&chunk(&small)).rows;
    assert_eq!(rows.num_rows(), 10_000);
    let bytes = 10_000 * small[0].map_or(0, <[u8]>::len);
    assert!(rows.get_array_memory_size() < 12 * bytes, "{} for {bytes}", rows.get_array_memory_size());
    // The next ones are given what these needed.
    let rows = decoder.decode(&chunk(&small)).rows;
    assert!(rows.get_array_memory_size() < 3 * bytes, "{} for {bytes}", rows.get_array_memory_size());
}

/// Found by fuzzing: a record cut off before a long neighbour was read to the arena's end, and beyond it.
#[test]
fn a_cut_record_before_a_long_one_in_a_chunk_without_padding_is_refused() {
    let options = JsonOptions::new(fields());
    let long = [" ".repeat(79), "[".repeat(64) + &"]".repeat(64), "x".repeat(100), "1".repeat(70)];
    for cut in [r#"{"id":1,"u"#, r#"{"id""#, r#"{"id":"#, r#"{"id":1,"tags":["a"#, r#"{"x":[1,"#, r#"{"id":1"#] {
        for long in &long {
            let values = [Some(cut.as_bytes()), Some(long.as_bytes())];
            let decoded = JsonFormat::new(options.clone()).unwrap().decoder().decode(&super::unsealed(&values));
            let causes: Vec<_> = decoded.rejects.iter().map(|r| r.cause).collect();
            assert_eq!((causes.len(), causes[0], decoded.rows.num_rows()), (2, "not_json", 0), "{cut}");
        }
    }
}

#[test]
fn depth_is_bounded() {
    // The record itself is one of them.
    let lists = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let objects = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
    taken(with("unknown", &lists(MAX_DEPTH - 1)), "id", Cell::Int(1));
    taken(with("unknown", &objects(MAX_DEPTH - 1)), "id", Cell::Int(1));
    refused(with("unknown", &lists(MAX_DEPTH)), Cause::TooDeep);
    refused(with("unknown", &objects(MAX_DEPTH)), Cause::TooDeep);
    for depth in [1_000, 100_000] {
        for field in ["unknown", "name", "tags", "id", "at"] {
            let open = |bracket: &str| format!(r#"{{"id":1,"{field}":{}"#, bracket.repeat(depth));
            refused(open("["), Cause::TooDeep);
            refused(open(r#"{"a":"#), Cause::TooDeep);
            refused(format!(r#"{{"{field}":{}}}"#, lists(depth)), Cause::TooDeep);
        }
    }
}

#[test]
fn a_schema_as_deep_as_allowed_is_read_and_a_deeper_one_refused() {
    let nested = |n: usize| (0..n).fold(DataType::Int64, |of, _| list(of));
    let options = |n| JsonOptions::new(vec![Field::new("a", nested(n), true)]);
    let record = format!(r#"{{"a":{}5{}}}"#, "[".repeat(MAX_DEPTH - 1), "]".repeat(MAX_DEPTH - 1));
    let decoded = decode(&options(MAX_DEPTH - 1), &[Some(record.as_bytes())]);
    let expected = (0..MAX_DEPTH - 1).fold(Cell::Int(5), |cell, _| Cell::List(vec![cell]));
    assert_eq!(oracle::row(&decoded.rows, 0), [expected]);
    assert!(JsonFormat::new(options(MAX_DEPTH)).is_err());
}

#[test]
fn size_is_bounded() {
    let options = JsonOptions { max_record_bytes: GOOD.len(), ..JsonOptions::new(fields()) };
    let of_size = |n: usize| format!("{:n$}", r#"{"id":1}"#);
    taken_by(&options, of_size(GOOD.len()), "id", Cell::Int(1));
    let (cause, error) = outcome(&options, Some(of_size(GOOD.len() + 1).as_bytes())).unwrap_err();
    assert_eq!(cause, "too_large");
    assert!(error.contains("max_record_bytes"), "{error}");
    let large = format!(r#"{{"id":1,"name":"{}"}}"#, "x".repeat((1 << 20) + 1));
    refused(large, Cause::TooLarge);
}

#[test]
fn unknown_fields_are_ignored_and_told_once() {
    taken(r#"{"new":[1,{"a":null}],"id":1,"newer":"x"}"#, "id", Cell::Int(1));
    let format = JsonFormat::new(JsonOptions::new(fields())).unwrap();
    let mut decoder = format.decoder();
    let record: &[u8] = br#"{"id":1,"new":{"inner":1},"at":{"new":1,"\u006ee\"w":2}}"#;
    for _ in 0..2 {
        decoder.decode(&super::chunk(&[Some(record), Some(GOOD), Some(record)]));
        format.decoder().decode(&super::chunk(&[Some(record)]));
    }
    assert_eq!(format.unknown_fields(), ["at.ne\"w", "at.new", "new"]);
    // As many names as one likes: bounded, and still each key once.
    let keys: Vec<String> = (0..100_000).map(|i| format!("\"k{i}\":{i}")).collect();
    let options = JsonOptions { max_record_bytes: 10 << 20, ..JsonOptions::new(fields()) };
    taken_by(&options, format!(r#"{{"id":3,{}}}"#, keys.join(",")), "id", Cell::Int(3));
    taken_by(&options, format!(r#"{{"id":3,"u":{{{}}}}}"#, keys.join(",")), "id", Cell::Int(3));
    for twice in [0, 5, 63, 64, 99_999] {
        let record = format!(r#"{{"id":3,{},"k{twice}":0}}"#, keys.join(","));
        assert_eq!(outcome(&options, Some(record.as_bytes())).unwrap_err().0, "duplicate_key");
        let record = format!(r#"{{"id":3,"u":{{{},"k{twice}":0}}}}"#, keys.join(","));
        assert_eq!(outcome(&options, Some(record.as_bytes())).unwrap_err().0, "duplicate_key");
    }
}

#[test]
fn missing_and_null_are_null_if_they_may_be() {
    taken(r#"{"id":1}"#, "name", Cell::Null);
    taken(with("name", "null"), "name", Cell::Null);
    taken(with("at", "null"), "at", Cell::Null);
    taken(with("at", "{}"), "at", Cell::Struct(vec![Cell::Null, Cell::Null]));
    taken(with("tags", "[null]"), "tags", Cell::List(vec![Cell::Null]));
    taken(with("tags", "[]"), "tags", Cell::List(vec![]));
    refused("{}", Cause::MissingField);
    refused(r#"{"id":null}"#, Cause::MissingField);
    refused(r#"{"ID":1}"#, Cause::MissingField);
    refused(with("at", r#"{"deep":[{"n":1},{}]}"#), Cause::MissingField);
    refused(with("at", r#"{"deep":[{"n":1},{"n":null}]}"#), Cause::MissingField);
}

#[test]
fn keys_come_once() {
    let records = [
        r#"{"id":1,"id":1}"#,
        r#"{"id":1,"name":"a","name":"a"}"#,
        r#"{"id":1,"name":null,"name":null}"#,
        r#"{"id":1,"x":1,"x":1}"#,
        r#"{"id":1,"\u0069d":1}"#,
        r#"{"id":1,"x":1,"\u0078":1}"#,
        r#"{"id":1,"x":{"a":1,"b":2,"a":1}}"#,
        r#"{"id":1,"x":{"a":1,"\u0061":1}}"#,
        r#"{"id":1,"x":[[{"":1,"":1}]]}"#,
        r#"{"id":1,"at":{"lat":1,"lat":1}}"#,
        r#"{"id":1,"at":{"new":1,"new":1}}"#,
        r#"{"id":1,"at":{"deep":[{"n":1,"n":1}]}}"#,
    ];
    for record in records {
        refused(record, Cause::DuplicateKey);
    }
    taken(r#"{"id":1,"x":{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]},"at":{"id":1}}"#, "id", Cell::Int(1));
}

#[test]
fn integers_are_json_integers_in_range() {
    taken(with("small", "-128"), "small", Cell::Int(-128));
    taken(with("small", "-0"), "small", Cell::Int(0));
    taken(r#"{"id":9223372036854775807}"#, "id", Cell::Int(i64::MAX.into()));
    taken(r#"{"id":-9223372036854775808}"#, "id", Cell::Int(i64::MIN.into()));
    for value in ["1.5", "1.0", "1e3", "1E0", "\"5\"", "true", "[1]", "{}"] {
        refused(with("small", value), Cause::Type);
    }
    for value in
        ["128", "-129", "9223372036854775808", "18446744073709551616", "1234567890123456789012345678901234567890"]
    {
        refused(with("small", value), Cause::Range);
    }
    refused(r#"{"id":9223372036854775808}"#, Cause::Range);
    refused(r#"{"id":-9223372036854775809}"#, Cause::Range);
    refused(format!(r#"{{"id":{}}}"#, "9".repeat(10_000)), Cause::Range);
}

#[test]
fn floats_are_any_number() {
    for (value, expected) in [
        ("1", 1.0),
        ("-0", -0.0),
        ("1e3", 1e3),
        ("0.1", 0.1),
        ("1e-400", 0.0),
        ("123456789012345678901", 123456789012345678901.0),
    ] {
        taken(with("f", value), "f", Cell::Float(f64::to_bits(expected)));
    }
    taken(with("f", &"9".repeat(300)), "f", Cell::Float(f64::to_bits(1e300)));
    taken(with("f32", "16777217"), "f32", Cell::Float(f32::to_bits(16_777_216.0).into()));
    for value in ["\"1\"", "true", "\"NaN\""] {
        refused(with("f", value), Cause::Type);
    }
    refused(with("f", "1e400"), Cause::Range);
    refused(with("f", &"9".repeat(400)), Cause::Range);
    refused(with("f32", "3.5e38"), Cause::Range);
}

#[test]
fn strings_are_strings_unless_coerced() {
    taken(with("name", r#""\u00e9\ud83d\ude00\n\"""#), "name", text("é😀\n\""));
    taken(with("name", r#""\u0000""#), "name", text("\0"));
    let coerce = JsonOptions { coerce: true, ..JsonOptions::new(fields()) };
    for value in ["5", "-1.50", "1e3", "true", "false"] {
        refused(with("name", value), Cause::Type);
        taken_by(&coerce, with("name", value), "name", text(value));
    }
    for value in ["[]", "{}"] {
        refused(with("name", value), Cause::Type);
        assert_eq!(outcome(&coerce, Some(with("name", value).as_bytes())).unwrap_err().0, "type");
    }
    taken_by(&coerce, with("name", "null"), "name", Cell::Null);
    assert_eq!(outcome(&coerce, Some(with("name", "01").as_bytes())).unwrap_err().0, "not_json");
    assert_eq!(outcome(&coerce, Some(with("id", "\"5\"").as_bytes())).unwrap_err().0, "duplicate_key");
    assert_eq!(outcome(&coerce, Some(br#"{"id":"5"}"#)).unwrap_err().0, "type", "only strings are coerced to");
}

#[test]
fn booleans_are_true_and_false() {
    taken(with("ok", "true"), "ok", Cell::Bool(true));
    taken(with("ok", "false"), "ok", Cell::Bool(false));
    for value in ["0", "1", "\"true\"", "[]"] {
        refused(with("ok", value), Cause::Type);
    }
}

#[test]
fn decimals_are_exact() {
    for (value, expected) in [
        ("1.25", 125),
        ("\"1.25\"", 125),
        ("-1.5", -150),
        ("1e2", 10_000),
        ("\"-9999.99\"", -999_999),
        ("125e-2", 125),
        ("1.500", 150),
        ("0e99", 0),
    ] {
        taken(with("amount", value), "amount", Cell::Int(expected));
    }
    for value in ["1.255", "\"1.255\"", "10000", "1e4", "1e-3", "0.001"] {
        refused(with("amount", value), Cause::Range);
    }
    for value in ["\"\"", "\"x\"", "\" 1\"", "\"+1\"", "\"01\"", "\"1.\"", "\"1,5\"", "\"NaN\""] {
        refused(with("amount", value), Cause::Text);
    }
    refused(with("amount", "true"), Cause::Type);
}

#[test]
fn times_are_rfc_3339_or_numbers_in_range() {
    for (value, expected) in [
        ("\"1970-01-01T00:00:00.001Z\"", 1),
        ("\"1970-01-01T00:00:01Z\"", 1_000),
        ("\"1970-01-01T01:00:00.0019+01:00\"", 1),
        ("\"1969-12-31 23:59:59.999z\"", -1),
        ("\"1970-01-01T00:00:00.00\\u0031Z\"", 1),
        ("1767225600000", 1_767_225_600_000),
        ("-1", -1),
        ("\"0000-01-01T00:00:00Z\"", -62_167_219_200_000),
        ("253402300799999", 253_402_300_799_999),
    ] {
        taken(with("ts", value), "ts", Cell::Int(expected));
    }
    for value in ["253402300800000", "-62167219200001", "9223372036854775808", "\"9999-12-31T23:59:59-01:00\""] {
        refused(with("ts", value), Cause::Range);
    }
    for value in [
        "\"\"",
        "\"2026-01-02\"",
        "\"2026-01-02T03:04:05\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-01-02T03:04:60Z\"",
        "\"2026-01-02T24:00:00Z\"",
        "\"1767225600000\"",
        "\"2026-01-02T03:04:05+0100\"",
        "\"yesterday\"",
    ] {
        refused(with("ts", value), Cause::Text);
    }
    for value in ["1.5", "1e3", "true", "[]"] {
        refused(with("ts", value), Cause::Type);
    }
    taken(with("ns", "\"2262-04-11T23:47:16.854775807Z\""), "ns", Cell::Int(i64::MAX.into()));
    refused(with("ns", "\"2262-04-11T23:47:16.854775808Z\""), Cause::Range);
    refused(with("ns", "\"2262-04-12T00:00:00.000Z\""), Cause::Range);
    refused(with("ns", "\"1600-01-01T00:00:00Z\""), Cause::Range);
    taken(with("day", "\"1970-01-02\""), "day", Cell::Int(1));
    taken(with("day", "-1"), "day", Cell::Int(-1));
    refused(with("day", "\"2026-1-2\""), Cause::Text);
    refused(with("day", "3000000"), Cause::Range);
    taken(with("time", "\"00:00:01.5\""), "time", Cell::Int(1_500));
    taken(with("time", "86399999"), "time", Cell::Int(86_399_999));
    refused(with("time", "86400000"), Cause::Range);
    refused(with("time", "\"24:00:00\""), Cause::Text);
}

#[test]
fn binary_is_base64() {
    taken(with("bytes", "\"AP8=\""), "bytes", Cell::Bytes(vec![0, 255]));
    refused(with("bytes", "\"AP8\""), Cause::Text);
    refused(with("bytes", "[0,255]"), Cause::Type);
}

#[test]
fn lists_and_structs_obey_the_same_rules_inside() {
    for value in [r#"["x",1]"#, r#""x""#, "{}", r#"[["x"]]"#] {
        refused(with("tags", value), Cause::Type);
    }
    for value in
        [r#"{"lat":"1"}"#, "[]", "1", r#"{"deep":{"n":1}}"#, r#"{"deep":[{"n":1},{"n":1.5}]}"#, r#"{"deep":[1]}"#]
    {
        refused(with("at", value), Cause::Type);
    }
    refused(with("at", r#"{"deep":[{"n":1},{"n":9223372036854775808}]}"#), Cause::Range);
}

#[test]
fn tombstones_are_skipped_or_rows_or_refused() {
    assert_eq!(outcome(&JsonOptions::new(fields()), None), Ok(None));
    let reject = JsonOptions { tombstones: Tombstones::Reject, ..JsonOptions::new(fields()) };
    assert_eq!(outcome(&reject, None).unwrap_err().0, "tombstone");
    let row = JsonOptions { tombstones: Tombstones::Row, ..JsonOptions::new(fields()) };
    let error = JsonFormat::new(row.clone()).unwrap_err().to_string();
    assert!(error.contains("`id`"), "{error}");
    let nullable: Fields = fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    let row = JsonOptions { fields: nullable, ..row };
    assert_eq!(outcome(&row, None), Ok(Some(vec![Cell::Null; row.fields.len()])));
}

#[test]
fn refusals_say_field_and_byte() {
    let options = JsonOptions::new(fields());
    for (record, expected) in [
        (r#"{"id":"5"}"#, "field `id`: expected an integer of 64 bits, found `\"5\"` at byte 6"),
        (
            r#"{"id":1,"at":{"deep":[{"n":1},{"n":true}]}}"#,
            "field `at.deep[1].n`: expected an integer of 64 bits, found `true` at byte 35",
        ),
        (
            r#"{"id":1,"at":{"deep":[{}]}}"#,
            "field `at.deep[0].n`: expected a field that is not nullable, found `}` at byte 23",
        ),
        (
            r#"{"id":1,"name":"abc"#,
            "expected a string's characters (control characters must be escaped) and its closing quote, found the end of the record at byte 19",
        ),
        ("", "expected one JSON object, found an empty value at byte 0"),
        ("\u{feff}{}", "expected a JSON value, found a byte order mark at byte 0"),
        (r#"{"id":1}{"id":2}"#, "expected the end of the record after one JSON object, found an object at byte 8"),
    ] {
        assert_eq!(outcome(&options, Some(record.as_bytes())).unwrap_err().1, expected);
    }
}

#[test]
fn a_projection_reads_less_and_still_checks() {
    let options = JsonOptions { metadata: vec![Metadata::Offset, Metadata::Value], ..JsonOptions::new(fields()) };
    let format = JsonFormat::new(options).unwrap().with_projection(&["_offset", "name"]).unwrap();
    let names: Vec<_> = format.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["name", "_offset"]);
    let mut decoder = format.decoder();
    let records: Vec<&[u8]> = vec![
        br#"{"id":1,"name":"a"}"#,
        br#"{"id":"not read","name":"b"}"#,
        br#"{"name":"id is missing"}"#,
        br#"{"id":null,"name":"id is null"}"#,
        br#"{"id":01,"name":"not JSON"}"#,
        br#"{"id":{"a":1,"a":1},"name":"twice"}"#,
        br#"{"id":2}"#,
    ];
    let values: Vec<_> = records.into_iter().map(Some).collect();
    let decoded = decoder.decode(&super::chunk(&values));
    let rows: Vec<_> = (0..decoded.rows.num_rows()).map(|i| oracle::row(&decoded.rows, i)).collect();
    assert_eq!(rows, [vec![text("a"), Cell::Int(0)], vec![text("b"), Cell::Int(1)], vec![Cell::Null, Cell::Int(6)]]);
    let causes: Vec<_> = decoded.rejects.iter().map(|r| r.cause).collect();
    assert_eq!(causes, ["missing_field", "missing_field", "not_json", "duplicate_key"]);
    let nothing = format.with_projection::<&str>(&[]).unwrap();
    let decoded = nothing.decoder().decode(&super::chunk(&values));
    assert_eq!((decoded.rows.num_rows(), decoded.rows.num_columns()), (3, 0));
    assert!(format.with_projection(&["id"]).is_err(), "left out before");
}

#[test]
fn schemas_that_cannot_be_are_refused() {
    let new = |fields: Vec<Field>| JsonFormat::new(JsonOptions::new(fields)).map_err(|e| e.to_string());
    let twice = vec![Field::new("a", DataType::Utf8, true), Field::new("a", DataType::Int8, true)];
    assert!(new(twice.clone()).unwrap_err().contains("`a` is there twice"));
    let inside = new(vec![Field::new("s", list(DataType::Struct(twice.into())), true)]);
    assert!(inside.unwrap_err().contains("`s[].a` is there twice"));
    for of in [
        DataType::LargeUtf8,
        DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        DataType::Decimal128(39, 0),
        DataType::Decimal128(0, 0),
        DataType::Decimal128(5, 6),
        DataType::Time32(TimeUnit::Nanosecond),
        list(DataType::Null),
    ] {
        assert!(new(vec![Field::new("a", of.clone(), true)]).is_err(), "{of}");
    }
    let clash = JsonOptions {
        metadata: vec![Metadata::Topic],
        ..JsonOptions::new(vec![Field::new("_topic", DataType::Utf8, true)])
    };
    assert!(JsonFormat::new(clash).unwrap_err().to_string().contains("`_topic`"));
}
