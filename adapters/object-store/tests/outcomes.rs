//! Conditional and plain writes on a store that loses requests and answers: one fault at a time.

mod support;

use std::{sync::Arc, time::Duration};

use futures_util::stream::{self, StreamExt};
use leasehold_core::{
    Backoff, BatchOptions, Body, Bytes, DeleteOptions, Error, ErrorKind, Key, Operation, Store, Version,
};
use leasehold_object_store::{Backend, FromObjectStore};
use object_store::{ObjectStoreExt, local::LocalFileSystem, path::Path};
use support::flaky::{Fault, Flaky};

const ATTEMPTS_MAX: u32 = 4;

fn over(flaky: &Arc<Flaky>, backend: Backend) -> Store {
    let patience = Backoff {
        attempts_max: ATTEMPTS_MAX,
        first: Duration::from_micros(10),
        longest: Duration::from_micros(100),
    };
    Store::new(FromObjectStore::new(flaky.clone(), backend).resolving(patience))
}

fn begin() -> (Arc<Flaky>, Store) {
    let flaky = Arc::new(Flaky::new());
    let store = over(&flaky, Backend::in_memory());
    (flaky, store)
}

async fn read(flaky: &Flaky, key: &str) -> String {
    let found = flaky.inner().get(&Path::from(key)).await.expect("it is there");
    String::from_utf8(found.bytes().await.expect("it is there").to_vec()).expect("it is text")
}

fn refused(error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(!error.is_indeterminate(), "{error}");
}

fn unknown(error: &Error, kind: ErrorKind) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.is_indeterminate() && !error.is_retryable(), "{error}");
}

#[tokio::test]
async fn a_conditional_put_costs_one_request_when_nothing_goes_wrong() {
    let (flaky, store) = begin();
    let version = store.put("k", "1").if_absent().await.unwrap();
    assert_eq!(flaky.requests(), 1);
    store.put("k", "2").if_match(version).await.unwrap();
    assert_eq!(flaky.requests(), 1);
}

#[tokio::test]
async fn a_lost_reply_is_not_a_conflict() {
    for fault in [Fault::After, Fault::SentTwice] {
        let (flaky, store) = begin();
        flaky.puts([fault]);
        let version = store.put("k", "1").if_absent().await.unwrap();
        assert_eq!(flaky.requests(), 2, "a put and a look");
        flaky.puts([fault]);
        store.put("k", "2").if_match(version).await.unwrap();
        assert_eq!(read(&flaky, "k").await, "2");
        assert!(flaky.applied().values().all(|times| *times == 1));
    }
}

#[tokio::test]
async fn the_version_of_a_write_that_was_found_is_the_one_it_has() {
    let (flaky, store) = begin();
    flaky.puts([Fault::After]);
    let version = store.put("k", "1").if_absent().await.unwrap();
    assert_eq!(store.head("k").await.unwrap().unwrap().version, version);
}

#[tokio::test]
async fn a_request_that_was_lost_is_sent_again() {
    let (flaky, store) = begin();
    flaky.puts([Fault::Before, Fault::Undecided, Fault::Throttled]);
    store.put("k", "1").if_absent().await.unwrap();
    assert_eq!(read(&flaky, "k").await, "1");
}

