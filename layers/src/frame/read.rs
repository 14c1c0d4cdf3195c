//! Values on their way up: what a read of the whole value below yields, opened.

use std::ops::Range;

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    Body, BoxStream, ByteRange, Bytes, Error, ErrorKind, GetOptions, Key, Lookup, Metadata, Object, Result,
    check_received,
};

use super::{
    Bare, Coding, Framed, TAIL_BYTES, WHOLE_BYTES_MAX,
    decode::{Decoder, Next},
    format::{CHUNKS_MAX, Footer, Header, chunks as chunks_of, damaged},
    input::Input,
    layout::{Layout, Part},
    offload::{INLINE_BYTES_MAX, offload},
};

/// How often a read that takes two requests begins again because the value was written between them.
pub(super) const ATTEMPTS_MAX: u32 = 4;

type Pieces = BoxStream<'static, Result<Bytes>>;

/// What became of a read.
pub(super) enum Seen<T> {
    Value(T),
    /// The value was written between two requests.
    Changed,
}

/// What became of a value that is at hand.
enum Now<C: Coding> {
    Done(Object),
    /// There is much to do.
    Later(Box<Later<C>>),
}

struct Later<C: Coding> {
    metadata: Metadata,
    layout: Layout<C>,
    range: Range<u64>,
    part: Part,
}

/// The error of a value that was written again and again while it was read.
pub(super) fn restless() -> Error {
    let message = "the value was written again each time before all of it was read; try again";
    Error::new(ErrorKind::Unavailable, message)
}

/// The object that the body of a range makes.
pub(super) fn object(mut metadata: Metadata, size: u64, range: Range<u64>, body: Body) -> Object {
    metadata.size = size;
    Object::new(metadata, range, body)
}

impl<C: Coding> Framed<C> {
    pub(super) async fn read(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        if options.range != ByteRange::Full {
            return Box::pin(self.read_part(key, options)).await;
        }
        for _ in 0..ATTEMPTS_MAX {
            match self.inner.get(key, options.clone()).await? {
                Lookup::Found(object) => {
                    if let Seen::Value(object) = self.found(key, object, ByteRange::Full).await? {
                        return Ok(Lookup::Found(object));
                    }
                }
                other => return Ok(other),
            }
        }
        Err(restless())
    }

    /// A range of the value that was read whole below.
    pub(super) async fn found(&self, key: &Key, found: Object, range: ByteRange) -> Result<Seen<Object>> {
        let Object { metadata, body, .. } = found;
        if let Some(size) = body.size() {
            check_received(Some(metadata.size), size)?;
        }
        match body.try_into_bytes() {
            Ok(bytes) => match self.now(key, metadata, &bytes, range)? {
                Now::Done(object) => Ok(Seen::Value(object)),
                Now::Later(later) => Box::pin(self.later(key, *later, bytes)).await.map(Seen::Value),
            },
            Err(body) => Box::pin(self.streaming(key, metadata, complete(body), range)).await,
        }
    }

    /// An error where a value without a frame is none.
    pub(super) fn check_bare(&self) -> Result<()> {
        match self.coding.bare() {
            Bare::Value => Ok(()),
            Bare::Refused(error) => Err(error),
        }
    }

    pub(super) async fn at_hand(
        &self,
        key: &Key,
        metadata: Metadata,
        bytes: Bytes,
        range: ByteRange,
    ) -> Result<Object> {
        match self.now(key, metadata, &bytes, range)? {
            Now::Done(object) => Ok(object),
            Now::Later(later) => self.later(key, *later, bytes).await,
        }
    }

    /// Opens a value that is at hand, unless that is much work.
    fn now(&self, key: &Key, metadata: Metadata, bytes: &Bytes, range: ByteRange) -> Result<Now<C>> {
        if !C::KIND.like(bytes) {
            self.check_bare()?;
            let range = range.resolve(bytes.len() as u64)?;
            let part = bytes.slice(range.start as usize..range.end as usize);
            return Ok(Now::Done(object(metadata, bytes.len() as u64, range, Body::from_bytes(part))));
        }
        let layout = Layout::of_frame(&self.coding, key, bytes)?;
        let range = range.resolve(layout.raw)?;
        let part = layout.part(&range);
        if range.end - range.start > INLINE_BYTES_MAX as u64 {
            return Ok(Now::Later(Box::new(Later { metadata, layout, range, part })));
        }
        let stored = bytes.slice(part.stored.start as usize..part.stored.end as usize);
        let opened = layout.open(&part, stored, layout.room(&part))?;
        Ok(Now::Done(object(metadata, layout.raw, range, Body::from_bytes(opened))))
    }

