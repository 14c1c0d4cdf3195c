//! Raw connections, and requests signed by an independent signer.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4::SigningParams,
};
use leasehold_core::{Clock, SystemClock};
use leasehold_s3_server::Listening;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{ACCESS, SECRET};

/// A request that is still to be signed.
pub(crate) struct Request<'r> {
    pub(crate) method: &'r str,
    pub(crate) path: &'r str,
    pub(crate) headers: &'r [(&'r str, &'r str)],
    /// Sent, and not covered by the signature.
    pub(crate) unsigned: &'r [(&'r str, &'r str)],
    pub(crate) payload: SignableBody<'r>,
    pub(crate) ahead: i64,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self {
            method: "GET",
            path: "/",
            headers: &[],
            unsigned: &[],
            payload: SignableBody::Bytes(b""),
            ahead: 0,
        }
    }
}

impl Request<'_> {
    /// The head as it goes over the wire, up to the empty line.
    pub(crate) fn signed(self, server: &Listening) -> String {
        let host = server.address().to_string();
        let now = SystemClock.wall();
        let shift = Duration::from_secs(self.ahead.unsigned_abs());
        let time: SystemTime = if self.ahead < 0 { now - shift } else { now + shift };
        let identity = Credentials::new(ACCESS, SECRET, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("s3")
            .time(time)
            .settings(settings)
            .build()
            .expect("complete")
            .into();
        let headers = self.headers.iter().copied().chain([("host", host.as_str())]);
        let uri = format!("http://{host}{}", self.path);
        let request = SignableRequest::new(self.method, &uri, headers, self.payload).expect("sound");
        let (signed, _) = sign(request, &params).expect("it can be signed").into_parts();
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n", self.method, self.path);
        for (name, value) in self.headers.iter().chain(self.unsigned) {
            head += &format!("{name}: {value}\r\n");
        }
        for (name, value) in signed.headers() {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.body.contains(&format!("<Code>{code}</Code>")), "{self:?}");
    }
}

/// A connection.
pub(crate) struct Wire(TcpStream);

impl Wire {
    pub(crate) async fn open(server: &Listening) -> Self {
        Self(TcpStream::connect(server.address()).await.expect("it listens"))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.expect("it reads");
        self.0.flush().await.expect("it reads");
    }

    /// The next answer; `None` when the connection ends without one.
    pub(crate) async fn receive(&mut self) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return None,
            }
        }
        let head = String::from_utf8(head).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().expect("a length"))
        });
        let mut body = vec![0; if status == 100 { 0 } else { length.unwrap_or(0) }];
        self.0.read_exact(&mut body).await.ok()?;
        Some(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// The next piece of a body in chunks; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Option<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(self.0.read_u8().await.ok()?);
        }
        let size = String::from_utf8(line).expect("a size is text");
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        let mut bytes = vec![0; size + 2];
        self.0.read_exact(&mut bytes).await.ok()?;
        bytes.truncate(size);
        (size > 0).then(|| String::from_utf8(bytes).expect("the body is text"))
    }

    /// Sends nothing more, and waits until the server has done with the connection.
    pub(crate) async fn cut(mut self) -> Option<Answer> {
        self.0.shutdown().await.expect("it is open");
        self.receive().await
    }

    /// Sends a request and waits for the answer.
    pub(crate) async fn ask(&mut self, head: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(head).await;
        self.send(body).await;
        self.receive().await.expect("an answer")
    }
}

/// The same over a connection of its own.
pub(crate) async fn ask(server: &Listening, request: Request<'_>, body: impl AsRef<[u8]>) -> Answer {
    let head = request.signed(server);
    Wire::open(server).await.ask(&head, body).await
}
