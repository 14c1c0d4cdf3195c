//! Values on their way down: as they are, in one piece, or chunk by chunk.

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    Body, BoxStream, Bytes, Capability, Error, Key, Precondition, PutOptions, Result, check_size,
};

use super::{
    Coding, Framed, WHOLE_BYTES_MAX,
    encode::{Encoder, encode},
    input::Input,
    offload::{INLINE_BYTES_MAX, offload},
};

impl<C: Coding> Framed<C> {
    /// What is stored for a value.
    pub(super) async fn framed(&self, key: &Key, body: Body, options: &PutOptions) -> Result<Body> {
        self.refuse(options)?;
        let limit = self.value_bytes_max();
        check_limit(body.size().unwrap_or(0), limit)?;
        let announced = body.size();
        let stream = match body.try_into_bytes() {
            Ok(raw) => return self.whole(key, raw).await,
            Err(body) => body.into_stream(),
        };
        let mut source = Source { stream: Some(stream), input: Input::default(), total: 0, announced, limit };
        source.fill(1 << self.coding.chunk_log2()).await?;
        if source.stream.is_none() {
            return self.whole(key, source.input.take_all()).await;
        }
        // How it ends is not known while it begins, so it cannot be stored as it is: the end might look like a frame's.
        self.streamed(key, source)
    }

    /// Refuses what the adapter below would refuse, before a body is read for nothing.
    fn refuse(&self, options: &PutOptions) -> Result<()> {
        let offered = self.inner.capabilities();
        let needs = [
            (options.precondition != Precondition::None, Capability::ConditionalPut),
            (!options.attributes.is_empty(), Capability::Attributes),
        ];
        match needs.into_iter().find(|(asked, capability)| *asked && !offered.supports(*capability)) {
            Some((_, missing)) => Err(Error::unsupported(missing)),
            None => Ok(()),
        }
    }

    async fn whole(&self, key: &Key, raw: Bytes) -> Result<Body> {
        let worth = self.coding.worth();
        let may_be_bare = worth.is_some() && !C::KIND.like(&raw);
        let coded = worth.is_none_or(|worth| raw.len() > worth.above);
        if may_be_bare && !coded {
            return Ok(Body::from_bytes(raw));
        }
        let large = raw.len() as u64 > WHOLE_BYTES_MAX;
        // Of a large value the beginning shows whether it is worth it.
        let tried = if large { raw.slice(..INLINE_BYTES_MAX) } else { raw.clone() };
        if !large || may_be_bare {
            let (coding, key, all) = (self.coding.clone(), key.clone(), tried.clone());
            let framed = offload(all.len(), move || encode(&coding, &key, &all, coded)).await?;
            if may_be_bare && worth.is_some_and(|worth| !worth.wins(tried.len(), framed.len())) {
                return Ok(Body::from_bytes(raw));
            }
            if !large {
                return Ok(Body::from(tight(framed)));
            }
        }
        let (total, mut input) = (raw.len() as u64, Input::default());
        input.push(raw);
        self.streamed(key, Source { stream: None, input, total, announced: Some(total), limit: total })
    }

    fn streamed(&self, key: &Key, source: Source) -> Result<Body> {
        let encoder = Encoder::begin(&self.coding, key, source.announced, true)?;
        let size = match source.announced {
            Some(raw) if self.coding.keeps_length() => {
                Some(C::KIND.framed_bytes(raw, encoder.chunk_bytes() as u64))
            }
            _ => None,
        };
        let chunks = stream::try_unfold(Some((source, encoder)), |writing| async move {
            let Some((mut source, mut encoder)) = writing else { return Ok(None) };
            let chunk = encoder.chunk_bytes();
            source.fill(chunk).await?;
            let last = source.stream.is_none() && source.input.len() <= chunk;
            let raw =
                if last { source.input.take_all() } else { source.input.take(chunk).unwrap_or_default() };
            let (encoder, out) = offload(raw.len(), move || {
                let mut out = Vec::with_capacity(raw.len() + raw.len() / 64);
                encoder.push(&raw, last, &mut out)?;
                Ok((encoder, out))
            })
            .await?;
            Ok(Some((Bytes::from(tight(out)), (!last).then_some((source, encoder)))))
        });
        Ok(Body::from_stream(chunks.boxed(), size))
    }
}

/// A buffer without much room left over, since a store may keep it.
fn tight(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.capacity() - bytes.len() > bytes.len() / 8 {
        bytes.shrink_to_fit();
    }
    bytes
}

fn check_limit(size: u64, limit: u64) -> Result<()> {
    if size > limit {
        let message = format!(
            "a value of {size} bytes or more is over the limit of {limit} bytes, with its frame; divide it"
        );
        return Err(Error::invalid(message));
    }
    Ok(())
}

/// A body that is being read.
struct Source {
    /// Gone once it has ended: it is not asked again.
    stream: Option<BoxStream<'static, Result<Bytes>>>,
    input: Input,
    total: u64,
    announced: Option<u64>,
    limit: u64,
}

impl Source {
    /// Reads until more than `count` bytes are there, or the end.
    async fn fill(&mut self, count: usize) -> Result<()> {
        while self.input.len() <= count {
            let Some(stream) = &mut self.stream else { return Ok(()) };
            match stream.next().await {
                None => {
                    self.stream = None;
                    check_size(self.announced, self.total)?;
                }
                Some(piece) => {
                    let piece = piece?;
                    self.total += piece.len() as u64;
                    if self.announced.is_some_and(|announced| self.total > announced) {
                        check_size(self.announced, self.total)?;
                    }
                    check_limit(self.total, self.limit)?;
                    self.input.push(piece);
                }
            }
        }
        Ok(())
    }
}
