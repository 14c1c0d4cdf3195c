//! Deleting one value, or many in one request.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderName, Method, header};
use leasehold_core::{Error, ErrorKind, Key, Precondition, Result, Version};
use md5::{Digest, Md5};
use serde::Deserialize;

use crate::{
    headers,
    outcome::{Next, Pause, Seen, Sent, Unwritten, Write},
    refusal::Reason,
    wire::{Call, Failed, Wire, header_value},
    xml,
};

/// How many keys one request deletes at most.
pub(crate) const KEYS_MAX: usize = 1_000;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Deletes a value, under a precondition or without.
pub(crate) async fn delete(wire: &Wire, key: &Key, precondition: &Precondition) -> Result<()> {
    let mut call = Call::new(Method::DELETE, Some(key));
    if let Precondition::Matches(version) = precondition {
        call.headers.insert(header::IF_MATCH, headers::tag(version).ok_or_else(crate::write::nobodys)?);
    }
    let mut write = Write::new(precondition, wire.pace.attempts_max);
    let mut next = Next::Send { pause: None };
    let mut steps = 0;
    loop {
        let (Next::Send { pause } | Next::Look { pause }) = &next else {
            let Next::Done(outcome) = next else { unreachable!("there is no other step") };
            return outcome.map(drop).map_err(|unwritten| undeleted(unwritten, precondition));
        };
        if let Some(pause) = pause {
            wire.pace.wait(steps, *pause == Pause::Throttled, &wire.environment).await;
            steps += 1;
        }
        next = match next {
            Next::Send { .. } => write.sent(sent(wire, wire.send(&call).await.map(drop), precondition)),
            _ => write.seen(look(wire, key, precondition).await),
        };
    }
}

/// A delete leaves nothing that tells whose it was, so after a lost reply only an untouched base tells anything.
async fn look(wire: &Wire, key: &Key, precondition: &Precondition) -> Seen {
    let Precondition::Matches(expected) = precondition else { return Seen::Other };
    match wire.send(&Call::new(Method::HEAD, Some(key))).await {
        Ok(response) => match headers::version(response.headers()) {
            Ok(version) if version == *expected => Seen::Base,
            Ok(_) => Seen::Other,
            Err(error) => Seen::Nothing(error),
        },
        Err(failed) if failed.reason() == Some(Reason::NoSuchKey) => Seen::Other,
        Err(failed) => Seen::Nothing(wire.error(failed)),
    }
}

fn sent(wire: &Wire, answer: Result<(), Failed>, precondition: &Precondition) -> Sent {
    let done = || Sent::Applied(Version::new(""));
    let Err(failed) = answer else { return done() };
    let reason = failed.reason();
    let lost = matches!(failed, Failed::Lost(_));
    let error = wire.error(failed);
    match reason {
        Some(Reason::NoSuchKey) if *precondition == Precondition::None => done(),
        Some(Reason::NoSuchKey | Reason::Precondition) => Sent::Precondition,
        Some(Reason::Undecided) => Sent::NotApplied(error),
        Some(Reason::Throttled) => Sent::Throttled(error),
        Some(Reason::Failed) => Sent::Failed(error),
        Some(Reason::Gateway) => Sent::Lost(error),
        None if lost => Sent::Lost(error),
        None if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout) => {
            Sent::NotApplied(error)
        }
        Some(_) | None => Sent::Refused(error),
    }
}

