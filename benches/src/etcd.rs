//! etcd as a neighbour: the few calls that are compared, over its own protocol.
//!
//! The messages are written out here, so that nothing but a Rust compiler is needed; field numbers are those of etcd's
//! `rpc.proto` and `v3lock.proto`, which are stable.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use http::uri::PathAndQuery;
use prost::Message;
use tonic::{Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

/// A single node of its own, killed when dropped.
pub struct Etcd {
    child: Child,
    endpoint: String,
}

impl Etcd {
    /// Starts one that keeps its data in `path`; `None` where it is not installed.
    ///
    /// # Errors
    /// When there is no port for it.
    pub fn start(path: &Path) -> std::io::Result<Option<Self>> {
        let free = || Ok::<_, std::io::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let (clients, peers) = (free()?, free()?);
        let (clients, peers) = (format!("http://127.0.0.1:{clients}"), format!("http://127.0.0.1:{peers}"));
        let started = Command::new("etcd")
            .arg("--data-dir")
            .arg(path)
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}"), "--log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Ok(Some(Self { child, endpoint: clients })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A client with a session of its own, once the server answers.
    ///
    /// # Errors
    /// When it does not within ten seconds.
    pub async fn client(&self) -> Result<Client, Status> {
        let mut last = Status::unavailable("etcd did not answer");
        for _ in 0..100 {
            let endpoint = tonic::transport::Endpoint::from_shared(self.endpoint.clone());
            if let Ok(endpoint) = endpoint
                && let Ok(channel) = endpoint.connect().await
            {
                let mut client = Client { grpc: Grpc::new(channel), lease: 0 };
                match client.grant().await {
                    Ok(()) => return Ok(client),
                    Err(status) => last = status,
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(last)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // One that is gone already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of one connection, whose locks hang on one lease of ten minutes.
pub struct Client {
    grpc: Grpc<Channel>,
    lease: i64,
}

impl Client {
    async fn call<M, R>(&mut self, path: &'static str, message: M) -> Result<R, Status>
    where
        M: Message + Send + Sync + 'static,
        R: Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let reply = self.grpc.unary(tonic::Request::new(message), path, ProstCodec::default()).await?;
        Ok(reply.into_inner())
    }

    async fn grant(&mut self) -> Result<(), Status> {
        let granted: Granted = self.call("/etcdserverpb.Lease/LeaseGrant", Grant { ttl: 600 }).await?;
        self.lease = granted.id;
        Ok(())
    }

    /// Locks, and returns the key to unlock by.
    ///
    /// # Errors
    /// What etcd answers.
    pub async fn lock(&mut self, name: &str) -> Result<Vec<u8>, Status> {
        let lock = Lock { name: name.into(), lease: self.lease };
        let locked: Locked = self.call("/v3lockpb.Lock/Lock", lock).await?;
        Ok(locked.key)
    }

    /// Unlocks.
    ///
    /// # Errors
    /// What etcd answers.
    pub async fn unlock(&mut self, key: Vec<u8>) -> Result<(), Status> {
        let _: Nothing = self.call("/v3lockpb.Lock/Unlock", Unlock { key }).await?;
        Ok(())
    }

    /// Adds one to a number, by reading it and comparing its revision, until nobody was faster.
    ///
    /// # Errors
    /// What etcd answers.
    pub async fn increment(&mut self, key: &str) -> Result<(), Status> {
        loop {
            let range = Range { key: key.into() };
            let found: Found = self.call("/etcdserverpb.KV/Range", range).await?;
            let (revision, value) = match found.kvs.first() {
                Some(kv) => {
                    let text = String::from_utf8_lossy(&kv.value).into_owned();
                    (kv.mod_revision, text.parse::<u64>().unwrap_or(0))
                }
                None => (0, 0),
            };
            let put = Put { key: key.into(), value: (value + 1).to_string().into_bytes() };
            let txn = Txn {
                // EQUAL and MOD; the revision of a key that is absent is 0.
                compare: vec![Compare {
                    result: 0,
                    target: 2,
                    key: key.into(),
                    mod_revision: Some(revision),
                }],
                success: vec![Operation { put: Some(put) }],
            };
            let ended: Ended = self.call("/etcdserverpb.KV/Txn", txn).await?;
            if ended.succeeded {
                return Ok(());
            }
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Grant {
    #[prost(int64, tag = "1")]
    ttl: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Granted {
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Lock {
    #[prost(bytes = "vec", tag = "1")]
    name: Vec<u8>,
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Locked {
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Unlock {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Found {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(int32, tag = "1")]
    result: i32,
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    // One of several that may be compared: present also when it is 0.
    #[prost(int64, optional, tag = "6")]
    mod_revision: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(message, optional, tag = "2")]
    put: Option<Put>,
}

#[derive(Clone, PartialEq, Message)]
struct Txn {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<Operation>,
}

#[derive(Clone, PartialEq, Message)]
struct Ended {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}
