//! S3 as a store, beside the vendor's client and beside its neighbours, against one server in another process.
//!
//! `cargo bench -p leasehold-benches --bench bucket [put|get|late|server]`. The server of `put`, `get` and `late` does next to
//! nothing, so that what is measured is the client; with `late` it answers after 20 ms. One request at a time, client and server
//! take turns, and share one processor: else it is up to the scheduler whether each of them has another one woken for each
//! request, which costs a virtual machine more than most clients do. `server` measures our own endpoint over memory beside the
//! server at `LEASEHOLD_TEST_S3_MINISTACK`, as `scripts/servers run --only ministack` starts it.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::{
    convert::Infallible,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use leasehold::{Store, memory::Memory, s3::S3};
use leasehold_benches::{Contest, Measure};
use leasehold_s3_server::S3Server;
use object_store::{ObjectStoreExt, aws::AmazonS3Builder, path::Path as ObjectPath};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::oneshot,
};

/// Tells this program that it is the server, and of which kind.
const ROLE: &str = "LEASEHOLD_BENCH_SERVER";
/// Tells the server to stay on the first processor.
const PINNED: &str = "LEASEHOLD_BENCH_PINNED";
const BYTES: usize = 4096;
const ID: &str = "access";
const SECRET: &str = "secret";

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return serve(&role);
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let (runtime, pinned) = (runtime(false), runtime(true));
    let mut all = true;
    for verb in [Verb::Put, Verb::Get] {
        if runs(verb.name()) {
            let name = format!("{}, on one processor", verb.name());
            all &= clients(&pinned, &Server::start("0", true), verb, &name, 2_000, 1);
            let server = Server::start("0", false);
            for tasks in [16, 64, 256] {
                all &= clients(&runtime, &server, verb, verb.name(), 6_000, tasks);
            }
        }
        if runs("late") {
            let name = format!("{}, answered after 20 ms", verb.name());
            let alone = format!("{name}, on one processor");
            all &= clients(&pinned, &Server::start("20", true), verb, &alone, 100, 1);
            let server = Server::start("20", false);
            for (tasks, operations) in [(16, 800), (64, 3_200), (256, 12_800)] {
                all &= clients(&runtime, &server, verb, &name, operations, tasks);
            }
        }
    }
    if runs("server") {
        all &= servers(&runtime);
    }
    println!("\n{}", if all { "every floor holds" } else { "a floor was MISSED" });
}

fn runtime(pinned: bool) -> Runtime {
    let pin = move || {
        if pinned {
            let mut first = CpuSet::new();
            first.set(0);
            sched_setaffinity(None, &first).unwrap();
        }
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).on_thread_start(pin).enable_all().build().unwrap()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Put,
    Get,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// One operation on the object of a number.
trait Client: Clone + Send + Sync + 'static {
    fn call(&self, verb: Verb, number: usize) -> impl Future<Output = ()> + Send;
}

fn clients(
    runtime: &Runtime,
    server: &Server,
    verb: Verb,
    name: &str,
    operations: usize,
    tasks: usize,
) -> bool {
    let (leasehold, aws, objects, opendal) = runtime.block_on(async {
        (leasehold(&server.url).await, aws(&server.url), object_store(&server.url), opendal(&server.url))
    });
    let far_ahead = if tasks == 256 { 2.0 } else { 1.0 };
    Contest::new(format!("{name}, 4 KiB"), operations, tasks)
        .enter("leasehold", work(runtime, verb, leasehold))
        .enter("object_store", work(runtime, verb, objects))
        .enter("opendal", work(runtime, verb, opendal))
        .enter("aws-sdk-s3", work(runtime, verb, aws))
        .enter("(a bare connection)", work(runtime, verb, Bare::new(&server.url)))
        .floor("object_store", Measure::Cpu, 0.7)
        .floor("aws-sdk-s3", Measure::Cpu, 0.25)
        .floor("object_store", Measure::Rate, 1.0)
        .floor("opendal", Measure::Rate, 1.0)
        .floor("aws-sdk-s3", Measure::Rate, far_ahead)
        .run()
}

