//! Any store as an `object_store::ObjectStore`.

mod copy;
mod failure;
mod list;
mod multipart;
mod read;
mod stage;
mod upload;

use std::{fmt, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use leasehold_core::{
    Attributes, BatchOptions, Body, DeleteOptions, Key, Operation, Precondition, PutOptions, StorageAdapter,
    Store, Version,
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions as Request, PutPayload, PutResult, RenameOptions, Result, TagSet,
    path::Path,
};

use self::failure::{Conflict, error, generic, not_implemented};
use crate::{attributes, tag};

/// How many locations of a stream are deleted in one batch at most.
const DELETED_AT_ONCE: usize = 256;

/// Any [`Store`] as an [`ObjectStore`](object_store::ObjectStore), so that what is written for `object_store` runs on a
/// directory with conditional updates, on a stack of layers, on whatever there is an adapter for. Cloning is cheap.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_object_store::AsObjectStore;
/// use object_store::{ObjectStoreExt, PutMode, path::Path};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> object_store::Result<()> {
/// let objects = AsObjectStore::new(Store::new(leasehold_memory::Memory::new()));
/// let path = Path::from("users/42");
/// let first = objects.put(&path, "ada".into()).await?;
/// # use object_store::ObjectStore;
/// objects.put_opts(&path, "grace".into(), PutMode::Update(first.into()).into()).await?;
/// # Ok(()) }
/// ```
///
/// # What holds
///
/// What the store promises. A location is a key as it is written, encoding and all. The ETag is the version, in quotes; there
/// is no object version. Conditional creates and updates, also when a copy or a rename must not replace anything, are as
/// exact as the store's own, and `NotImplemented` where it has none. Tags, storage classes and names of metadata
/// that a store cannot keep are refused, never dropped. Where the outcome of a write is unknown the error is `Generic`, with
/// the store's error as its source: `AlreadyExists` and `Precondition` always mean that nothing was written.
///
/// A copy streams the value through this process. A rename is a copy and then a delete, as elsewhere in `object_store`; where
/// the store has conditional deletes, a source that was changed in between is kept and the rename fails.
///
/// # Cost
///
/// A get, a head and a put are one call of the store each, and so are up to 256 deletes of a stream. A list reads every entry
/// under its prefix; one level of it skips what lies deeper after 1,000 keys of one folder.
///
/// # Cancel safety
///
/// As the store's own: a put or a completion that is dropped has happened whole or not at all. A copy that is dropped is a
/// put, and a rename may leave the copy and its source. A completion that fails may be tried again.
///
/// # Multipart uploads
///
/// The parts of an upload are kept in memory up to 16 MiB, and beyond that as values under `_object_store/uploads/`, which
/// nobody sees: lists leave them out and locations there are refused. Completing streams them into one put, so the object
/// appears whole, or not at all. Uploads that are aborted or dropped are cleared away; those of a process that died, and
/// those begun through [`MultipartStore`](object_store::multipart::MultipartStore) and never completed, stay until
/// [`remove_abandoned_uploads`](Self::remove_abandoned_uploads). One such object store on top of another needs a namespace
/// of its own, or both would keep parts in the same place.
#[derive(Clone)]
pub struct AsObjectStore {
    store: Store,
}

impl AsObjectStore {
    /// `store` as an object store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Removes what is left of uploads that were last written to before `before`, and returns how many values that were.
    /// Costs a list of what is staged. Where the store does not know when values were written, nothing is removed.
    ///
    /// # Errors
    /// What listing and deleting fail with; some may have been removed then.
    pub async fn remove_abandoned_uploads(&self, before: SystemTime) -> leasehold_core::Result<usize> {
        stage::remove_abandoned(self.adapter(), before).await
    }

    fn adapter(&self) -> &Arc<dyn StorageAdapter> {
        self.store.adapter()
    }

    /// The key of a location.
    fn key(location: &Path) -> Result<Key> {
        let key = Key::new(location.as_ref()).map_err(generic)?;
        if stage::is_staged(&key) {
            return Err(generic(format!(
                "{location} is where parts of uploads are kept; use another location"
            )));
        }
        Ok(key)
    }

    async fn write(
        &self,
        location: &Path,
        body: Body,
        precondition: Precondition,
        attributes: Attributes,
    ) -> Result<Version> {
        let conflict = match &precondition {
            Precondition::Absent => Conflict::Exists,
            _ => Conflict::Condition,
        };
        let options = PutOptions::from(precondition).attributes(attributes);
        let written = self.adapter().put(&Self::key(location)?, body, options).await;
        written.map_err(|failed| error(failed, location, conflict))
    }
}

/// What can be kept of what a caller wants kept beside a value.
fn kept(tags: &TagSet, theirs: &object_store::Attributes) -> Result<Attributes> {
    if !tags.encoded().is_empty() {
        return Err(not_implemented("tags"));
    }
    attributes::accept(theirs).map_err(generic)
}

fn put_result(version: &Version) -> PutResult {
    PutResult { e_tag: Some(tag::to_e_tag(version)), version: None, extensions: Default::default() }
}

/// The bytes of a payload; copied only when they lie in several pieces.
fn payload_bytes(payload: PutPayload) -> Bytes {
    match payload.as_ref() {
        [whole] => whole.clone(),
        _ => payload.into(),
    }
}

impl fmt::Debug for AsObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsObjectStore({:?})", self.store)
    }
}

