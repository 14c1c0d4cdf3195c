//! One client connection: each request meets its fault here.

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::sync::oneshot;

use crate::body::RelayBody;
use crate::in_flight::Entered;
use crate::proxy::Shared;
use crate::upstream::{Closed, Kept};
use crate::wire::Ending;
use crate::{Answer, Fault, Until};

/// The largest request body that is kept whole, 64 MiB.
pub const BODY_BYTES_MAX: usize = 64 << 20;

type Reply = Result<Response<RelayBody>, Closed>;

pub(crate) struct Relay {
    shared: std::sync::Arc<Shared>,
    kept: Kept,
    ending: Ending,
}

impl Relay {
    pub(crate) fn new(shared: std::sync::Arc<Shared>, ending: Ending) -> Self {
        let kept = Kept::new(shared.upstream.clone());
        Self { shared, kept, ending }
    }

    pub(crate) async fn serve(&self, request: Request<Incoming>) -> Reply {
        let (mut head, body) = request.into_parts();
        // hyper's notes to itself about the connection of the client are none of the upstream's.
        head.extensions.clear();
        let entered = self.shared.in_flight.enter();
        let fault = self.shared.meet(&head);
        if let Some(latency) = self.shared.latency() {
            tokio::time::sleep(latency).await;
        }
        match fault {
            Fault::Pass => self.pass(head, body).await,
            // The rest is rare. In boxes it does not make every request's future larger.
            Fault::LoseReply => Box::pin(self.lose_reply(head, body, entered)).await,
            Fault::HoldRequest(until) => Box::pin(self.hold_request(head, body, until, entered)).await,
            Fault::HoldReply(until) => Box::pin(self.hold_reply(head, body, until, entered)).await,
            Fault::Answer(answer) => {
                drain(body).await;
                Ok(answer.response(head.uri.path()).map(RelayBody::whole))
            }
            Fault::AnswerApplied(answer) => {
                let path = head.uri.path().to_owned();
                drain(self.send(head, RelayBody::Streamed(body)).await?.into_body()).await;
                Ok(answer.response(&path).map(RelayBody::whole))
            }
            Fault::TruncateReply { bytes } => Box::pin(self.truncate_reply(head, body, bytes)).await,
            Fault::CutRequest { bytes, forward } => {
                Box::pin(self.cut_request(head, body, bytes, forward)).await
            }
            Fault::Reset => {
                self.ending.reset();
                Err(Closed)
            }
            Fault::Duplicate(until) => Box::pin(self.duplicate(head, body, until, entered)).await,
            Fault::BlackHole => {
                drain(body).await;
                drop(entered);
                std::future::pending().await
            }
        }
    }

    async fn send(&self, head: Parts, body: RelayBody) -> Result<Response<Incoming>, Closed> {
        self.kept.send(Request::from_parts(head, body)).await
    }

    async fn pass(&self, head: Parts, body: Incoming) -> Reply {
        Ok(self.send(head, RelayBody::Streamed(body)).await?.map(RelayBody::Streamed))
    }

    async fn lose_reply(&self, head: Parts, body: Incoming, entered: Entered) -> Reply {
        let (done, over) = oneshot::channel::<()>();
        let upstream = self.shared.upstream.clone();
        self.detach(entered, async move {
            let request = Request::from_parts(head, RelayBody::Streamed(body));
            if let Ok(response) = upstream.send_alone(request, Ending::default()).await {
                drain(response.into_body()).await;
            }
            drop(done);
        });
        let _ = over.await;
        Err(Closed)
    }

    async fn hold_request(&self, head: Parts, body: Incoming, until: Until, entered: Entered) -> Reply {
        let body = match whole(body).await? {
            Ok(body) => body,
            Err(refusal) => return Ok(refusal),
        };
        let (answer, answered) = oneshot::channel();
        let (alive, gone) = oneshot::channel::<()>();
        let upstream = self.shared.upstream.clone();
        self.detach(entered, async move {
            until.wait(gone).await;
            let request = Request::from_parts(head, RelayBody::whole(body));
            hand_over(answer, upstream.send_alone(request, Ending::default()).await).await;
        });
        let response = answered.await.map_err(|_| Closed)?;
        drop(alive);
        Ok(response.map(RelayBody::Streamed))
    }

