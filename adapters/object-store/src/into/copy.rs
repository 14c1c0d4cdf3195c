//! Copies and renames, through this process.

use leasehold_core::{Capability, DeleteOptions, GetOptions, Precondition, Version};
use object_store::{CopyMode, Error, RenameTargetMode, Result, path::Path};

use super::{
    AsObjectStore,
    failure::{self, Conflict, generic, not_found},
};

/// Copies and returns the version that was copied.
pub(super) async fn copy(store: &AsObjectStore, from: &Path, to: &Path, mode: CopyMode) -> Result<Version> {
    let told = |failed| failure::error(failed, from, Conflict::Condition);
    let key = AsObjectStore::key(from)?;
    if from == to {
        // Nothing would change, except that a new value replaces the one that is being read.
        let metadata = store.adapter().head(&key).await.map_err(told)?.ok_or_else(|| not_found(from))?;
        return match mode {
            CopyMode::Overwrite => Ok(metadata.version),
            CopyMode::Create => {
                let source = "a value cannot be copied to where it is".into();
                Err(Error::AlreadyExists { path: to.to_string(), source })
            }
        };
    }
    let found = store.adapter().get(&key, GetOptions::default()).await.map_err(told)?.found();
    let object = found.ok_or_else(|| not_found(from))?;
    let precondition = match mode {
        CopyMode::Overwrite => Precondition::None,
        CopyMode::Create => Precondition::Absent,
    };
    let version = object.metadata.version;
    store.write(to, object.body, precondition, object.metadata.attributes).await?;
    Ok(version)
}

pub(super) async fn rename(
    store: &AsObjectStore,
    from: &Path,
    to: &Path,
    mode: RenameTargetMode,
) -> Result<()> {
    let mode = match mode {
        RenameTargetMode::Overwrite => CopyMode::Overwrite,
        RenameTargetMode::Create => CopyMode::Create,
    };
    let copied = copy(store, from, to, mode).await?;
    if from == to {
        return Ok(());
    }
    let adapter = store.adapter();
    let options = match adapter.capabilities().supports(Capability::ConditionalDelete) {
        true => DeleteOptions::matching(copied),
        false => DeleteOptions::default(),
    };
    match adapter.delete(&AsObjectStore::key(from)?, options).await {
        Ok(()) => Ok(()),
        Err(error) if error.is_conflict() && !error.is_indeterminate() => Err(generic(format!(
            "{from} was written while it was being renamed; it is kept, and so is the copy at {to}"
        ))),
        Err(error) => Err(failure::error(error, from, Conflict::Condition)),
    }
}
