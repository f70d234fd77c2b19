//! What to do about an error of the client: wait, end the run, or ask a person.

use rdkafka::error::RDKafkaErrorCode as Code;
use tidemill_engine::source::SourceError;

/// How an error that names no partition is taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    /// The client goes on by itself.
    Wait,
    /// Worth one warning; the client goes on by itself.
    Warn,
    /// End the source; making it anew may help.
    Retry,
    /// End the source; somebody has to change something.
    Person,
}

/// Errors at the level of the client, the group or a topic.
pub(super) fn client(code: Code) -> Reaction {
    match code {
        Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::MessageTimedOut
        | Code::WaitingForCoordinator
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::NotCoordinator
        | Code::NetworkException
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::RebalanceInProgress
        | Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::MemberIdRequired
        | Code::StaleMemberEpoch
        | Code::FencedMemberEpoch
        | Code::PartitionEOF => Reaction::Wait,
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::PollExceeded => {
            Reaction::Warn
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::InvalidGroupId
        | Code::InvalidTopic
        | Code::UnsupportedAssignor
        | Code::UnsupportedVersion
        | Code::FencedInstanceId
        | Code::UnreleasedInstanceId => Reaction::Person,
        _ => Reaction::Retry,
    }
}

/// True for errors of a partition that librdkafka overcomes without passing over a record.
pub(super) fn partition_recovers(code: Code) -> bool {
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NetworkException
    )
}

/// What to do about `code`, for those whose name does not say it.
pub(super) fn hint(code: Code) -> &'static str {
    match code {
        // Heals by itself while daemons are changed one by one: once the last of the old kind has left.
        Code::InconsistentGroupProtocol => {
            "; a member of the group shares out partitions in another way: give all daemons of this consumer_group \
             the same static_membership, group_protocol and partition.assignment.strategy"
        }
        _ => "",
    }
}

/// A fatal error of the client: it is of no use any more. `lost`: it has lost its membership before.
pub(super) fn fatal(code: Code, text: &str, member_id: Option<&str>, lost: bool) -> SourceError {
    match (code, member_id) {
        // A broker that hung answers what it was asked before, too: our own request to join fences the one after it.
        (Code::FencedInstanceId, Some(id)) if lost => SourceError::retry(format!(
            "the group instance id {id} was taken anew after this member had lost its place: {text}"
        )),
        // After an outage longer than the session a commit of the former membership can meet our own new one.
        (Code::FencedInstanceId, Some(id)) if text.starts_with("OffsetCommit") => SourceError::retry(format!(
            "a commit under the group instance id {id} came after the id was taken anew: {text}"
        )),
        (Code::FencedInstanceId | Code::UnreleasedInstanceId, Some(id)) => SourceError::person(format!(
            "another member uses the group instance id {id}: {text}; give each daemon a [daemon] instance of its own, \
             or stop the other one"
        )),
        _ => SourceError::retry(format!("the Kafka client failed for good: {text} ({code:?}); it is made anew")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fenced_member_is_named_and_needs_a_person() {
        let error = fatal(Code::FencedInstanceId, "fenced", Some("tidemill-j-a"), false);
        assert!(!error.retry && error.message.contains("tidemill-j-a"), "{error}");
        assert!(
            fatal(Code::FencedInstanceId, "OffsetCommit failed: fenced", Some("i"), false).retry,
            "it may be our own"
        );
        assert!(fatal(Code::FencedInstanceId, "fenced", Some("i"), true).retry, "our own, from before");
        assert!(fatal(Code::Fatal, "x", None, false).retry);
    }

    #[test]
    fn members_that_assign_otherwise_are_waited_for_and_named() {
        assert_eq!(client(Code::InconsistentGroupProtocol), Reaction::Retry, "a rolling change ends by itself");
        assert!(hint(Code::InconsistentGroupProtocol).contains("static_membership"));
        assert_eq!(hint(Code::InvalidTopic), "");
    }

    #[test]
    fn a_damaged_batch_is_never_waited_out() {
        for code in [Code::BadMessage, Code::BadCompression, Code::InvalidMessage, Code::OffsetOutOfRange] {
            assert!(!partition_recovers(code), "{code:?}");
        }
    }
}
