//! Fields that records have and the schema has not: each name is told once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Counter of the names of unknown fields, one for each name seen by a format.
pub const UNKNOWN_FIELDS_TOTAL: &str = "tidemill_json_unknown_fields_total";

/// Names that are told; more are only counted as one "and others".
const NAMES_MAX: usize = 256;

/// The unknown names of all decoders of a format.
#[derive(Debug, Default)]
pub(super) struct UnknownFields(Mutex<BTreeSet<String>>);

impl UnknownFields {
    /// Tells a name, if no decoder told it before.
    pub(super) fn tell(&self, path: &str, name: &str) {
        let full = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX || !names.insert(full.clone()) {
            return;
        }
        metrics::counter!(UNKNOWN_FIELDS_TOTAL).increment(1);
        let last = if names.len() == NAMES_MAX { "; further names are not told" } else { "" };
        tracing::warn!(field = %full.escape_debug(), "records have a field that the schema has not: it is ignored{last}");
    }

    /// The names told.
    pub(super) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
