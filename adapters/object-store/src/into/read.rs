//! Reads with the conditions of HTTP.

use std::time::SystemTime;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use leasehold_core::{ByteRange, GetOptions, Key, Lookup, Metadata, Object};
use object_store::{
    Error, GetOptions as Request, GetRange, GetResult, GetResultPayload, ObjectMeta, Result, path::Path,
};

use super::{
    AsObjectStore,
    failure::{self, Conflict, generic, not_found},
};
use crate::{attributes, tag};

pub(super) async fn get(store: &AsObjectStore, location: &Path, request: Request) -> Result<GetResult> {
    if request.version.is_some() {
        return Err(Error::NotSupported {
            source: "a store keeps no versions but the last; name none".into(),
        });
    }
    if let Some(range) = &request.range {
        range.is_valid().map_err(generic)?;
    }
    if Key::new(location.as_ref()).is_err() {
        // There cannot be a value at what is no key.
        return Err(not_found(location));
    }
    let key = AsObjectStore::key(location)?;
    let adapter = store.adapter();
    let told = |failed| failure::error(failed, location, Conflict::Condition);
    if request.head {
        let metadata = adapter.head(&key).await.map_err(told)?.ok_or_else(|| not_found(location))?;
        let object = Object::new(metadata, 0..0, bytes::Bytes::new().into());
        return shown(location, &request, object);
    }
    let mut options = GetOptions::default();
    options.range = match &request.range {
        None => ByteRange::Full,
        Some(GetRange::Bounded(range)) => ByteRange::Bounded(range.start, range.end),
        Some(GetRange::Offset(start)) => ByteRange::From(*start),
        Some(GetRange::Suffix(count)) => ByteRange::Last(*count),
    };
    // The store compares by itself where this is the only condition; other conditions come before it.
    if request.if_match.is_none() && request.if_unmodified_since.is_none() {
        options.if_changed_from = request.if_none_match.as_deref().and_then(tag::from_e_tag);
    }
    match adapter.get(&key, options).await.map_err(told)? {
        Lookup::Absent => Err(not_found(location)),
        Lookup::Unchanged => {
            let source = "the value still has this ETag".into();
            Err(Error::NotModified { path: location.to_string(), source })
        }
        Lookup::Found(object) => shown(location, &request, object),
    }
}

fn shown(location: &Path, request: &Request, object: Object) -> Result<GetResult> {
    let Object { metadata, range, body, .. } = object;
    let timed = request.if_modified_since.is_some() || request.if_unmodified_since.is_some();
    if timed && metadata.modified.is_none() {
        return Err(Error::NotSupported {
            source: "this store does not know when values were written".into(),
        });
    }
    let meta = meta(location.clone(), &metadata);
    request.check_preconditions(&meta)?;
    // Here a range that starts at the end is empty, there it is an error.
    let range = match &request.range {
        Some(asked) => {
            let asked = asked.as_range(meta.size).map_err(generic)?;
            if !request.head && asked != range {
                return Err(generic(format!(
                    "the store sent bytes {range:?} where {asked:?} were asked for"
                )));
            }
            asked
        }
        None if request.head => 0..meta.size,
        None => range,
    };
    let payload = match body.try_into_bytes() {
        Ok(bytes) => stream::once(async move { Ok(bytes) }).boxed(),
        Err(body) => body.into_stream().map_err(generic).boxed(),
    };
    Ok(GetResult {
        payload: GetResultPayload::Stream(payload),
        attributes: attributes::show(&metadata.attributes),
        range,
        extensions: Default::default(),
        meta,
    })
}

pub(super) fn meta(location: Path, metadata: &Metadata) -> ObjectMeta {
    ObjectMeta {
        location,
        // As `object_store` does for services that tell no time.
        last_modified: metadata.modified.unwrap_or(SystemTime::UNIX_EPOCH).into(),
        size: metadata.size,
        e_tag: Some(tag::to_e_tag(&metadata.version)),
        version: None,
    }
}
