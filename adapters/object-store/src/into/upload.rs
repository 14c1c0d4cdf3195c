//! A multipart upload of this process: held in memory at first, staged beyond that.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use leasehold_core::{Attributes, Precondition};
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart, path::Path};

use super::{
    AsObjectStore,
    failure::{self, Conflict, generic},
    put_result,
    stage::{self, Part},
};

/// What one upload holds in memory.
const HELD_BYTES_MAX: usize = 16 << 20;

pub(super) struct Upload {
    store: AsObjectStore,
    location: Path,
    attributes: Attributes,
    id: String,
    /// In the order in which they were handed over; each is set when it has arrived.
    parts: Vec<Arc<OnceLock<Part>>>,
    held_bytes: usize,
    /// Something may have been staged.
    staged: Arc<AtomicBool>,
    ended: bool,
}

impl Upload {
    pub(super) fn new(store: AsObjectStore, location: Path, attributes: Attributes) -> Result<Self> {
        Ok(Self {
            id: store.store.environment().identifier(),
            store,
            location,
            attributes,
            parts: Vec::new(),
            held_bytes: 0,
            staged: Arc::default(),
            ended: false,
        })
    }

    /// Clears away what was staged. What cannot be is left to [`AsObjectStore::remove_abandoned_uploads`].
    async fn clear(&self) -> leasehold_core::Result<()> {
        if !self.staged.load(Ordering::Acquire) {
            return Ok(());
        }
        stage::remove(&**self.store.adapter(), &self.id).await?;
        self.staged.store(false, Ordering::Release);
        Ok(())
    }

    fn check_open(&self) -> Result<()> {
        if self.ended {
            Err(generic("the upload has been completed or aborted; begin another"))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        if let Err(over) = self.check_open() {
            return Box::pin(async move { Err(over) });
        }
        let index = self.parts.len();
        let part = Arc::new(OnceLock::new());
        self.parts.push(part.clone());
        let size = data.content_length();
        if self.held_bytes + size <= HELD_BYTES_MAX {
            self.held_bytes += size;
            drop(part.set(Part::Held(data)));
            return Box::pin(std::future::ready(Ok(())));
        }
        let (store, location, id, staged) =
            (self.store.clone(), self.location.clone(), self.id.clone(), self.staged.clone());
        Box::pin(async move {
            staged.store(true, Ordering::Release);
            let key = stage::key(&id, &stage::part_name(index)).map_err(generic)?;
            let arrived = stage::stage(&**store.adapter(), key, data).await;
            let arrived = arrived.map_err(|error| failure::error(error, &location, Conflict::Condition))?;
            drop(part.set(arrived));
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.check_open()?;
        let parts: Option<Vec<Part>> = self.parts.iter().map(|part| part.get().cloned()).collect();
        let parts = parts
            .ok_or_else(|| generic("a part of the upload has not arrived; send it, or begin another"))?;
        let body = stage::assemble(self.store.adapter().clone(), parts);
        let version =
            self.store.write(&self.location, body, Precondition::None, self.attributes.clone()).await?;
        self.ended = true;
        // The value is there; parts that cannot be cleared away do not take it back.
        drop(self.clear().await);
        self.parts.clear();
        Ok(put_result(&version))
    }

    async fn abort(&mut self) -> Result<()> {
        self.check_open()?;
        self.clear().await.map_err(|error| failure::error(error, &self.location, Conflict::Condition))?;
        self.ended = true;
        self.parts.clear();
        Ok(())
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload({:?}, {} parts)", self.location.as_ref(), self.parts.len())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.staged.load(Ordering::Acquire) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (store, id) = (self.store.clone(), self.id.clone());
            // Ends with the list and the deletes of this one upload.
            runtime.spawn(async move { drop(stage::remove(&**store.adapter(), &id).await) });
        }
    }
}
