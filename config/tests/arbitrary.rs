//! No text makes a panic, and a fault is always in the file.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use proptest::prelude::*;
use tidemill_config::FaultKind;

const ORDERS: &str = include_str!("../examples/orders.toml");

fn holds(text: &str) -> Result<(), TestCaseError> {
    let lines = text.lines().count().max(1) as u32 + 1;
    match common::load(text) {
        Ok(loaded) => {
            let _ = (format!("{loaded:?}"), serde_json::to_string(&loaded.config));
        }
        Err(faults) => {
            prop_assert!(!faults.is_empty());
            for fault in faults {
                prop_assert!((1..=lines).contains(&fault.line) && fault.column >= 1, "{fault}");
                prop_assert!(!fault.message.contains("please report this"), "the walk lets nothing bad pass: {fault}");
                prop_assert!(fault.kind != FaultKind::File);
                let _ = fault.to_string();
            }
        }
    }
    Ok(())
}

/// Values of all types, of the forms that the keys take and others.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("\"5s\"".to_owned()),
        Just("\"1MiB\"".to_owned()),
        Just("\"int64\"".to_owned()),
        Just("\"kafka\"".to_owned()),
        Just("\"parquet\"".to_owned()),
        Just("\"json\"".to_owned()),
        Just("\"${env:X}\"".to_owned()),
        Just("2026-01-01T00:00:00Z".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| if n.is_finite() { format!("{n:?}") } else { "nan".into() }),
        any::<bool>().prop_map(|b| b.to_string()),
        "[ -~]{0,12}".prop_map(|text| format!("{text:?}")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::btree_map(key(), inner, 0..4).prop_map(|table| {
                let entries: Vec<_> = table.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "type",
            "name",
            "fields",
            "path",
            "query",
            "brokers",
            "topics",
            "properties",
            "metadata",
            "max_age",
            "partition_by",
            "source",
            "sink",
            "format",
            "window",
            "operator",
            "dead_letter",
            "on_error",
            "start",
        ])
        .prop_map(str::to_owned),
        "[a-z_]{1,8}",
        "[ -~]{0,8}".prop_map(|text| format!("{text:?}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        holds(&text)?;
    }

    /// A good file with a piece cut out, doubled or overwritten.
    #[test]
    fn damaged_files(at in 0..ORDERS.len(), len in 0usize..60, with in "[ -~\n]{0,20}") {
        let from = ORDERS.floor_char_boundary(at);
        let to = ORDERS.floor_char_boundary((at + len).min(ORDERS.len()));
        holds(&format!("{}{with}{}", &ORDERS[..from], &ORDERS[to..]))?;
    }

    /// A good file with one value replaced by any other.
    #[test]
    fn other_values(line in 0..ORDERS.lines().count(), value in value()) {
        let text: Vec<String> = ORDERS
            .lines()
            .enumerate()
            .map(|(i, text)| match text.split_once('=') {
                Some((key, _)) if i == line => format!("{key}= {value}"),
                _ => text.to_owned(),
            })
            .collect();
        holds(&text.join("\n"))?;
    }

    /// Tables of known and unknown keys with values of any type.
    #[test]
    fn any_tables(keys in proptest::collection::btree_map(key(), value(), 0..8), header in proptest::sample::select(vec![
        "[daemon]", "[job.a]", "[job.a.source]", "[[job.a.operator]]", "[job]", "[job.\"\"]", "[x.\"y.z\"]",
    ])) {
        let lines: Vec<_> = keys.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        holds(&format!("{header}\n{}\n", lines.join("\n")))?;
    }
}
