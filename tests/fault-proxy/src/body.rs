//! Bodies on their way through: streamed, kept, or cut short.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::wire::Ending;

pub(crate) enum RelayBody {
    Streamed(Incoming),
    Whole(Full<Bytes>),
    Cut(CutBody),
}

impl RelayBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }

    /// The first `bytes` of `body`, but never all of it; then `ending` is cut.
    pub(crate) fn cut(body: Incoming, bytes: u64, ending: Ending) -> Self {
        let left = match body.size_hint().exact() {
            Some(length) => bytes.min(length.saturating_sub(1)),
            None => bytes,
        };
        Self::Cut(CutBody { body, left, ending })
    }
}

impl Body for RelayBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Streamed(body) => Pin::new(body).poll_frame(cx),
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Cut(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Streamed(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
            Self::Cut(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
            // What the head promises, not what will come: that is the fault.
            Self::Cut(cut) => cut.body.size_hint(),
        }
    }
}

pub(crate) struct CutBody {
    body: Incoming,
    left: u64,
    ending: Ending,
}

impl CutBody {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Trailers come after the last byte, which never arrives: they end the body as its end does.
        if self.left > 0
            && let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?)
            && let Ok(mut data) = frame.into_data()
        {
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX).min(self.left);
            data.truncate(usize::try_from(length).unwrap_or(usize::MAX));
            self.left -= length;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        // An error here would throw away what hyper has not written yet. The connection ends itself once it has.
        self.left = 0;
        self.ending.cut_when_flushed();
        Poll::Pending
    }
}
