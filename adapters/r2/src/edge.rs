//! Reads through the Worker.

use leasehold_core::{Error, ErrorKind, GetOptions, Key, Lookup, Metadata, Result, StorageAdapter};
use leasehold_s3::S3;

/// The Worker in front of a bucket. To reads it looks like the bucket.
#[derive(Clone, Debug)]
pub(crate) struct Edge(S3);

impl Edge {
    pub(crate) async fn open(bucket: &str, url: &str, token: &str) -> Result<Self> {
        // One try: behind it stands the bucket itself.
        let worker =
            S3::bucket(bucket).region("auto").endpoint(url).endpoint_is_bucket().bearer(token).attempts(1);
        worker.await.map(Self)
    }

    /// `None` when the Worker cannot answer now, and the bucket should.
    pub(crate) async fn get(&self, key: &Key, options: GetOptions) -> Result<Option<Lookup>> {
        available(self.0.get(key, options).await)
    }

    /// The same for a head.
    pub(crate) async fn head(&self, key: &Key) -> Result<Option<Option<Metadata>>> {
        available(self.0.head(key).await)
    }

    /// Asks the Worker to forget a value. Without success it is forgotten when its time is over.
    pub(crate) async fn purge(&self, key: &Key) {
        if let Ok(method) = http::Method::from_bytes(b"PURGE") {
            let _ = self.0.request(method, key).await;
        }
    }
}

fn available<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if passing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn passing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Throttled)
}