/// The same client, ours, against our server and another.
fn servers(runtime: &Runtime) -> bool {
    let Ok(other) = std::env::var("LEASEHOLD_TEST_S3_MINISTACK") else {
        println!("\nSKIPPED: server; run scripts/servers run --only ministack -- cargo bench … server");
        return true;
    };
    let server = Server::start("own", false);
    let mut all = true;
    for verb in [Verb::Put, Verb::Get] {
        for tasks in [16, 64] {
            let (ours, theirs) =
                runtime.block_on(async { (leasehold(&server.url).await, leasehold(&other).await) });
            runtime.block_on(async {
                for number in 0..512 {
                    ours.call(Verb::Put, number).await;
                    theirs.call(Verb::Put, number).await;
                }
            });
            all &= Contest::new(format!("{} at the server, 4 KiB", verb.name()), 4_000, tasks)
                .enter("leasehold serve s3", work(runtime, verb, ours))
                .enter("MiniStack", work(runtime, verb, theirs))
                .floor("MiniStack", Measure::Rate, 3.0)
                .run();
        }
    }
    all
}

fn work<'a>(runtime: &'a Runtime, verb: Verb, client: impl Client) -> impl FnMut(usize, usize) + 'a {
    move |operations, tasks| {
        runtime.block_on(async {
            let running: Vec<_> = (0..tasks)
                .map(|task| {
                    let client = client.clone();
                    tokio::spawn(async move {
                        for number in (task..operations).step_by(tasks) {
                            client.call(verb, number % 512).await;
                        }
                    })
                })
                .collect();
            for task in running {
                task.await.unwrap();
            }
        });
    }
}

fn content() -> Bytes {
    Bytes::from_static(&[7; BYTES])
}

// --- the clients ----------------------------------------------------------------------------------------------------

async fn leasehold(url: &str) -> Store {
    let bucket = S3::bucket("bucket").region("us-east-1").endpoint(url).keys(ID, SECRET).create(true);
    Store::new(bucket.await.unwrap())
}

impl Client for Store {
    async fn call(&self, verb: Verb, number: usize) {
        let key = format!("objects/{number}");
        match verb {
            Verb::Put => drop(self.put(key, content()).await.unwrap()),
            Verb::Get => {
                let read = self.get(key).await.unwrap().unwrap().bytes().await.unwrap();
                assert_eq!(read.len(), BYTES);
            }
        }
    }
}

/// As lean as it can be made.
fn aws(url: &str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(ID, SECRET, None, None, "bench"))
        .endpoint_url(url)
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

impl Client for aws_sdk_s3::Client {
    async fn call(&self, verb: Verb, number: usize) {
        let key = format!("objects/{number}");
        match verb {
            Verb::Put => {
                let put = self.put_object().bucket("bucket").key(key).body(content().into());
                drop(Box::pin(put.send()).await.unwrap());
            }
            Verb::Get => {
                let get = self.get_object().bucket("bucket").key(key);
                let read = Box::pin(get.send()).await.unwrap().body.collect().await.unwrap().into_bytes();
                assert_eq!(read.len(), BYTES);
            }
        }
    }
}

#[derive(Clone)]
struct Objects(Arc<object_store::aws::AmazonS3>);

fn object_store(url: &str) -> Objects {
    let store = AmazonS3Builder::new()
        .with_bucket_name("bucket")
        .with_region("us-east-1")
        .with_endpoint(url)
        .with_allow_http(true)
        .with_access_key_id(ID)
        .with_secret_access_key(SECRET)
        .build()
        .unwrap();
    Objects(Arc::new(store))
}

impl Client for Objects {
    async fn call(&self, verb: Verb, number: usize) {
        let path = ObjectPath::from(format!("objects/{number}"));
        match verb {
            Verb::Put => drop(self.0.put(&path, content().into()).await.unwrap()),
            Verb::Get => {
                let read = self.0.get(&path).await.unwrap().bytes().await.unwrap();
                assert_eq!(read.len(), BYTES);
            }
        }
    }
}

fn opendal(url: &str) -> opendal::Operator {
    opendal::install_default();
    let service = opendal::services::S3::default()
        .bucket("bucket")
        .region("us-east-1")
        .endpoint(url)
        .access_key_id(ID)
        .secret_access_key(SECRET)
        .disable_config_load()
        .disable_ec2_metadata();
    opendal::Operator::new(service).unwrap()
}

