//! Tables that this sink does not write to, told by name before anything is written.

use tidemill_engine::sink::SinkError;

use super::actions::{Metadata, Protocol};

/// Features an append has nothing to do with, or that are minded by [`check`] where the table makes use of them.
const KNOWN: &[&str] = &[
    "appendOnly",
    "changeDataFeed", // an append needs no change files
    "checkConstraints",
    "clustering", // asks for statistics, which every file has
    "columnMapping",
    "deletionVectors", // of other files
    "domainMetadata",
    "generatedColumns",
    "identityColumns",
    "invariants",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// What a table may hold that every row would have to be checked against, or that values would have to be made for.
const IN_SCHEMA: &[(&str, &str)] = &[
    ("delta.invariants", "an invariant on a column"),
    ("delta.generationExpression", "a generated column"),
    ("delta.identity.start", "an identity column"),
];

/// Refuses a table whose rules this sink cannot keep.
pub(crate) fn check(place: &str, protocol: &Protocol, metadata: &Metadata) -> Result<(), SinkError> {
    let refused = |what: String| {
        Err(SinkError::person(format!(
            "the Delta table {place} has {what}, which this sink cannot keep: write to another table"
        )))
    };
    if protocol.min_reader_version > 3 || protocol.min_writer_version > 7 {
        return refused(format!(
            "a protocol of reader version {} and writer version {} (3 and 7 are known)",
            protocol.min_reader_version, protocol.min_writer_version
        ));
    }
    let features = protocol.reader_features.iter().chain(&protocol.writer_features).flatten();
    if let Some(unknown) = features.into_iter().find(|feature| !KNOWN.contains(&feature.as_str())) {
        return refused(format!("the feature `{unknown}`"));
    }
    if let Some(mode) = metadata.property("delta.columnMapping.mode").filter(|mode| *mode != "none") {
        return refused(format!("column mapping (delta.columnMapping.mode = {mode})"));
    }
    if let Some(name) = metadata.configuration.keys().find(|name| name.starts_with("delta.constraints.")) {
        return refused(format!("a check constraint ({name})"));
    }
    if let Some((_, what)) = IN_SCHEMA.iter().find(|(key, _)| metadata.schema_string.contains(&format!("\"{key}\""))) {
        return refused((*what).to_owned());
    }
    if let Some(after) = metadata.property("delta.setTransactionRetentionDuration") {
        return Err(SinkError::person(format!(
            "the Delta table {place} forgets positions after `{after}` (delta.setTransactionRetentionDuration), and with \
             them which records it holds: unset that property, or write to another table"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(configuration: &[(&str, &str)], schema: &str) -> Metadata {
        Metadata {
            id: "i".into(),
            schema_string: schema.into(),
            partition_columns: vec![],
            configuration: configuration.iter().map(|(k, v)| ((*k).into(), Some((*v).into()))).collect(),
            rest: Default::default(),
        }
    }

    fn protocol(features: &[&str]) -> Protocol {
        let features: Vec<String> = features.iter().map(|f| (*f).to_owned()).collect();
        Protocol {
            min_reader_version: 3,
            min_writer_version: 7,
            reader_features: Some(vec!["deletionVectors".into()]),
            writer_features: Some(features),
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        let plain = metadata(&[("delta.appendOnly", "true"), ("delta.columnMapping.mode", "none")], "{}");
        check("t", &protocol(&["deletionVectors", "columnMapping"]), &plain).unwrap();
        let says = |protocol: Protocol, metadata: Metadata, part: &str| {
            let error = check("t", &protocol, &metadata).unwrap_err();
            assert!(error.message.contains(part), "{error}");
            assert_eq!(error.reaction, tidemill_engine::sink::Reaction::Person);
        };
        says(protocol(&["rowTracking"]), plain.clone(), "`rowTracking`");
        says(protocol(&["inCommitTimestamp"]), plain.clone(), "`inCommitTimestamp`");
        says(Protocol { min_writer_version: 8, ..protocol(&[]) }, plain.clone(), "writer version 8");
        let properties = [
            ("delta.setTransactionRetentionDuration", "interval 7 days"),
            ("delta.columnMapping.mode", "name"),
            ("delta.constraints.positive", "x > 0"),
        ];
        for (name, value) in properties {
            says(protocol(&[]), metadata(&[(name, value)], "{}"), name);
        }
        says(protocol(&[]), metadata(&[], r#"{"metadata":{"delta.generationExpression":"a + 1"}}"#), "generated");
    }
}
