//! The walk of the tree along the schema: finds every fault of shape, and makes the JSON that serde reads.
//!
//! Where something is wrong or missing a placeholder goes into the JSON, so that serde always gets a whole
//! configuration and the rules about values that belong together can be checked in the same go. The places of
//! placeholders are remembered, and nothing is said about them twice.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};

use crate::fault::{Fault, FaultKind, quote};
use crate::forms::{self, Form};
use crate::near::did_you_mean;
use crate::schema::{self, resolve, variants};
use crate::text::names_a_secret;
use crate::tree::{Entry, Node, Place, Value, join};
use words::{TEXT, expected, found, hint, list, placeholder};

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

/// Tables and arrays inside each other, at most: what reads the result does so by recursion.
const DEEPEST: usize = 48;

/// Walks `root` along `schema`.
pub(crate) fn walk(schema: &Json, root: &Node) -> Walked {
    let mut walk = Walk { schema, parents: Vec::new(), depth: 0, out: Walked::default() };
    let json = walk.node("", root, schema);
    walk.out.json = json;
    walk.out
}

struct Walk<'s> {
    schema: &'s Json,
    /// Tables above, with their paths: for keys that stand below the wrong header.
    parents: Vec<(String, &'s Json)>,
    depth: usize,
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
        if self.depth >= DEEPEST && matches!(node.value, Value::Table(_) | Value::Array(_)) {
            let message = format!("expected at most {DEEPEST} tables and arrays inside each other");
            self.fault(FaultKind::BadValue, path, &node.place, message);
            return self.placeholder(path, schema);
        }
        self.depth += 1;
        let checked = self.checked(path, node, schema);
        self.depth -= 1;
        checked.unwrap_or_else(|| self.placeholder(path, schema))
    }

    /// The JSON of a value; `None` when it has a fault, which is noted.
    fn checked(&mut self, path: &str, node: &Node, schema: &'s Json) -> Option<Json> {
        let target = resolve(self.schema, schema);
        if let Some(form) = target.get("x-form").and_then(Json::as_str).and_then(forms::find) {
            // Some forms may be written as a table instead.
            if matches!(node.value, Value::Table(_)) && target.get("additionalProperties").is_some() {
                return self.table(path, node, target);
            }
            self.form(path, node, form, target)
        } else if !variants(target).is_empty() {
            self.tagged(path, node, target)
        } else if !schema::words(target).is_empty() {
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
        }
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
            Value::Datetime(text) if matches!(form.name, "start" | "until") => (text.clone(), None),
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
        let words: Vec<&str> = schema::words(schema).into_iter().map(|(word, _)| word).collect();
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
