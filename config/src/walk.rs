//! The walk of the tree along the schema: finds every fault of shape, and makes the JSON that serde reads.
//!
//! Where something is wrong or missing a placeholder goes into the JSON, so that serde always gets a whole
//! configuration and the rules about values that belong together can be checked in the same go. The places of
//! placeholders are remembered, and nothing is said about them twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::fault::{Fault, FaultKind, quote};
use crate::forms::{self, Form};
use crate::near::{did_you_mean, nearest};
use crate::schema::{resolve, variants, words};
use crate::text::names_a_secret;
use crate::tree::{Entry, Node, Place, Value, join};

/// What the walk found.
#[derive(Default)]
pub(crate) struct Walked {
    pub(crate) json: Json,
    pub(crate) faults: Vec<Fault>,
    /// Where each key stands.
    pub(crate) places: BTreeMap<String, Place>,
    /// Keys that hold a placeholder.
    pub(crate) broken: BTreeSet<String>,
}

/// Walks `root` along `schema`.
pub(crate) fn walk(schema: &Json, root: &Node) -> Walked {
    let mut walk = Walk { schema, parents: Vec::new(), out: Walked::default() };
    let json = walk.node("", root, schema);
    walk.out.json = json;
    walk.out
}

struct Walk<'s> {
    schema: &'s Json,
    /// Tables above, with their paths: for keys that stand below the wrong header.
    parents: Vec<(String, &'s Json)>,
    out: Walked,
}

impl<'s> Walk<'s> {
    fn fault(&mut self, kind: FaultKind, path: &str, place: &Place, message: String) {
        self.out.faults.push(place.fault(kind, path, message));
    }

    fn placeholder(&mut self, path: &str, schema: &'s Json) -> Json {
        self.out.broken.insert(path.to_owned());
        placeholder(self.schema, schema, 0)
    }

    fn node(&mut self, path: &str, node: &Node, schema: &'s Json) -> Json {
        self.out.places.insert(path.to_owned(), node.place.clone());
        if matches!(node.value, Value::Broken) {
            return self.placeholder(path, schema);
        }
        let target = resolve(self.schema, schema);
        let checked = if let Some(form) = target.get("x-form").and_then(Json::as_str).and_then(forms::find) {
            self.form(path, node, form, target)
        } else if !variants(target).is_empty() {
            self.tagged(path, node, target)
        } else if !words(target).is_empty() {
            self.word(path, node, target)
        } else {
            match target.get("type").and_then(Json::as_str) {
                Some("object") => self.table(path, node, target),
                Some("array") => self.array(path, node, target),
                Some("string") => self.form(path, node, &TEXT, target),
                Some("boolean") => match node.value {
                    Value::Boolean(boolean) => Some(json!(boolean)),
                    _ => self.wrong(path, node, "true or false"),
                },
                Some("integer") => self.integer(path, node, target),
                Some("number") => match node.value {
                    Value::Float(float) if float.is_finite() => Some(json!(float)),
                    Value::Integer(Some(_)) => self.integer(path, node, target),
                    _ => self.wrong(path, node, "a number"),
                },
                _ => None,
            }
        };
        checked.unwrap_or_else(|| self.placeholder(path, schema))
    }

    /// Not of the type that was expected.
    fn wrong(&mut self, path: &str, node: &Node, expected: &str) -> Option<Json> {
        let mut message = format!("expected {expected}, found {}", found(path, node));
        match &node.value {
            Value::Integer(_) if expected.contains("duration") => {
                message.push_str("; a duration needs a unit, in quotes")
            }
            Value::Text { value, .. } if expected.starts_with("true") && matches!(&**value, "true" | "false") => {
                message.push_str("; leave out the quotes");
            }
            Value::Text { value, .. } if expected.starts_with("an integer") && value.parse::<i64>().is_ok() => {
                message.push_str("; leave out the quotes");
            }
            Value::Table(_) if names_a_secret(path) || path.contains(".properties.") => {
                message.push_str("; a name with dots needs quotes, as in \"client.id\" = …");
            }
            _ => {}
        }
        self.fault(FaultKind::WrongType, path, &node.place, message);
        None
    }

    fn form(&mut self, path: &str, node: &Node, form: &Form, schema: &Json) -> Option<Json> {
        let takes = |name: &str| match schema.get("type") {
            Some(Json::Array(types)) => types.iter().any(|t| t == name),
            Some(one) => one == name,
            None => false,
        };
        let (text, shown) = match &node.value {
            Value::Text { value, shown } => (value.clone(), shown.clone()),
            Value::Integer(Some(_)) if form.name == "size" => return self.integer(path, node, schema),
            Value::Integer(Some(integer)) if takes("integer") => (integer.to_string(), None),
            Value::Boolean(boolean) if takes("boolean") => (boolean.to_string(), None),
            // TOML has times of its own.
            Value::Datetime(text) if form.name == "start" => (text.clone(), None),
            _ => return self.wrong(path, node, form.expected),
        };
        if let Err(detail) = (form.check)(&text) {
            // What is wrong with a secret would quote parts of it.
            let hidden = shown.is_some() || names_a_secret(path);
            let detail = if detail.is_empty() || hidden { String::new() } else { format!("; {detail}") };
            let message = format!("expected {}, found {}{detail}", form.expected, found(path, node));
            self.fault(FaultKind::BadValue, path, &node.place, message);
            return None;
        }
        Some(match shown {
            Some(shown) if matches!(form.name, "text" | "property" | "instance") => {
                json!({ "value": text, "shown": shown })
            }
            _ => json!(text),
        })
    }

