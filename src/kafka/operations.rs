//! Asks the brokers what this user may do to a topic. Nothing is written to find out.
//!
//! The one place with `unsafe` code: librdkafka can ask (DescribeTopics), and rdkafka has no door to it. Each handle of
//! librdkafka's is in an [`Owned`], which gives it back; what a result points into is copied out before the result goes.

#![expect(unsafe_code, reason = "rdkafka has no safe DescribeTopics")]

use std::ffi::CString;
use std::ops::Deref;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::bindings::*;
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;

/// Something of librdkafka's that is ours to give back.
struct Owned<T> {
    pointer: *mut T,
    give_back: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// None for null.
    ///
    /// # Safety
    /// `pointer` is null or ours to give back by `give_back`, and nobody else does.
    unsafe fn new(pointer: *mut T, give_back: unsafe extern "C" fn(*mut T)) -> Option<Owned<T>> {
        (!pointer.is_null()).then_some(Owned { pointer, give_back })
    }
}

impl<T> Deref for Owned<T> {
    type Target = *mut T;

    fn deref(&self) -> &*mut T {
        &self.pointer
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: as `new` was promised; it is given back here only.
        unsafe { (self.give_back)(self.pointer) }
    }
}

/// Whether this user may write to `topic`; none where the brokers don't tell (older than Kafka 2.3, and some that are
/// no Kafka). Blocks, for `limit` at most.
///
/// # Errors
/// What the brokers answer instead, `TopicAuthorizationFailed` where the topic may not even be looked at; no answer.
pub(super) fn may_write(
    admin: &AdminClient<DefaultClientContext>,
    topic: &str,
    limit: Duration,
) -> KafkaResult<Option<bool>> {
    let no_memory = KafkaError::Global(RDKafkaErrorCode::Fail);
    let name = CString::new(topic).map_err(|_| KafkaError::Global(RDKafkaErrorCode::InvalidTopic))?;
    let milliseconds = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let client = admin.inner().native_ptr();
    let mut names = [name.as_ptr()];
    // SAFETY: `client` lives as long as `admin`, which outlives this function. All that is passed on is not null: it is
    // `client`, `names` with its length, or what an `Owned` holds. librdkafka copies the names, and the options.
    let event = unsafe {
        let topics = rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Owned::new(topics, rd_kafka_TopicCollection_destroy).ok_or(no_memory.clone())?;
        let options =
            rd_kafka_AdminOptions_new(client, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let options = Owned::new(options, rd_kafka_AdminOptions_destroy).ok_or(no_memory.clone())?;
        // Of these two only values out of bounds are refused; then its own time-out holds, or nothing is told.
        rd_kafka_AdminOptions_set_request_timeout(*options, milliseconds, std::ptr::null_mut(), 0);
        let refusal = rd_kafka_AdminOptions_set_include_authorized_operations(*options, 1);
        drop(Owned::new(refusal, rd_kafka_error_destroy));
        let queue = Owned::new(rd_kafka_queue_new(client), rd_kafka_queue_destroy).ok_or(no_memory)?;
        rd_kafka_DescribeTopics(client, *topics, *options, *queue);
        Owned::new(rd_kafka_queue_poll(*queue, milliseconds), rd_kafka_event_destroy)
    };
    let event = event.ok_or(KafkaError::Global(RDKafkaErrorCode::OperationTimedOut))?;
    // SAFETY: `event` is not null and lives to the end. What is read of it belongs to it: arrays with the counts that come
    // beside them, and null where there are none.
    unsafe {
        fail(rd_kafka_event_error(*event))?;
        let result = rd_kafka_event_DescribeTopics_result(*event);
        if result.is_null() {
            return Ok(None);
        }
        let mut count = 0;
        let descriptions = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if descriptions.is_null() || count == 0 {
            return Ok(None);
        }
        let description = *descriptions;
        let error = rd_kafka_TopicDescription_error(description);
        if !error.is_null() {
            fail(rd_kafka_error_code(error))?;
        }
        let operations = rd_kafka_TopicDescription_authorized_operations(description, &mut count);
        if operations.is_null() {
            return Ok(None);
        }
        let operations = std::slice::from_raw_parts(operations, count);
        Ok(Some(operations.contains(&rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE)))
    }
}

fn fail(code: RDKafkaRespErr) -> KafkaResult<()> {
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(KafkaError::Global(code.into())),
    }
}