fn undeleted(unwritten: Unwritten, precondition: &Precondition) -> Error {
    match unwritten {
        Unwritten::Conflict => {
            Error::conflict("the value has another version now, or is gone; nothing was deleted")
        }
        unwritten => unwritten.error(precondition),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Outcome {
    #[serde(rename = "Deleted")]
    deleted: Vec<Deleted>,
    #[serde(rename = "Error")]
    errors: Vec<Kept>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Deleted {
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    key: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Whether a key can stand in a document and comes through unchanged: white space at its ends does not.
pub(crate) fn expressible(key: &Key) -> bool {
    !key.contains(['\u{fffe}', '\u{ffff}']) && key.trim() == key.as_str()
}

/// Deletes up to [`KEYS_MAX`] different keys in one request: one result each, in order.
pub(crate) async fn delete_many(wire: &Wire, keys: &[Key]) -> Vec<Result<()>> {
    let all = |error: &dyn Fn() -> Error| keys.iter().map(|_| Err(error())).collect();
    let mut document = String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for key in keys {
        let _ = write!(document, "<Object><Key>{}</Key></Object>", quick_xml::escape::escape(key.as_str()));
    }
    // Not quietly: what the answer does not name, nobody has said to be deleted.
    document.push_str("</Delete>");
    let mut call = Call::new(Method::POST, None);
    call.query = vec![("delete", "")];
    if let Ok(sum) = header_value(&BASE64_STANDARD.encode(Md5::digest(document.as_bytes()))) {
        call.headers.insert(CONTENT_MD5, sum);
    }
    call.body = document.into();

    let (mut attempt, mut doubt) = (0, false);
    let answer = loop {
        match send_many(wire, &call).await {
            Err(failed) if again(&failed) && wire.pace.goes_on(attempt) => {
                // It should not have been acted on; something in between may have.
                doubt |= failed.throttled();
                wire.pace.wait(attempt, failed.throttled(), &wire.environment).await;
                attempt += 1;
            }
            answer => break answer,
        }
    };
    match answer {
        Ok(outcome) => {
            let deleted: HashSet<&str> = outcome.deleted.iter().map(|deleted| deleted.key.as_str()).collect();
            let kept: HashMap<&str, &Kept> =
                outcome.errors.iter().map(|kept| (kept.key.as_str(), kept)).collect();
            let result = |key: &Key| match kept.get(key.as_str()) {
                Some(kept) => refused(kept),
                None if deleted.contains(key.as_str()) => Ok(()),
                None => {
                    let message = "the server does not say whether it deleted the key; delete it again";
                    Err(Error::new(ErrorKind::Unexpected, message).indeterminate().retryable(true))
                }
            };
            keys.iter().map(result).collect()
        }
        Err(failed) => {
            let unknown = doubt
                || matches!(failed, Failed::Lost(_))
                || matches!(failed.reason(), Some(Reason::Failed | Reason::Gateway | Reason::Throttled));
            let error = wire.error(failed);
            all(&|| {
                let copy = Error::new(error.kind(), error.message());
                if unknown { copy.indeterminate().retryable(true) } else { copy }
            })
        }
    }
}

async fn send_many(wire: &Wire, call: &Call<'_>) -> Result<Outcome, Failed> {
    let body = wire.collect(wire.send(call).await?.into_body()).await?;
    xml::read(&body, "DeleteResult").map_err(Failed::Lost)
}

/// Whether nothing was done, as far as the server says.
fn again(failed: &Failed) -> bool {
    match failed {
        Failed::NotSent(error) => matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
        Failed::Lost(_) => false,
        Failed::Refused(refusal) => matches!(refusal.reason(), Reason::Throttled | Reason::Undecided),
    }
}

fn refused(kept: &Kept) -> Result<()> {
    let (kind, unknown) = match kept.code.as_str() {
        // What is not there need not be deleted.
        "NoSuchKey" => return Ok(()),
        "AccessDenied" => (ErrorKind::Denied, false),
        "SlowDown" | "TooManyRequests" => (ErrorKind::Throttled, false),
        "InvalidArgument" | "KeyTooLongError" | "MalformedXML" => (ErrorKind::Invalid, false),
        _ => (ErrorKind::Unavailable, true),
    };
    let said: String = format!("{} {}", kept.code, kept.message).chars().take(300).collect();
    let error = Error::new(kind, "the server did not delete it").because(said);
    Err(if unknown { error.indeterminate().retryable(true) } else { error })
}
