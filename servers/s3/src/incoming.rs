//! A body as it comes from the wire, before the protocol reads any of it: given up when nothing of it arrives, and in
//! chunks that fit into memory.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use s3s::{HttpRequest, S3Error, StdError, s3_error};
use tokio::{
    sync::Semaphore,
    time::{Instant, Sleep},
};

use crate::chunks::{Chunks, Mode};

/// How long a client may send nothing of a body before it is given up.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Why a body was given up, for whoever answers. It is told once.
#[derive(Clone, Default)]
pub(crate) struct GivenUp(Arc<Mutex<Option<S3Error>>>);

impl GivenUp {
    pub(crate) fn take(&self) -> Option<S3Error> {
        self.0.lock().take()
    }
}

/// Puts a guard between the wire and the protocol. Why it gave up is also among the extensions of the request.
pub(crate) fn guarded(request: HttpRequest, budget: &Arc<Semaphore>) -> (HttpRequest, GivenUp) {
    let given_up = GivenUp::default();
    if request.body().is_end_stream() {
        return (request, given_up);
    }
    let chunks = mode(request.headers(), budget).map(Chunks::new);
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(given_up.clone());
    let guarded = Guarded {
        body,
        chunks,
        ready: VecDeque::new(),
        silence: None,
        is_waiting: false,
        is_over: false,
        given_up: given_up.clone(),
    };
    (HttpRequest::from_parts(parts, s3s::Body::http_body_unsync(guarded)), given_up)
}

/// Whether, and how, the protocol will take chunks apart. What a content encoding says does not matter to it.
fn mode(headers: &HeaderMap, budget: &Arc<Semaphore>) -> Option<Mode> {
    if !crate::metadata::is_streaming(headers) {
        return None;
    }
    let unsigned =
        headers.get("x-amz-content-sha256").is_some_and(|hash| hash == "STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    Some(if unsigned { Mode::Unsigned } else { Mode::Signed(Arc::clone(budget)) })
}

struct Guarded {
    body: s3s::Body,
    chunks: Option<Chunks>,
    /// What was taken from the body already.
    ready: VecDeque<Bytes>,
    silence: Option<Pin<Box<Sleep>>>,
    /// Whether the silence has begun.
    is_waiting: bool,
    is_over: bool,
    given_up: GivenUp,
}

impl Guarded {
    fn give_up(&mut self, why: S3Error) -> StdError {
        let told = why.message().unwrap_or_default().to_owned();
        *self.given_up.0.lock() = Some(why);
        self.ready.clear();
        self.is_over = true;
        told.into()
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<StdError> {
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENCE_MAX)));
        if !self.is_waiting {
            self.is_waiting = true;
            silence.as_mut().reset(Instant::now() + SILENCE_MAX);
        }
        std::task::ready!(silence.as_mut().poll(cx));
        let seconds = SILENCE_MAX.as_secs();
        Poll::Ready(
            self.give_up(s3_error!(RequestTimeout, "nothing of the body arrived for {seconds} seconds")),
        )
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.is_over {
                return Poll::Ready(None);
            }
            let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx)? else {
                return this.poll_silence(cx).map(|error| Some(Err(error)));
            };
            this.is_waiting = false;
            let Some(frame) = frame else {
                this.is_over = true;
                if this.chunks.as_ref().is_some_and(|chunks| !chunks.is_complete()) {
                    let cut = s3_error!(
                        IncompleteBody,
                        "the body ended before its last chunk; nothing was written"
                    );
                    return Poll::Ready(Some(Err(this.give_up(cut))));
                }
                return Poll::Ready(None);
            };
            match (frame.into_data(), &mut this.chunks) {
                (Ok(bytes), Some(chunks)) => {
                    if let Err(refused) = chunks.pass(bytes, &mut this.ready) {
                        return Poll::Ready(Some(Err(this.give_up(refused))));
                    }
                }
                (Ok(bytes), None) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                (Err(trailers), _) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && (self.is_over || (self.chunks.is_none() && self.body.is_end_stream()))
    }

    fn size_hint(&self) -> SizeHint {
        match self.chunks {
            // What goes out has another length.
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}
