//! Golden queries: `tests/golden/*.sql` hold a query and, behind `---`, what it gives over `input.ndjson`: the kind of
//! operator, the columns read, the output's schema, the rows, the errors of rows. Each runs over the window in one
//! batch and over many splits of it. `UPDATE_GOLDEN=1 cargo test -p tidemill-operators` rewrites them: read the diff.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use tidemill_engine::operator::Operator;
use tidemill_operators::{SqlLimits, SqlOperator};

use common::{rows, run, schema, split};

fn describe(query: &str, op: &Operator, result: &RecordBatch, errors: &[String]) -> String {
    let mut text = String::new();
    let kind = match op {
        Operator::Rows(_) => "rows",
        Operator::Window(_) => "window",
    };
    let used = SqlOperator::columns_used(query, schema()).expect("plans");
    writeln!(text, "kind: {kind}\nreads: {}", used.join(", ")).expect("a string");
    for field in op.schema().fields() {
        let null = if field.is_nullable() { "" } else { " not null" };
        writeln!(text, "column: {} {}{null}", field.name(), field.data_type()).expect("a string");
    }
    writeln!(text, "{}", pretty_format_batches(std::slice::from_ref(result)).expect("prints")).expect("a string");
    for error in errors {
        writeln!(text, "error: {error}").expect("a string");
    }
    text
}

#[tokio::test]
async fn every_golden_query_gives_its_result_whatever_the_split() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("is there")
        .map(|f| f.expect("can be read").path())
        .filter(|p| p.extension().is_some_and(|e| e == "sql"))
        .collect();
    files.sort();
    assert!(files.len() >= 20, "only {} golden queries found", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("can be read");
        let (query, expected) = text.split_once("---\n").unwrap_or((&text, ""));
        let name = file.display();
        let op = SqlOperator::plan(query, schema(), SqlLimits::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (whole, errors) = run(&op, vec![rows()]).await;
        let found = describe(query, &op, &whole, &errors);
        if update {
            std::fs::write(&file, format!("{query}---\n{found}")).expect("can be written");
        } else {
            assert_eq!(found, expected, "{name} (UPDATE_GOLDEN=1 rewrites it)");
        }
        for lengths in [&[1; 9][..], &[3, 3], &[0, 4, 0, 1], &[8], &[2, 0, 0, 5]] {
            let (result, split_errors) = run(&op, split(&rows(), lengths)).await;
            assert_eq!(result, whole, "{name} split as {lengths:?}");
            assert_eq!(split_errors, errors, "{name} split as {lengths:?}");
        }
        // Over only the columns it reads, the same comes out.
        let used = SqlOperator::columns_used(query, schema()).expect("plans");
        let indices: Vec<usize> = used.iter().map(|n| schema().index_of(n).expect("is a column")).collect();
        let fewer = rows().project(&indices).expect("are columns");
        let op = SqlOperator::plan(query, fewer.schema(), SqlLimits::default()).expect("plans with what it reads");
        let (result, _) = run(&op, vec![fewer]).await;
        assert_eq!(result, whole, "{name} over the columns it reads");
    }
}
