//! What an error of the producer asks for, as a pure decision.

use rdkafka::error::RDKafkaErrorCode as Code;
use tidemill_engine::sink::{Reaction, SinkError};

use crate::kafka::ffi::transactions::TxnError;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Initialising the transactional id.
    Init,
    /// Beginning, producing, sending offsets, flushing: nothing is decided.
    Before,
    /// Committing.
    Commit,
}

/// Another owner took over: of the transactional id, or of the membership.
fn is_fenced(code: Code) -> bool {
    matches!(
        code,
        Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::FencedInstanceId
            | Code::StaleMemberEpoch
            | Code::FencedMemberEpoch
            | Code::RebalanceInProgress
    )
}

fn needs_a_person(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidTransactionTimeout
            | Code::InvalidTopic
            | Code::PolicyViolation
    )
}

/// The broker refuses a message, whatever is tried.
fn is_bad_row(code: Code) -> bool {
    matches!(code, Code::MessageSizeTooLarge | Code::InvalidMessage | Code::InvalidRecord | Code::InvalidTimestamp)
}

/// The reaction to a failed step. `shaken`: the client may have sent the request more than once.
pub(super) fn reaction(step: Step, error: &TxnError, shaken: bool) -> Reaction {
    let code = error.code;
    if needs_a_person(code) {
        return Reaction::Person;
    }
    if step == Step::Commit {
        return match code {
            // Fenced at the second attempt: the first may have landed before.
            _ if is_fenced(code) && !shaken => Reaction::Fenced,
            _ if is_bad_row(code) => Reaction::BadRow,
            // The broker fell over it, before or after it wrote the commit down.
            Code::Unknown => Reaction::Unknown,
            _ if error.abort => Reaction::Retry,
            _ => Reaction::Unknown,
        };
    }
    match code {
        _ if is_fenced(code) => Reaction::Fenced,
        _ if is_bad_row(code) => Reaction::BadRow,
        _ => Reaction::Retry,
    }
}

/// The error of a failed step, with its place.
pub(super) fn failed(what: &str, step: Step, error: &TxnError, shaken: bool, last: Option<String>) -> SinkError {
    let reaction = reaction(step, error, shaken);
    let why = last.filter(|last| *last != error.text).map_or_else(String::new, |last| format!(" (last: {last})"));
    let what_now = match reaction {
        Reaction::Fenced => "; another owner took over",
        Reaction::Unknown => "; whether it landed is asked at the next start",
        Reaction::BadRow => {
            "; the topic's max.message.bytes, or the sink's properties.\"message.max.bytes\", is too low for it"
        }
        _ => "",
    };
    SinkError::new(reaction, format!("{what}: {} ({:?}){why}{what_now}", error.text, error.code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: Code, abort: bool) -> TxnError {
        TxnError { code, text: "x".into(), abort }
    }

    #[test]
    fn only_a_commit_can_be_unknown() {
        for step in [Step::Init, Step::Before] {
            assert_eq!(reaction(step, &error(Code::OperationTimedOut, false), true), Reaction::Retry);
        }
        assert_eq!(reaction(Step::Commit, &error(Code::OperationTimedOut, false), false), Reaction::Unknown);
        assert_eq!(reaction(Step::Commit, &error(Code::Fatal, false), false), Reaction::Unknown);
        assert_eq!(reaction(Step::Commit, &error(Code::Unknown, true), false), Reaction::Unknown);
        assert_eq!(reaction(Step::Commit, &error(Code::InvalidTransactionalState, true), false), Reaction::Retry);
    }

    #[test]
    fn the_fenced_end_unless_an_earlier_attempt_may_have_landed() {
        for code in [Code::ProducerFenced, Code::Fenced, Code::IllegalGeneration, Code::UnknownMemberId] {
            assert_eq!(reaction(Step::Before, &error(code, false), true), Reaction::Fenced, "{code:?}");
            assert_eq!(reaction(Step::Commit, &error(code, false), false), Reaction::Fenced, "{code:?}");
            assert_eq!(reaction(Step::Commit, &error(code, false), true), Reaction::Unknown, "{code:?}");
        }
    }

    #[test]
    fn rights_are_for_people_and_sizes_for_rows() {
        assert_eq!(reaction(Step::Commit, &error(Code::TopicAuthorizationFailed, true), false), Reaction::Person);
        assert_eq!(reaction(Step::Commit, &error(Code::MessageSizeTooLarge, true), false), Reaction::BadRow);
    }
}
