//! Whether the topics of a run are still those that it began on.
//!
//! librdkafka goes on reading when a topic was deleted and made again under its name: at the old offset if the new log
//! reaches as far, or it waits in vain, without a word. So the brokers are asked now and then, and nobody waits for the
//! answer. That a topic is *gone* the client tells by itself, and a broker that has just started says so of topics that
//! are there: it proves nothing here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemill_engine::source::SourceError;

use super::ffi::{AdminError, Answers, KafkaConsumer, TopicFacts, TopicsAsked};

/// How often they are asked while a run reads.
const EVERY: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The identities of a run's topics.
pub(super) struct TopicWatch {
    /// At the run's begin; topics without an id (older brokers) are absent.
    known: BTreeMap<String, Arc<str>>,
    asked_at: Duration,
    asked: Option<TopicsAsked>,
}

impl TopicWatch {
    /// Watches topics that had these ids just before `now`.
    pub(super) fn new(known: BTreeMap<String, Arc<str>>, now: Duration) -> Self {
        Self { known, asked_at: now, asked: None }
    }

    /// Asks when it is time, and looks at the answer when it is there.
    ///
    /// # Errors
    /// When a topic is another one now. What was read since the last look may be of either.
    pub(super) fn look(&mut self, consumer: &Arc<KafkaConsumer>, now: Duration) -> Result<(), SourceError> {
        if let Some(asked) = &mut self.asked {
            let Some(answer) = asked.answer() else { return Ok(()) };
            self.asked = None;
            return self.judge(answer);
        }
        if !self.known.is_empty() && now.saturating_sub(self.asked_at) >= EVERY {
            self.asked_at = now;
            let topics: Vec<&str> = self.known.keys().map(String::as_str).collect();
            self.asked = Some(TopicsAsked::new(consumer, &topics, ANSWER_WITHIN));
        }
        Ok(())
    }

    /// No answer proves nothing: the next one will do.
    fn judge(&self, answer: Result<Answers<String, TopicFacts>, AdminError>) -> Result<(), SourceError> {
        for (topic, facts) in answer.unwrap_or_default() {
            let id = facts.ok().and_then(|facts| facts.id);
            if let (Some(was), Some(is)) = (self.known.get(&topic), id)
                && *was != is
            {
                return Err(SourceError::retry(format!(
                    "topic {topic} was deleted and made again while it was read (id {is}, was {was}): what was read and \
                     is not committed is given up, and the next start decides by on_data_loss"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::*;

    fn judged(answer: Result<Answers<String, TopicFacts>, AdminError>) -> Result<(), SourceError> {
        let known = [("t".to_owned(), Arc::from("a")), ("u".to_owned(), Arc::from("b"))].into();
        TopicWatch::new(known, Duration::ZERO).judge(answer)
    }

    fn id(topic: &str, id: Option<&str>) -> (String, Result<TopicFacts, AdminError>) {
        (topic.to_owned(), Ok(TopicFacts { id: id.map(Arc::from) }))
    }

    #[test]
    fn another_id_is_another_topic_and_is_named() {
        let error = judged(Ok(vec![id("t", Some("a")), id("u", Some("c"))])).unwrap_err();
        assert!(error.retry, "the next start asks a person, or goes on: {error}");
        assert!(error.message.contains("topic u ") && error.message.contains("(id c, was b)"), "{error}");
    }

    #[test]
    fn what_is_not_known_proves_nothing() {
        let failed = |code| AdminError { code, text: String::new() };
        for answer in [
            Ok(vec![id("t", Some("a")), id("u", Some("b")), id("w", Some("x"))]),
            Ok(vec![id("t", None), ("u".to_owned(), Err(failed(Code::UnknownTopicOrPartition)))]),
            Ok(vec![]),
            Err(failed(Code::OperationTimedOut)),
        ] {
            let text = format!("{answer:?}");
            assert!(judged(answer).is_ok(), "{text}");
        }
    }
}
