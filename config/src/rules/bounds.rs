//! Rules about where a Kafka source begins and ends.

use std::collections::BTreeMap;

use super::Rules;
use crate::forms::start::parse_partition;
use crate::text::Text;
use crate::tree::join;
use crate::types::{Kafka, Offsets, Start, Until};

pub(super) fn check(rules: &mut Rules<'_>, path: &str, kafka: &Kafka) {
    let (start_key, until_key) = (join(path, "start"), join(path, "until"));
    let start = match &kafka.start {
        Start::Offsets(offsets) => Some(check_offsets(rules, &start_key, offsets, &kafka.topics)),
        _ => None,
    };
    let until = match &kafka.until {
        Some(Until::Offsets(offsets)) => Some(check_offsets(rules, &until_key, offsets, &kafka.topics)),
        _ => None,
    };
    if let (Start::Time(start), Some(Until::Time(until))) = (&kafka.start, &kafka.until)
        && until <= start
    {
        rules.conflict(&until_key, format!("expected a time after `start` ({})", kafka.start));
    }
    let (Some(start), Some(until)) = (start, until) else { return };
    for (partition, (key, from)) in &start {
        match until.get(partition) {
            None => rules.conflict(
                &join(&start_key, key),
                "`until` does not name this partition: nothing of it would be read; give it an end, or leave it out here",
            ),
            Some((key, to)) if to < from => rules.conflict(
                &join(&until_key, key),
                format!("expected an offset of {from} or more, which is this partition's `start`, found {to}"),
            ),
            Some(_) => {}
        }
    }
}

/// Checks a table of offsets. Returns what is right of it: by topic and partition the key and the offset.
fn check_offsets<'o>(
    rules: &mut Rules<'_>,
    path: &str,
    offsets: &'o Offsets,
    topics: &'o [Text],
) -> BTreeMap<(&'o str, i32), (&'o str, i64)> {
    if offsets.0.is_empty() {
        rules.bad(path, "expected at least one partition, such as { \"topic/0\" = 1000 }, found an empty table");
    }
    let mut found: BTreeMap<(&str, i32), (&str, i64)> = BTreeMap::new();
    for (key, offset) in &offsets.0 {
        // What has not the form was said already.
        let Ok((topic, partition)) = parse_partition(key) else { continue };
        let place = join(path, key);
        let topic = match (topic, topics) {
            (Some(topic), _) if topics.iter().any(|t| names(t, topic)) => topic,
            (Some(_), _) => {
                rules.bad(&place, "`topics` has no such topic");
                continue;
            }
            (None, [only]) if !only.starts_with('^') => only.as_str(),
            (None, _) => {
                rules.bad(&place, "which topic? expected \"TOPIC/NUMBER\", for there may be several");
                continue;
            }
        };
        if let Some((first, _)) = found.insert((topic, partition), (key, *offset)) {
            rules.conflict(&place, format!("the same partition as {first:?}"));
        }
    }
    found
}

/// Whether one of `topics` is the topic or matches it.
fn names(wanted: &Text, topic: &str) -> bool {
    match wanted.starts_with('^') {
        // One that cannot be read is said to be wrong where it stands.
        true => regex::Regex::new(wanted).map_or(true, |expression| expression.is_match(topic)),
        false => wanted.as_str() == topic,
    }
}
