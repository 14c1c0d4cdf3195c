//! The parts of an upload as the one body that they make.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use leasehold_core::{Key, Lookup, Store, Version};
use s3s::{S3Result, s3_error};

use crate::{
    checks::Checks,
    errors::refusal,
    keys,
    multipart::{Named, Stored},
};

/// A part that goes into the object.
#[derive(Debug)]
pub(crate) struct Chosen {
    number: i32,
    version: Version,
    pub(crate) size: u64,
    checksums: Vec<(&'static str, String)>,
}

/// Finds what the client names among what is stored.
pub(crate) fn chosen(named: &[Named], stored: &[Stored], part_bytes_min: u64) -> S3Result<Vec<Chosen>> {
    if named.is_empty() {
        return Err(s3_error!(MalformedXML, "a completion names at least one part"));
    }
    if named.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(s3_error!(InvalidPartOrder, "parts are named in ascending order of their numbers"));
    }
    let mut parts = Vec::with_capacity(named.len());
    for (position, part) in named.iter().enumerate() {
        let found =
            stored.binary_search_by_key(&part.number, |stored| stored.number).ok().map(|at| &stored[at]);
        let found = found.filter(|found| part.version.as_ref() == Some(&found.metadata.version));
        let Some(found) = found else {
            return Err(s3_error!(
                InvalidPart,
                "part {} is not there with this ETag; upload it again",
                part.number
            ));
        };
        if found.metadata.size < part_bytes_min && position + 1 < named.len() {
            return Err(s3_error!(
                EntityTooSmall,
                "part {} has {} bytes; all but the last have at least {part_bytes_min}",
                part.number,
                found.metadata.size
            ));
        }
        parts.push(Chosen {
            number: part.number,
            version: found.metadata.version.clone(),
            size: found.metadata.size,
            checksums: part.checksums.clone(),
        });
    }
    Ok(parts)
}

/// Reads parts one after the other.
struct Joining {
    store: Store,
    bucket: String,
    id: String,
    rest: VecDeque<Chosen>,
    current: Option<Current>,
}

/// A part that is being read, and what the client says of it.
struct Current {
    number: i32,
    chunks: BoxStream<'static, leasehold_core::Result<Bytes>>,
    checks: Checks,
}

/// All parts, one after the other; a refusal where one is no longer what was chosen, or not what its checksums say.
pub(crate) fn joined(
    store: Store,
    bucket: String,
    id: String,
    parts: Vec<Chosen>,
) -> BoxStream<'static, S3Result<Bytes>> {
    let joining = Joining { store, bucket, id, rest: parts.into(), current: None };
    stream::try_unfold(joining, |mut joining| async move {
        Ok(joining.next().await?.map(|chunk| (chunk, joining)))
    })
    .boxed()
}

impl Joining {
    async fn next(&mut self) -> S3Result<Option<Bytes>> {
        loop {
            let Some(Current { number, chunks, checks }) = &mut self.current else {
                let Some(part) = self.rest.pop_front() else { return Ok(None) };
                self.current = Some(self.open(part).await?);
                continue;
            };
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    checks.update(&chunk);
                    return Ok(Some(chunk));
                }
                Some(Err(error)) => return Err(refusal(error)),
                None => {
                    let finished = std::mem::take(checks).finish();
                    finished.map_err(|_| {
                        s3_error!(InvalidPart, "part {number} does not have the checksum named")
                    })?;
                    self.current = None;
                }
            }
        }
    }

    async fn open(&mut self, part: Chosen) -> S3Result<Current> {
        let key = Key::new(keys::part(&self.bucket, &self.id, part.number)).map_err(refusal)?;
        let found = match self.store.adapter().get(&key, Default::default()).await.map_err(refusal)? {
            Lookup::Found(object) if *object.version() == part.version => object,
            _ => {
                return Err(s3_error!(InvalidPart, "part {} was replaced or removed meanwhile", part.number));
            }
        };
        let mut checks = Checks::default();
        for (algorithm, value) in &part.checksums {
            checks.expect(algorithm, value);
        }
        Ok(Current { number: part.number, chunks: found.body.into_stream(), checks })
    }
}