#[tokio::test]
async fn a_request_that_arrives_late_is_applied_once() {
    for late in [Fault::Overtaken, Fault::None] {
        let (flaky, store) = begin();
        let version = store.put("k", "1").await.unwrap();
        // The second send finds the first one there, or the first one finds the second.
        flaky.puts([Fault::Ghost, late]);
        store.put("k", "2").if_match(version).await.unwrap();
        flaky.calm().await;
        assert_eq!(read(&flaky, "k").await, "2");
        assert!(flaky.applied().values().all(|times| *times == 1), "it was applied twice: {late:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_a_conflict_and_the_value_stays() {
    let (flaky, store) = begin();
    let old = store.put("k", "1").await.unwrap();
    store.put("k", "2").await.unwrap();
    refused(&store.put("k", "3").if_match(old).await.unwrap_err(), ErrorKind::Conflict);
    refused(&store.put("k", "3").if_absent().await.unwrap_err(), ErrorKind::Conflict);
    assert_eq!(read(&flaky, "k").await, "2");
}

#[tokio::test]
async fn a_conflict_after_a_lost_request_is_unknown() {
    let (flaky, store) = begin();
    let version = store.put("k", "1").await.unwrap();
    // The first send gets lost, and before the second one somebody else writes. Nobody can say that the first was not
    // applied and overwritten.
    flaky.puts([Fault::Before, Fault::Overwritten]);
    unknown(&store.put("k", "2").if_match(version).await.unwrap_err(), ErrorKind::Conflict);
}

#[tokio::test]
async fn with_retries_below_a_write_that_was_applied_and_overwritten_is_not_called_refused() {
    let (flaky, _) = begin();
    let store = over(&flaky, Backend::in_memory().retries_below());
    let version = store.put("k", "1").await.unwrap();
    flaky.puts([Fault::SentTwiceAndOverwritten]);
    unknown(&store.put("k", "2").if_match(version).await.unwrap_err(), ErrorKind::Conflict);
}

#[tokio::test]
async fn with_retries_below_a_refusal_is_certain_only_about_our_own() {
    let (flaky, _) = begin();
    let store = over(&flaky, Backend::in_memory().retries_below());
    flaky.puts([Fault::SentTwice]);
    let version = store.put("k", "1").if_absent().await.unwrap();
    store.put("k", "2").if_match(version.clone()).await.unwrap();
    unknown(&store.put("k", "3").if_match(version).await.unwrap_err(), ErrorKind::Conflict);
    assert_eq!(read(&flaky, "k").await, "2");
}

#[tokio::test]
async fn a_store_that_goes_on_losing_requests_leaves_it_unknown() {
    let (flaky, store) = begin();
    flaky.puts([Fault::Before; ATTEMPTS_MAX as usize]);
    unknown(&store.put("k", "1").if_absent().await.unwrap_err(), ErrorKind::Unavailable);
    assert_eq!(flaky.requests(), 2 * ATTEMPTS_MAX as usize, "as many sends and looks");
    store.put("k", "1").if_absent().await.unwrap();
}

#[tokio::test]
async fn a_store_that_goes_on_refusing_what_holds_is_told_so() {
    let (flaky, store) = begin();
    flaky.puts([Fault::Undecided; ATTEMPTS_MAX as usize]);
    let error = store.put("k", "1").if_absent().await.unwrap_err();
    refused(&error, ErrorKind::Conflict);
    assert!(error.message().contains("although it holds"), "{error}");
}

#[tokio::test]
async fn a_throttled_write_is_told_to_be_throttled() {
    let (flaky, store) = begin();
    flaky.puts([Fault::Throttled; ATTEMPTS_MAX as usize]);
    let error = store.put("k", "1").if_absent().await.unwrap_err();
    refused(&error, ErrorKind::Throttled);
    assert!(error.is_retryable());
    flaky.puts([Fault::Throttled]);
    refused(&store.put("k", "1").await.unwrap_err(), ErrorKind::Throttled);
}

#[tokio::test]
async fn a_refusal_that_cannot_be_looked_into_is_unknown() {
    let (flaky, store) = begin();
    store.put("k", "1").await.unwrap();
    flaky.gets([Fault::Before; 10]);
    unknown(&store.put("k", "2").if_absent().await.unwrap_err(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_look_that_fails_once_is_repeated() {
    let (flaky, store) = begin();
    flaky.puts([Fault::After]);
    flaky.gets([Fault::Before]);
    store.put("k", "1").if_absent().await.unwrap();
}

#[tokio::test]
async fn a_write_that_is_denied_is_not_sent_again() {
    let (flaky, store) = begin();
    flaky.puts([Fault::Denied]);
    refused(&store.put("k", "1").if_absent().await.unwrap_err(), ErrorKind::Denied);
    assert_eq!(flaky.requests(), 1);
    // After a lost request it settles nothing.
    flaky.puts([Fault::Before, Fault::Denied]);
    unknown(&store.put("k", "1").if_absent().await.unwrap_err(), ErrorKind::Denied);
}

#[tokio::test]
async fn without_attributes_a_lost_reply_stays_unknown() {
    let flaky = Arc::new(Flaky::new());
    let store = over(&flaky, Backend::unknown().sends_once().conditional_puts());
    flaky.puts([Fault::After]);
    unknown(&store.put("k", "1").if_absent().await.unwrap_err(), ErrorKind::Conflict);
    assert!(flaky.applied().contains_key(""), "it was written with an id");
    // A request that never arrived is sent again nevertheless: the base is still there.
    flaky.puts([Fault::Before]);
    store.put("other", "1").if_absent().await.unwrap();
    refused(&store.put("other", "2").if_absent().await.unwrap_err(), ErrorKind::Conflict);
}

#[tokio::test]
async fn a_plain_put_whose_reply_was_lost_is_looked_for_once() {
    let (flaky, store) = begin();
    flaky.puts([Fault::After]);
    store.put("k", "1").await.unwrap();
    assert_eq!(flaky.requests(), 2);
    flaky.puts([Fault::Before]);
    unknown(&store.put("k", "2").await.unwrap_err(), ErrorKind::Unavailable);
    assert_eq!(read(&flaky, "k").await, "1");
}

#[tokio::test]
async fn an_answer_without_a_version_is_looked_up() {
    let (flaky, store) = begin();
    flaky.puts([Fault::NoVersion, Fault::NoVersion]);
    let version = store.put("k", "1").await.unwrap();
    assert_eq!(store.head("k").await.unwrap().unwrap().version, version);
    store.put("k", "2").if_match(version).await.unwrap();
    // Where writes carry no id, nobody can say whose version a look finds.
    let store = over(&flaky, Backend::unknown().sends_once());
    flaky.puts([Fault::NoVersion]);
    let error = store.put("k", "3").await.unwrap_err();
    unknown(&error, ErrorKind::Unexpected);
    assert!(error.message().contains("Backend::versions"), "{error}");
}

#[tokio::test]
async fn a_version_that_no_write_can_have_conflicts_without_a_request() {
    let (flaky, store) = begin();
    store.put("k", "1").await.unwrap();
    flaky.requests();
    for text in ["", "*", "\"0\", \"1\"", "a,b"] {
        refused(&store.put("k", "2").if_match(Version::new(text)).await.unwrap_err(), ErrorKind::Conflict);
    }
    assert_eq!(flaky.requests(), 0);
}

#[tokio::test]
async fn what_is_not_offered_is_refused_without_a_request() {
    let flaky = Arc::new(Flaky::new());
    let store = over(&flaky, Backend::unknown().sends_once());
    let attributes = leasehold_core::Attributes::new().with("a", "b").unwrap();
    for error in [
        store.put("k", "1").if_absent().await.unwrap_err(),
        store.put("k", "1").attributes(attributes).await.unwrap_err(),
        store.increment("n", 1).await.unwrap_err(),
        store.delete("k").if_match(Version::new("1")).await.unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::Unsupported(_)), "{error}");
    }
    assert_eq!(flaky.requests(), 0);
}

/// A stream of so many MiB in odd chunks.
fn mebibytes(count: usize) -> Body {
    let chunks = stream::repeat_with(|| Ok(Bytes::from(vec![7; 1 << 19]))).take(2 * count);
    Body::from_stream(chunks.boxed(), None)
}

#[tokio::test]
async fn a_long_stream_is_an_upload_in_parts() {
    let (flaky, store) = begin();
    for size in [8, 9, 16, 40] {
        let version = store.put("k", mebibytes(size)).await.unwrap();
        let metadata = store.head("k").await.unwrap().unwrap();
        assert_eq!((metadata.size, metadata.version), ((size as u64) << 20, version));
    }
    assert_eq!(flaky.aborted(), 0);
}

#[tokio::test]
async fn an_upload_that_fails_is_aborted_and_surely_not_applied() {
    let (flaky, store) = begin();
    store.put("k", "old").await.unwrap();
    // The request for the upload; its second part; its completion.
    flaky.puts([Fault::Before]);
    assert!(!store.put("k", mebibytes(20)).await.unwrap_err().is_indeterminate());
    flaky.puts([Fault::None, Fault::None, Fault::Before]);
    assert!(!store.put("k", mebibytes(20)).await.unwrap_err().is_indeterminate());
    assert_eq!(flaky.aborted(), 1);
    flaky.puts([Fault::None, Fault::None, Fault::None, Fault::None, Fault::Throttled]);
    refused(&store.put("k", mebibytes(20)).await.unwrap_err(), ErrorKind::Throttled);
    assert_eq!(flaky.aborted(), 2);
    assert_eq!(read(&flaky, "k").await, "old");
}

#[tokio::test]
async fn an_upload_whose_completion_was_lost_is_looked_for() {
    let (flaky, store) = begin();
    let parts = [Fault::None, Fault::None, Fault::None, Fault::None];
    flaky.puts(parts.into_iter().chain([Fault::After]));
    store.put("k", mebibytes(20)).await.unwrap();
    flaky.puts(parts.into_iter().chain([Fault::Before]));
    unknown(&store.put("k", mebibytes(20)).await.unwrap_err(), ErrorKind::Unavailable);
    assert_eq!(flaky.aborted(), 0, "what may be completing was aborted");
}

#[tokio::test]
async fn an_upload_whose_body_fails_or_whose_future_is_dropped_is_aborted() {
    let (flaky, store) = begin();
    let broken = mebibytes(20)
        .into_stream()
        .chain(stream::once(async { Err(Error::new(ErrorKind::Unavailable, "the source broke off")) }));
    store.put("k", Body::from_stream(broken.boxed(), None)).await.unwrap_err();
    assert_eq!(flaky.aborted(), 1);
    flaky.requests();
    let endless = mebibytes(20).into_stream().chain(stream::pending()).boxed();
    let put = tokio::spawn({
        let store = store.clone();
        async move { store.put("k", Body::from_stream(endless, None)).await }
    });
    while flaky.requests() == 0 {
        tokio::task::yield_now().await;
    }
    put.abort();
    drop(put.await);
    while flaky.aborted() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(store.head("k").await.unwrap().is_none());
}

#[tokio::test]
async fn a_conditional_put_over_one_request_is_refused_before_anything_is_sent() {
    let flaky = Arc::new(Flaky::new());
    let adapter = FromObjectStore::new(flaky.clone(), Backend::in_memory()).whole_bytes_max(9 << 20);
    let store = Store::new(adapter);
    refused(&store.put("k", mebibytes(10)).if_absent().await.unwrap_err(), ErrorKind::Invalid);
    refused(&store.put("k", vec![0; 10 << 20]).if_absent().await.unwrap_err(), ErrorKind::Invalid);
    assert_eq!(flaky.requests(), 0);
    store.put("k", mebibytes(9)).if_absent().await.unwrap();
    assert_eq!(flaky.requests(), 1);
    // Without a condition it is an upload, also when it is at hand.
    let version = store.put("k", vec![0; 10 << 20]).await.unwrap();
    assert_eq!(store.head("k").await.unwrap().unwrap().version, version);
}

#[tokio::test]
async fn a_value_that_breaks_off_is_an_error() {
    let (flaky, store) = begin();
    store.put("k", "a value").await.unwrap();
    flaky.gets([Fault::Short]);
    let error = store.get("k").await.unwrap().unwrap().bytes().await.unwrap_err();
    assert!(error.is_retryable() && error.message().contains("broke off"), "{error}");
}

fn deletes(keys: &[&str]) -> Vec<Operation> {
    let delete = |key: &&str| Operation::Delete(Key::new(*key).expect("a key"), DeleteOptions::default());
    keys.iter().map(delete).collect()
}

#[tokio::test]
async fn deletes_that_one_refusal_answered_for_are_done_one_by_one() {
    let (flaky, store) = begin();
    for key in ["a", "b", "c"] {
        store.put(key, "v").await.unwrap();
    }
    flaky.puts([Fault::Throttled]);
    let results = store.batch(deletes(&["a", "absent", "b", "c"]), BatchOptions::default()).await;
    assert!(results.len() == 4 && results.iter().all(Result::is_ok), "{results:?}");
    assert!(store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn deletes_whose_answer_was_lost_are_not_sent_again() {
    for (fault, left) in [(Fault::After, 0), (Fault::Before, 2)] {
        let (flaky, store) = begin();
        store.put("a", "v").await.unwrap();
        store.put("b", "v").await.unwrap();
        flaky.requests();
        flaky.puts([fault]);
        let results = store.batch(deletes(&["a", "b"]), BatchOptions::default()).await;
        // A second delete could take away what somebody has put after the first.
        assert_eq!(flaky.requests(), 1, "{fault:?}");
        for result in results {
            unknown(&result.unwrap_err(), ErrorKind::Unavailable);
        }
        assert_eq!(store.list("").await.unwrap().len(), left, "{fault:?}");
    }
}

#[tokio::test]
async fn with_retries_below_a_refused_plain_put_is_looked_for() {
    let flaky = Arc::new(Flaky::new());
    let store = over(&flaky, Backend::in_memory().retries_below());
    flaky.puts([Fault::SentTwiceAndUndecided]);
    store.put("k", "1").await.unwrap();
    flaky.puts([Fault::Undecided]);
    unknown(&store.put("k", "2").await.unwrap_err(), ErrorKind::Unexpected);
    assert_eq!(read(&flaky, "k").await, "1");
    // Without them it is certain.
    flaky.puts([Fault::Undecided]);
    let store = over(&flaky, Backend::in_memory());
    refused(&store.put("k", "2").await.unwrap_err(), ErrorKind::Unexpected);
}

#[tokio::test]
async fn with_retries_below_an_upload_whose_completion_is_refused_is_looked_for_and_not_aborted() {
    let flaky = Arc::new(Flaky::new());
    let store = over(&flaky, Backend::in_memory().retries_below());
    let parts = [Fault::None, Fault::None, Fault::None, Fault::None];
    flaky.puts(parts.into_iter().chain([Fault::SentTwiceAndUndecided]));
    store.put("k", mebibytes(20)).await.unwrap();
    flaky.puts(parts.into_iter().chain([Fault::Undecided]));
    unknown(&store.put("k", mebibytes(20)).await.unwrap_err(), ErrorKind::Unexpected);
    assert_eq!(flaky.aborted(), 0, "what may be completing was aborted");
    flaky.puts(parts.into_iter().chain([Fault::Undecided]));
    let store = over(&flaky, Backend::in_memory());
    refused(&store.put("k", mebibytes(20)).await.unwrap_err(), ErrorKind::Unexpected);
    assert_eq!(flaky.aborted(), 1);
}

#[tokio::test]
async fn parts_arrive_while_the_body_is_waited_for() {
    let (flaky, store) = begin();
    let slow = stream::once({
        let flaky = flaky.clone();
        async move {
            // Long enough for whoever polls both, and for ever too short for whoever does not.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            Ok(Bytes::from(format!("{} arrived", flaky.arrived())))
        }
    });
    let body = mebibytes(9).into_stream().chain(slow).boxed();
    store.put("k", Body::from_stream(body, None)).await.unwrap();
    let value = flaky.inner().get(&Path::from("k")).await.unwrap().bytes().await.unwrap();
    assert!(value.ends_with(b"1 arrived"), "the first part was held back by a slow body");
}

#[tokio::test]
async fn a_missing_bucket_is_not_an_empty_one() {
    let (flaky, store) = begin();
    flaky.gets([Fault::NoBucket; 4]);
    refused(&store.list("").await.unwrap_err(), ErrorKind::Invalid);
    refused(&store.head("k").await.unwrap_err(), ErrorKind::Invalid);
    refused(&store.get("k").await.map(drop).unwrap_err(), ErrorKind::Invalid);
    refused(&store.get("k").range(0..0).await.map(drop).unwrap_err(), ErrorKind::Invalid);
    flaky.puts([Fault::NoBucket; 2]);
    refused(&store.delete("k").await.unwrap_err(), ErrorKind::Invalid);
    refused(&store.put("k", "v").await.unwrap_err(), ErrorKind::Invalid);
    flaky.puts([Fault::NoBucket; 3]);
    for result in store.batch(deletes(&["a", "b"]), BatchOptions::default()).await {
        refused(&result.unwrap_err(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn where_a_file_stands_in_place_of_a_folder_nothing_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    let objects = LocalFileSystem::new_with_prefix(directory.path()).unwrap();
    let store = Store::new(FromObjectStore::new(Arc::new(objects), Backend::local()));
    store.put("a", "v").await.unwrap();
    for prefix in ["a/", "a/b/", "a/b/c", "none/"] {
        assert!(store.list(prefix).await.unwrap().is_empty(), "{prefix}");
    }
}

#[tokio::test]
async fn where_versions_come_from_content_no_two_sums_are_equal_values() {
    let (flaky, store) = begin();
    store.increment("n", 5).await.unwrap();
    assert_eq!(read(&flaky, "n").await, "5");
    let store = over(&flaky, Backend::unknown().sends_once().conditional_puts());
    let mut seen = std::collections::HashSet::new();
    for delta in [1, -1, 1, -1] {
        store.increment("n", delta).await.unwrap();
        assert!(seen.insert(read(&flaky, "n").await), "a value came back: {seen:?}");
    }
    assert_eq!(store.increment("n", 0).await.unwrap(), 5);
}

#[tokio::test]
async fn a_list_that_steps_back_is_an_error() {
    let (flaky, _) = begin();
    let store = over(&flaky, Backend::unknown().sends_once());
    flaky.lists(vec!["a", "c", "b"]);
    let error = store.list("").await.unwrap_err();
    assert!(error.message().contains("out of order"), "{error}");
    // Also where the step is outside of what was asked for, unless the order is known.
    flaky.lists(vec!["z", "a"]);
    assert!(store.list("a").await.is_err());
}

#[tokio::test]
async fn a_store_that_lists_in_any_order_is_sorted_up_to_a_bound() {
    let (flaky, _) = begin();
    flaky.lists(vec!["b/2", "a", "c", "b/1", "b"]);
    let store = over(&flaky, Backend::unknown().sends_once().lists_unordered(5));
    let keys =
        |entries: Vec<leasehold_core::Entry>| entries.iter().map(|e| e.key.to_string()).collect::<Vec<_>>();
    assert_eq!(keys(store.list("").await.unwrap()), ["a", "b", "b/1", "b/2", "c"]);
    assert_eq!(keys(store.list("b").after("b").await.unwrap()), ["b/1", "b/2"]);
    let store = over(&flaky, Backend::unknown().sends_once().lists_unordered(4));
    refused(&store.list("").await.unwrap_err(), ErrorKind::Invalid);
    assert_eq!(keys(store.list("b").await.unwrap()), ["b", "b/1", "b/2"]);
}

#[tokio::test]
async fn the_mark_of_a_folder_is_not_a_step_back() {
    let (flaky, store) = begin();
    // `logs/` stands after `logs-old/x`, and `object_store` shows it without its slash.
    flaky.lists(vec!["logs-old/x", "logs", "logs/a"]);
    let keys = async || -> leasehold_core::Result<Vec<String>> {
        Ok(store.list("").await?.iter().map(|entry| entry.key.to_string()).collect())
    };
    assert_eq!(keys().await.unwrap(), ["logs-old/x", "logs/a"]);
    // If there is such a key, it was listed too late.
    store.put("logs", "v").await.unwrap();
    assert!(keys().await.is_err());
    // Unless it was listed in its own place, too.
    flaky.lists(vec!["logs", "logs-old/x", "logs", "logs/a"]);
    assert_eq!(keys().await.unwrap(), ["logs", "logs-old/x", "logs/a"]);
}