impl fmt::Display for AsObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.store, f)
    }
}

#[async_trait]
impl ObjectStore for AsObjectStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: Request) -> Result<PutResult> {
        let attributes = kept(&opts.tags, &opts.attributes)?;
        let precondition = match opts.mode {
            PutMode::Overwrite => Precondition::None,
            PutMode::Create => Precondition::Absent,
            PutMode::Update(update) => {
                let e_tag =
                    update.e_tag.ok_or_else(|| generic("an update names the ETag that it replaces"))?;
                // A tag that was never given out belongs to no value, but only the store can say if updates are offered.
                Precondition::Matches(tag::from_e_tag(&e_tag).unwrap_or_else(|| Version::new("")))
            }
        };
        let body = payload_bytes(payload).into();
        self.write(location, body, precondition, attributes).await.map(|version| put_result(&version))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let attributes = kept(&opts.tags, &opts.attributes)?;
        Self::key(location)?;
        Ok(Box::new(upload::Upload::new(self.clone(), location.clone(), attributes)?))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        read::get(self, location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        locations
            .ready_chunks(DELETED_AT_ONCE)
            .then(move |locations| {
                let store = store.clone();
                async move { futures_util::stream::iter(store.delete_all(locations).await) }
            })
            .flatten()
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        list::all(self, prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        list::all(self, prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        list::level(self, prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        copy::copy(self, from, to, options.mode).await.map(drop)
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        copy::rename(self, from, to, options.target_mode).await
    }
}

impl AsObjectStore {
    /// Deletes what was asked for, in order; errors among the locations stay where they are.
    async fn delete_all(&self, locations: Vec<Result<Path>>) -> Vec<Result<Path>> {
        let asked: Vec<Result<(Path, Key)>> = locations
            .into_iter()
            .map(|location| location.and_then(|location| Ok((location.clone(), Self::key(&location)?))))
            .collect();
        let delete = |key: &Key| Operation::Delete(key.clone(), DeleteOptions::default());
        let operations = asked.iter().flatten().map(|(_, key)| delete(key)).collect();
        let mut done = self.adapter().batch(operations, BatchOptions::default()).await.into_iter();
        asked
            .into_iter()
            .map(|asked| {
                let (location, _) = asked?;
                match done.next() {
                    Some(Ok(_)) => Ok(location),
                    Some(Err(failed)) => Err(error(failed, &location, Conflict::Condition)),
                    None => Err(generic("the store answered for fewer deletes than were asked for")),
                }
            })
            .collect()
    }
}