    async fn hold_reply(&self, head: Parts, body: Incoming, until: Until, entered: Entered) -> Reply {
        let (answer, answered) = oneshot::channel();
        let (alive, gone) = oneshot::channel::<()>();
        let upstream = self.shared.upstream.clone();
        self.detach(entered, async move {
            let request = Request::from_parts(head, RelayBody::Streamed(body));
            let response = upstream.send_alone(request, Ending::default()).await;
            until.wait(gone).await;
            hand_over(answer, response).await;
        });
        let response = answered.await.map_err(|_| Closed)?;
        drop(alive);
        Ok(response.map(RelayBody::Streamed))
    }

    async fn duplicate(&self, head: Parts, body: Incoming, until: Until, entered: Entered) -> Reply {
        let body = match whole(body).await? {
            Ok(body) => body,
            Err(refusal) => return Ok(refusal),
        };
        let first = Request::from_parts(head.clone(), RelayBody::whole(body.clone()));
        let second = Request::from_parts(head, RelayBody::whole(body));
        let (answer, answered) = oneshot::channel();
        let (alive, gone) = oneshot::channel::<()>();
        let upstream = self.shared.upstream.clone();
        self.detach(entered, async move {
            hand_over(answer, upstream.send_alone(first, Ending::default()).await).await;
            until.wait(gone).await;
            if let Ok(response) = upstream.send_alone(second, Ending::default()).await {
                drain(response.into_body()).await;
            }
        });
        let response = answered.await.map_err(|_| Closed)?;
        drop(alive);
        Ok(response.map(RelayBody::Streamed))
    }

    async fn truncate_reply(&self, head: Parts, body: Incoming, bytes: u64) -> Reply {
        let response = self.send(head, RelayBody::Streamed(body)).await?;
        if response.body().is_end_stream() {
            return Ok(response.map(RelayBody::Streamed));
        }
        Ok(response.map(|body| RelayBody::cut(body, bytes, self.ending.clone())))
    }

    async fn cut_request(&self, head: Parts, mut body: Incoming, bytes: u64, forward: bool) -> Reply {
        if body.is_end_stream() {
            return Err(Closed);
        }
        if forward {
            let ending = Ending::default();
            let request = Request::from_parts(head, RelayBody::cut(body, bytes, ending.clone()));
            // Also when the upstream has answered early: the request was never whole, so the client hears nothing.
            let _ = self.shared.upstream.send_alone(request, ending).await;
            return Err(Closed);
        }
        let mut left = bytes.min(body.size_hint().exact().map_or(bytes, |length| length.saturating_sub(1)));
        while left > 0
            && let Some(Ok(frame)) = body.frame().await
        {
            let length = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
        }
        Err(Closed)
    }

    /// Runs what must go on when the client has gone; the request is on its way until then.
    fn detach(&self, entered: Entered, task: impl Future<Output = ()> + Send + 'static) {
        self.shared.upstream.tasks.spawn(async move {
            task.await;
            drop(entered);
        });
    }
}

/// Gives the client the reply, or reads it to its end when nobody is there: the upstream is not to notice.
async fn hand_over(
    client: oneshot::Sender<Response<Incoming>>,
    response: Result<Response<Incoming>, Closed>,
) {
    if let Ok(response) = response
        && let Err(unwanted) = client.send(response)
    {
        drain(unwanted.into_body()).await;
    }
}

async fn drain(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// The whole body; or the refusal when it is too large; or the end of the connection when it never came.
async fn whole(mut body: Incoming) -> Result<Result<Bytes, Response<RelayBody>>, Closed> {
    match Limited::new(&mut body, BODY_BYTES_MAX).collect().await {
        Ok(body) => Ok(Ok(body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            // Closing over unread bytes would reset the connection and take the refusal along.
            drain(body).await;
            let refusal =
                Answer::new(413, "EntityTooLarge", "the fault proxy keeps at most 64 MiB for this fault");
            Ok(Err(refusal.response("").map(RelayBody::whole)))
        }
        Err(_) => Err(Closed),
    }
}
