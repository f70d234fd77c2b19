//! Rules about object stores, and about who names them.

use std::collections::BTreeSet;

use super::Rules;
use crate::fault::{FaultKind, quote};
use crate::near::did_you_mean;
use crate::text::{REDACTED, Text};
use crate::tree::join;
use crate::types::{Config, S3, Sink, Storage};

pub(super) fn check(rules: &mut Rules<'_>, config: &Config) {
    for (name, storage) in &config.storages {
        let path = join("storage", name);
        let Storage::S3(s3) = storage;
        self::s3(rules, &path, s3);
    }
    let mut used = BTreeSet::new();
    for (name, job) in &config.jobs {
        let path = join("job", name);
        named(rules, config, &format!("{path}.sink"), &job.sink, &mut used);
        if let Some(dead_letter) = &job.dead_letter {
            named(rules, config, &format!("{path}.dead_letter"), dead_letter, &mut used);
        }
    }
    for name in config.storages.keys().filter(|name| !used.contains(name.as_str())) {
        rules.warn(FaultKind::NoEffect, &join("storage", name), "no sink and no dead letter names it");
    }
}

fn named<'c>(rules: &mut Rules<'_>, config: &'c Config, path: &str, sink: &'c Sink, used: &mut BTreeSet<&'c str>) {
    let Some(storage) = sink.storage() else { return };
    let key = format!("{path}.storage");
    used.insert(storage.as_str());
    if !config.storages.contains_key(storage.as_str()) {
        let names = config.storages.keys().map(String::as_str);
        let hint = if storage.is_secret() { None } else { did_you_mean(storage, names.clone()) };
        let known = || match config.storages.is_empty() {
            true => "there is none".to_owned(),
            false => format!("there are {}", names.collect::<Vec<_>>().join(", ")),
        };
        let shown = quote(storage.shown());
        rules.bad(&key, format!("no [storage.NAME] table is named {shown}; {}", hint.unwrap_or_else(known)));
    } else if sink.place().is_some_and(|(_, folder)| !folder.contains("://")) {
        rules.conflict(&key, "without effect on a local folder: expected s3://bucket/prefix beside it");
    }
}

fn s3(rules: &mut Rules<'_>, path: &str, s3: &S3) {
    let key = |name: &str| format!("{path}.{name}");
    if let Some(endpoint) = &s3.endpoint {
        if endpoint.starts_with("http://") {
            if !s3.allow_http {
                rules.conflict(&key("endpoint"), "is without TLS: expected https://…, or allow_http = true beside it");
            }
        } else if !endpoint.starts_with("https://") {
            let shown = quote(endpoint.shown());
            rules.bad(&key("endpoint"), format!("expected https://host:port or http://host:port, found {shown}"));
        }
    }
    match (&s3.access_key_id, &s3.secret_access_key) {
        (Some(_), None) => rules.conflict(&key("access_key_id"), "needs secret_access_key beside it"),
        (None, Some(_)) => rules.conflict(&key("secret_access_key"), "needs access_key_id beside it"),
        (None, None) if s3.session_token.is_some() => {
            rules.conflict(&key("session_token"), "needs access_key_id and secret_access_key beside it");
        }
        _ => {}
    }
    let texts: [(&str, &Option<Text>); 5] = [
        ("endpoint", &s3.endpoint),
        ("region", &s3.region),
        ("access_key_id", &s3.access_key_id),
        ("secret_access_key", &s3.secret_access_key),
        ("session_token", &s3.session_token),
    ];
    for (name, text) in texts {
        let Some(text) = text else { continue };
        rules.not_empty(&key(name), text);
        if text.shown() == REDACTED && !text.is_empty() {
            let message = "a secret stands in the file; better a reference: \"${env:NAME}\" or \"${file:/path}\"";
            rules.warn(FaultKind::InlineSecret, &key(name), message);
        }
    }
}
