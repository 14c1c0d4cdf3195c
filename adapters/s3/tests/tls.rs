//! Everything over TLS, with a certificate that this machine is told to trust.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::{
    net::SocketAddr,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use leasehold_conformance::{Effort, Fixture, Options, Subject, run};
use leasehold_core::{ErrorKind, Store};
use leasehold_memory::Memory;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use support::{bucket, serve};

/// Tells this program where the server is, and that it is the client.
const SERVER: &str = "LEASEHOLD_TEST_TLS_SERVER";

/// More than the system takes from one who writes faster than the other reads.
const LARGE: usize = 24 << 20;

/// Takes TLS off and passes on what was in it. Tells how many connections there were.
async fn front(behind: SocketAddr, acceptor: TlsAcceptor) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                // Who does not trust the certificate goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut behind = TcpStream::connect(behind).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut behind).await;
            });
        }
    });
    (url, connections)
}

/// Runs the client `test` in a process that trusts the server's certificate, or in one that does not. Returns how many
/// connections it opened.
async fn connections_of(test: &str, trusting: bool) -> usize {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    // Words that only TLS has use for, among the first answer.
    config.send_tls13_tickets = 300;
    let server = serve(Store::new(Memory::new())).await;
    let (url, connections) = front(server.address(), TlsAcceptor::from(Arc::new(config))).await;
    let trusted = tempfile::NamedTempFile::new().unwrap();
    let other = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&trusted, if trusting { cert.pem() } else { other.cert.pem() }).unwrap();
    let mut client = Command::new(std::env::current_exe().unwrap());
    client
        .args(["--exact", test])
        .env(SERVER, url)
        .env("SSL_CERT_FILE", trusted.path())
        .env_remove("SSL_CERT_DIR");
    let done = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
    connections.load(Ordering::SeqCst)
}

/// The server's address, for the client.
fn server() -> Option<String> {
    std::env::var(SERVER).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_serves_one_request_after_the_other() {
    let Some(url) = server() else {
        let test = "one_connection_serves_one_request_after_the_other";
        assert_eq!(connections_of(test, true).await, 1);
        return;
    };
    let store = Store::new(bucket(url).part_bytes(2 * LARGE as u64).await.unwrap());
    for bytes in [0, 1, 4 << 10, 1 << 20, LARGE, 1] {
        let value = vec![7; bytes];
        store.put("k", value.clone()).await.unwrap();
        assert!(store.get("k").await.unwrap().unwrap().bytes().await.unwrap() == value, "{bytes} bytes");
        assert_eq!(store.list("").await.unwrap().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept() {
    let Some(url) = server() else {
        assert!(connections_of("every_promise_is_kept", true).await > 0);
        return;
    };
    let places = AtomicUsize::new(0);
    let subject = Subject::new("S3 over TLS", move || {
        let (url, place) = (url.clone(), places.fetch_add(1, Ordering::SeqCst));
        let fixture = Fixture::new(move || {
            let opened = bucket(url.clone());
            async move { Store::new(opened.await?).namespace(format!("place-{place}")) }
        });
        async move { Ok(fixture.key_bytes_taken("bucket/".len())) }
    });
    let report = run(&subject, &Options::default().effort(Effort::Light)).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_nobody_vouches_for_gets_no_request() {
    let Some(url) = server() else {
        let test = "a_server_that_nobody_vouches_for_gets_no_request";
        assert!(connections_of(test, false).await > 0);
        return;
    };
    let store = Store::new(bucket(url).await.unwrap());
    let error = store.put("k", "v").await.unwrap_err();
    assert_eq!((error.kind(), error.is_indeterminate()), (ErrorKind::Unavailable, false), "{error}");
}
