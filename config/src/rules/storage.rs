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
        match storage {
            Storage::S3(s3) => self::s3(rules, &path, s3),
            Storage::Gcs(gcs) => {
                endpoint(rules, &path, gcs.endpoint.as_ref(), gcs.allow_http);
                texts(rules, &path, &[("endpoint", &gcs.endpoint), ("credentials_path", &gcs.credentials_path)]);
            }
            Storage::Azure(azure) => {
                endpoint(rules, &path, azure.endpoint.as_ref(), azure.allow_http);
                let (account, key) = (&azure.account, &azure.access_key);
                texts(rules, &path, &[("account", account), ("access_key", key), ("endpoint", &azure.endpoint)]);
                if key.is_some() && account.is_none() {
                    rules.conflict(&join(&path, "access_key"), "needs account beside it");
                }
            }
        }
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
    } else if let (Some((_, folder)), Some(storage)) = (sink.place(), config.storages.get(storage.as_str())) {
        let scheme = storage.scheme();
        match folder.split_once("://") {
            None => {
                let message = format!("without effect on a local folder: expected {scheme}://bucket/prefix beside it");
                rules.conflict(&key, message);
            }
            Some((other, _)) if other != scheme => {
                rules.conflict(&key, format!("is reached with {scheme}://…, and the place begins with {other}://"));
            }
            Some(_) => {}
        }
    }
}

fn endpoint(rules: &mut Rules<'_>, path: &str, endpoint: Option<&Text>, allow_http: bool) {
    let Some(endpoint) = endpoint else { return };
    let key = join(path, "endpoint");
    if endpoint.starts_with("http://") {
        if !allow_http {
            rules.conflict(&key, "is without TLS: expected https://…, or allow_http = true beside it");
        }
    } else if !endpoint.starts_with("https://") {
        let shown = quote(endpoint.shown());
        rules.bad(&key, format!("expected https://host:port or http://host:port, found {shown}"));
    }
}

fn texts(rules: &mut Rules<'_>, path: &str, texts: &[(&str, &Option<Text>)]) {
    for (name, text) in texts {
        let (key, Some(text)) = (join(path, name), text) else { continue };
        rules.not_empty(&key, text);
        if text.shown() == REDACTED && !text.is_empty() {
            let message = "a secret stands in the file; better a reference: \"${env:NAME}\" or \"${file:/path}\"";
            rules.warn(FaultKind::InlineSecret, &key, message);
        }
    }
}

fn s3(rules: &mut Rules<'_>, path: &str, s3: &S3) {
    let key = |name: &str| format!("{path}.{name}");
    endpoint(rules, path, s3.endpoint.as_ref(), s3.allow_http);
    match (&s3.access_key_id, &s3.secret_access_key) {
        (Some(_), None) => rules.conflict(&key("access_key_id"), "needs secret_access_key beside it"),
        (None, Some(_)) => rules.conflict(&key("secret_access_key"), "needs access_key_id beside it"),
        (None, None) if s3.session_token.is_some() => {
            rules.conflict(&key("session_token"), "needs access_key_id and secret_access_key beside it");
        }
        _ => {}
    }
    let all = [
        ("endpoint", &s3.endpoint),
        ("region", &s3.region),
        ("access_key_id", &s3.access_key_id),
        ("secret_access_key", &s3.secret_access_key),
        ("session_token", &s3.session_token),
    ];
    texts(rules, path, &all);
}
