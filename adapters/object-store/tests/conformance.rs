//! The conformance suite on object stores, and on the way there and back.

use std::sync::Arc;

use leasehold_conformance::{Fixture, Options, Subject, conformance_tests};
use leasehold_core::{Attributes, Result, Store};
use leasehold_memory::Memory;
use leasehold_object_store::{AsObjectStore, Backend, FromObjectStore};
use object_store::{ObjectStore, local::LocalFileSystem, memory::InMemory};
use tempfile::TempDir;

/// Handles on one object store.
fn fixture(objects: Arc<dyn ObjectStore>, backend: Backend) -> Fixture {
    let limited = FromObjectStore::new(objects.clone(), backend.clone());
    Fixture::new(move || {
        let opened = Store::new(FromObjectStore::new(objects.clone(), backend.clone()));
        async move { Result::Ok(opened) }
    })
    .limited(move |bytes| {
        let opened = Store::new(limited.clone().value_bytes_max(bytes));
        async move { Result::Ok(opened) }
    })
}

fn in_memory() -> Subject {
    Subject::new("InMemory", || async { Ok(fixture(Arc::new(InMemory::new()), Backend::in_memory())) })
}

fn of_which_nothing_is_known() -> Subject {
    Subject::new("an unknown store", || async { Ok(fixture(Arc::new(InMemory::new()), Backend::unknown())) })
}

fn with_conditional_puts_alone() -> Subject {
    Subject::new("a store with conditional puts alone", || async {
        let backend = Backend::unknown().sends_once().linearizable().conditional_puts();
        Ok(fixture(Arc::new(InMemory::new()), backend))
    })
}

fn there_and_back() -> Subject {
    Subject::new("there and back", || async {
        let there = AsObjectStore::new(Store::new(Memory::new()));
        // The store below takes as many bytes of attributes as anybody may have, and the write id is among them.
        Ok(fixture(Arc::new(there), Backend::in_memory().metadata_bytes_max(Attributes::BYTES_MAX)))
    })
}

fn local() -> Subject {
    Subject::new("LocalFileSystem", || async {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let objects = LocalFileSystem::new_with_prefix(directory.path()).expect("the directory is there");
        let objects = objects.with_automatic_cleanup(true);
        Ok(fixture(Arc::new(objects), Backend::local()).guarded_by(directory))
    })
}

/// The cases that count, which takes conditional puts.
const COUNTING: [&str; 16] = [
    "a_body_that_stalls_holds_up_nobody_else",
    "a_dropped_put_leaves_a_whole_value",
    "dropped_writes_leave_the_store_usable",
    "a_dropped_stream_leaves_the_old_value",
    "a_dropped_increment_counts_once_or_not_at_all",
    "a_dropped_batch_leaves_whole_entries",
    "a_history_without_conditions_is_linearizable",
    "an_absent_key_counts_as_zero",
    "increments_and_plain_values_are_the_same_thing",
    "concurrent_increments_are_all_counted",
    "every_increment_gets_a_sum_of_its_own",
    "a_value_that_is_no_integer_is_refused_and_kept",
    "a_sum_past_64_bits_is_refused_and_nothing_changes",
    "increments_and_batches_make_new_versions",
    "namespaces_see_nothing_of_each_other",
    "any_sequence_of_calls_does_what_a_sorted_map_does",
];

/// The cases that use a key and keys below it.
const NESTED: [&str; 12] = [
    "a_key_and_keys_below_it_coexist_in_every_order",
    "a_list_ascends_in_byte_order",
    "a_list_read_page_by_page_is_the_whole_list",
    "a_list_resumes_after_any_key",
    "a_list_tells_the_size",
    "a_list_tells_the_version",
    "a_namespace_and_the_keys_around_it_coexist",
    "a_list_while_others_write_shows_untouched_keys_once",
    "a_prefix_may_end_inside_a_segment",
    "after_excludes_its_key_and_needs_none",
    "deep_keys_fit",
    "keys_around_a_slash_in_byte_order_coexist",
];

fn without_counting() -> Options {
    COUNTING.into_iter().fold(Options::default(), |options, case| {
        options.except(case, "increments need conditional puts, which are not claimed; they are refused")
    })
}

fn as_far_as_files_go() -> Options {
    NESTED
        .into_iter()
        .fold(without_counting(), |options, case| {
            options.except(case, "LocalFileSystem cannot hold both a key and keys below it; they are refused")
        })
        .except(
            "long_keys_and_long_segments_fit",
            "a file has a name of at most 255 bytes; longer ones are refused",
        )
        .except("weird_keys_hold_values_of_their_own", "LocalFileSystem keeps names such as #1 for itself")
}

conformance_tests!(object_store_in_memory, in_memory());
conformance_tests!(round_trip, there_and_back());
conformance_tests!(conditional_puts_alone, with_conditional_puts_alone());
conformance_tests!(unknown_object_store, of_which_nothing_is_known(), without_counting());
conformance_tests!(local_file_system, local(), as_far_as_files_go());
