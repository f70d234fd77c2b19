//! The words of the walk's faults, and the values it puts where one is missing.

use serde_json::{Map, Value as Json, json};

use crate::fault::quote;
use crate::forms::{self, Form};
use crate::near::nearest;
use crate::schema::{resolve, variants, words};
use crate::text::names_a_secret;
use crate::tree::{Node, Value};

pub(super) const TEXT: Form = Form { name: "text", expected: "a string", example: "x", check: |_| Ok(()) };

/// `one of "a", "b"`.
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", quoted.join(", ")),
    }
}

pub(super) fn hint(found: &str, words: &[&str]) -> String {
    nearest(found, words.iter().copied()).map(|word| format!("; did you mean {word:?}")).unwrap_or_default()
}

/// What a schema wants, in words.
pub(super) fn expected(schema: &Json) -> String {
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
pub(super) fn found(path: &str, node: &Node) -> String {
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
pub(super) fn placeholder(root: &Json, schema: &Json, depth: usize) -> Json {
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