    fn word(&mut self, path: &str, node: &Node, schema: &Json) -> Option<Json> {
        let words: Vec<&str> = words(schema).into_iter().map(|(word, _)| word).collect();
        let expected = list(&words);
        let Value::Text { value, shown } = &node.value else { return self.wrong(path, node, &expected) };
        if words.contains(&value.as_str()) {
            return Some(json!(value));
        }
        let near = if shown.is_none() { hint(value, &words) } else { String::new() };
        let message = format!("expected {expected}, found {}{near}", found(path, node));
        self.fault(FaultKind::BadValue, path, &node.place, message);
        None
    }

    fn integer(&mut self, path: &str, node: &Node, schema: &Json) -> Option<Json> {
        let bound =
            |key: &str| schema.get(key).and_then(|n| n.as_i64().map(i128::from).or(n.as_f64().map(|n| n as i128)));
        let min = bound("minimum").unwrap_or(i128::from(i64::MIN));
        let max = bound("maximum").unwrap_or(i128::from(i64::MAX));
        let Value::Integer(integer) = node.value else { return self.wrong(path, node, "an integer") };
        if let Some(n) = integer.filter(|n| (min..=max).contains(n)).and_then(|n| i64::try_from(n).ok()) {
            return Some(json!(n));
        }
        let expected = match (bound("minimum"), bound("maximum")) {
            (Some(min), Some(max)) => format!("an integer from {min} to {max}"),
            (Some(min), None) => format!("an integer of {min} or more"),
            _ => "an integer of 64 bits".into(),
        };
        self.fault(FaultKind::BadValue, path, &node.place, format!("expected {expected}, found {}", found(path, node)));
        None
    }

    fn array(&mut self, path: &str, node: &Node, schema: &'s Json) -> Option<Json> {
        let Value::Array(items) = &node.value else { return self.wrong(path, node, "an array") };
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            self.fault(
                FaultKind::BadValue,
                path,
                &node.place,
                "expected at least one element, found an empty array".into(),
            );
            return None;
        }
        let each = schema.get("items")?;
        Some(items.iter().enumerate().map(|(i, item)| self.node(&format!("{path}[{i}]"), item, each)).collect())
    }

    /// A table whose `type` says what it is.
    fn tagged(&mut self, path: &str, node: &Node, schema: &'s Json) -> Option<Json> {
        let variants = variants(schema);
        let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
        let Value::Table(entries) = &node.value else {
            return self.wrong(path, node, &format!("a table with a type of {}", list(&names)));
        };
        let key = join(path, "type");
        let Some(entry) = entries.iter().find(|entry| entry.key == "type") else {
            let message = format!("missing; expected {}", list(&names));
            self.fault(FaultKind::MissingKey, &key, &node.place, message);
            return None;
        };
        let Value::Text { value, shown } = &entry.node.value else {
            if !matches!(entry.node.value, Value::Broken) {
                self.wrong(&key, &entry.node, &list(&names));
            }
            return None;
        };
        if let Some((_, variant)) = variants.iter().find(|(name, _)| name == value) {
            return self.table(path, node, variant);
        }
        let near = if shown.is_none() { hint(value, &names) } else { String::new() };
        let message = format!("expected {}, found {}{near}", list(&names), found(&key, &entry.node));
        self.fault(FaultKind::BadValue, &key, &entry.node.place, message);
        None
    }

    fn table(&mut self, path: &str, node: &Node, schema: &'s Json) -> Option<Json> {
        let Value::Table(entries) = &node.value else { return self.wrong(path, node, "a table") };
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties").filter(|schema| schema.is_object());
        let names = schema.pointer("/propertyNames/x-form").and_then(Json::as_str).and_then(forms::find);
        let mut json = Map::new();
        for entry in entries {
            let key = join(path, &entry.key);
            if let Some(property) = properties.and_then(|properties| properties.get(&entry.key)) {
                self.parents.push((path.to_owned(), schema));
                let value = self.node(&key, &entry.node, property);
                self.parents.pop();
                json.insert(entry.key.clone(), value);
            } else if let Some(other) = others {
                if let Some(Err(detail)) = names.map(|form| (form.check)(&entry.key)) {
                    let expected = names.map_or("", |form| form.expected);
                    let message = format!("expected {expected}, found {}; {detail}", quote(&entry.key));
                    self.fault(FaultKind::BadValue, &key, &entry.place, message);
                }
                let value = self.node(&key, &entry.node, other);
                json.insert(entry.key.clone(), value);
            } else {
                self.unknown(path, entry, schema);
            }
        }
        for name in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            if json.contains_key(name) {
                continue;
            }
            let Some(property) = properties.and_then(|properties| properties.get(name)) else { continue };
            let key = join(path, name);
            let target = resolve(self.schema, property);
            self.fault(FaultKind::MissingKey, &key, &node.place, format!("missing; expected {}", expected(target)));
            let value = self.placeholder(&key, property);
            json.insert(name.to_owned(), value);
        }
        Some(Json::Object(json))
    }

    fn unknown(&mut self, path: &str, entry: &Entry, schema: &'s Json) {
        let key = join(path, &entry.key);
        let properties = schema.get("properties").and_then(Json::as_object);
        let known = properties.into_iter().flatten().map(|(name, _)| name.as_str());
        let hint = did_you_mean(&entry.key, known.clone())
            .or_else(|| self.elsewhere(path, &entry.key, schema))
            .unwrap_or_else(|| format!("known here: {}", known.collect::<Vec<_>>().join(", ")));
        self.fault(FaultKind::UnknownKey, &key, &entry.place, format!("unknown key; {hint}"));
    }

    /// Whether a table above or below knows the key: a key below the wrong header.
    fn elsewhere(&self, path: &str, key: &str, schema: &'s Json) -> Option<String> {
        let has = |schema: &Json| {
            let tables = variants(schema);
            let mut all = tables.iter().map(|(_, table)| *table).chain([schema]);
            all.any(|table| table.pointer(&format!("/properties/{key}")).is_some())
        };
        if !key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return None;
        }
        let below =
            schema.get("properties").and_then(Json::as_object)?.iter().find(|(_, s)| has(resolve(self.schema, s)));
        if let Some((name, _)) = below {
            return Some(format!("it belongs to [{}]", join(path, name)));
        }
        let (above, _) = self.parents.iter().rev().find(|(above, schema)| has(schema) && !above.is_empty())?;
        Some(format!("it belongs to [{above}]: write it above the tables inside [{above}]"))
    }
}