    async fn later(&self, key: &Key, later: Later<C>, bytes: Bytes) -> Result<Object> {
        let Later { metadata, layout, range, part } = later;
        let stored = bytes.slice(part.stored.start as usize..part.stored.end as usize);
        let size = layout.raw;
        let body = self.opened(key, layout, part, Body::from_bytes(stored)).await?;
        Ok(object(metadata, size, range, body))
    }

    /// The wanted bytes of a part, from the stored bytes of its chunks: at once where they are at hand and not large.
    pub(super) async fn opened(
        &self,
        key: &Key,
        layout: Layout<C>,
        part: Part,
        stored: Body,
    ) -> Result<Body> {
        let length = part.wanted.end - part.wanted.start;
        let (input, source) = match stored.try_into_bytes() {
            Ok(stored) if length <= WHOLE_BYTES_MAX => {
                let room = layout.room(&part);
                let opened = offload(length as usize, move || layout.open(&part, stored, room)).await?;
                return Ok(Body::from_bytes(opened));
            }
            Ok(stored) => (stored, None),
            Err(stored) => (Bytes::new(), Some(complete(stored))),
        };
        let opened = trimmed(chunks(layout, part.chunks, input, source), part.wanted);
        Ok(Body::from_stream(self.told(key, opened), Some(length)))
    }

    async fn streaming(
        &self,
        key: &Key,
        metadata: Metadata,
        mut source: Pieces,
        range: ByteRange,
    ) -> Result<Seen<Object>> {
        let mut start = Input::default();
        while start.len() < C::KIND.header_bytes() {
            match source.next().await {
                Some(piece) => start.push(piece?),
                None => {
                    check_received(Some(metadata.size), start.len() as u64)?;
                    return self.at_hand(key, metadata, start.take_all(), range).await.map(Seen::Value);
                }
            }
        }
        if !C::KIND.begins_like(start.peek(usize::MAX)) {
            self.check_bare()?;
            let size = metadata.size;
            let pieces = watched::<C>(start.take_all(), source);
            return Ok(Seen::Value(self.cut(key, metadata, size, range, pieces)?));
        }
        let header = Header::parse(&C::KIND, &start.take(C::KIND.header_bytes()).unwrap_or_default())?;
        let Some(raw) = self.raw_bytes(key, &header, &metadata).await? else { return Ok(Seen::Changed) };
        let mut decoder = Decoder::<C>::new(self.coding.session(key, &header)?, header, raw);
        decoder.push(start.take_all());
        Ok(Seen::Value(self.cut(key, metadata, raw, range, decoded(decoder, source))?))
    }

    fn cut(
        &self,
        key: &Key,
        metadata: Metadata,
        size: u64,
        range: ByteRange,
        pieces: Pieces,
    ) -> Result<Object> {
        let range = range.resolve(size)?;
        // The whole value is read to its end, where the last checks are.
        let pieces = if range == (0..size) { pieces } else { trimmed(pieces, range.clone()) };
        let body = Body::from_stream(self.told(key, pieces), Some(range.end - range.start));
        Ok(object(metadata, size, range, body))
    }

    /// How long the value of a frame is of which only the header has been read; `None` when it was written meanwhile.
    async fn raw_bytes(&self, key: &Key, header: &Header, metadata: &Metadata) -> Result<Option<u64>> {
        if self.coding.keeps_length() {
            let raw = C::KIND.raw_bytes(metadata.size, header.chunk()).filter(|raw| {
                chunks_of(*raw, header.chunk()) <= CHUNKS_MAX && header.raw.is_none_or(|told| told == *raw)
            });
            return raw.map(Some).ok_or_else(|| damaged("its length cannot be that of a frame"));
        }
        if header.raw.is_some() {
            return Ok(header.raw);
        }
        let options = GetOptions::default().range(ByteRange::Last(TAIL_BYTES));
        let Lookup::Found(object) = self.inner.get(key, options).await? else { return Ok(None) };
        if object.metadata.version != metadata.version {
            return Ok(None);
        }
        let tail = object.body.receive(TAIL_BYTES).await?;
        // Its seal is checked when the end is reached.
        Ok(Some(Footer::parse(&C::KIND, &tail, metadata.size)?.raw))
    }

