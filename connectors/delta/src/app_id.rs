//! Positions as Delta keeps them: one application transaction (`txn`) for each partition, its version the position.
//!
//! The application id is `tidemill/JOB/TOPIC/PARTITION`, with `/TOPIC-ID` at its end where the source knows one. When a
//! topic is made again under the same name, a new application id takes over, and the old one is *retired* with version
//! -1 in the same commit: at most one application id of a partition has a version that is a position.

use std::sync::Arc;

use tidemill_engine::partition::{Partition, Position};

/// The version of an application id that another one has taken over from.
pub(crate) const RETIRED: i64 = -1;

/// What the application ids of `job` begin with.
pub(crate) fn prefix(job: &str) -> String {
    format!("tidemill/{}/", escape(job))
}

/// The application id of a partition.
pub(crate) fn make(job: &str, partition: &Partition, topic_id: Option<&str>) -> String {
    let mut id = format!("{}{}/{}", prefix(job), escape(&partition.topic), partition.index);
    if let Some(topic_id) = topic_id {
        id.push('/');
        id.push_str(&escape(topic_id));
    }
    id
}

/// The partition and the topic id in an application id that begins with `prefix`.
pub(crate) fn parse(prefix: &str, id: &str) -> Option<(Partition, Option<Arc<str>>)> {
    let mut parts = id.strip_prefix(prefix)?.split('/');
    let (topic, index) = (unescape(parts.next()?), parts.next()?.parse().ok()?);
    let topic_id = parts.next().map(|id| Arc::from(unescape(id)));
    parts.next().is_none().then(|| (Partition::new(topic, index), topic_id))
}

/// The position that a version stands for.
pub(crate) fn position(version: i64, topic_id: Option<Arc<str>>) -> Option<Position> {
    (version >= 0).then_some(Position { offset: version, topic_id })
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F")
}

fn unescape(text: &str) -> String {
    text.replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_whose_position_it_is() {
        for (job, topic, topic_id) in [("orders", "clicks", None), ("a/b", "x%2F/y", Some("Zm9v_-"))] {
            let partition = Partition::new(topic, 7);
            let id = make(job, &partition, topic_id);
            assert_eq!(parse(&prefix(job), &id), Some((partition, topic_id.map(Arc::from))), "{id}");
        }
        assert_eq!(make("orders", &Partition::new("clicks", 0), Some("id")), "tidemill/orders/clicks/0/id");
        for foreign in ["tidemill/order/clicks/0", "tidemill/orders/clicks", "tidemill/orders/clicks/0/a/b", "spark"] {
            assert_eq!(parse("tidemill/orders/", foreign), None, "{foreign}");
        }
    }
}
