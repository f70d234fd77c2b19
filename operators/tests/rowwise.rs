//! Row-wise queries: the same whatever the split, the time is that of the batch, nothing is copied without need.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Date32Type, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampNanosecondType};
use proptest::prelude::*;
use tidemill_engine::clock::Clock;
use tidemill_engine::operator::{Operator, RowOperator};
use tidemill_operators::{Memory, SqlLimits, SqlOperator};

use common::{apply, rows, run, schema, split};

const W2: &str = "SELECT user_id, ts, price * quantity AS amount FROM input WHERE type = 'purchase'";

fn row_wise(query: &str, input: SchemaRef, clock: &Clock) -> Arc<dyn RowOperator> {
    let limits = SqlLimits { clock: clock.clone(), ..SqlLimits::default() };
    match SqlOperator::plan(query, input, limits).expect("plans") {
        Operator::Rows(op) => op,
        Operator::Window(_) => panic!("is row-wise: {query}"),
    }
}

fn numbers() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Int64, true),
        Field::new("s", DataType::Utf8, true),
    ]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Rows, refused rows and their order are the same for every split, errors of single rows included.
    #[test]
    fn any_split_gives_the_same(
        values in prop::collection::vec((prop::option::of(-3i64..4), prop::option::of(prop_oneof![-2i64..3, Just(i64::MAX)]), prop::option::of("[a-c1-3]{0,2}")), 1..40),
        lengths in prop::collection::vec(0usize..7, 0..12),
        query in prop::sample::select(vec![
            "SELECT a, b + 1 AS c FROM input",
            "SELECT a FROM input WHERE a <> 0 AND 12 / a > 3",
            "SELECT a / b AS q, s FROM input WHERE s IS NOT NULL",
            "SELECT CASE WHEN b <> 0 THEN a / b END AS q FROM input",
            "SELECT CAST(s AS INT) AS n, s || s AS t FROM input WHERE a > 0 OR b > 0",
            "SELECT coalesce(s, 'none') AS s, a * b AS p, a * b + 1 AS p1 FROM input WHERE a * b IS NOT NULL",
        ]),
    ) {
        let a: Int64Array = values.iter().map(|v| v.0).collect();
        let b: Int64Array = values.iter().map(|v| v.1).collect();
        let s: StringArray = values.iter().map(|v| v.2.clone()).collect();
        let batch = RecordBatch::try_new(numbers(), vec![Arc::new(a), Arc::new(b), Arc::new(s)]).expect("fits");
        let op = row_wise(query, numbers(), &Clock::system());
        let one_by_one = split(&batch, &vec![1; batch.num_rows()]);
        let run = |pieces: Vec<RecordBatch>| {
            let (mut done, mut errors) = (Vec::new(), Vec::new());
            for piece in pieces {
                let (more, more_errors) = apply(op.as_ref(), piece);
                done.extend(more);
                errors.extend(more_errors.into_iter().map(|e| e.message));
            }
            (concat_batches(&op.schema(), &done).expect("one schema"), errors)
        };
        let single = run(one_by_one);
        prop_assert_eq!(&run(vec![batch.clone()]), &single);
        prop_assert_eq!(&run(split(&batch, &lengths)), &single);
    }

    /// The same over windows: how the rows were cut into batches is not to be seen.
    #[test]
    fn any_split_of_a_window_gives_the_same(
        lengths in prop::collection::vec(0usize..5, 0..9),
        query in prop::sample::select(vec![
            "SELECT country, count(*) AS n, sum(price) AS p FROM input GROUP BY country ORDER BY country",
            "SELECT user_id, lag(type) OVER (PARTITION BY user_id ORDER BY ts) AS before FROM input ORDER BY ts",
            "SELECT a.user_id, b.quantity FROM input AS a JOIN input AS b ON a.user_id = b.user_id ORDER BY a.ts, b.ts",
            "SELECT user_id, unnest(tags) AS tag FROM input",
            "SELECT user_id FROM input LIMIT 4",
        ]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let op = SqlOperator::plan(query, schema(), SqlLimits::default()).expect("plans");
        let whole = runtime.block_on(run(&op, vec![rows()]));
        prop_assert_eq!(runtime.block_on(run(&op, split(&rows(), &lengths))), whole);
    }
}

#[test]
fn columns_that_are_only_passed_on_are_not_copied() {
    let op = row_wise("SELECT ts, user_id AS id FROM input WHERE user_id > 0", schema(), &Clock::system());
    let input = rows();
    let output = op.apply(input.clone()).expect("is no error");
    let at = |b: &RecordBatch, name: &str| b.column_by_name(name).expect("is there").to_data().buffers()[0].as_ptr();
    assert_eq!(at(&output, "ts"), at(&input, "ts"));
    assert_eq!(at(&output, "id"), at(&input, "user_id"));
}

