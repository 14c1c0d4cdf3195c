//! The published integration functions of `object_store`, on our own stores and back again.

mod support;

use std::sync::Arc;

use leasehold_core::Store;
use leasehold_fs::Fs;
use leasehold_memory::Memory;
use leasehold_object_store::{AsObjectStore, Backend, FromObjectStore};
use object_store::memory::InMemory;
use support::suite::integration_suite;
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_an_object_store() {
    integration_suite(Store::new(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_an_object_store_with_conditional_updates() {
    let directory = TempDir::new().unwrap();
    integration_suite(Store::new(Fs::open(directory.path()).durable(false).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_an_object_store() {
    integration_suite(Store::new(Memory::new()).namespace("tenant/7").unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_store_is_one_again_after_both_bridges() {
    integration_suite(Store::new(FromObjectStore::new(Arc::new(InMemory::new()), Backend::in_memory())))
        .await;
    let there = AsObjectStore::new(Store::new(Memory::new()));
    let back = Store::new(FromObjectStore::new(Arc::new(there), Backend::in_memory()));
    // Both keep parts of uploads under the same name, so one of them needs a place of its own.
    integration_suite(back.namespace("outer").unwrap()).await;
}
