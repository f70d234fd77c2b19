//! `docs/configuration.md`, from the schema: the doc comments of the types are its text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::schema::{resolve, schema, variants, words};

const HEAD: &str = include_str!("docs_head.md");
const EXAMPLE: &str = include_str!("../examples/orders.toml");

/// Tables in the order of the data; any other comes after these.
const ORDER: &[&str] =
    &["daemon", "group", "job", "source", "format", "window", "operator", "sink", "dead_letter", "storage"];

/// The reference of all keys, in Markdown.
#[must_use]
pub fn docs() -> String {
    let schema = schema();
    let mut docs = Docs { root: &schema, out: HEAD.replace("{{example}}", EXAMPLE.trim_end()), seen: BTreeSet::new() };
    for (name, table) in docs.ordered(&schema) {
        if let Some(named) = table.get("additionalProperties").filter(|named| named.is_object()) {
            docs.table(&format!("[{name}.NAME]"), &format!("{name}.NAME"), named, Some(table));
        } else {
            docs.table(&format!("[{name}]"), name, table, Some(table));
        }
    }
    docs.out
}

struct Docs<'s> {
    root: &'s Json,
    out: String,
    /// Definitions that have their section: a second use links to it.
    seen: BTreeSet<&'s str>,
}

impl<'s> Docs<'s> {
    fn ordered(&self, table: &'s Json) -> Vec<(&'s str, &'s Json)> {
        let properties = table.get("properties").and_then(Json::as_object).into_iter().flatten();
        let mut tables: Vec<_> = properties.map(|(name, schema)| (name.as_str(), schema)).collect();
        let rank = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
        tables.sort_by_key(|(name, _)| (rank(name), *name));
        tables
    }

    /// A section for a table, and for the tables in it. `outer`: where its description may stand instead.
    fn table(&mut self, header: &str, path: &str, schema: &'s Json, outer: Option<&'s Json>) {
        let reference = schema.get("$ref").and_then(Json::as_str);
        if reference.is_some_and(|reference| !self.seen.insert(reference)) {
            return;
        }
        let target = resolve(self.root, schema);
        let kinds = variants(target);
        let _ = writeln!(self.out, "\n## `{header}`\n");
        let about = [outer.unwrap_or(schema), schema, target].into_iter().find_map(description);
        let _ = writeln!(self.out, "{}", about.unwrap_or_default());
        if kinds.is_empty() {
            self.keys(target);
            self.inner(path, target);
        }
        for (name, kind) in &kinds {
            let _ = writeln!(self.out, "\n### `type = \"{name}\"`\n\n{}", description(kind).unwrap_or_default());
            self.keys(kind);
        }
        for (_, kind) in kinds {
            self.inner(path, kind);
        }
    }

    fn inner(&mut self, path: &str, table: &'s Json) {
        for (name, schema) in self.ordered(table) {
            let target = resolve(self.root, schema);
            let path = format!("{path}.{name}");
            if is_table(target) {
                self.table(&format!("[{path}]"), &path, schema, Some(schema));
            } else if let Some(items) = target.get("items")
                && is_table(resolve(self.root, items))
            {
                self.table(&format!("[[{path}]]"), &path, items, None);
            }
        }
    }

    fn keys(&mut self, table: &'s Json) {
        let required: BTreeSet<&str> =
            table.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
        let mut keys: Vec<_> = table.get("properties").and_then(Json::as_object).into_iter().flatten().collect();
        keys.retain(|(name, schema)| !(*name == "type" && schema.get("const").is_some()));
        keys.sort_by_key(|(name, _)| (!required.contains(name.as_str()), *name));
        if keys.is_empty() {
            let _ = writeln!(self.out, "\nNo keys beside `type`.");
            return;
        }
        let _ = writeln!(self.out, "\n| key | type | default | meaning |\n|---|---|---|---|");
        for (name, schema) in keys {
            let target = resolve(self.root, schema);
            let default = if required.contains(name.as_str()) { "required".into() } else { default(schema, target) };
            let mut meaning = description(schema).or_else(|| description(target)).unwrap_or_default();
            let listed = target.get("items").map_or(target, |items| resolve(self.root, items));
            for (word, about) in words(listed) {
                let _ = write!(meaning, "<br>`\"{word}\"`: {about}");
            }
            let kind = self.kind(target);
            let row = [format!("`{name}`"), kind, default, meaning].map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(self.out, "| {} |", row.join(" | "));
        }
    }

    fn kind(&self, schema: &'s Json) -> String {
        match schema.get("x-form").and_then(Json::as_str) {
            Some("text" | "instance") => return "string".into(),
            Some("data_type") => return "[type](#types)".into(),
            Some("duration") => return "[duration](#durations)".into(),
            Some("size") => return "[size](#sizes)".into(),
            Some("listen") => return "address".into(),
            Some("start" | "until") => return "string, time or table of offsets".into(),
            _ => {}
        }
        if !words(schema).is_empty() {
            return "string".into();
        }
        match schema.get("type").and_then(Json::as_str) {
            _ if is_table(schema) => "table".into(),
            Some("object") => "table of values".into(),
            Some("array") => {
                let items = schema.get("items").map(|items| self.kind(resolve(self.root, items)));
                format!("array of {}s", items.unwrap_or_else(|| "value".into()))
            }
            Some(other) => other.into(),
            None => "value".into(),
        }
    }
}

fn is_table(schema: &Json) -> bool {
    !variants(schema).is_empty() || schema.get("properties").is_some()
}

/// One paragraph a paragraph: doc comments are wrapped at the width of code.
fn description(schema: &Json) -> Option<String> {
    let text = schema.get("description")?.as_str()?;
    Some(text.split("\n\n").map(|paragraph| paragraph.replace('\n', " ")).collect::<Vec<_>>().join("<br>"))
}

fn default(schema: &Json, target: &Json) -> String {
    if let Some(words) = schema.get("x-default").or_else(|| target.get("x-default")).and_then(Json::as_str) {
        return words.to_owned();
    }
    match schema.get("default").or_else(|| target.get("default")) {
        Some(Json::Object(keys)) if !keys.is_empty() => "its defaults".into(),
        Some(value) => format!("`{value}`"),
        None => "none".into(),
    }
}
