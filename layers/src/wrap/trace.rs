//! The `Trace` layer: a span around every call.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use leasehold_core::{BoxStream, Entry, Error, Layer, Result, StorageAdapter};
use tracing::{Instrument, Span, debug_span, field::Empty};

use crate::around::{Around, Call, Hook, Reply};

/// Puts a [`tracing`] span of level DEBUG around every call, named and labelled as OpenTelemetry names the parts of a database
/// call.
///
/// The span `storage` has `db.system.name` (`leasehold`), `db.operation.name` (`get`, `put` …), `db.namespace` (the store),
/// `leasehold.key`, unless [keys are kept out](Trace::without_keys), and `db.operation.batch.size` for batches. A call that fails
/// adds `error.type` (`conflict`, `timeout` …) and `leasehold.indeterminate`. Values and attributes are never in it. The span of
/// a list is open while an entry is waited for. Changes nothing.
///
/// Costs a comparison where nobody listens. Place it outermost to see what callers see, or inside of [`Retry`](crate::Retry) to
/// see every try.
///
/// ```
/// # use leasehold_core::Store;
/// # use leasehold_layers::Trace;
/// let store = Store::new(leasehold_memory::Memory::new()).layer(Trace::new());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    keys: bool,
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

impl Trace {
    /// Spans with keys.
    pub fn new() -> Self {
        Self { keys: true }
    }

    /// Spans without keys, where these tell too much.
    #[must_use]
    pub fn without_keys(mut self) -> Self {
        self.keys = false;
        self
    }
}

/// A trace of one store.
#[derive(Clone, Debug)]
struct Traced {
    keys: bool,
    store: Arc<str>,
}

impl Traced {
    fn span(&self, call: Call<'_>) -> Span {
        let span = debug_span!(
            "storage",
            db.system.name = "leasehold",
            db.operation.name = call.verb.name(),
            db.operation.batch.size = Empty,
            db.namespace = &*self.store,
            leasehold.key = Empty,
            error.r#type = Empty,
            leasehold.indeterminate = Empty,
        );
        if span.is_disabled() {
            return span;
        }
        if let Some(key) = call.key.filter(|_| self.keys) {
            span.record("leasehold.key", key.as_str());
        }
        if call.verb == crate::Verb::Batch {
            span.record("db.operation.batch.size", call.entries);
        }
        span
    }
}

fn tell(span: &Span, error: &Error) {
    span.record("error.type", tracing::field::display(error.kind()));
    span.record("leasehold.indeterminate", error.is_indeterminate());
}

impl Hook for Traced {
    async fn around<R: Reply>(&self, call: Call<'_>, run: impl Future<Output = R> + Send) -> R {
        let span = self.span(call);
        if span.is_disabled() {
            return run.await;
        }
        let reply = run.instrument(span.clone()).await;
        if let Some(error) = reply.error() {
            tell(&span, error);
        }
        reply
    }

    fn along(&self, entries: BoxStream<'static, Result<Entry>>) -> BoxStream<'static, Result<Entry>> {
        let span = self.span(Call { verb: crate::Verb::List, key: None, entries: 1 });
        if span.is_disabled() {
            return entries;
        }
        stream::unfold((entries, span), |(mut entries, span)| async move {
            let entry = entries.next().instrument(span.clone()).await?;
            if let Err(error) = &entry {
                tell(&span, error);
            }
            Some((entry, (entries, span)))
        })
        .boxed()
    }
}

impl Layer for Trace {
    fn layer(self, inner: Arc<dyn StorageAdapter>) -> Arc<dyn StorageAdapter> {
        let hook = Traced { keys: self.keys, store: inner.to_string().into() };
        Arc::new(Around { hook, inner })
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use leasehold_core::Store;
    use leasehold_memory::Memory;
    use parking_lot::Mutex;
    use tracing_subscriber::fmt::format::FmtSpan;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a subscriber writes about each of a few calls.
    async fn told(trace: Trace) -> Vec<String> {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_span_events(FmtSpan::CLOSE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let store = Store::new(Memory::new()).layer(trace);
        store.put("users/7", "secret value").await.unwrap();
        store.put("users/7", "secret value").if_absent().await.unwrap_err();
        store.list("").await.unwrap();
        store.put_many([("a", "secret value"), ("b", "secret value")]).await;
        String::from_utf8(written.0.lock().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn each_call_has_a_span_with_what_it_was_about_and_how_it_failed() {
        let lines = told(Trace::new()).await;
        let wanted = [
            &["db.operation.name=\"put\"", "leasehold.key=\"users/7\"", "db.namespace=\"mem:\""][..],
            &["error.type=conflict", "leasehold.indeterminate=false"],
            &["db.operation.name=\"list\""],
            &["db.operation.name=\"batch\"", "db.operation.batch.size=2"],
        ];
        assert_eq!(lines.len(), wanted.len(), "{lines:?}");
        for (line, wanted) in lines.iter().zip(wanted) {
            assert!(wanted.iter().all(|part| line.contains(part)), "{line} lacks one of {wanted:?}");
            assert!(!line.contains("secret"), "{line}");
        }
    }

    #[tokio::test]
    async fn keys_can_be_kept_out() {
        assert!(told(Trace::new().without_keys()).await.iter().all(|line| !line.contains("users")));
    }
}
