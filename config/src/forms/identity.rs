//! Names that become identities: of jobs and of daemons. They stand in paths, metrics and ids of clients.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::form_schema;
use crate::types::{Group, Job, Storage};

/// Whether a job may be called so; else what is wrong.
pub(crate) fn check_job(name: &str) -> Result<(), String> {
    check(name, |c| matches!(c, 'a'..='z' | '0'..='9' | '_' | '-'))
}

/// Whether a daemon may be called so; else what is wrong.
pub(crate) fn check_instance(name: &str) -> Result<(), String> {
    check(name, |c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-'))?;
    if name.starts_with('.') { Err("it begins with '.'".into()) } else { Ok(()) }
}

fn check(name: &str, allowed: fn(char) -> bool) -> Result<(), String> {
    match name.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(format!("it has {c:?}")),
        None if name.is_empty() => Err("it is empty".into()),
        None if name.len() > 63 => Err(format!("it has {} characters", name.len())),
        None => Ok(()),
    }
}

form_schema!(
    /// Schema of a daemon's name.
    InstanceForm,
    { "type": "string", "x-form": "instance", "pattern": "^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,62}$" }
);

/// Schema of the tables of jobs, by name.
pub(crate) struct JobTables;

impl JsonSchema for JobTables {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JobTables".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = <BTreeMap<String, Job>>::json_schema(generator);
        let names = json_schema!({ "pattern": "^[a-z0-9_-]{1,63}$", "x-form": "job_name" });
        schema.insert("propertyNames".into(), names.to_value());
        schema
    }
}

/// Schema of the tables of object stores, by name.
pub(crate) struct StorageTables;

impl JsonSchema for StorageTables {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StorageTables".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <BTreeMap<String, Storage>>::json_schema(generator)
    }
}

/// Schema of the tables of groups, by name.
pub(crate) struct GroupTables;

impl JsonSchema for GroupTables {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "GroupTables".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = <BTreeMap<String, Group>>::json_schema(generator);
        let names = json_schema!({ "pattern": "^[a-z0-9_-]{1,63}$", "x-form": "group_name" });
        schema.insert("propertyNames".into(), names.to_value());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(check_job("orders-2_b"), Ok(()));
        assert_eq!(check_job("Orders"), Err("it has 'O'".into()));
        assert_eq!(check_job(""), Err("it is empty".into()));
        assert_eq!(check_job(&"a".repeat(64)), Err("it has 64 characters".into()));
        assert_eq!(check_job(&"a".repeat(63)), Ok(()));
        assert_eq!(check_instance("Node-1.b"), Ok(()));
        assert_eq!(check_instance("..").map_err(|e| e.is_empty()), Err(false));
        assert_eq!(check_instance("a/b"), Err("it has '/'".into()));
    }
}
