//! A body on its way out.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use leasehold_core::{Body, BoxStream, Error, Result};
use parking_lot::Mutex;
use s3s::dto::StreamingBlob;

/// The content of a value as a response's. A stream that fails ends the connection, so that a part is not taken for
/// the whole.
pub(crate) fn of(body: Body) -> StreamingBlob {
    match body.try_into_bytes() {
        Ok(bytes) => s3s::Body::from(bytes).into(),
        Err(body) => StreamingBlob::wrap::<_, Error>(Shared(Mutex::new(body.into_stream()))),
    }
}

/// The protocol wants streams that could be shared. Nobody does, so the lock is never waited for.
struct Shared(Mutex<BoxStream<'static, Result<Bytes>>>);

impl Stream for Shared {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.get_mut().as_mut().poll_next(cx)
    }
}
