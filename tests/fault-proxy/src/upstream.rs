//! Requests to the server behind the proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::body::RelayBody;
use crate::tasks::Tasks;
use crate::wire::{Ending, Wire};

/// The connection is to be closed without an answer: by a fault, or because the upstream gave none.
#[derive(Debug)]
pub(crate) struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for Closed {}

/// The server behind the proxy.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) tasks: Arc<Tasks>,
}

impl Upstream {
    /// Sends over a connection of its own, which `ending` may cut.
    pub(crate) async fn send_alone(
        &self,
        request: Request<RelayBody>,
        ending: Ending,
    ) -> Result<Response<Incoming>, Closed> {
        let mut sender = self.connect(ending).await?;
        sender.send_request(request).await.map_err(|_| Closed)
    }

    async fn connect(&self, ending: Ending) -> Result<SendRequest<RelayBody>, Closed> {
        let stream = TcpStream::connect(self.address).await.map_err(|_| Closed)?;
        stream.set_nodelay(true).map_err(|_| Closed)?;
        let (sender, connection) = http1::handshake(Wire::new(stream, ending)).await.map_err(|_| Closed)?;
        self.tasks.spawn(async move {
            // Whoever waits for the answer is told by hyper.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

/// The upstream's side of one client connection: one connection, kept alive.
pub(crate) struct Kept {
    upstream: Upstream,
    sender: Mutex<Option<SendRequest<RelayBody>>>,
}

impl Kept {
    pub(crate) fn new(upstream: Upstream) -> Self {
        Self { upstream, sender: Mutex::new(None) }
    }

    pub(crate) async fn send(&self, mut request: Request<RelayBody>) -> Result<Response<Incoming>, Closed> {
        let kept = self.sender.lock().take();
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
        {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.keep(sender, response)),
                // An idle connection may be closed by the other side at any time. A request that comes back has not
                // been sent; any other is not sent again, because the proxy doubles nothing unasked.
                Err(mut failed) => request = failed.take_message().ok_or(Closed)?,
            }
        }
        let mut sender = self.upstream.connect(Ending::default()).await?;
        let response = sender.send_request(request).await.map_err(|_| Closed)?;
        Ok(self.keep(sender, response))
    }

    fn keep(&self, sender: SendRequest<RelayBody>, response: Response<Incoming>) -> Response<Incoming> {
        *self.sender.lock() = Some(sender);
        response
    }
}
