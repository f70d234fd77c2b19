//! Bytes of a client's connections, and what it holds fetched, from librdkafka's statistics.
//!
//! With many partitions the statistics are megabytes of JSON, and nearly all of it is theirs. Nothing is parsed: the
//! totals are the last words of the text and looked for from its end, the queue's size is found by a search for bytes.
//! (Measured with 1,000 partitions, 0.7 MB: a tenth of a millisecond, every five seconds.)

use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem;
use metrics::{Counter, Gauge, counter, gauge};
use tidemill_engine::metrics::MEMORY;

/// Bytes received by Kafka clients.
pub const RECEIVED_BYTES_TOTAL: &str = "tidemill_kafka_received_bytes_total";
/// Bytes sent by Kafka clients.
pub const SENT_BYTES_TOTAL: &str = "tidemill_kafka_sent_bytes_total";

/// Counts for one client. A client that is made anew begins at nothing, the counters go on.
pub(super) struct Traffic {
    received: Counter,
    sent: Counter,
    /// Fetched records that wait; only a consumer has them.
    prefetch: Option<Gauge>,
    received_before: AtomicU64,
    sent_before: AtomicU64,
}

impl Traffic {
    /// Of a job's source.
    pub(super) fn of_source(job: &str) -> Self {
        let mut traffic = Self::of(job, "source");
        traffic.prefetch = Some(gauge!(MEMORY, "job" => job.to_owned(), "kind" => "prefetch"));
        traffic
    }

    /// Of a job's sink.
    pub(super) fn of_sink(job: &str) -> Self {
        Self::of(job, "sink")
    }

    fn of(job: &str, client: &'static str) -> Self {
        let counted = |name| counter!(name, "job" => job.to_owned(), "client" => client);
        Self {
            received: counted(RECEIVED_BYTES_TOTAL),
            sent: counted(SENT_BYTES_TOTAL),
            prefetch: None,
            received_before: AtomicU64::new(0),
            sent_before: AtomicU64::new(0),
        }
    }

    /// librdkafka's statistics, as JSON.
    pub(super) fn on_statistics(&self, json: &[u8]) {
        for (key, counter, before) in [
            (&br#""rx_bytes":"#[..], &self.received, &self.received_before),
            (&br#""tx_bytes":"#[..], &self.sent, &self.sent_before),
        ] {
            if let Some(now) = total(json, key) {
                counter.increment(now.saturating_sub(before.swap(now, Ordering::Relaxed)));
            }
        }
        if let Some(prefetch) = &self.prefetch {
            #[allow(clippy::cast_precision_loss)] // a gauge is a float
            prefetch.set(fetched(json) as f64);
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        if let Some(prefetch) = &self.prefetch {
            prefetch.set(0.0);
        }
    }
}

/// The number behind the last `key`.
fn total(json: &[u8], key: &[u8]) -> Option<u64> {
    number(&json[memmem::rfind(json, key)? + key.len()..])
}

/// Bytes that wait in the run's queue. All partitions are forwarded to that one, and each gives its size as its own.
fn fetched(json: &[u8]) -> u64 {
    const KEY: &[u8] = br#""fetchq_size":"#;
    memmem::find_iter(json, KEY).filter_map(|at| number(&json[at + KEY.len()..])).max().unwrap_or(0)
}

fn number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As librdkafka 2.12 writes it, most left out.
    const STATISTICS: &str = r#"{ "name": "rdkafka#consumer-1", "type": "consumer", "brokers":{ "127.0.0.1:9092/1": { "state":"UP", "tx":90, "txbytes":4001, "rx":89, "rxbytes":700012 } , "GroupCoordinator": { "state":"UP", "txbytes":99, "rxbytes":188 } }, "topics":{ "t": { "partitions":{ "0": { "fetchq_cnt":3, "fetchq_size":1800, "rxbytes":61 } , "1": { "fetchq_cnt":3, "fetchq_size":1801, "rxbytes":62 } , "-1": { "fetchq_cnt":0, "fetchq_size":0 } } } }, "cgrp": { "state": "up" }, "tx":95, "tx_bytes":4100, "rx":94, "rx_bytes":700200, "txmsgs":0, "txmsg_bytes":0, "rxmsgs":7, "rxmsg_bytes":123}"#;

    #[test]
    fn totals_and_the_queue_are_found_without_parsing() {
        let json = STATISTICS.as_bytes();
        assert_eq!(total(json, br#""rx_bytes":"#), Some(700_200));
        assert_eq!(total(json, br#""tx_bytes":"#), Some(4100));
        assert_eq!(fetched(json), 1801, "one queue, seen by every partition");
        for odd in ["", "{}", r#"{"rx_bytes":}"#, r#"{"rx_bytes":"#, r#"{"rx_bytes":-1}"#] {
            assert_eq!((total(odd.as_bytes(), br#""rx_bytes":"#), fetched(odd.as_bytes())), (None, 0), "{odd}");
        }
    }

    #[test]
    fn only_what_came_since_is_counted() {
        let traffic = Traffic::of_sink("j");
        traffic.on_statistics(STATISTICS.as_bytes());
        traffic.on_statistics(br#"{"rx_bytes":5}"#);
        let before = [&traffic.received_before, &traffic.sent_before].map(|b| b.load(Ordering::Relaxed));
        assert_eq!(before, [5, 4100], "what is not told stays as it was");
    }
}
