//! All offsets a group holds, in one request.

use std::ffi::CString;
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::error::RDKafkaErrorCode;
use tidemill_engine::partition::Partition;

use super::{AdminError, Answers, Native, Request, code, owned};

/// An offset of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kafka) struct GroupOffset {
    /// Next offset to read; below 0: none is held.
    pub(in crate::kafka) offset: i64,
    /// What was written beside it.
    pub(in crate::kafka) metadata: String,
}

/// Everything `group` holds. `stable`: an offset in a transaction that is not decided yet is an error
/// (`UnstableOffsetCommit`), not passed over for the one before. Partitions answer each for itself.
#[allow(clippy::type_complexity)] // an answer for each name
pub(in crate::kafka) fn group_offsets(
    client: &impl Native,
    group: &str,
    stable: bool,
    timeout: Duration,
) -> Result<Answers<Partition, GroupOffset>, AdminError> {
    let mut request =
        Request::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, timeout);
    let Ok(name) = CString::new(group) else {
        let text = "the group's name has a NUL in it".to_owned();
        return Err(AdminError { code: RDKafkaErrorCode::InvalidGroupId, text });
    };
    // SAFETY: options, name and queue are valid; the order copies the name (a null list asks for all partitions) and is
    // destroyed here, once. Result, groups and partitions belong to the event, which lives until `request` is dropped;
    // all of it is copied out before that.
    unsafe {
        let error = sys::rd_kafka_AdminOptions_set_require_stable_offsets(request.options, i32::from(stable));
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        let mut order = sys::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), ptr::null());
        sys::rd_kafka_ListConsumerGroupOffsets(client.native(), &raw mut order, 1, request.options, request.queue);
        sys::rd_kafka_ListConsumerGroupOffsets_destroy(order);
        let event = request.wait(timeout)?;
        let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(event);
        let mut count = 0;
        let groups = sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
        if count == 0 {
            return Ok(Vec::new());
        }
        let error = sys::rd_kafka_group_result_error(*groups);
        if !error.is_null()
            && let Some(code) = code(sys::rd_kafka_error_code(error))
        {
            return Err(AdminError { code, text: owned(sys::rd_kafka_error_string(error)) });
        }
        let list = sys::rd_kafka_group_result_partitions(*groups);
        if list.is_null() {
            return Ok(Vec::new());
        }
        Ok((0..usize::try_from((*list).cnt).unwrap_or(0))
            .map(|i| {
                let at = &*(*list).elems.add(i);
                let answer = match code(at.err) {
                    Some(code) => Err(AdminError { code, text: owned(sys::rd_kafka_err2str(at.err)) }),
                    None => Ok(GroupOffset { offset: at.offset, metadata: text(at.metadata, at.metadata_size) }),
                };
                (Partition::new(owned(at.topic), at.partition), answer)
            })
            .collect())
    }
}

/// # Safety
/// `bytes` is null or has `len` readable bytes.
unsafe fn text(bytes: *const std::ffi::c_void, len: usize) -> String {
    if bytes.is_null() || len == 0 {
        return String::new();
    }
    // SAFETY: not null, and the caller promises the rest.
    let bytes = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) };
    String::from_utf8_lossy(bytes).into_owned()
}
