//! The adapter: what a handle on a directory is made of, and how its calls reach the directory.

use std::{fmt, sync::Arc};

use futures_util::stream::{BoxStream, StreamExt};
use leasehold_core::{
    BatchOptions, Body, Bytes, Capabilities, Capability, Changes, DeleteOptions, Entry, Environment, Error,
    GetOptions, Key, Limits, ListOptions, Lookup, Metadata, Operation, Outcome, Precondition, PutOptions,
    Result, Scope, StorageAdapter, Version, async_trait, check_size,
};
use parking_lot::Mutex;

use crate::{
    calls::{Calls, done},
    layout::Layout,
    listing::Listing,
    locks::{Locks, Patience},
    read,
    root::Root,
    stage::Area,
    sync::Syncs,
    watch::{self, Watches},
    write::{INLINE_BYTES_MAX, Stamped},
};

/// How much of a streamed body is gathered before it is written.
const GATHER_BYTES: usize = 1 << 20;

/// A directory as a store. Cloning is cheap and shares the handle.
#[derive(Clone)]
pub struct Fs(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) label: String,
    pub(crate) root: Arc<Root>,
    pub(crate) layout: Layout,
    pub(crate) locks: Locks,
    pub(crate) syncs: Syncs,
    pub(crate) area: Mutex<Option<Arc<Area>>>,
    pub(crate) durable: bool,
    pub(crate) reuse_files: bool,
    pub(crate) limits: Limits,
    pub(crate) environment: Environment,
    pub(crate) calls: Calls,
    pub(crate) watches: Watches,
}

impl Inner {
    /// Stages and stamps a value that is at hand, if it may be written at all.
    pub(crate) fn stage_checked(&self, key: &Key, bytes: &[u8], options: &PutOptions) -> Result<Stamped> {
        self.check_attributes(options)?;
        self.check_size(bytes.len() as u64)?;
        self.stamp(key, self.stage_whole(key, bytes, options)?, &options.precondition)
    }

    fn check_attributes(&self, options: &PutOptions) -> Result<()> {
        if options.attributes.is_empty() || self.root.keeps_attributes {
            return Ok(());
        }
        Err(Error::unsupported(Capability::Attributes))
    }

    fn check_size(&self, size: u64) -> Result<()> {
        let limit = self.limits.value_bytes_max;
        if size > limit {
            return Err(Error::invalid(format!(
                "a value of {size} bytes or more is over the limit of {limit} bytes"
            )));
        }
        Ok(())
    }
}

impl Fs {
    pub(crate) fn told<'a>(&'a self, operation: &'static str, key: &'a Key) -> impl Fn(Error) -> Error + 'a {
        move |error| error.on(operation, key).at(self)
    }

    async fn put_body(&self, key: Key, body: Body, options: PutOptions) -> Result<Version> {
        self.0.check_attributes(&options)?;
        if let Some(size) = body.size() {
            self.0.check_size(size)?;
        }
        match body.try_into_bytes() {
            Ok(bytes) => self.put_bytes(key, bytes, options).await,
            Err(stream) => self.put_stream(key, stream, options).await,
        }
    }

    async fn put_bytes(&self, key: Key, bytes: Bytes, options: PutOptions) -> Result<Version> {
        let owned = key.clone();
        let absent = options.precondition == Precondition::Absent;
        if bytes.len() <= INLINE_BYTES_MAX && (self.0.root.in_memory || !absent) {
            let put = move |inner: &Inner, patience| inner.put(&owned, &bytes, &options, patience);
            return self.write_small(&key, put).await;
        }
        let put = move |inner: &Inner| inner.put(&owned, &bytes, &options, Patience::Bounded);
        if absent {
            self.write_unlocked(put).await.and_then(done)
        } else {
            self.write_locked(&key, put).await
        }
    }

    /// Writes chunk by chunk; what is staged goes away with the future.
    async fn put_stream(&self, key: Key, body: Body, options: PutOptions) -> Result<Version> {
        let PutOptions { precondition, attributes, .. } = options;
        let announced = body.size();
        let mut chunks = body.into_stream().fuse();
        let mut staged = self.write_unlocked(move |inner| inner.stage(&attributes)).await?;
        loop {
            let mut gathered = Vec::new();
            let mut size = 0;
            while size < GATHER_BYTES
                && let Some(chunk) = chunks.next().await
            {
                let chunk = chunk?;
                if !chunk.is_empty() {
                    size += chunk.len();
                    gathered.push(chunk);
                }
            }
            if gathered.is_empty() {
                break;
            }
            let total = staged.size() + size as u64;
            self.0.check_size(total)?;
            // Already too long: what else may come need not be staged to be refused.
            check_size(announced.filter(|announced| *announced < total), total)?;
            let write = move |_: &Inner| {
                gathered.iter().try_for_each(|chunk| staged.write(chunk))?;
                Ok(staged)
            };
            staged = self.write_unlocked(write).await?;
        }
        check_size(announced, staged.size())?;
        let owned = key.clone();
        let absent = precondition == Precondition::Absent;
        let publish = move |inner: &Inner| inner.publish(&owned, staged, &precondition, Patience::Bounded);
        if absent {
            self.write_unlocked(publish).await.and_then(done)
        } else {
            self.write_locked(&key, publish).await
        }
    }
}

impl fmt::Debug for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fs({:?}, durable: {})", self.0.label, self.0.durable)
    }
}

impl fmt::Display for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fs:{}", self.0.label)
    }
}

#[async_trait]
impl StorageAdapter for Fs {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none(self.0.limits)
            .with(Capability::Linearizable)
            .with(Capability::ListedSizes)
            .with(Capability::ConditionalPut)
            .with(Capability::ConditionalDelete)
            .with(Capability::UniqueVersions);
        if self.0.is_durable() {
            capabilities = capabilities.with(Capability::Durable);
        }
        if self.0.root.keeps_attributes {
            capabilities = capabilities.with(Capability::Attributes);
        }
        if watch::IS_TOLD {
            capabilities = capabilities.with(Capability::Changes);
        }
        capabilities
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        let place = self.0.layout.names.place(key);
        match read::head_cached(&self.0.root, place.path()) {
            Some(answer) => answer,
            None => self.read(move |inner| read::head(&inner.root, place.path())).await,
        }
        .map_err(self.told("head", key))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        let place = self.0.layout.names.place(key);
        match read::get_cached(&self.0.root, place.path(), &options) {
            Some(answer) => answer,
            None => self.read(move |inner| read::get(&inner.root, place.path(), &options)).await,
        }
        .map_err(self.told("get", key))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.put_body(key.clone(), body, options).await.map_err(self.told("put", key))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        let (owned, precondition) = (key.clone(), options.precondition());
        self.write_small(key, move |inner, patience| inner.delete(&owned, &precondition, patience))
            .await
            .map_err(self.told("delete", key))
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        Box::pin(Listing::new(self.clone(), options))
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        let owned = key.clone();
        self.write_small(key, move |inner, patience| inner.increment(&owned, delta, patience))
            .await
            .map_err(self.told("increment", key))
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        self.batch_in_bulk(operations, options).await
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn changes(&self, scope: &Scope) -> Result<Option<Changes>> {
        // Why there is none is no error of the caller's: to poll is always right.
        Ok(self.0.watches.changes(&self.0.root, self.0.layout.names, scope).await)
    }
}
