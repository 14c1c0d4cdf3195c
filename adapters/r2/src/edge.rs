//! Reads through the Worker.

use std::{collections::HashMap, time::Duration};

use leasehold_core::{
    Environment, Error, ErrorKind, GetOptions, Key, Lookup, Metadata, Result, StorageAdapter,
};
use leasehold_s3::S3;
use parking_lot::Mutex;

/// How long the Worker is waited for. Behind it stands the bucket itself, so there is no point in patience.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many recent writes are remembered by their keys; beyond them all keys count as written.
const WRITTEN_MAX: usize = 10_000;

/// The Worker in front of a bucket. To reads it looks like the bucket.
#[derive(Debug)]
pub(crate) struct Edge {
    worker: S3,
    written: Written,
    environment: Environment,
}

impl Edge {
    pub(crate) async fn open(
        bucket: &str,
        url: &str,
        token: &str,
        age_max: Duration,
        environment: Environment,
    ) -> Result<Self> {
        let worker = S3::bucket(bucket)
            .region("auto")
            .endpoint(url)
            .endpoint_is_bucket()
            .bearer(token)
            .timeout(PATIENCE)
            .connect_timeout(PATIENCE)
            .attempts(1)
            .environment(environment.clone());
        Ok(Self { worker: worker.await?, written: Written::new(age_max), environment })
    }

    /// `None` when the bucket should answer: the Worker cannot now, or may not know of a write of ours.
    pub(crate) async fn get(&self, key: &Key, options: GetOptions) -> Result<Option<Lookup>> {
        if self.written.lately(key, self.environment.clock.monotonic()) {
            return Ok(None);
        }
        available(self.worker.get(key, options).await)
    }

    /// The same for a head.
    pub(crate) async fn head(&self, key: &Key) -> Result<Option<Option<Metadata>>> {
        if self.written.lately(key, self.environment.clock.monotonic()) {
            return Ok(None);
        }
        available(self.worker.head(key).await)
    }

    /// From now on the Worker may have an old value of this key.
    pub(crate) fn outdate(&self, key: &Key) {
        self.written.note(key, self.environment.clock.monotonic());
    }

    /// Asks the Worker to forget a value, so that others see the new one. Without success it is forgotten when its time is
    /// over.
    pub(crate) async fn purge(&self, key: &Key) {
        let _ = self.worker.request(http::Method::POST, key, "purge").await;
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

/// The keys that were written within the time that the Worker may serve an old value.
#[derive(Debug)]
struct Written {
    age_max: Duration,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    /// Until when.
    keys: HashMap<Key, Duration>,
    all: Option<Duration>,
}

impl Written {
    fn new(age_max: Duration) -> Self {
        Self { age_max, recent: Mutex::default() }
    }

    fn note(&self, key: &Key, now: Duration) {
        let until = now + self.age_max;
        let mut recent = self.recent.lock();
        if recent.keys.len() >= WRITTEN_MAX {
            recent.keys.retain(|_, until| *until > now);
        }
        if recent.keys.len() >= WRITTEN_MAX {
            recent.keys.clear();
            recent.all = Some(until);
        }
        recent.keys.insert(key.clone(), until);
    }

    fn lately(&self, key: &Key, now: Duration) -> bool {
        let recent = self.recent.lock();
        let until = recent.keys.get(key).copied().max(recent.all);
        until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_remembered_as_long_as_the_worker_may_not_know_of_it() {
        let written = Written::new(Duration::from_secs(60));
        let (key, other) = (Key::new("k").unwrap(), Key::new("other").unwrap());
        let at = Duration::from_secs;
        assert!(!written.lately(&key, at(0)));
        written.note(&key, at(0));
        assert!(written.lately(&key, at(59)) && !written.lately(&key, at(60)));
        assert!(!written.lately(&other, at(0)));
    }

    #[test]
    fn many_writes_are_remembered_as_all() {
        let written = Written::new(Duration::from_secs(60));
        for number in 0..=WRITTEN_MAX {
            written.note(&Key::new(format!("{number}")).unwrap(), Duration::ZERO);
        }
        assert!(written.recent.lock().keys.len() <= WRITTEN_MAX);
        let (unwritten, at) = (Key::new("unwritten").unwrap(), Duration::from_secs);
        assert!(written.lately(&unwritten, at(59)) && !written.lately(&unwritten, at(60)));
    }
}
