//! Rules about Iceberg sinks.

use super::Rules;
use crate::fault::{FaultKind, quote};
use crate::text::REDACTED;
use crate::tree::join;
use crate::types::{Config, Iceberg, IcebergCatalog, Sink};

/// Properties that mean something; `header.NAME` does too.
const PROPERTIES: &[&str] = &["prefix", "scope", "audience", "resource", "oauth2-server-uri"];

pub(super) fn check(rules: &mut Rules<'_>, config: &Config) {
    for (name, job) in &config.jobs {
        let path = join("job", name);
        if let Sink::Iceberg(sink) = &job.sink {
            self::sink(rules, &format!("{path}.sink"), sink);
        }
        if let Some(Sink::Iceberg(sink)) = &job.dead_letter {
            self::sink(rules, &format!("{path}.dead_letter"), sink);
            let same =
                matches!(&job.sink, Sink::Iceberg(main) if main.table == sink.table && main.catalog == sink.catalog);
            if same {
                rules
                    .conflict(&format!("{path}.dead_letter.table"), "is the table of the job's sink: expected another");
            }
        }
    }
}

fn sink(rules: &mut Rules<'_>, path: &str, sink: &Iceberg) {
    let key = |name: &str| format!("{path}.{name}");
    let parts: Vec<&str> = sink.table.split('.').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.trim().is_empty()) {
        rules.bad(&key("table"), format!("expected namespace.table, found {}", quote(sink.table.shown())));
    }
    for (i, field) in sink.partition_by.iter().enumerate() {
        let key = format!("{path}.partition_by[{i}]");
        rules.not_empty(&key, field);
        if sink.partition_by[..i].contains(field) {
            rules.bad(&key, format!("the partition field {} is given a second time", quote(field.shown())));
        }
    }
    let IcebergCatalog::Rest(rest) = &sink.catalog;
    let key = |name: &str| format!("{path}.catalog.{name}");
    if !rest.uri.starts_with("http://") && !rest.uri.starts_with("https://") {
        let message = format!("expected https://host:port or http://host:port, found {}", quote(rest.uri.shown()));
        rules.bad(&key("uri"), message);
    }
    if rest.token.is_some() && rest.credential.is_some() {
        rules.conflict(&key("token"), "and credential do not go together: expected one of them");
    }
    for (name, text) in [("warehouse", &rest.warehouse), ("token", &rest.token), ("credential", &rest.credential)] {
        let Some(text) = text else { continue };
        rules.not_empty(&key(name), text);
        if text.shown() == REDACTED && !text.is_empty() {
            let message = "a secret stands in the file; better a reference: \"${env:NAME}\" or \"${file:/path}\"";
            rules.warn(FaultKind::InlineSecret, &key(name), message);
        }
    }
    rules.inline_secrets(&key("properties"), &rest.properties);
    for name in rest.properties.keys() {
        if !PROPERTIES.contains(&name.as_str()) && !name.starts_with("header.") {
            let known = PROPERTIES.join(", ");
            let key = join(&key("properties"), name);
            rules.warn(FaultKind::NoEffect, &key, format!("without effect; there are {known}, header.NAME"));
        }
    }
}
