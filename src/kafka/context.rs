//! librdkafka's callbacks, put in a queue instead of being worked off in place.
//!
//! librdkafka asks that `assign` or `unassign` be called after a rebalance event, not that it be called
//! inside the callback. So the poll thread takes the event from here, goes on serving the main queue (errors,
//! and the deadline by which the group wants to see it polled) while the actors drain, and answers when it is done. Only during
//! the close is there nobody left to ask: then the callback answers at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mailroom_actors::ports::CommitRefusal;
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use super::client_log::ClientLog;

pub(super) type GroupConsumer = BaseConsumer<GroupContext>;

/// What the group says, in order.
#[derive(Debug)]
pub(super) enum GroupEvent {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
    Committed(Result<(), CommitRefusal>),
}

#[derive(Debug)]
pub struct GroupContext {
    log: ClientLog,
    events: Mutex<VecDeque<GroupEvent>>,
    closing: AtomicBool,
    callbacks: AtomicU64,
}

impl GroupContext {
    pub(super) fn new() -> GroupContext {
        GroupContext {
            log: ClientLog::new("consumer"),
            events: Mutex::default(),
            closing: AtomicBool::new(false),
            callbacks: AtomicU64::new(0),
        }
    }

    pub(super) fn next_event(&self) -> Option<GroupEvent> {
        self.events.lock().pop_front()
    }

    /// The last error and librdkafka's words for it, once.
    pub(super) fn take_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.log.take_error()
    }

    /// The answer to the outstanding commit.
    pub(super) fn committed(&self, result: KafkaResult<()>) {
        self.events.lock().push_back(GroupEvent::Committed(result.map_err(refusal)));
    }

    /// From now on rebalances are answered at once, without asking anybody.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// How many callbacks ran so far: a poll that raised it found something, though it returned nothing.
    pub(super) fn callbacks(&self) -> u64 {
        self.callbacks.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.count();
        self.log.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.count();
        self.log.error(error, reason);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &GroupConsumer, what: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        self.count();
        let assign = what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            // Any answer to an assign lets the close go on; what it gives is revoked right after.
            if assign {
                take_over(consumer, partitions)
            } else {
                let_go(consumer, partitions)
            };
            return;
        }
        let partitions = partitions.clone();
        let event = if assign { GroupEvent::Assign(partitions) } else { GroupEvent::Revoke(partitions) };
        self.events.lock().push_back(event);
    }
}

/// Begins to fetch `partitions` from the offsets in the list. False when librdkafka refuses.
pub(super) fn take_over(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> bool {
    let result = match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
    };
    if let Err(error) = &result {
        tracing::warn!(%error, "partitions can't be taken over");
    }
    result.is_ok()
}

/// Answers a revoke: `partitions` are given up, what was fetched of them is thrown away.
pub(super) fn let_go(consumer: &GroupConsumer, partitions: &TopicPartitionList) -> bool {
    let result = match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    };
    if let Err(error) = &result {
        tracing::warn!(%error, "partitions can't be given up");
    }
    result.is_ok()
}

/// Why a commit was not taken, and whether it is of any use to try again.
///
/// An old generation, or a member that the broker does not know, may be a rebalance under way in which we keep
/// our partitions; trying again can do no harm, and a real loss is told as one.
fn refusal(error: KafkaError) -> CommitRefusal {
    let not_ours = matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::AssignmentLost)
    );
    let metadata_too_large = error.rdkafka_error_code() == Some(RDKafkaErrorCode::OffsetMetadataTooLarge);
    CommitRefusal { reason: error.to_string(), not_ours, metadata_too_large }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_commit_of_partitions_that_are_not_ours_any_more_is_given_up() {
        let cases = [
            (RDKafkaErrorCode::IllegalGeneration, false),
            (RDKafkaErrorCode::UnknownMemberId, false),
            (RDKafkaErrorCode::FencedInstanceId, true),
            (RDKafkaErrorCode::RebalanceInProgress, false),
            (RDKafkaErrorCode::NotCoordinator, false),
            (RDKafkaErrorCode::RequestTimedOut, false),
            (RDKafkaErrorCode::OffsetMetadataTooLarge, false),
        ];
        for (code, not_ours) in cases {
            assert_eq!(refusal(KafkaError::ConsumerCommit(code)).not_ours, not_ours, "{code}");
        }
    }
}
