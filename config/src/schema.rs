//! The JSON Schema of a configuration, from the types.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema};
use serde_json::Value as Json;

use crate::types::Config;

/// The JSON Schema of a configuration file, for editors. `x-form` names the form of a string (a duration, a size, …),
/// `x-default` says in words what a default that is no constant is.
#[must_use]
pub fn schema() -> Json {
    let mut schema = of::<Config>();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "Tidemill configuration".into());
    }
    schema
}

/// The schema of a type, without `null`: TOML has none.
pub(crate) fn of<T: JsonSchema>() -> Json {
    let mut schema = SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>();
    WithoutNull.transform(&mut schema);
    schema.to_value()
}

#[derive(Clone)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        let Some(object) = schema.as_object_mut() else { return };
        if object.get("default").is_some_and(Json::is_null) || object.contains_key("x-default") {
            object.remove("default");
        }
        if let Some(Json::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".into(), only);
            }
        }
        if let Some(Json::Array(any)) = object.get_mut("anyOf") {
            any.retain(|schema| schema.get("type").is_none_or(|name| name != "null"));
            if let [Json::Object(only)] = any.as_slice() {
                let only = only.clone();
                object.remove("anyOf");
                for (key, value) in only {
                    object.entry(key).or_insert(value);
                }
            }
        }
    }
}

/// Follows `$ref` to the definition.
pub(crate) fn resolve<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    let mut schema = schema;
    // Bounded, should a definition ever name itself.
    for _ in 0..8 {
        let Some(pointer) = schema.get("$ref").and_then(Json::as_str) else { break };
        let Some(target) = root.pointer(pointer.trim_start_matches('#')) else { break };
        schema = target;
    }
    schema
}

/// The words of an enumeration, with what each means; empty when it is none.
pub(crate) fn words(schema: &Json) -> Vec<(&str, &str)> {
    if let Some(Json::Array(words)) = schema.get("enum") {
        return words.iter().filter_map(Json::as_str).map(|word| (word, "")).collect();
    }
    let variants = schema.get("oneOf").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let mut words = Vec::new();
    for variant in variants {
        let meaning = variant.get("description").and_then(Json::as_str).unwrap_or_default();
        if let Some(word) = variant.get("const").and_then(Json::as_str) {
            words.push((word, meaning));
        } else if let Some(Json::Array(plain)) = variant.get("enum") {
            words.extend(plain.iter().filter_map(Json::as_str).map(|word| (word, meaning)));
        }
    }
    words
}

/// The variants of a table whose `type` says what it is: the type and the schema of the table.
pub(crate) fn variants(schema: &Json) -> Vec<(&str, &Json)> {
    let variants = schema.get("oneOf").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    variants
        .iter()
        .filter_map(|variant| Some((variant.pointer("/properties/type/const")?.as_str()?, variant)))
        .collect()
}
