//! Answers as servers cut, code and end them, byte by byte from a script.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use leasehold_core::{ErrorKind, Store};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use support::bucket;

/// More than the system takes from one who writes to one who does not read.
const LARGE: usize = 48 << 20;

/// What a server does about one request.
#[derive(Clone)]
struct Act {
    /// Written before the body of the request is read.
    ahead: Vec<u8>,
    /// Before the body of the request is read, which it then never is.
    early: bool,
    /// Written one after the other, each after the one before has left.
    pieces: Vec<Vec<u8>>,
    /// Afterwards.
    closes: bool,
}

fn answer(text: impl AsRef<[u8]>) -> Act {
    Act { ahead: Vec::new(), early: false, pieces: vec![text.as_ref().to_vec()], closes: false }
}

impl Act {
    /// One byte at a time.
    fn in_bytes(self) -> Self {
        Self { pieces: self.pieces.concat().iter().map(|byte| vec![*byte]).collect(), ..self }
    }

    fn then_closes(self) -> Self {
        Self { closes: true, ..self }
    }

    fn after(self, ahead: impl AsRef<[u8]>) -> Self {
        Self { ahead: ahead.as_ref().to_vec(), ..self }
    }

    fn early(self) -> Self {
        Self { early: true, ..self }
    }
}

/// A server that does these about the requests on its connections, in the order that they come.
struct Server {
    store: Store,
    connections: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

impl Server {
    async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (connections, left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(script.len())));
        let counts = (connections.clone(), left.clone());
        tokio::spawn(async move {
            let mut script = script.into_iter();
            let mut held = Vec::new();
            while counts.1.load(Ordering::SeqCst) > 0 {
                let (mut stream, _) = listener.accept().await.unwrap();
                counts.0.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                // One connection at a time: those before it are open, and nobody reads from them.
                while perform(&mut stream, &mut script, &counts.1).await {}
                held.push(stream);
            }
        });
        let bucket = bucket(url).part_bytes(2 * LARGE as u64);
        Self { store: Store::new(bucket.await.unwrap()), connections, left }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// A value of a server that answers a get with this.
    async fn reads(answers: Vec<Act>) -> Result<Vec<u8>, leasehold_core::Error> {
        let server = Self::start(answers).await;
        let read = server.store.get("k").await?.unwrap().bytes().await;
        assert_eq!(server.left.load(Ordering::SeqCst), 0, "some answers were not asked for");
        read.map(|bytes| bytes.to_vec())
    }
}

/// Whether the connection goes on.
async fn perform(stream: &mut TcpStream, script: &mut impl Iterator<Item = Act>, left: &AtomicUsize) -> bool {
    let mut request = Vec::new();
    let head = loop {
        if let Some(head) = request.windows(4).position(|end| end == b"\r\n\r\n") {
            break head + 4;
        }
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return false;
        }
    };
    let Some(act) = script.next() else { return false };
    left.fetch_sub(1, Ordering::SeqCst);
    let text = String::from_utf8(request[..head].to_vec()).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    stream.write_all(&act.ahead).await.unwrap();
    while !act.early && request.len() < head + length {
        assert!(stream.read_buf(&mut request).await.unwrap() > 0);
    }
    for piece in act.pieces {
        stream.write_all(&piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    if act.closes {
        stream.shutdown().await.unwrap();
    }
    !act.closes && !act.early
}

const VALUE: &str = "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 5\r\n\r\nvalue";
const PAGE: &str = "<?xml version=\"1.0\"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents><Key>k</Key>\
        <ETag>\"1\"</ETag><Size>5</Size><LastModified>2026-11-22T00:00:00Z</LastModified></Contents></ListBucketResult>";
const STORED: &str = "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn an_answer_is_the_same_however_it_is_cut() {
    let text = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nx: y\r\n\r\n{VALUE}");
    assert_eq!(Server::reads(vec![answer(&text)]).await.unwrap(), b"value");
    assert_eq!(Server::reads(vec![answer(&text).in_bytes()]).await.unwrap(), b"value");
}

