//! An endpoint in this process, and buckets on it.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "tests fail where something is missing")]

use std::time::Duration;

use leasehold_conformance::ContentVersions;
use leasehold_core::Store;
use leasehold_fault_proxy::FaultProxy;
use leasehold_memory::Memory;
use leasehold_s3::{Open, S3};
use leasehold_s3_server::{Credentials, Listening, S3Server};

pub(crate) const ID: &str = "access";
pub(crate) const SECRET: &str = "not-to-be-told";

/// A server of `store` with one bucket, `bucket`.
pub(crate) async fn serve(store: Store) -> Listening {
    let server = S3Server::new(store).credentials(Credentials::new(ID, SECRET)).bucket("bucket");
    server.bind("127.0.0.1:0").await.unwrap()
}

/// That bucket, through `url`. Deletes with conditions are as exact as the store behind it.
pub(crate) fn bucket(url: String) -> Open {
    S3::bucket("bucket").region("us-east-1").endpoint(url).keys(ID, SECRET).conditional_delete(true)
}

/// A server over memory behind a proxy, and the store below it.
pub(crate) struct Behind {
    pub(crate) below: Store,
    pub(crate) server: Listening,
    pub(crate) proxy: FaultProxy,
}

impl Behind {
    pub(crate) async fn start() -> Self {
        Self::over(Store::new(Memory::new())).await
    }

    /// The same with ETags as S3 has them: a content that returns brings its old one back.
    pub(crate) async fn with_content_tags() -> Self {
        Self::over(Store::new(ContentVersions::new(Memory::new()))).await
    }

    async fn over(below: Store) -> Self {
        let server = serve(below.clone()).await;
        let proxy = FaultProxy::start(server.address());
        Self { below, server, proxy }
    }

    /// The bucket through the proxy.
    pub(crate) fn open(&self) -> Open {
        bucket(self.proxy.url()).timeout(Duration::from_millis(500)).throttled_wait(Duration::from_millis(2))
    }

    pub(crate) async fn store(&self) -> Store {
        Store::new(self.open().await.unwrap())
    }

    /// The bucket without the proxy.
    pub(crate) async fn direct(&self) -> Store {
        Store::new(bucket(self.server.url()).await.unwrap())
    }
}