    /// The same pieces, with errors that say where they come from.
    fn told(&self, key: &Key, pieces: Pieces) -> Pieces {
        let (key, at) = (key.clone(), self.to_string());
        pieces.map(move |piece| piece.map_err(|error| error.on("get", &key).at(&at))).boxed()
    }
}

/// The pieces of a body, and an error at its end where that came too early: what breaks off on its way is not damaged.
fn complete(body: Body) -> Pieces {
    let announced = body.size();
    stream::try_unfold((body.into_stream(), 0), move |(mut pieces, came)| async move {
        match pieces.next().await.transpose()? {
            Some(piece) => {
                let came = came + piece.len() as u64;
                Ok(Some((piece, (pieces, came))))
            }
            None => check_received(announced, came).map(|()| None),
        }
    })
    .boxed()
}

/// The chunks of a frame that comes from its start, opened.
fn decoded<C: Coding>(decoder: Decoder<C>, source: Pieces) -> Pieces {
    stream::try_unfold((decoder, source), |(mut decoder, mut source)| async move {
        loop {
            match decoder.next()? {
                Next::Chunk(sealed) => {
                    let session = decoder.session.clone();
                    let raw = offload(sealed.raw_bytes, move || sealed.open::<C>(&session)).await?;
                    return Ok(Some((raw, (decoder, source))));
                }
                Next::More | Next::Over => match source.next().await {
                    Some(piece) => decoder.push(piece?),
                    None => return decoder.end().map(|()| None),
                },
            }
        }
    })
    .boxed()
}

/// The chunks of a part, opened.
fn chunks<C: Coding>(layout: Layout<C>, numbers: Range<u64>, first: Bytes, source: Option<Pieces>) -> Pieces {
    let mut input = Input::default();
    input.push(first);
    stream::try_unfold(
        (layout, numbers, input, source),
        |(layout, mut numbers, mut input, mut source)| async move {
            let Some(number) = numbers.next() else { return Ok(None) };
            let sealed = loop {
                if let Some(sealed) = layout.take(number, &mut input)? {
                    break sealed;
                }
                match &mut source {
                    Some(pieces) => match pieces.next().await {
                        Some(piece) => input.push(piece?),
                        None => return Err(damaged("less of it came than was asked for")),
                    },
                    None => return Err(damaged("less of it came than was asked for")),
                }
            };
            let session = layout.session.clone();
            let raw = offload(sealed.raw_bytes, move || sealed.open::<C>(&session)).await?;
            Ok(Some((raw, (layout, numbers, input, source))))
        },
    )
    .boxed()
}

/// Only the bytes in `wanted`.
fn trimmed(pieces: Pieces, wanted: Range<u64>) -> Pieces {
    let left = wanted.end - wanted.start;
    stream::try_unfold((pieces, wanted.start, left), |(mut pieces, mut skip, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        loop {
            let Some(piece) = pieces.next().await.transpose()? else {
                return Err(damaged("less of it came than was asked for"));
            };
            let skipped = skip.min(piece.len() as u64);
            skip -= skipped;
            let kept = left.min(piece.len() as u64 - skipped);
            if kept > 0 {
                let piece = piece.slice(skipped as usize..(skipped + kept) as usize);
                return Ok(Some((piece, (pieces, skip, left - kept))));
            }
        }
    })
    .boxed()
}

/// The pieces of a value that does not begin like a frame, and an error at its end where it ends like one: then its start was
/// lost.
fn watched<C: Coding>(first: Bytes, source: Pieces) -> Pieces {
    let magic = C::KIND.magic.len();
    let pieces = stream::once(async move { Ok(first) }).chain(source);
    stream::try_unfold((pieces.boxed(), Vec::new()), move |(mut pieces, mut end)| async move {
        let Some(piece) = pieces.next().await.transpose()? else {
            return match C::KIND.ends_like(&end) {
                true => Err(damaged("its start is not that of a frame, but its end is")),
                false => Ok(None),
            };
        };
        end.extend_from_slice(&piece[piece.len().saturating_sub(magic)..]);
        end.drain(..end.len().saturating_sub(magic));
        Ok(Some((piece, (pieces, end))))
    })
    .boxed()
}
