//! Puts, deletes and increments.

use futures_util::{
    future::{self, TryFutureExt},
    stream::{self, StreamExt, TryStreamExt},
};
use leasehold_core::{
    Attributes, Body, Capability, DeleteOptions, Error, Key, Precondition, PutOptions, Result, Version,
};
use object_store::{
    Attributes as Theirs, MultipartUpload, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions as Request, PutPayload, PutResult, UploadPart, path::Path,
};

use super::{
    Inner, PART_BYTES,
    body::Pieces,
    resolve::{Next, Resolution, Seen},
};
use crate::{
    attributes,
    failure::{self, Failed},
};

/// How many parts of one upload are under way at once.
const PARTS_AT_ONCE: usize = 4;

/// One write: what is the same in every send of it.
struct Write {
    path: Path,
    mode: PutMode,
    attributes: Theirs,
    /// What the value can be recognized by, where the store keeps it.
    id: Option<String>,
}

impl Inner {
    pub(super) async fn put(&self, key: &Key, body: Body, options: PutOptions) -> Result<Version> {
        self.check_offered(&options)?;
        let PutOptions { precondition, attributes, .. } = options;
        let path = self.path(key)?;
        let mode = match &precondition {
            Precondition::None => PutMode::Overwrite,
            Precondition::Absent => PutMode::Create,
            Precondition::Matches(version) => match self.backend.versions.update(version) {
                Some(update) => PutMode::Update(update),
                None => {
                    return Err(Error::conflict(
                        "no value here can have such a version; read it and decide again",
                    ));
                }
            },
        };
        let write = self.write(path, mode, &attributes)?;
        let conditional = precondition != Precondition::None;
        let limit = self.limits.value_bytes_max;
        if conditional {
            let mut pieces = Pieces::new(body, limit.min(self.whole_bytes_max))?;
            let (payload, _) = pieces.next(usize::MAX).await?;
            return self.put_exactly(&write, payload, &precondition).await;
        }
        // What is in memory already is sent as it is, up to what one request may hold.
        let at_hand = body.size().filter(|size| *size <= self.whole_bytes_max);
        let (body, first_bytes) = match body.try_into_bytes() {
            Ok(bytes) if at_hand.is_some() => (bytes.into(), usize::MAX),
            Ok(bytes) => (bytes.into(), PART_BYTES),
            Err(stream) => (stream, PART_BYTES),
        };
        let mut pieces = Pieces::new(body, limit)?;
        match pieces.next(first_bytes).await? {
            (payload, true) => {
                let sent = self.send(&write, payload).await;
                self.settle(&write, sent).await
            }
            (first, false) => self.upload(&write, first, pieces).await,
        }
    }

    fn write(&self, path: Path, mode: PutMode, attributes: &Attributes) -> Result<Write> {
        let id = self.backend.supports(Capability::Attributes).then(|| self.environment.identifier());
        let attributes = attributes::write(attributes, id.as_deref(), self.backend.identifiers)?;
        Ok(Write { path, mode, attributes, id })
    }

    /// Writes under a precondition, however often that has to be sent.
    async fn put_exactly(
        &self,
        write: &Write,
        payload: PutPayload,
        precondition: &Precondition,
    ) -> Result<Version> {
        let mut resolution = Resolution::new(self.resolving.attempts_max, self.backend.retries_below);
        let (mut sends, mut looks) = (0, 0);
        let mut next = Next::Send;
        loop {
            next = match next {
                Next::Done(outcome) => return outcome,
                Next::Send => {
                    if sends > 0 {
                        self.resolving.wait(sends - 1, &self.environment).await;
                    }
                    (sends, looks) = (sends + 1, 0);
                    resolution.answered(self.send(write, payload.clone()).await)
                }
                Next::Look => {
                    if looks > 0 {
                        self.resolving.wait(looks - 1, &self.environment).await;
                    }
                    looks += 1;
                    resolution.seen(self.compare(write, precondition).await)
                }
            }
        }
    }

    /// Sends a write once.
    async fn send(&self, write: &Write, payload: PutPayload) -> Result<Version, Failed> {
        let request =
            Request { mode: write.mode.clone(), attributes: write.attributes.clone(), ..Request::default() };
        match self.store.put_opts(&write.path, payload, request).await {
            Ok(answer) => self.written(write, &answer).await,
            Err(error) if write.mode == PutMode::Overwrite => {
                Err(failure::of_plain_write(error, self.backend.retries_below))
            }
            Err(error) => Err(failure::of_write(error, self.backend.retries_below)),
        }
    }

    /// The version of a write that was acknowledged.
    async fn written(&self, write: &Write, answer: &PutResult) -> Result<Version, Failed> {
        match self.backend.versions.read(answer.e_tag.as_deref(), answer.version.as_deref()) {
            Ok(version) => Ok(version),
            // Not every answer tells it; a look does, as long as nobody else has written since.
            Err(error) => match self.ours(write).await {
                Ok(Some(version)) => Ok(version),
                _ => Err(Failed::Unknown(error)),
            },
        }
    }