#[tokio::test]
async fn documents_come_in_chunks_or_until_the_connection_closes() {
    let (first, second) = PAGE.split_at(100);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:X};a=b\r\n{second}\r\n0\r\nx: y\r\n\r\n",
        first.len(),
        second.len()
    );
    let server = Server::start(vec![
        answer(&chunked),
        answer(&chunked).in_bytes(),
        answer(format!("HTTP/1.1 200 OK\r\n\r\n{PAGE}")).then_closes(),
        answer(format!("HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n{PAGE}", PAGE.len())).then_closes(),
        answer(&chunked),
    ]);
    let server = server.await;
    for connections in [1, 1, 1, 2, 3] {
        assert_eq!(server.store.list("").await.unwrap().len(), 1);
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn what_a_server_adds_to_an_answer_is_not_the_answer_to_the_next_request() {
    let wrong = "HTTP/1.1 200 OK\r\netag: \"9\"\r\ncontent-length: 5\r\n\r\nwrong";
    let server = Server::start(vec![answer(format!("{VALUE}{wrong}")), answer(VALUE)]).await;
    for connections in 1..=2 {
        assert_eq!(server.store.get("k").await.unwrap().unwrap().bytes().await.unwrap(), "value");
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_server_that_says_that_it_will_close_is_not_asked_again_there() {
    let last = "HTTP/1.1 200 OK\r\netag: \"1\"\r\nConnection: Close\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(vec![answer(last), answer(STORED)]).await;
    for connections in 1..=2 {
        server.store.put("k", "v").await.unwrap();
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_value_that_breaks_off_is_read_again() {
    let broken = &VALUE[..VALUE.len() - 2];
    assert_eq!(Server::reads(vec![answer(broken).then_closes(), answer(VALUE)]).await.unwrap(), b"value");
    // Nothing at all, as from a server that closes while the request is on its way.
    assert_eq!(Server::reads(vec![answer("").then_closes(), answer(VALUE)]).await.unwrap(), b"value");
}

#[tokio::test]
async fn a_write_that_is_refused_before_all_of_it_was_sent_is_refused() {
    let refusal = "<Error><Code>AccessDenied</Code><Message>not you</Message></Error>";
    let refusal = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{refusal}", refusal.len());
    let server = Server::start(vec![answer(refusal).early(), answer(STORED)]).await;
    let error = server.store.put("k", vec![7; LARGE]).await.unwrap_err();
    assert_eq!((error.kind(), error.is_indeterminate()), (ErrorKind::Denied, false), "{error}");
    server.store.put("k", "v").await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_refusal_whose_words_come_once_everything_was_sent_is_read() {
    let words = "<Error><Code>QuotaExceeded</Code><Message>enough</Message></Error>";
    let head = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n", words.len());
    let server = Server::start(vec![answer(words).after(head), answer(STORED)]).await;
    for refused in [true, false] {
        let put = server.store.put("k", vec![7; LARGE]).await;
        assert_eq!(put.is_err_and(|error| error.kind() == ErrorKind::Full), refused);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_leaves_a_write_unknown() {
    let lengths = "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-length: 5\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(vec![answer(lengths); 16]).await;
    let error = server.store.put("k", "v").await.unwrap_err();
    assert!(error.is_indeterminate() && error.to_string().contains("check that the endpoint"), "{error}");
}

#[tokio::test]
async fn an_answer_that_others_may_have_read_in_another_way_is_the_last_on_its_connection() {
    let page = format!("{:x}\r\n{PAGE}\r\n0\r\n\r\n", PAGE.len());
    let both = format!("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{page}");
    let server = Server::start(vec![answer(both); 2]).await;
    for connections in 1..=2 {
        assert_eq!(server.store.list("").await.unwrap().len(), 1);
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_value_whose_end_nobody_tells_is_no_value() {
    let endless = "HTTP/1.1 200 OK\r\netag: \"1\"\r\n\r\nvalue";
    let error = Server::reads(vec![answer(endless).then_closes()]).await.unwrap_err();
    assert!(error.to_string().contains("how long"), "{error}");
}
