//! Heads and gets, whole and in part.

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::{
    Body, ByteRange, Error, ErrorKind, GetOptions, Key, Lookup, Metadata, Object, Result, Version,
};
use object_store::{Error as Theirs, GetOptions as Request, GetRange, GetResult, path::Path};

use super::Inner;
use crate::{attributes, failure};

/// How often a range is read again because the value changed between the look at its size and the read.
const RANGE_READS_MAX: usize = 10;

/// What a look at an object tells.
pub(super) struct Head {
    pub(super) metadata: Metadata,
    pub(super) write_id: Option<String>,
}

impl Inner {
    pub(super) async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        Ok(self.look(&self.path(key)?).await?.map(|head| head.metadata))
    }

    /// What is known of an object, and which write left it.
    pub(super) async fn look(&self, path: &Path) -> Result<Option<Head>> {
        match self.store.get_opts(path, Request::new().with_head(true)).await {
            Ok(found) => self.metadata(&found).map(Some),
            Err(error) if failure::is_absence(&error) => Ok(None),
            Err(error) => Err(failure::of_read(error)),
        }
    }

    fn metadata(&self, found: &GetResult) -> Result<Head> {
        let (attributes, write_id) = attributes::read(&found.attributes, self.backend.identifiers);
        let metadata = Metadata::new(self.version(&found.meta)?, found.meta.size)
            .modified_at(found.meta.last_modified.into())
            .attributes(attributes);
        Ok(Head { metadata, write_id })
    }

    pub(super) async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        let path = self.path(key)?;
        let GetOptions { range, if_changed_from, .. } = options;
        let mut request = Request::new();
        if let Some(version) = &if_changed_from {
            request.if_none_match = self.backend.versions.if_none_match(version);
            // Where versions are no ETags, the service cannot compare them for a read: look first.
            if request.if_none_match.is_none() {
                match self.look(&path).await? {
                    None => return Ok(Lookup::Absent),
                    Some(head) if head.metadata.version == *version => return Ok(Lookup::Unchanged),
                    Some(_) => {}
                }
            }
        }
        request.range = match range {
            ByteRange::Full => None,
            ByteRange::Bounded(start, end) if start < end => Some(GetRange::Bounded(start..end)),
            ByteRange::From(start) => Some(GetRange::Offset(start)),
            ByteRange::Last(count) if count > 0 => Some(GetRange::Suffix(count)),
            // `object_store` knows no empty ranges.
            _ => return self.get_by_size(&path, range, if_changed_from).await,
        };
        let ranged = request.range.is_some();
        match self.store.get_opts(&path, request).await {
            Ok(found) => {
                let lookup = self.found(found, if_changed_from.as_ref())?;
                if let Lookup::Found(object) = &lookup {
                    let wanted = range.resolve(object.metadata.size)?;
                    if wanted != object.range {
                        return Err(other_range(&wanted, object));
                    }
                }
                Ok(lookup)
            }
            Err(Theirs::NotModified { .. }) if if_changed_from.is_some() => Ok(Lookup::Unchanged),
            Err(error) if failure::is_absence(&error) => Ok(Lookup::Absent),
            // A range past the end, an empty one at the end, or one of a form that the service does not know.
            Err(Theirs::Generic { .. } | Theirs::NotSupported { .. } | Theirs::NotImplemented { .. })
                if ranged =>
            {
                self.get_by_size(&path, range, if_changed_from).await
            }
            Err(error) => Err(failure::of_read(error)),
        }
    }

    /// Looks at the size first, and then asks for exactly the bytes that the range comes to.
    async fn get_by_size(&self, path: &Path, range: ByteRange, unless: Option<Version>) -> Result<Lookup> {
        for _ in 0..RANGE_READS_MAX {
            let Some(Head { metadata, .. }) = self.look(path).await? else { return Ok(Lookup::Absent) };
            if unless.as_ref() == Some(&metadata.version) {
                return Ok(Lookup::Unchanged);
            }
            let wanted = range.resolve(metadata.size)?;
            if wanted.is_empty() {
                return Ok(Lookup::Found(Object::new(metadata, wanted, Bytes::new().into())));
            }
            let request = Request::new().with_range(Some(GetRange::Bounded(wanted.clone())));
            let found = match self.store.get_opts(path, request).await {
                Ok(found) => found,
                Err(error) if failure::is_absence(&error) => return Ok(Lookup::Absent),
                Err(error) => {
                    // It may have become shorter in between; if not, this is the reason.
                    if self.look(path).await?.is_some_and(|head| head.metadata.version == metadata.version) {
                        return Err(failure::of_read(error));
                    }
                    continue;
                }
            };
            if let Lookup::Found(object) = self.found(found, None)?
                && *object.version() == metadata.version
            {
                if object.range != wanted {
                    return Err(other_range(&wanted, &object));
                }
                return Ok(Lookup::Found(object));
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the value changes faster than a range of it can be read; try again",
        ))
    }

    fn found(&self, found: GetResult, unless: Option<&Version>) -> Result<Lookup> {
        let Head { metadata, .. } = self.metadata(&found)?;
        if unless == Some(&metadata.version) {
            return Ok(Lookup::Unchanged);
        }
        let range = found.range.clone();
        let size = range.end.saturating_sub(range.start);
        let body = Body::from_stream(whole(found.into_stream(), size), Some(size));
        Ok(Lookup::Found(Object::new(metadata, range, body)))
    }
}

fn other_range(wanted: &std::ops::Range<u64>, object: &Object) -> Error {
    let message = format!(
        "the store sent bytes {:?} where {wanted:?} of {} were asked for",
        object.range, object.metadata.size
    );
    Error::new(ErrorKind::Unexpected, message)
}

/// The chunks, with an error in place of an end that comes too early or too late.
fn whole(
    chunks: BoxStream<'static, object_store::Result<Bytes>>,
    size: u64,
) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold((chunks, 0), move |(mut chunks, sent)| async move {
        let Some(chunk) = chunks.next().await.transpose().map_err(failure::of_read)? else {
            let message = || format!("the value broke off after {sent} of {size} bytes; read it again");
            return if sent == size { Ok(None) } else { Err(Error::new(ErrorKind::Unavailable, message())) };
        };
        let sent = sent + chunk.len() as u64;
        if sent > size {
            return Err(Error::new(
                ErrorKind::Unexpected,
                format!("the store sent more than the {size} bytes it told"),
            ));
        }
        Ok(Some((chunk, (chunks, sent))))
    })
    .boxed()
}
