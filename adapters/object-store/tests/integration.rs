//! The published integration functions of `object_store`, on our own stores and back again.

mod support;

use std::sync::Arc;

use leasehold_core::Store;
use leasehold_fs::Fs;
use leasehold_memory::Memory;
use leasehold_object_store::{AsObjectStore, Backend, FromObjectStore};
use leasehold_s3::S3;
use leasehold_s3_server::{Credentials, S3Server};
use object_store::{
    list::{PaginatedListOptions, PaginatedListStore},
    memory::InMemory,
};
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
async fn a_bucket_is_an_object_store_with_conditional_updates() {
    let server = S3Server::new(Store::new(Memory::new())).credentials(Credentials::new("id", "secret"));
    let server = server.bucket("bucket").bind("127.0.0.1:0").await.unwrap();
    let bucket = S3::bucket("bucket").region("us-east-1").endpoint(server.url()).keys("id", "secret");
    integration_suite(Store::new(bucket.await.unwrap())).await;
    server.stop().await;
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

#[tokio::test]
async fn a_page_of_nothing_is_refused_rather_than_taken_for_the_end() {
    let store = Store::new(Memory::new());
    store.put("a", "v").await.unwrap();
    let objects = AsObjectStore::new(store);
    let page = |keys| PaginatedListOptions { max_keys: Some(keys), ..PaginatedListOptions::default() };
    objects.list_paginated(None, page(0)).await.unwrap_err();
    assert_eq!(objects.list_paginated(None, page(1)).await.unwrap().result.objects.len(), 1);
}
