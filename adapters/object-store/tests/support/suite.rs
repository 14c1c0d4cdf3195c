//! The integration functions that `object_store` publishes, on any store through `AsObjectStore`.
//!
//! Of the eighteen all apply. (`response_extensions`, which exists only with an HTTP client compiled in, is about the HTTP
//! responses that `object_store`'s own clients get; there are none here.)

use leasehold_core::Store;
use leasehold_object_store::AsObjectStore;
use object_store::{Error, integration, path::Path};

/// Runs them all. The store must be empty, have conditional puts, and is emptied again.
pub(crate) async fn integration_suite(store: Store) {
    let objects = AsObjectStore::new(store);
    integration::put_get_delete_list(&objects).await;
    integration::get_opts(&objects).await;
    integration::put_opts(&objects, true).await;
    integration::put_get_attributes(&objects).await;
    integration::list_uses_directories_correctly(&objects).await;
    integration::list_with_delimiter(&objects).await;
    integration::list_paginated(&objects, &objects).await;
    integration::rename_and_copy(&objects).await;
    integration::copy_if_not_exists(&objects).await;
    integration::copy_rename_nonexistent_object(&objects).await;
    integration::multipart_race_condition(&objects, true).await;
    integration::multipart_out_of_order(&objects).await;
    integration::multipart(&objects, &objects).await;
    integration::multipart_with_opts(&objects, &objects).await;
    integration::multipart_put_part_out_of_order(&objects, &objects).await;
    for location in [None, Some(Path::from("nothing/here"))] {
        let error =
            integration::get_nonexistent_object(&objects, location).await.expect_err("nothing is there");
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
    }
    // It clears away what others left behind, of which the last one must find nothing.
    integration::list_with_offset_exclusivity(&objects).await;
    integration::stream_get(&objects).await;
    nothing_is_left_of_uploads(&objects).await;
}

async fn nothing_is_left_of_uploads(objects: &AsObjectStore) {
    let left = objects.store().list("_object_store/").await.expect("a list");
    assert!(left.is_empty(), "uploads that ended left {left:?}");
}