const TEXT: Form = Form { name: "text", expected: "a string", example: "x", check: |_| Ok(()) };

/// `one of "a", "b"`.
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    }
}

fn hint(found: &str, words: &[&str]) -> String {
    nearest(found, words.iter().copied()).map(|word| format!("; did you mean {word:?}")).unwrap_or_default()
}

/// What a schema wants, in words.
fn expected(schema: &Json) -> String {
    if let Some(form) = schema.get("x-form").and_then(Json::as_str).and_then(forms::find) {
        return form.expected.to_owned();
    }
    let variants = variants(schema);
    if !variants.is_empty() {
        return format!("a table with a type of {}", list(&variants.iter().map(|(name, _)| *name).collect::<Vec<_>>()));
    }
    let words = words(schema);
    if !words.is_empty() {
        return list(&words.iter().map(|(word, _)| *word).collect::<Vec<_>>());
    }
    match schema.get("type").and_then(Json::as_str) {
        Some("object") => "a table".into(),
        Some("array") => "an array".into(),
        Some("integer") => "an integer".into(),
        Some("boolean") => "true or false".into(),
        _ => "a value".into(),
    }
}

/// What stands there, in words that give no secret away.
fn found(path: &str, node: &Node) -> String {
    let hidden = names_a_secret(path);
    match &node.value {
        Value::Text { shown: Some(shown), .. } => format!("the value of {}", quote(shown)),
        Value::Text { .. } if hidden => "a secret string".into(),
        Value::Integer(_) | Value::Float(_) | Value::Datetime(_) if hidden => "a secret value".into(),
        Value::Text { value, .. } => quote(value),
        Value::Integer(Some(integer)) => format!("{integer}"),
        Value::Integer(None) => "an integer of more than 128 bits".into(),
        Value::Float(float) => format!("the number {float}"),
        Value::Boolean(boolean) => format!("{boolean}"),
        Value::Datetime(text) => format!("the time {text}"),
        Value::Array(_) => "an array".into(),
        Value::Table(_) => "a table".into(),
        Value::Broken => "nothing".into(),
    }
}

/// A value that the schema takes.
fn placeholder(root: &Json, schema: &Json, depth: usize) -> Json {
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    let schema = resolve(root, schema);
    if let Some(form) = schema.get("x-form").and_then(Json::as_str).and_then(forms::find) {
        return json!(form.example);
    }
    let variants = variants(schema);
    let (name, schema) = variants.first().map_or((None, schema), |(name, schema)| (Some(*name), *schema));
    if let Some((word, _)) = words(schema).first() {
        return json!(word);
    }
    match schema.get("type").and_then(Json::as_str) {
        Some("object") if depth < 8 => {
            let mut json = Map::new();
            for key in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
                let property = &schema["properties"][key];
                json.insert(key.to_owned(), placeholder(root, property, depth + 1));
            }
            if let Some(name) = name {
                json.insert("type".into(), json!(name));
            }
            Json::Object(json)
        }
        Some("array") => json!([]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(0)),
        Some("boolean") => json!(false),
        _ => json!("x"),
    }
}
