//! Buckets and containers of other services, opened as they are meant to be, against an endpoint that answers as it is told.
#![cfg(all(feature = "gcp", feature = "azure"))]

use std::{sync::Arc, time::Duration};

use leasehold_core::{Capability, ErrorKind, Store};
use leasehold_object_store::{Azure, Google};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// An endpoint with one answer for everything.
struct Endpoint {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
    serving: AbortHandle,
}

impl Endpoint {
    /// Answers with `status` and `document`; without a status it reads and hangs up.
    async fn start(status: &'static str, document: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let noted = requests.clone();
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let _ = answer(connection, &noted, status, document).await;
            }
        });
        Self { url, requests, serving: serving.abort_handle() }
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *self.requests.lock())
    }

    async fn google(&self) -> Store {
        let opened = Google::bucket("photos").endpoint(&self.url).anonymous().timeout(Duration::from_secs(5));
        Store::new(opened.await.expect("it opens"))
    }

    async fn azure(&self) -> Store {
        let opened = Azure::container("photos").account("acme").endpoint(&self.url).anonymous();
        Store::new(opened.timeout(Duration::from_secs(5)).await.expect("it opens"))
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads one request, whose body is short, and answers it.
async fn answer(
    mut connection: TcpStream,
    noted: &Mutex<Vec<String>>,
    status: &str,
    document: &str,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if connection.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&request);
    noted.lock().push(text.lines().next().unwrap_or_default().to_owned());
    if status.is_empty() {
        return Ok(());
    }
    let body = if text.starts_with("HEAD") { "" } else { document };
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body.as_bytes()).await?;
    connection.shutdown().await
}

#[tokio::test]
async fn a_write_is_sent_once_and_an_answer_that_says_little_leaves_it_open() {
    for (status, kind) in [
        ("500 Internal Server Error", ErrorKind::Unavailable),
        ("503 Service Unavailable", ErrorKind::Throttled),
        ("", ErrorKind::Unavailable),
    ] {
        let endpoint = Endpoint::start(status, "<Error><Code>Busy</Code></Error>").await;
        for store in [endpoint.google().await, endpoint.azure().await] {
            let error = store.put("k", "v").await.unwrap_err();
            let requests = endpoint.requests();
            let puts = requests.iter().filter(|line| line.starts_with("PUT")).count();
            assert_eq!(puts, 1, "{status:?}: {requests:?}");
            assert!(error.is_indeterminate(), "{status:?}: {error}");
            assert_eq!(error.kind(), kind, "{status:?}: {error}");
        }
    }
}

#[tokio::test]
async fn a_write_that_is_surely_refused_is_determinate() {
    for (status, kind) in
        [("403 Forbidden", ErrorKind::Denied), ("429 Too Many Requests", ErrorKind::Throttled)]
    {
        let endpoint = Endpoint::start(status, "").await;
        for store in [endpoint.google().await, endpoint.azure().await] {
            let error = store.put("k", "v").await.unwrap_err();
            assert!(error.kind() == kind && !error.is_indeterminate(), "{status}: {error}");
            assert_eq!(endpoint.requests().len(), 1, "{status}");
        }
    }
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_an_error_and_a_key_that_is_not_is_none() {
    for (code, there) in
        [("NoSuchBucket", false), ("ContainerNotFound", false), ("NoSuchKey", true), ("BlobNotFound", true)]
    {
        let document =
            format!("<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>");
        let endpoint = Endpoint::start("404 Not Found", document.leak()).await;
        for store in [endpoint.google().await, endpoint.azure().await] {
            let listed = store.list("").await.unwrap_err();
            assert_eq!(listed.kind(), ErrorKind::Invalid, "{listed}");
            match store.get("k").await {
                Ok(found) => assert!(there && found.is_none(), "{code}"),
                Err(error) => assert!(!there && error.kind() == ErrorKind::Invalid, "{code}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn what_is_opened_claims_what_the_service_promises() {
    let endpoint = Endpoint::start("500 Internal Server Error", "").await;
    for store in [endpoint.google().await, endpoint.azure().await] {
        for capability in [
            Capability::Linearizable,
            Capability::Durable,
            Capability::ConditionalPut,
            Capability::UniqueVersions,
            Capability::Attributes,
        ] {
            assert!(store.capabilities().supports(capability), "{store}: {capability:?}");
        }
    }
    assert!(endpoint.requests().is_empty(), "opening sent something");
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_without_secrets() {
    let zero = Duration::ZERO;
    let google = |name: &str| Google::bucket(name).anonymous();
    let azure = |name: &str| Azure::container(name).account("acme").anonymous();
    let refused = [
        google("a/b").await.unwrap_err(),
        google("photos").timeout(zero).await.unwrap_err(),
        google("photos").endpoint("http://id:hush@host").await.unwrap_err(),
        azure("Photos").await.unwrap_err(),
        azure("photos").connect_timeout(zero).await.unwrap_err(),
        azure("photos").endpoint("https://host/?sig=hush").await.unwrap_err(),
        azure("photos").account("hush.example.com/").await.unwrap_err(),
    ];
    for error in refused {
        let shown = format!("{error} {error:?}");
        assert!(error.kind() == ErrorKind::Invalid && !shown.contains("hush"), "{shown}");
    }
    let opening = (google("photos").endpoint("http://hush"), azure("photos").endpoint("http://hush"));
    assert!(!format!("{opening:?}").contains("hush"));
    azure("$web").await.unwrap();
}
