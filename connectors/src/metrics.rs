//! Every metric of the connectors, as documented.

use metrics::Unit;
use tidemill_engine::metrics::{Described, Kind};

/// Metrics of the connectors.
pub const METRICS: &[Described] = &[Described {
    name: crate::json::UNKNOWN_FIELDS_TOTAL,
    kind: Kind::Counter,
    labels: &[],
    unit: Unit::Count,
    help: "Names of fields that records have and the schema has not, counted once for each name and job; such fields are ignored.",
}];
