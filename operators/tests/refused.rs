//! What is not a read-only query over `input` is refused, in words that help.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use tidemill_operators::{SqlLimits, SqlOperator};

use common::schema;

fn refusal(query: &str) -> String {
    match SqlOperator::plan(query, schema(), SqlLimits::default()) {
        Ok(_) => panic!("is not refused: {query}"),
        Err(e) => e.to_string(),
    }
}

#[test]
fn refused_queries_and_the_reasons() {
    let text = include_str!("refused.txt");
    let mut found = String::new();
    let mut queries = 0;
    for line in text.lines().filter(|l| l.starts_with("> ")) {
        queries += 1;
        let query = line[2..].replace("\\n", "\n");
        found += &format!("{line}\n{}\n\n", refusal(&query));
    }
    assert!(queries >= 30, "{queries}");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/refused.txt");
        std::fs::write(path, &found).expect("can be written");
    } else {
        assert_eq!(found, text, "UPDATE_GOLDEN=1 rewrites it");
    }
}

#[test]
fn a_place_is_given_in_numbers_too() {
    let e = SqlOperator::plan("SELECT user_id,\n       prise FROM input", schema(), SqlLimits::default());
    let e = e.err().expect("is refused");
    assert_eq!((e.line, e.column), (Some(2), Some(8)));
}

#[test]
fn no_message_is_several_lines_or_loud() {
    for line in include_str!("refused.txt").lines().filter(|l| !l.is_empty() && !l.starts_with("> ")) {
        assert!(!line.to_lowercase().contains("datafusion"), "{line}");
        assert!(!line.contains("bug"), "{line}");
    }
}

#[test]
fn long_and_deep_queries_are_refused_and_do_not_crash() {
    let limits = SqlLimits { query_bytes_max: 100, ..SqlLimits::default() };
    let e = SqlOperator::plan(&format!("SELECT {} FROM input", "1+".repeat(200)), schema(), limits).err();
    assert!(e.expect("is refused").message.contains("bytes long"));
    let parentheses = format!("SELECT {}price{} AS p FROM input", "(".repeat(5000), ")".repeat(5000));
    assert!(refusal(&parentheses).contains("nested too deeply"), "{}", refusal(&parentheses));
    let chain = format!("SELECT price{} AS p FROM input", " + price".repeat(8000));
    assert!(refusal(&chain).contains("levels"), "{}", refusal(&chain));
    // As many levels as the length of a query allows.
    let longest = format!("SELECT {}1 AS p FROM input", "1+".repeat(32_000));
    assert!(refusal(&longest).contains("levels"), "{}", refusal(&longest));
    let subqueries = format!("SELECT price FROM {}input{}", "(SELECT * FROM ".repeat(500), ") AS t".repeat(500));
    assert!(refusal(&subqueries).contains("nested too deeply"), "{}", refusal(&subqueries));
    let functions = format!("SELECT {}price{} AS p FROM input", "abs(".repeat(5000), ")".repeat(5000));
    assert!(refusal(&functions).contains("nested too deeply"), "{}", refusal(&functions));
    let ors = format!("SELECT user_id FROM input WHERE {}user_id = 7", "user_id = 5 OR ".repeat(4000));
    assert!(refusal(&ors).contains("IN list"), "{}", refusal(&ors));
}

/// What is just within the bounds plans in reasonable time and runs on a small stack.
#[test]
fn the_deepest_query_allowed_runs() {
    for query in [
        format!("SELECT user_id{} AS p FROM input", " + quantity".repeat(190)),
        format!("SELECT user_id FROM input WHERE {}price < 0", "price * quantity > 5 OR ".repeat(190)),
        format!("SELECT user_id FROM input WHERE user_id IN ({}7)", "1, ".repeat(5000)),
        format!("SELECT {}user_id FROM input", (0..800).map(|i| format!("price AS p{i}, ")).collect::<String>()),
    ] {
        let begun = std::time::Instant::now();
        let op = SqlOperator::plan(&query, schema(), SqlLimits::default()).unwrap_or_else(|e| panic!("{e}"));
        let tidemill_engine::operator::Operator::Rows(op) = op else { panic!("is row-wise") };
        assert!(begun.elapsed().as_secs() < 20, "{:?} to plan {}", begun.elapsed(), &query[..60]);
        // Half of what the daemon's workers have; unoptimised code needs several times as much as a release build.
        let on_a_small_stack = std::thread::Builder::new().stack_size(1 << 20);
        let rows = on_a_small_stack.spawn(move || op.apply(common::rows())).expect("starts").join().expect("no panic");
        assert!(rows.expect("is no error").num_rows() > 0);
    }
}

#[test]
fn rows_of_another_schema_are_refused() {
    let op = SqlOperator::plan("SELECT user_id FROM input", schema(), SqlLimits::default()).expect("plans");
    let tidemill_engine::operator::Operator::Rows(op) = op else { panic!("is row-wise") };
    let other = Arc::new(Schema::new(vec![Field::new("user_id", DataType::Int32, false)]));
    let e = op.apply(arrow::array::RecordBatch::new_empty(other)).expect_err("is refused");
    assert!(e.message.starts_with("the rows have other columns"), "{}", e.message);
}
