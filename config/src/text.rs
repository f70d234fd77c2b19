//! Strings that know whether they may be shown.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::forms::form_schema;

/// What stands for a secret.
pub(crate) const REDACTED: &str = "***";

/// A string of the configuration. One that came from a reference is shown (`Debug`, serialized) as the file has it,
/// `${env:NAME}`, never as what the reference gave; an inline secret is shown as `***`. Its value is had by
/// [`as_str`](Text::as_str) or by deref. There is no `Display`: nobody shows one by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text {
    value: String,
    shown: Option<String>,
}

impl Text {
    /// A string that is shown as `shown`.
    #[must_use]
    pub fn secret(value: impl Into<String>, shown: impl Into<String>) -> Self {
        Self { value: value.into(), shown: Some(shown.into()) }
    }

    /// The value itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// What may be shown.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.value)
    }

    /// Whether it may not be shown as it is.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.shown.is_some()
    }
}

impl From<&str> for Text {
    fn from(value: &str) -> Self {
        Self { value: value.to_owned(), shown: None }
    }
}

impl From<String> for Text {
    fn from(value: String) -> Self {
        Self { value, shown: None }
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.value
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.value
    }
}

impl AsRef<Path> for Text {
    fn as_ref(&self) -> &Path {
        Path::new(&self.value)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shown().fmt(f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// How the walk hands a string on: plain, or with what may be shown of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Handed {
    Plain(String),
    Secret { value: String, shown: String },
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Handed::deserialize(deserializer)? {
            Handed::Plain(value) => Self { value, shown: None },
            Handed::Secret { value, shown } => Self { value, shown: Some(shown) },
        })
    }
}

/// Reads a key that is a secret: one that stands in the file itself is never shown.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text>, D::Error> {
    let mut text = Option::<Text>::deserialize(deserializer)?;
    if let Some(text) = &mut text {
        text.shown.get_or_insert_with(|| REDACTED.into());
    }
    Ok(text)
}

form_schema!(impl Text, { "type": "string", "x-form": "text" });

/// Properties of a client. A value whose name says that it is a secret is never shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Properties(BTreeMap<String, Text>);

impl Properties {
    /// Adds or replaces one.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Text>) {
        let (name, mut value) = (name.into(), value.into());
        if value.shown.is_none() && names_a_secret(&name) {
            value.shown = Some(REDACTED.into());
        }
        self.0.insert(name, value);
    }
}

impl Deref for Properties {
    type Target = BTreeMap<String, Text>;
    fn deref(&self) -> &BTreeMap<String, Text> {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut properties = Self::default();
        for (name, value) in BTreeMap::<String, Text>::deserialize(deserializer)? {
            properties.insert(name, value);
        }
        Ok(properties)
    }
}

impl JsonSchema for Properties {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Properties".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "integer", "boolean"], "x-form": "property" }
        })
    }
}

/// Whether the value of a key of this name is never shown.
pub(crate) fn names_a_secret(name: &str) -> bool {
    const PARTS: &[&str] =
        &["password", "passwd", "passphrase", "secret", "token", "key.pem", "credential", "jaas", "oauthbearer.config"];
    let name = name.to_lowercase().replace('_', ".");
    PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_shown_as_their_reference() {
        let text = Text::secret("hunter2", "${env:PW}");
        assert_eq!(format!("{text:?}"), "\"${env:PW}\"");
        assert_eq!(serde_json::to_string(&text).expect("json"), "\"${env:PW}\"");
        assert_eq!(text.as_str(), "hunter2");
    }

    #[test]
    fn properties_hide_secrets_by_name() {
        let mut properties = Properties::default();
        for name in
            ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret", "SASL_PASSWORD"]
        {
            properties.insert(name, "hunter2");
        }
        properties.insert("client.id", "tidemill");
        let shown = format!("{properties:?}{}", serde_json::to_string(&properties).expect("json"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("tidemill"));
        assert_eq!(properties["sasl.password"].as_str(), "hunter2");
    }
}
