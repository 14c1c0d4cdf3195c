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
            Ok(raw) if raw.len() <= INLINE_BYTES_MAX => return self.small(key, raw),
            Ok(raw) => return Box::pin(self.whole(key, raw)).await,
            Err(body) => body.into_stream(),
        };
        Box::pin(self.incoming(key, stream, announced)).await
    }

    async fn incoming(
        &self,
        key: &Key,
        stream: BoxStream<'static, Result<Bytes>>,
        announced: Option<u64>,
    ) -> Result<Body> {
        let limit = self.value_bytes_max();
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
        let needs = [
            (options.precondition != Precondition::None, Capability::ConditionalPut),
            (!options.attributes.is_empty(), Capability::Attributes),
        ];
        match needs.into_iter().find(|(asked, capability)| *asked && !self.below.supports(*capability)) {
            Some((_, missing)) => Err(Error::unsupported(missing)),
            None => Ok(()),
        }
    }

    /// What is stored for a value that is coded where it is asked for.
    fn small(&self, key: &Key, raw: Bytes) -> Result<Body> {
        let wanted = self.wanted(&raw);
        if wanted == Wanted::Bare {
            return Ok(Body::from_bytes(raw));
        }
        let framed = encode(&self.coding, key, &raw, wanted != Wanted::Stored)?;
        Ok(self.shorter(wanted, raw, framed))
    }

    /// What is stored for any value that is at hand.
    async fn whole(&self, key: &Key, raw: Bytes) -> Result<Body> {
        if raw.len() <= INLINE_BYTES_MAX {
            return self.small(key, raw);
        }
        let wanted = self.wanted(&raw);
        if wanted == Wanted::Bare {
            return Ok(Body::from_bytes(raw));
        }
        if raw.len() as u64 <= WHOLE_BYTES_MAX {
            let (coding, key, all) = (self.coding.clone(), key.clone(), raw.clone());
            let framed =
                offload(raw.len(), move || encode(&coding, &key, &all, wanted != Wanted::Stored)).await?;
            return Ok(self.shorter(wanted, raw, framed));
        }
        if wanted == Wanted::Shorter {
            // The beginning shows whether it is worth it.
            let tried = encode(&self.coding, key, &raw[..INLINE_BYTES_MAX], true)?.len();
            if !self.wins(INLINE_BYTES_MAX, tried) {
                return Ok(Body::from_bytes(raw));
            }
        }
        let (total, mut input) = (raw.len() as u64, Input::default());
        input.push(raw);
        self.streamed(key, Source { stream: None, input, total, announced: Some(total), limit: total })
    }

    /// What a value at hand needs.
    fn wanted(&self, raw: &[u8]) -> Wanted {
        match self.coding.worth() {
            None => Wanted::Frame,
            Some(worth) => match (C::KIND.like(raw), raw.len() > worth.above) {
                (false, false) => Wanted::Bare,
                (false, true) => Wanted::Shorter,
                (true, false) => Wanted::Stored,
                (true, true) => Wanted::Frame,
            },
        }
    }

    fn wins(&self, raw: usize, framed: usize) -> bool {
        self.coding.worth().is_none_or(|worth| worth.wins(raw, framed))
    }

    /// The frame, unless only a shorter one was wanted and it is not.
    fn shorter(&self, wanted: Wanted, raw: Bytes, framed: Vec<u8>) -> Body {
        match wanted == Wanted::Shorter && !self.wins(raw.len(), framed.len()) {
            true => Body::from_bytes(raw),
            false => Body::from(tight(framed)),
        }
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

/// How a value at hand is to be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// As it is.
    Bare,
    /// In a frame where that is shorter, otherwise as it is.
    Shorter,
    /// In a frame, as it is: it looks like one.
    Stored,
    /// In a frame.
    Frame,
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
