//! A store whose versions derive from content.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use futures_util::stream::StreamExt;
use leasehold_core::{
    Attributes, BatchOptions, Body, BoxStream, Bytes, Capabilities, Capability, Changes, DeleteOptions,
    Entry, Error, GetOptions, Key, ListOptions, Lookup, Metadata, Object, Operation, Outcome, Precondition,
    PutOptions, Result, Scope, StorageAdapter, Version, async_trait, batch_by_key,
};
use leasehold_memory::Memory;

/// A store in memory that promises as little as object storage does: its versions are taken from the content, so that equal
/// values have equal versions and an old version comes back with its value, and deletes have no preconditions.
///
/// Exact otherwise. What is built on conditional writes and passes over [`Memory`] may still lose a write here.
#[derive(Clone, Debug)]
pub struct ContentVersions {
    below: Memory,
    attributes: bool,
}

fn version(bytes: &[u8]) -> Version {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Version::new(format!("\"{:016x}\"", hasher.finish()))
}

impl ContentVersions {
    /// The values of `below`, with other versions.
    pub fn new(below: Memory) -> Self {
        Self { below, attributes: true }
    }

    /// The same without attributes.
    #[must_use]
    pub fn without_attributes(self) -> Self {
        Self { attributes: false, ..self }
    }

    /// The value with its version here, and the one it has below.
    async fn look(&self, key: &Key) -> Result<Option<(Metadata, Bytes, Version)>> {
        let Some(object) = self.below.get(key, GetOptions::default()).await?.found() else { return Ok(None) };
        let (mut metadata, below) = (object.metadata.clone(), object.metadata.version.clone());
        let bytes = object.bytes().await?;
        metadata.version = version(&bytes);
        Ok(Some((metadata, bytes, below)))
    }

    async fn replace(
        &self,
        key: &Key,
        wanted: &Version,
        bytes: &Bytes,
        options: &PutOptions,
    ) -> Result<Version> {
        loop {
            let found = self.look(key).await?;
            let (current, below) = found.map(|(metadata, _, below)| (metadata.version, below)).unzip();
            Precondition::Matches(wanted.clone()).check(current.as_ref())?;
            let mut exact = options.clone();
            exact.precondition = below.map_or(Precondition::None, Precondition::Matches);
            match self.below.put(key, bytes.clone().into(), exact).await {
                // Somebody was faster, but may have written what the caller expects all the same.
                Err(error) if error.is_conflict() => {}
                done => return done,
            }
        }
    }
}

impl fmt::Display for ContentVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "content versions over {}", self.below)
    }
}

#[async_trait]
impl StorageAdapter for ContentVersions {
    fn capabilities(&self) -> Capabilities {
        let claimed = Capabilities::none(self.below.capabilities().limits())
            .with(Capability::Linearizable)
            .with(Capability::ListedSizes)
            .with(Capability::ConditionalPut);
        if self.attributes { claimed.with(Capability::Attributes) } else { claimed }
    }

    async fn head(&self, key: &Key) -> Result<Option<Metadata>> {
        Ok(self.look(key).await?.map(|(metadata, ..)| metadata))
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Lookup> {
        let Some((metadata, bytes, _)) = self.look(key).await? else { return Ok(Lookup::Absent) };
        if options.if_changed_from.as_ref() == Some(&metadata.version) {
            return Ok(Lookup::Unchanged);
        }
        let range = options.range.resolve(metadata.size).map_err(|error| error.on("get", key))?;
        let part = bytes.slice(range.start as usize..range.end as usize);
        Ok(Lookup::Found(Object::new(metadata, range, part.into())))
    }

    async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        if !self.attributes && !options.attributes.is_empty() {
            return Err(Error::unsupported(Capability::Attributes).on("put", key));
        }
        let bytes = body.collect(self.below.capabilities().limits().value_bytes_max).await?;
        match &options.precondition {
            Precondition::Matches(wanted) => self.replace(key, wanted, &bytes, &options).await,
            _ => self.below.put(key, bytes.clone().into(), options).await,
        }
        .map_err(|error| error.on("put", key))?;
        Ok(version(&bytes))
    }

    async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        if options.if_match.is_some() {
            return Err(Error::unsupported(Capability::ConditionalDelete).on("delete", key));
        }
        self.below.delete(key, options).await
    }

    fn list(&self, options: ListOptions) -> BoxStream<'static, Result<Entry>> {
        let store = self.clone();
        let entries = self.below.list(options).filter_map(move |entry| {
            let store = store.clone();
            async move {
                let key = match entry {
                    Ok(entry) => entry.key,
                    Err(error) => return Some(Err(error)),
                };
                match store.look(&key).await {
                    Ok(Some((metadata, ..))) => {
                        Some(Ok(Entry::new(key, metadata.attributes(Attributes::new()))))
                    }
                    Ok(None) => None,
                    Err(error) => Some(Err(error)),
                }
            }
        });
        entries.boxed()
    }

    async fn increment(&self, key: &Key, delta: i64) -> Result<i64> {
        self.below.increment(key, delta).await
    }

    async fn batch(&self, operations: Vec<Operation>, options: BatchOptions) -> Vec<Result<Outcome>> {
        batch_by_key(self, operations, options, 16).await
    }

    async fn flush(&self) -> Result<()> {
        self.below.flush().await
    }

    async fn changes(&self, _: &Scope) -> Result<Option<Changes>> {
        Ok(None)
    }
}