#[test]
fn now_is_the_time_of_the_batch_and_one_within_it() {
    let clock = Clock::held(1_700_000_000_000);
    let op = row_wise("SELECT now() AS a, current_timestamp AS b, current_date AS d FROM input", schema(), &clock);
    let seen = || {
        let batch = op.apply(rows()).expect("is no error");
        let ns = |i: usize| batch.column(i).as_primitive::<TimestampNanosecondType>().value(0);
        assert_eq!(ns(0), ns(1));
        (ns(0), batch.column(2).as_primitive::<Date32Type>().value(0))
    };
    assert_eq!(seen(), (1_700_000_000_000_000_000, 19_675));
    clock.advance(Duration::from_secs(86_400));
    assert_eq!(seen(), (1_700_086_400_000_000_000, 19_676));
    let recent = row_wise("SELECT user_id FROM input WHERE ts > now() - INTERVAL '1 day'", schema(), &clock);
    assert_eq!(recent.apply(rows()).expect("is no error").num_rows(), 8, "the first row is exactly a day old");
    clock.advance(Duration::from_secs(30));
    assert_eq!(recent.apply(rows()).expect("is no error").num_rows(), 4, "the frozen time would still give 8");
}

#[tokio::test]
async fn now_over_a_window_is_the_time_of_its_first_row() {
    let clock = Clock::held(1_700_000_000_000);
    let limits = SqlLimits { clock: clock.clone(), ..SqlLimits::default() };
    let query = "SELECT now() AS at, current_time AS t, count(*) AS n FROM input GROUP BY now()";
    let Operator::Window(op) = SqlOperator::plan(query, schema(), limits).expect("plans") else { panic!("a window") };
    for day in 0..2 {
        let result = common::run_window(op.as_ref(), vec![rows(), rows()]).await.expect("is no error");
        assert_eq!(result.len(), 1);
        let at = result[0].column(0).as_primitive::<TimestampNanosecondType>().value(0);
        assert_eq!(at, (1_700_000_000_000 + day * 86_400_000) * 1_000_000);
        assert_eq!(result[0].column(2).as_primitive::<Int64Type>().value(0), 18);
        clock.advance(Duration::from_secs(86_400));
    }
}

#[test]
fn random_is_new_for_each_row_and_batch() {
    let op = row_wise("SELECT random() AS r FROM input", schema(), &Clock::system());
    let of =
        || op.apply(rows()).expect("is no error").column(0).as_primitive::<arrow::datatypes::Float64Type>().clone();
    let (first, second) = (of(), of());
    assert_ne!(first, second);
    assert_ne!(first.value(0), first.value(1));
}

#[test]
fn columns_used_are_those_read() {
    let used = |q: &str| SqlOperator::columns_used(q, schema()).expect("plans");
    assert_eq!(used(W2), ["user_id", "type", "price", "quantity", "ts"]);
    assert_eq!(used("SELECT * FROM input").len(), schema().fields().len());
    assert_eq!(
        used("SELECT user_id FROM (SELECT * FROM input) AS t WHERE address['city'] = 'Ulm'"),
        ["user_id", "address"]
    );
    assert!(used("SELECT count(*) AS n FROM input").is_empty());
}

/// A row operator plans nothing that needs memory or a runtime.
#[test]
fn a_row_operator_works_without_memory_and_runtime() {
    let limits = SqlLimits { memory: Memory::Bytes(0), ..SqlLimits::default() };
    let Operator::Rows(op) = SqlOperator::plan(W2, schema(), limits).expect("plans") else { panic!("is row-wise") };
    assert_eq!(op.apply(rows()).expect("is no error").num_rows(), 4);
}

/// Prints rows per second: an indication (the profile is that of the tests), not a bound.
/// `cargo test -p tidemill-operators --test rowwise -- --ignored --nocapture overhead`
#[test]
#[ignore = "measures"]
fn overhead_of_w2() {
    const ROWS: usize = 16_384;
    let fields = vec![
        Field::new("user_id", DataType::Int64, false),
        Field::new("type", DataType::Utf8, false),
        Field::new("price", DataType::Float64, true),
        Field::new("quantity", DataType::Int64, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), true),
    ];
    let kinds = ["view", "purchase", "click", "search"];
    let schema = Arc::new(Schema::new(fields));
    let n = ROWS as i64;
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int64Array::from_iter_values(0..n)),
            Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| kinds[i * 7 % 4]))),
            Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64 / 7.0))),
            Arc::new(Int64Array::from_iter_values((0..n).map(|i| i % 5))),
            Arc::new(TimestampMillisecondArray::from_iter_values(0..n).with_timezone("+00:00")),
        ],
    )
    .expect("fits");
    for query in [W2, "SELECT * FROM input", "SELECT user_id, ts FROM input WHERE price > 100 AND quantity < 3"] {
        let op = row_wise(query, Arc::clone(&schema), &Clock::system());
        let begun = Instant::now();
        let mut times = 0u32;
        while begun.elapsed() < Duration::from_secs(1) {
            op.apply(batch.clone()).expect("is no error");
            times += 1;
        }
        let each = begun.elapsed() / times;
        let rate = ROWS as f64 / each.as_secs_f64() / 1e6;
        println!("{rate:7.1} M rows/s, {each:?} for {ROWS} rows: {query}");
    }
    let op = row_wise(W2, schema, &Clock::system());
    let begun = Instant::now();
    for _ in 0..10_000 {
        op.apply(batch.slice(0, 1)).expect("is no error");
    }
    println!("{:?} a call for one row", begun.elapsed() / 10_000);
}
