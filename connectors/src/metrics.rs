//! Every metric of the connectors, as documented.

use metrics::Unit;
use tidemill_engine::metrics::{Described, Kind};

use crate::kafka::traffic;

/// Metrics of the connectors.
pub const METRICS: &[Described] = &[
    Described {
        name: crate::json::UNKNOWN_FIELDS_TOTAL,
        kind: Kind::Counter,
        labels: &[],
        unit: Unit::Count,
        help: "Names of fields that records have and the schema has not, counted once for each name and job; such fields are ignored.",
    },
    Described {
        name: traffic::RECEIVED_BYTES_TOTAL,
        kind: Kind::Counter,
        labels: &["job", "client"],
        unit: Unit::Bytes,
        help: "Bytes that a job's Kafka client (source, sink) received from brokers, as they come over the network: compressed, protocol included. Read every five seconds; the last ones of a client that ends are not counted.",
    },
    Described {
        name: traffic::SENT_BYTES_TOTAL,
        kind: Kind::Counter,
        labels: &["job", "client"],
        unit: Unit::Bytes,
        help: "Bytes that a job's Kafka client (source, sink) sent to brokers; see tidemill_kafka_received_bytes_total.",
    },
];