impl Client for opendal::Operator {
    async fn call(&self, verb: Verb, number: usize) {
        let path = format!("objects/{number}");
        match verb {
            Verb::Put => drop(self.write(&path, content()).await.unwrap()),
            Verb::Get => assert_eq!(self.read(&path).await.unwrap().len(), BYTES),
        }
    }
}

/// Sends prepared bytes and waits for an answer: what a request costs on this machine before any client has a part in it.
#[derive(Clone)]
struct Bare {
    address: String,
    idle: Arc<Mutex<Vec<TcpStream>>>,
}

impl Bare {
    fn new(url: &str) -> Self {
        Self { address: url.trim_start_matches("http://").to_owned(), idle: Arc::default() }
    }
}

impl Client for Bare {
    async fn call(&self, verb: Verb, number: usize) {
        let idle = self.idle.lock().unwrap().pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                stream
            }
        };
        let (method, sent, answered) = match verb {
            Verb::Put => ("PUT", BYTES, 0),
            Verb::Get => ("GET", 0, BYTES),
        };
        let mut request =
            format!("{method} /bucket/{number} HTTP/1.1\r\nhost: x\r\ncontent-length: {sent}\r\n\r\n")
                .into_bytes();
        request.resize(request.len() + sent, 7);
        stream.write_all(&request).await.unwrap();
        let mut answer = Vec::with_capacity(2 * BYTES);
        loop {
            let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
            if head.is_some_and(|head| answer.len() >= head + 4 + answered) {
                break;
            }
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
        self.idle.lock().unwrap().push(stream);
    }
}

// --- the server, in a process of its own ----------------------------------------------------------------------------

/// Ends when this process does: its input ends then.
struct Server {
    child: Child,
    url: String,
    _input: ChildStdin,
}

impl Server {
    /// `own`, or how many milliseconds one that does nothing waits before it answers.
    fn start(role: &str, pinned: bool) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env(PINNED, pinned.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { url: url.trim().to_owned(), _input: child.stdin.take().unwrap(), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(role: &str) {
    let runtime = runtime(std::env::var(PINNED).unwrap() == "true");
    if role == "own" {
        let server = S3Server::new(Store::new(Memory::new()))
            .credentials(leasehold_s3_server::Credentials::new(ID, SECRET))
            .bucket("bucket")
            .bind("127.0.0.1:0");
        let server = runtime.block_on(server).unwrap();
        println!("{}", server.url());
        wait_for_the_end();
        return runtime.block_on(server.stop());
    }
    let delay = Duration::from_millis(role.parse().unwrap());
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(async move {
        let line = Line::new(delay);
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let line = line.clone();
            let service = service_fn(move |request| answer(request, line.clone()));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    wait_for_the_end();
}

fn wait_for_the_end() {
    let _ = std::io::stdin().read(&mut [0]);
}

/// A long line: what enters it leaves it after the same time, one after the other. A runtime's timers tick every millisecond, and
/// all that is due goes on at once then, which no line does.
#[derive(Clone)]
struct Line {
    delay: Duration,
    entry: mpsc::Sender<(Instant, oneshot::Sender<()>)>,
}

#[expect(clippy::disallowed_methods, reason = "this is the delay that is measured with")]
impl Line {
    fn new(delay: Duration) -> Self {
        let (entry, waiting) = mpsc::channel::<(Instant, oneshot::Sender<()>)>();
        std::thread::spawn(move || {
            for (due, leaves) in waiting {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let _ = leaves.send(());
            }
        });
        Self { delay, entry }
    }

    async fn pass(&self) {
        if !self.delay.is_zero() {
            let (leaves, left) = oneshot::channel();
            self.entry.send((Instant::now() + self.delay, leaves)).unwrap();
            left.await.unwrap();
        }
    }
}

async fn answer(request: Request<Incoming>, line: Line) -> Result<Response<Full<Bytes>>, Infallible> {
    let get = request.method() == Method::GET;
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    line.pass().await;
    let answer = Response::builder()
        .header("etag", "\"0123456789abcdef0123456789abcdef\"")
        .header("last-modified", "Sat, 21 Nov 2026 12:00:00 GMT")
        .header("content-type", "binary/octet-stream");
    Ok(answer.body(if get { content().into() } else { Full::default() }).unwrap())
}
