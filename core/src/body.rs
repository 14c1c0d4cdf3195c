//! What a value is made of on its way in or out: bytes at hand, or a stream of them.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde::Serialize;

use crate::{Error, ErrorKind, Result};

/// The content of a value: whole, or as a stream that is read once.
pub struct Body(Content);

enum Content {
    Whole(Bytes),
    Stream { chunks: BoxStream<'static, Result<Bytes>>, size: Option<u64> },
}

impl Body {
    /// What [`bytes`](Body::bytes) collects at most: 256 MiB.
    pub const COLLECT_BYTES_MAX: u64 = 256 << 20;

    /// A body that is at hand.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self(Content::Whole(bytes))
    }

    /// A body that arrives in chunks; `size` is its length where that is known beforehand. A stream that turns
    /// out shorter or longer than `size` is refused when it is written.
    pub fn from_stream(chunks: BoxStream<'static, Result<Bytes>>, size: Option<u64>) -> Self {
        Self(Content::Stream { chunks, size })
    }

    /// The length in bytes, where it is known.
    pub fn size(&self) -> Option<u64> {
        match &self.0 {
            Content::Whole(bytes) => Some(bytes.len() as u64),
            Content::Stream { size, .. } => *size,
        }
    }

    /// The bytes, where they are at hand; otherwise the body itself.
    pub fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.0 {
            Content::Whole(bytes) => Ok(bytes),
            content @ Content::Stream { .. } => Err(Self(content)),
        }
    }

    /// All bytes, up to [`COLLECT_BYTES_MAX`](Body::COLLECT_BYTES_MAX).
    ///
    /// # Errors
    /// What the stream fails with; [`Invalid`](crate::ErrorKind::Invalid) past the limit.
    pub async fn bytes(self) -> Result<Bytes> {
        self.collect(Self::COLLECT_BYTES_MAX).await
    }

    /// All bytes, up to `bytes_max`. Copies nothing when the body is at hand.
    ///
    /// # Errors
    /// What the stream fails with; [`Invalid`](crate::ErrorKind::Invalid) past the limit, or when the stream
    /// does not have the size that was announced.
    pub async fn collect(self, bytes_max: u64) -> Result<Bytes> {
        let size = self.size();
        let all = self.gather(bytes_max).await?;
        check_size(size, all.len() as u64)?;
        Ok(all)
    }

    /// As [`collect`](Body::collect), of a body that a store sends: one that breaks off is
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and may be read again.
    ///
    /// # Errors
    /// What the stream fails with; [`Invalid`](crate::ErrorKind::Invalid) past the limit.
    pub async fn receive(self, bytes_max: u64) -> Result<Bytes> {
        let size = self.size();
        let all = self.gather(bytes_max).await?;
        check_received(size, all.len() as u64)?;
        Ok(all)
    }

    async fn gather(self, bytes_max: u64) -> Result<Bytes> {
        let too_large = |size: u64| {
            Error::invalid(format!("a value of {size} bytes or more is over the limit of {bytes_max} bytes"))
        };
        if let Some(size) = self.size().filter(|size| *size > bytes_max) {
            return Err(too_large(size));
        }
        let (mut chunks, size) = match self.0 {
            Content::Whole(bytes) => return Ok(bytes),
            Content::Stream { chunks, size } => (chunks, size),
        };
        let mut all = BytesMut::with_capacity(size.unwrap_or(0) as usize);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let total = all.len() as u64 + chunk.len() as u64;
            if total > bytes_max {
                return Err(too_large(total));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// The bytes as a stream of chunks.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        match self.0 {
            Content::Whole(bytes) => stream::once(async move { Ok(bytes) }).boxed(),
            Content::Stream { chunks, .. } => chunks,
        }
    }
}

/// Checks that a stream had the size it announced.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) when it had not.
pub fn check_size(announced: Option<u64>, actual: u64) -> Result<()> {
    match announced {
        Some(size) if size != actual => Err(Error::invalid(format!(
            "the body announced {size} bytes and had {actual}; nothing was written"
        ))),
        _ => Ok(()),
    }
}

/// Checks that what a store sent had the size it announced.
///
/// # Errors
/// [`Unavailable`](crate::ErrorKind::Unavailable) when it had not.
pub fn check_received(announced: Option<u64>, actual: u64) -> Result<()> {
    match announced {
        Some(size) if size != actual => Err(Error::new(
            ErrorKind::Unavailable,
            format!("{actual} bytes came of a body of {size}; read it again"),
        )),
        _ => Ok(()),
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = if matches!(self.0, Content::Whole(_)) { "bytes" } else { "stream" };
        write!(f, "Body({shape}, {:?})", self.size())
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::from_bytes(bytes.into())
    }
}

/// What a [`Store`](crate::Store) takes where it needs a body.
pub trait IntoBody {
    /// The body.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when it cannot be serialized.
    fn into_body(self) -> Result<Body>;
}

impl IntoBody for Body {
    fn into_body(self) -> Result<Body> {
        Ok(self)
    }
}

impl IntoBody for Bytes {
    fn into_body(self) -> Result<Body> {
        Ok(self.into())
    }
}

impl IntoBody for Vec<u8> {
    fn into_body(self) -> Result<Body> {
        Ok(self.into())
    }
}

impl IntoBody for String {
    fn into_body(self) -> Result<Body> {
        Ok(self.into())
    }
}

impl IntoBody for &str {
    fn into_body(self) -> Result<Body> {
        Ok(Bytes::copy_from_slice(self.as_bytes()).into())
    }
}

impl IntoBody for &[u8] {
    fn into_body(self) -> Result<Body> {
        Ok(Bytes::copy_from_slice(self).into())
    }
}

impl<const N: usize> IntoBody for &[u8; N] {
    fn into_body(self) -> Result<Body> {
        self.as_slice().into_body()
    }
}

/// A value stored as JSON: `store.put("k", Json(&user))`, and read back with [`Object::json`](crate::Object::json).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoBody for Json<T> {
    fn into_body(self) -> Result<Body> {
        serde_json::to_vec(&self.0)
            .map(Body::from)
            .map_err(|source| Error::invalid("the value cannot be written as JSON").because(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(parts: &[&'static str], size: Option<u64>) -> Body {
        let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect();
        Body::from_stream(stream::iter(parts).boxed(), size)
    }

    #[tokio::test]
    async fn a_stream_is_collected_up_to_the_limit() {
        assert_eq!(chunks(&["ab", "c"], None).collect(3).await.unwrap(), "abc");
        assert!(chunks(&["ab", "cd"], None).collect(3).await.is_err());
        assert!(Body::from("abcd").collect(3).await.is_err());
    }

    #[tokio::test]
    async fn a_stream_must_have_the_size_it_announced() {
        assert!(chunks(&["ab"], Some(3)).bytes().await.is_err());
        assert!(chunks(&["abcd"], Some(3)).bytes().await.is_err());
    }
}