    /// The version, if what is there now is this write.
    async fn ours(&self, write: &Write) -> Result<Option<Version>> {
        let Some(id) = &write.id else { return Ok(None) };
        let head = self.look(&write.path).await?;
        Ok(head.filter(|head| head.write_id.as_ref() == Some(id)).map(|head| head.metadata.version))
    }

    /// The outcome of a write without precondition. One that may have been applied is looked for, once.
    async fn settle(&self, write: &Write, sent: Result<Version, Failed>) -> Result<Version> {
        match sent {
            Ok(version) => Ok(version),
            Err(failed @ Failed::Unknown(_)) => match self.ours(write).await {
                Ok(Some(version)) => Ok(version),
                _ => Err(failed.into_error()),
            },
            Err(failed) => Err(failed.into_error()),
        }
    }

    async fn compare(&self, write: &Write, precondition: &Precondition) -> Seen {
        let head = match self.look(&write.path).await {
            Ok(head) => head,
            Err(error) => return Seen::Nothing(error),
        };
        match (head, precondition) {
            (Some(head), _) if write.id.is_some() && head.write_id == write.id => {
                Seen::Ours(head.metadata.version)
            }
            (Some(head), Precondition::Matches(base)) if head.metadata.version == *base => Seen::Base,
            (None, Precondition::Absent) => Seen::Base,
            _ => Seen::Other,
        }
    }

    /// Writes a long stream part by part; what is there changes when all have arrived.
    async fn upload(&self, write: &Write, first: PutPayload, pieces: Pieces) -> Result<Version> {
        let request =
            PutMultipartOptions { attributes: write.attributes.clone(), ..PutMultipartOptions::default() };
        let upload = match self.store.put_multipart_opts(&write.path, request).await {
            Ok(upload) => upload,
            // No part has been sent, so nothing can have been written.
            Err(error) => {
                return Err(match failure::of_write(error, false) {
                    Failed::Unknown(error) => error,
                    failed => failed.into_error(),
                });
            }
        };
        let mut upload = Upload::new(upload);
        if let Err(error) = send_parts(&mut upload, first, pieces).await {
            upload.abort().await;
            return Err(error);
        }
        let sent = match upload.complete().await {
            Ok(answer) => self.written(write, &answer).await,
            Err(error) => Err(failure::of_plain_write(error, self.backend.retries_below)),
        };
        match &sent {
            // Aborting what may be completing could take it away again.
            Ok(_) | Err(Failed::Unknown(_)) => upload.forget(),
            Err(Failed::Refused | Failed::Rejected(_)) => upload.abort().await,
        }
        self.settle(write, sent).await
    }

    pub(super) async fn delete(&self, key: &Key, options: DeleteOptions) -> Result<()> {
        if options.if_match.is_some() {
            return Err(Error::unsupported(Capability::ConditionalDelete));
        }
        match self.store.delete(&self.path(key)?).await {
            Ok(()) => Ok(()),
            Err(error) if failure::is_absence(&error) => Ok(()),
            Err(error) => Err(failure::of_plain_write(error, self.backend.retries_below).into_error()),
        }
    }
}

/// Sends the parts, while the body is read on: what is under way must not wait for a slow source until the service hangs up.
async fn send_parts(upload: &mut Upload, first: PutPayload, pieces: Pieces) -> Result<()> {
    let rest = stream::try_unfold(Some(pieces), async |pieces| {
        let Some(mut pieces) = pieces else { return Ok(None) };
        let (part, last) = pieces.next(PART_BYTES).await?;
        Ok(Some((part, (!last).then_some(pieces))))
    });
    stream::once(future::ready(Ok(first)))
        .chain(rest)
        .map_ok(|part| upload.put_part(part).map_err(part_failed))
        .try_buffer_unordered(PARTS_AT_ONCE)
        .try_collect()
        .await
}

/// A part that did not arrive: nothing is visible of the upload, whatever became of the part.
fn part_failed(error: object_store::Error) -> Error {
    match failure::of_write(error, false) {
        Failed::Unknown(error) => error,
        failed => failed.into_error(),
    }
}

/// An upload that is aborted when it is dropped, unless it has come to an end.
struct Upload {
    upload: Option<Box<dyn MultipartUpload>>,
    /// From here on it may be completed, however its future ends.
    completing: bool,
}

impl Upload {
    fn new(upload: Box<dyn MultipartUpload>) -> Self {
        Self { upload: Some(upload), completing: false }
    }

    fn under_way(&mut self) -> &mut dyn MultipartUpload {
        &mut **self.upload.as_mut().expect("it is taken only by what ends it")
    }

    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.under_way().put_part(part)
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.completing = true;
        self.under_way().complete().await
    }

    fn forget(mut self) {
        self.upload = None;
    }

    async fn abort(mut self) {
        if let Some(mut upload) = self.upload.take() {
            // What cannot be aborted is left to the service's rule for incomplete uploads.
            drop(upload.abort().await);
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.completing {
            return;
        }
        if let (Some(mut upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) {
            // Ends by itself: it is one request, and requests have a time-out.
            runtime.spawn(async move { drop(upload.abort().await) });
        }
    }
}
