//! The way to a thread that may wait.

use leasehold_core::{Error, ErrorKind, Result};

/// Runs `work` on a thread that may block. When the caller goes away, the work is finished all the same.
pub(crate) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return Err(Error::invalid(
            "a directory store needs a Tokio runtime around it; call it from within one",
        ));
    };
    match runtime.spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) if failure.is_cancelled() => {
            Err(Error::new(ErrorKind::Unavailable, "the runtime is shutting down").indeterminate())
        }
        Err(_) => Err(Error::new(ErrorKind::Unexpected, "a worker of the store panicked; this is a bug")
            .indeterminate()),
    }
}
