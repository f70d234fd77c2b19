//! What the tests share.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use tidemill_config::{Fault, Loaded, Lookup, load_text};

/// An environment and files that a test makes up.
#[derive(Default)]
pub struct Made(pub BTreeMap<&'static str, String>);

impl Lookup for Made {
    fn env(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
    fn file(&self, path: &Path) -> io::Result<String> {
        self.env(&path.to_string_lossy()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A job without a fault, with these lines after its first table.
#[allow(dead_code)]
pub fn job(more: &str) -> String {
    format!(
        r#"[job.a]
source = {{ type = "kafka", brokers = "127.0.0.1:9092", topics = ["t"] }}
format = {{ type = "json", fields = [{{ name = "x", type = "int64" }}] }}
sink = {{ type = "parquet", path = "./out" }}
{more}
"#
    )
}

/// Loads a text without any environment.
pub fn load(text: &str) -> Result<Loaded, Vec<Fault>> {
    load_text("a.toml", text, &Made::default())
}

/// The faults of a text, one a line.
#[allow(dead_code)]
pub fn faults(text: &str) -> Vec<String> {
    load(text).map(drop).expect_err("faults").iter().map(ToString::to_string).collect()
}
