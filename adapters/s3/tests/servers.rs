//! The whole suite on servers that others wrote. `scripts/servers` starts them and says where they are; without it these
//! tests say that they were skipped.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use leasehold_conformance::{Effort, Options, Subject, run};
use leasehold_core::Store;
use leasehold_s3::S3;

/// Runs the suite on the server whose address is in `variable`, with every case that it is not known to fail.
fn suite(variable: &str, options: Options) {
    let Ok(endpoint) = std::env::var(variable) else {
        eprintln!(
            "SKIPPED: {variable} is not set; run scripts/servers run -- cargo test -p leasehold-s3 --test servers"
        );
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let report = runtime.block_on(async {
        let key = |name: &str| std::env::var(name).unwrap_or_else(|_| "test".to_owned());
        let bucket = S3::bucket("leasehold-conformance")
            .endpoint(endpoint)
            .region("us-east-1")
            .keys(&key("AWS_ACCESS_KEY_ID"), &key("AWS_SECRET_ACCESS_KEY"))
            // SeaweedFS makes each of a crowd wait up to a second for a key.
            .timeout(Duration::from_secs(60))
            .create(true)
            .await
            .expect("the bucket is made");
        let options = options.effort(Effort::Light).longest(Duration::from_secs(300));
        run(&Subject::shared(Store::new(bucket)), &options).await
    });
    println!("{report}");
    assert!(report.passed(), "{report}");
}

#[test]
fn ministack_keeps_the_promises() {
    suite("LEASEHOLD_TEST_S3_MINISTACK", Options::default());
}

#[test]
fn seaweedfs_keeps_the_promises_but_those_about_folders() {
    let mut options = Options::default();
    for (reason, cases) in [
        (
            "it lists like a tree of folders, not in the order of bytes",
            &[
                "a_list_ascends_in_byte_order",
                "a_list_read_page_by_page_is_the_whole_list",
                "a_list_resumes_after_any_key",
                "a_list_tells_the_size",
                "a_list_tells_the_version",
                "a_namespace_and_the_keys_around_it_coexist",
                "a_prefix_may_end_inside_a_segment",
                "after_excludes_its_key_and_needs_none",
                "keys_around_a_slash_in_byte_order_coexist",
                "namespaces_see_nothing_of_each_other",
                "weird_keys_hold_values_of_their_own",
            ][..],
        ),
        (
            "a key that was deleted while another lies below it is absent to reads and present to conditions",
            &[
                "a_history_of_racing_clients_is_linearizable",
                "a_history_without_conditions_is_linearizable",
                "any_sequence_of_calls_does_what_a_sorted_map_does",
            ],
        ),
        ("it takes a backslash for a slash", &["keys_that_look_alike_are_different"]),
        ("it takes segments of 255 bytes at most", &["long_keys_and_long_segments_fit"]),
        ("it drops metadata that is empty", &["standard_and_other_names_stand_side_by_side"]),
    ] {
        for case in cases {
            options = options.except(*case, reason);
        }
    }
    suite("LEASEHOLD_TEST_S3_SEAWEEDFS", options);
}
