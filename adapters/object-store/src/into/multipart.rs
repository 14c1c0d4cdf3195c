//! Uploads that any process can add parts to: everything about them is in the store.

use async_trait::async_trait;
use leasehold_core::{GetOptions, Precondition, PutOptions};
use object_store::{
    MultipartId, PutMultipartOptions, PutPayload, PutResult, Result,
    multipart::{MultipartStore, PartId},
    path::Path,
};

use super::{
    AsObjectStore,
    failure::{self, Conflict, generic},
    kept, put_result,
    stage::{self, Part},
};
use crate::tag;

/// The name of what says which location an upload is for, and with which attributes.
const HEAD: &str = "upload";

#[async_trait]
impl MultipartStore for AsObjectStore {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.create_multipart_opts(path, PutMultipartOptions::default()).await
    }

    async fn create_multipart_opts(&self, path: &Path, opts: PutMultipartOptions) -> Result<MultipartId> {
        let attributes = kept(&opts.tags, &opts.attributes)?;
        let id = self.store.environment().identifier();
        let location = Self::key(path)?.to_string();
        let options = PutOptions::default().attributes(attributes);
        let head =
            self.adapter().put(&stage::key(&id, HEAD).map_err(generic)?, location.into(), options).await;
        head.map_err(|error| failure::error(error, path, Conflict::Condition))?;
        Ok(id)
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let key = stage::key(id, &stage::part_name(part_idx)).map_err(generic)?;
        let part = stage::stage(&**self.adapter(), key, data).await;
        match part.map_err(|error| failure::error(error, path, Conflict::Condition))? {
            Part::Staged { version, size, .. } => {
                Ok(PartId { content_id: format!("{size}-{}", tag::to_e_tag(&version)) })
            }
            Part::Held(_) => Err(generic("a part of this upload was not staged")),
        }
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let head = stage::key(id, HEAD).map_err(generic)?;
        let told = |error| failure::error(error, path, Conflict::Condition);
        let found = self.adapter().get(&head, GetOptions::default()).await.map_err(told)?.found();
        let object =
            found.ok_or_else(|| generic("there is no such upload; it may have been completed or aborted"))?;
        let attributes = object.metadata.attributes.clone();
        if object.text().await.map_err(told)? != path.as_ref() {
            return Err(generic("the upload is for another location"));
        }
        let parts = parts.iter().enumerate().map(|(index, part)| staged(id, index, part));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        let body = stage::assemble(self.adapter().clone(), parts);
        let version = self.write(path, body, Precondition::None, attributes).await?;
        // The value is there; parts that cannot be cleared away do not take it back.
        drop(stage::remove(&**self.adapter(), id).await);
        Ok(put_result(&version))
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        // Also checks that the id is one: it becomes part of a prefix.
        stage::key(id, HEAD).map_err(generic)?;
        let removed = stage::remove(&**self.adapter(), id).await;
        removed.map_err(|error| failure::error(error, path, Conflict::Condition))
    }
}

fn staged(id: &str, index: usize, part: &PartId) -> Result<Part> {
    let key = stage::key(id, &stage::part_name(index)).map_err(generic)?;
    let told = part
        .content_id
        .split_once('-')
        .and_then(|(size, e_tag)| Some((size.parse().ok()?, tag::from_e_tag(e_tag)?)));
    match told {
        Some((size, version)) => Ok(Part::Staged { key, version, size }),
        None => Err(generic(format!("{:?} is no part of an upload", part.content_id))),
    }
}
