//! One call into a store: bounded in time, and what its failure means.

use std::{
    future::{Future, IntoFuture},
    pin::pin,
    task::Poll,
    time::Duration,
};

use futures_util::stream::{self, BoxStream, StreamExt};
use leasehold_core::{Backoff, Clock, Entry, Environment, Error, ErrorKind, IntoKey, Result, Store};

/// How long transient failures in a row are ridden out.
const OUTAGE_MAX: Duration = Duration::from_secs(10);

/// How long the store may take for a call that waits for nobody.
pub(crate) const CALL_WITHIN: Duration = Duration::from_secs(5);

/// Awaits a read for at most `limit`; past it there is a `Timeout`. Sets no timer for what is ready at once.
pub(crate) async fn read_within<T>(
    clock: &dyn Clock,
    limit: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    within(clock, limit, call).await.unwrap_or_else(|| {
        let message = format!("the store did not answer within {limit:?}; see whether it is well");
        Err(Error::new(ErrorKind::Timeout, message))
    })
}

/// The same for a write: one that was not answered may still be applied.
pub(crate) async fn write_within<T>(
    clock: &dyn Clock,
    limit: Duration,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    within(clock, limit, call).await.unwrap_or_else(|| {
        let message = format!("the store did not answer within {limit:?}; see whether it is well");
        Err(Error::new(ErrorKind::Timeout, message).indeterminate())
    })
}

/// Lists what starts with `prefix`; past [`CALL_WITHIN`] without another entry there is a `Timeout`.
pub(crate) fn listed(store: &Store, prefix: &str) -> BoxStream<'static, Result<Entry>> {
    let entries = store.list(prefix).stream();
    let clock = store.environment().clock.clone();
    stream::try_unfold((entries, clock), async |(mut entries, clock)| {
        let entry = read_within(&*clock, CALL_WITHIN, async { entries.next().await.transpose() }).await?;
        Ok(entry.map(|entry| (entry, (entries, clock))))
    })
    .boxed()
}

/// Removes a record that nobody needs, whatever it says by now; rides out what passes.
pub(crate) async fn remove(store: &Store, key: impl IntoKey) -> Result<()> {
    let key = key.into_key()?;
    let clock = &*store.environment().clock;
    patiently(store.environment(), || write_within(clock, CALL_WITHIN, store.delete(&key).into_future()))
        .await
}

async fn within<F: Future>(clock: &dyn Clock, limit: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let first = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    if let Poll::Ready(output) = first {
        return Some(output);
    }
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep(limit) => None,
    }
}

/// Makes a call that may be made again until it does not fail transiently, for 10 s at most.
pub(crate) async fn patiently<T, F>(environment: &Environment, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let began = environment.clock.monotonic();
    let pauses = Backoff { longest: Duration::from_secs(1), ..Backoff::default() };
    let mut attempt = 0;
    loop {
        match call().await {
            Err(error)
                if is_transient(&error)
                    && environment.clock.monotonic().saturating_sub(began) < OUTAGE_MAX => {}
            settled => return settled,
        }
        pauses.wait(attempt, environment).await;
        attempt += 1;
    }
}

/// Whether sending again may help.
pub(crate) fn is_transient(error: &Error) -> bool {
    error.is_retryable()
        || error.is_indeterminate()
        || matches!(error.kind(), ErrorKind::Throttled | ErrorKind::Timeout | ErrorKind::Unavailable)
}
