//! Rules about columns: of the format, and those that the sink's folders are made from.

use std::collections::BTreeSet;

use super::Rules;
use crate::fault::quote;
use crate::near::did_you_mean;
use crate::types::{Field, Format, Job, Sink};

/// Lengths in Arrow's arrays are 32 bits.
const LARGEST_RECORD: u64 = 1 << 30;
/// What object stores copy in one request.
const LARGEST_FILE: u64 = 4 << 30;

pub(super) fn check(rules: &mut Rules<'_>, path: &str, job: &Job) {
    let format = format!("{path}.format");
    let metadata = job.format.metadata();
    for (i, column) in metadata.iter().enumerate() {
        if metadata[..i].contains(column) {
            rules.bad(&format!("{format}.metadata[{i}]"), "given a second time");
        }
    }
    let (Format::Json(crate::types::Json { max_record_bytes, .. })
    | Format::Raw(crate::types::Raw { max_record_bytes, .. })) = &job.format;
    let key = format!("{format}.max_record_bytes");
    rules.some_bytes(&key, *max_record_bytes);
    if *max_record_bytes > LARGEST_RECORD {
        rules.bad(&key, "expected at most \"1GiB\"");
    }
    let mut columns: BTreeSet<&str> = metadata.iter().map(|column| column.column()).collect();
    if let Format::Json(json) = &job.format {
        fields(rules, &format!("{format}.fields"), &json.fields, &columns);
        columns.extend(json.fields.iter().map(|field| &*field.name));
    }
    let known = (job.operators.is_empty() && !rules.broken(&format)).then_some(&columns);
    sink(rules, path, "sink", &job.sink, known);
    super::postgres::check(rules, path, job, known);
    if let Some(dead_letter) = &job.dead_letter {
        sink(rules, path, "dead_letter", dead_letter, None);
    }
}

fn fields(rules: &mut Rules<'_>, path: &str, fields: &[Field], taken: &BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    for (i, field) in fields.iter().enumerate() {
        let key = format!("{path}[{i}]");
        let name = format!("{key}.name");
        if field.name.is_empty() {
            rules.bad(&name, "expected a name, found an empty string");
        } else if !seen.insert(&*field.name) {
            rules.bad(&name, format!("a second field named {}", quote(field.name.shown())));
        } else if taken.contains(&*field.name) {
            rules.conflict(
                &name,
                format!("the metadata column {} has this name; leave one of them out", quote(field.name.shown())),
            );
        }
        let inner = format!("{key}.fields");
        let given = rules.walked.places.contains_key(&inner);
        match (field.data_type.has_struct(), field.data_type.fields().is_empty()) {
            // A broken list of fields is said already.
            (true, true) if rules.broken(&inner) => {}
            (true, true) => rules.conflict(
                &format!("{key}.type"),
                "a struct needs fields: expected fields = [{ name = \"…\", type = \"…\" }, …] beside it",
            ),
            (true, false) => self::fields(rules, &inner, field.data_type.fields(), &BTreeSet::new()),
            (false, _) if given && !rules.broken(&format!("{key}.type")) => {
                rules.conflict(&inner, format!("only a struct has fields, and the type is \"{}\"", field.data_type))
            }
            (false, _) => {}
        }
    }
}

/// `columns`: the columns that come to the sink, where they are known without planning a query.
fn sink(rules: &mut Rules<'_>, path: &str, part: &str, sink: &Sink, columns: Option<&BTreeSet<&str>>) {
    if let Sink::Parquet(crate::types::Parquet { file_size, .. })
    | Sink::Ndjson(crate::types::Ndjson { file_size, .. })
    | Sink::Delta(crate::types::Delta { file_size, .. })
    | Sink::Iceberg(crate::types::Iceberg { file_size, .. }) = sink
    {
        let key = format!("{path}.{part}.file_size");
        rules.some_bytes(&key, *file_size);
        if *file_size > LARGEST_FILE {
            rules.bad(&key, "expected at most \"4GiB\"");
        }
    }
    if let (Sink::Kafka(kafka), Some(columns)) = (sink, columns) {
        for (key, column) in kafka.columns() {
            if !columns.contains(&**column) {
                let hint = if column.is_secret() { None } else { did_you_mean(column, columns.iter().copied()) };
                let known = || format!("known: {}", columns.iter().copied().collect::<Vec<_>>().join(", "));
                let message = format!("no column is named {}; {}", quote(column.shown()), hint.unwrap_or_else(known));
                rules.bad(&format!("{path}.{part}.{key}"), message);
            }
        }
    }
    let by = sink.partition_by();
    for (i, column) in by.iter().enumerate() {
        let key = format!("{path}.{part}.partition_by[{i}]");
        let shown = quote(column.shown());
        if by[..i].contains(column) {
            rules.bad(&key, format!("the column {shown} is given a second time"));
        } else if let Some(columns) = columns.filter(|columns| !columns.contains(&**column)) {
            let hint = if column.is_secret() { None } else { did_you_mean(column, columns.iter().copied()) };
            let known = || format!("known: {}", columns.iter().copied().collect::<Vec<_>>().join(", "));
            rules.bad(&key, format!("no column is named {shown}; {}", hint.unwrap_or_else(known)));
        }
    }
    if columns.is_some_and(|columns| !by.is_empty() && columns.iter().all(|c| by.iter().any(|b| &**b == *c))) {
        let key = format!("{path}.{part}.partition_by");
        rules.bad(&key, "takes every column: none is left for the files");
    }
}
