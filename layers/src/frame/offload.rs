//! Work that would hold up a runtime leaves it.

use leasehold_core::{Error, ErrorKind, Result};
use tokio::runtime::Handle;

/// Work on up to so many bytes is done where it is asked for: it takes less than handing it over and back does.
pub(super) const INLINE_BYTES_MAX: usize = 64 << 10;

/// Does `work` on about so many bytes: here, or on a thread for such work where there is much of it and there is a runtime.
pub(super) async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if bytes <= INLINE_BYTES_MAX {
        return work();
    }
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or_else(|failed| {
            let message =
                "the work on a value did not end, because the runtime is shutting down or it panicked";
            Err(Error::new(ErrorKind::Unexpected, message).because(failed))
        }),
        Err(_) => work(),
    }
}
