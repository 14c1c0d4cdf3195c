//! Sizes and parts: the end of a frame first, then exactly the chunks that are wanted.

use std::ops::Range;

use futures_util::future;
use leasehold_core::{
    Body, ByteRange, Bytes, GetOptions, Key, Lookup, Metadata, Result, Version, check_received,
};

use super::{
    Coding, Framed, TAIL_BYTES,
    format::{Footer, damaged},
    layout::Layout,
    read::{ATTEMPTS_MAX, Seen, object, restless},
};

/// What the end of a value tells.
enum End<C: Coding> {
    /// The value is so small that this is all of it.
    All(Bytes),
    /// It is a frame.
    Frame(Box<Layout<C>>, Bytes),
    /// It does not end like a frame.
    Bare,
}

/// An answer about the end of a value.
enum Answer<C: Coding> {
    /// There is no value, or it was not sent.
    None(Lookup),
    End(Metadata, End<C>),
    Changed,
}

impl<C: Coding> Framed<C> {
    /// What is known of a value, with its own size.
    pub(super) async fn size(&self, key: &Key) -> Result<Option<Metadata>> {
        for _ in 0..ATTEMPTS_MAX {
            let (mut metadata, end) = match self.end(key, None).await? {
                Answer::None(_) => return Ok(None),
                Answer::Changed => continue,
                Answer::End(metadata, end) => (metadata, end),
            };
            match end {
                End::Frame(layout, _) => metadata.size = layout.raw,
                End::All(bytes) if C::KIND.like(&bytes) => {
                    metadata.size = Layout::of_frame(&self.coding, key, &bytes)?.raw;
                }
                End::All(_) => self.check_bare()?,
                End::Bare if !self.begins_bare(key, &metadata.version).await? => continue,
                End::Bare => {}
            }
            return Ok(Some(metadata));
        }
        Err(restless())
    }

    /// A part of a value. Where it is written between the requests again and again, it is read whole.
    pub(super) async fn read_part(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        let wanted = options.range;
        for _ in 0..ATTEMPTS_MAX {
            let (metadata, end) = match self.end(key, options.if_changed_from.clone()).await? {
                Answer::None(lookup) => return Ok(lookup),
                Answer::Changed => continue,
                Answer::End(metadata, end) => (metadata, end),
            };
            let (size, range, body) = match end {
                End::All(bytes) => {
                    return self.at_hand(key, metadata, bytes, wanted).await.map(Lookup::Found);
                }
                End::Frame(layout, tail) => {
                    let (size, range) = (layout.raw, wanted.resolve(layout.raw)?);
                    match self.framed_part(key, &metadata, *layout, &range, tail).await? {
                        Seen::Value(body) => (size, range, body),
                        Seen::Changed => continue,
                    }
                }
                End::Bare => {
                    let (size, range) = (metadata.size, wanted.resolve(metadata.size)?);
                    match self.bare_part(key, &metadata.version, &range).await? {
                        Seen::Value(body) => (size, range, body),
                        Seen::Changed => continue,
                    }
                }
            };
            return Ok(Lookup::Found(object(metadata, size, range, body)));
        }
        let mut whole = options;
        whole.range = ByteRange::Full;
        match self.inner.get(key, whole).await? {
            Lookup::Found(found) => match self.found(key, found, wanted).await? {
                Seen::Value(object) => Ok(Lookup::Found(object)),
                Seen::Changed => Err(restless()),
            },
            other => Ok(other),
        }
    }

    /// Reads the end of a value.
    async fn end(&self, key: &Key, if_changed_from: Option<Version>) -> Result<Answer<C>> {
        let mut options = GetOptions::default().range(ByteRange::Last(TAIL_BYTES));
        options.if_changed_from = if_changed_from;
        let (metadata, tail) = match self.inner.get(key, options).await? {
            Lookup::Found(object) => (object.metadata, object.body.receive(TAIL_BYTES).await?),
            other => return Ok(Answer::None(other)),
        };
        let stored = metadata.size;
        check_received(Some(stored.min(TAIL_BYTES)), tail.len() as u64)?;
        if tail.len() as u64 == stored {
            return Ok(Answer::End(metadata, End::All(tail)));
        }
        if !C::KIND.ends_like(&tail) {
            self.check_bare()?;
            return Ok(Answer::End(metadata, End::Bare));
        }
        let footer = Footer::parse(&C::KIND, &tail, stored)?;
        let end = stored - C::KIND.footer_bytes() as u64;
        let index = end - footer.index_bytes() as u64..end;
        let Seen::Value(index) = self.stored(key, &metadata.version, &tail, stored, &index).await? else {
            return Ok(Answer::Changed);
        };
        let index = index.receive(footer.index_bytes() as u64).await?;
        if index.len() != footer.index_bytes() {
            return Err(damaged("less of it came than was asked for"));
        }
        let covered = footer.covered(&index).into();
        let layout = Layout::new(&self.coding, key, &footer, covered, stored)?;
        Ok(Answer::End(metadata, End::Frame(Box::new(layout), tail)))
    }

    /// The stored bytes of a range: from the end that was read, or asked for.
    async fn stored(
        &self,
        key: &Key,
        version: &Version,
        tail: &Bytes,
        stored: u64,
        range: &Range<u64>,
    ) -> Result<Seen<Body>> {
        let tail_start = stored - tail.len() as u64;
        if range.start >= tail_start {
            let part = tail.slice((range.start - tail_start) as usize..(range.end - tail_start) as usize);
            return Ok(Seen::Value(Body::from_bytes(part)));
        }
        self.again(key, version, range).await
    }

    /// A second request for the same value.
    async fn again(&self, key: &Key, version: &Version, range: &Range<u64>) -> Result<Seen<Body>> {
        let options = GetOptions::default().range(range.clone());
        match self.inner.get(key, options).await {
            Ok(Lookup::Found(object)) if object.metadata.version == *version => Ok(Seen::Value(object.body)),
            Ok(_) => Ok(Seen::Changed),
            // Past the end of a shorter value that stands there now.
            Err(error) if error.kind() == leasehold_core::ErrorKind::Invalid => Ok(Seen::Changed),
            Err(error) => Err(error),
        }
    }

    async fn framed_part(
        &self,
        key: &Key,
        metadata: &Metadata,
        layout: Layout<C>,
        range: &Range<u64>,
        tail: Bytes,
    ) -> Result<Seen<Body>> {
        if range.is_empty() {
            return Ok(Seen::Value(Body::from_bytes(Bytes::new())));
        }
        let part = layout.part(range);
        match self.stored(key, &metadata.version, &tail, metadata.size, &part.stored).await? {
            Seen::Value(stored) => self.opened(key, layout, part, stored).await.map(Seen::Value),
            Seen::Changed => Ok(Seen::Changed),
        }
    }

    /// A part of a value that does not end like a frame, unless it begins like one: then its end was lost.
    async fn bare_part(&self, key: &Key, version: &Version, range: &Range<u64>) -> Result<Seen<Body>> {
        let (bare, part) =
            future::join(self.begins_bare(key, version), self.again(key, version, range)).await;
        if bare? { part } else { Ok(Seen::Changed) }
    }

    /// An error where a value begins like a frame; `false` where it is another value now.
    async fn begins_bare(&self, key: &Key, version: &Version) -> Result<bool> {
        let magic = C::KIND.magic.len() as u64;
        let Seen::Value(start) = self.again(key, version, &(0..magic)).await? else { return Ok(false) };
        match C::KIND.begins_like(&start.receive(magic).await?) {
            true => Err(damaged("its last bytes are not those of a frame; it was cut short")),
            false => Ok(true),
        }
    }
}
