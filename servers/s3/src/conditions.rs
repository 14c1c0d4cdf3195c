//! Conditions in headers, as preconditions of a write or checks of a read.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use leasehold_core::{Metadata, Precondition, Version};
use s3s::{
    S3Error, S3Result,
    dto::{ETagCondition, Timestamp, TimestampFormat},
    s3_error,
};

use crate::{errors, etag};

/// What must hold for a write: `If-None-Match: *` or `If-Match` with one tag, nothing else.
pub(crate) fn of_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Precondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (None, Some(ETagCondition::Any)) => Ok(Precondition::Absent),
        (Some(condition @ ETagCondition::ETag(_)), None) => version(condition).map(Precondition::Matches),
        (Some(ETagCondition::Any), None) => Err(errors::not_implemented("If-Match with \"*\" on a write")),
        (None, Some(_)) => Err(errors::not_implemented("If-None-Match with anything but \"*\" on a write")),
        (Some(_), Some(_)) => Err(errors::not_implemented("a write with both If-Match and If-None-Match")),
    }
}

/// The same from the headers themselves, for operations whose model has no such fields.
pub(crate) fn of_headers(headers: &HeaderMap) -> S3Result<Precondition> {
    let condition = |name: header::HeaderName| match headers.get(&name) {
        None => Ok(None),
        Some(value) => ETagCondition::parse_http_header(value.as_bytes())
            .map(Some)
            .map_err(|_| s3_error!(InvalidArgument, "the header {name} is neither \"*\" nor one entity tag")),
    };
    of_write(condition(header::IF_MATCH)?.as_ref(), condition(header::IF_NONE_MATCH)?.as_ref())
}

/// The version that a tag demands. A tag that is weak, or that this server never gave out, is no version's.
pub(crate) fn version(condition: &ETagCondition) -> S3Result<Version> {
    let text = condition.as_etag().and_then(s3s::dto::ETag::as_strong);
    text.and_then(etag::version).ok_or_else(|| {
        s3_error!(PreconditionFailed, "no object of this server ever had this ETag; nothing was done")
    })
}

/// What a reader demands of the object.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

impl Read {
    /// The version that need not be sent again, where that is all there is to decide.
    pub(crate) fn unchanged_from(&self) -> Option<Version> {
        if self.if_match.is_some() || self.if_unmodified_since.is_some() {
            return None;
        }
        etag::version(self.if_none_match.as_ref()?.as_etag()?.value())
    }

    /// Decides as RFC 9110 §13.2.2 does: tags before times.
    ///
    /// # Errors
    /// 412 or 304.
    pub(crate) fn check(&self, metadata: &Metadata) -> S3Result<()> {
        let tag = etag::tag(&metadata.version);
        let modified = metadata.modified.map(whole_seconds);
        let failed =
            || -> S3Error { s3_error!(PreconditionFailed, "the object is not as the condition demands") };
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(ETagCondition::ETag(wanted)), _) if !wanted.strong_cmp(&tag) => return Err(failed()),
            (None, Some(time)) if modified.as_ref().is_some_and(|modified| modified > time) => {
                return Err(failed());
            }
            _ => {}
        }
        let unchanged = match (&self.if_none_match, &self.if_modified_since) {
            (Some(ETagCondition::Any), _) => true,
            (Some(ETagCondition::ETag(known)), _) => known.weak_cmp(&tag),
            (None, Some(time)) => modified.as_ref().is_some_and(|modified| modified <= time),
            (None, None) => false,
        };
        if unchanged { Err(errors::not_modified(tag.to_http_header().ok())) } else { Ok(()) }
    }

    /// The same for the source of a copy, where "not modified" is a refusal too.
    pub(crate) fn check_source(&self, metadata: &Metadata) -> S3Result<()> {
        self.check(metadata).map_err(|_| {
            s3_error!(PreconditionFailed, "the source is not as the condition demands; nothing was copied")
        })
    }
}

/// Whether a range is still one of the object that the client has the rest of: `If-Range`, RFC 9110 §13.1.5.
///
/// What is neither a strong tag nor a date holds for no object, and the answer is then the whole.
pub(crate) fn range_holds(headers: &HeaderMap, metadata: &Metadata) -> bool {
    let Some(condition) = headers.get(header::IF_RANGE) else { return true };
    let tag = etag::tag(&metadata.version);
    match ETagCondition::parse_http_header(condition.as_bytes()) {
        Ok(ETagCondition::ETag(wanted)) => wanted.strong_cmp(&tag),
        Ok(ETagCondition::Any) => false,
        Err(_) => {
            let date = condition.to_str().ok();
            let date = date.and_then(|date| Timestamp::parse(TimestampFormat::HttpDate, date).ok());
            date.is_some() && metadata.modified.map(whole_seconds) == date
        }
    }
}

/// A time as HTTP writes it, so that what was sent out and comes back is equal.
fn whole_seconds(time: SystemTime) -> Timestamp {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => (SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())).into(),
        Err(_) => time.into(),
    }
}
