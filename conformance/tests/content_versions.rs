//! The suite on a store that promises as little as object storage does: its versions are taken from the content, so that
//! equal values have equal versions and an old one comes back with its value, and deletes have no preconditions.

use leasehold_conformance::{ContentVersions, Effort, Fixture, Options, Subject, conformance_tests};
use leasehold_core::{Limits, Store};
use leasehold_memory::Memory;

fn by_content(attributes: bool) -> Subject {
    Subject::new("content versions over memory", move || async move {
        let memory = Memory::new();
        let open = move |below| {
            let store = ContentVersions::new(below);
            std::future::ready(Ok(Store::new(if attributes { store } else { store.without_attributes() })))
        };
        let limited = memory.clone();
        Ok(Fixture::new(move || open(memory.clone())).limited(move |value_bytes_max| {
            open(limited.clone().limits(Limits { value_bytes_max, ..Limits::default() }))
        }))
    })
}

fn light() -> Options {
    Options::default().effort(Effort::Light)
}

conformance_tests!(content_versions, by_content(true));
conformance_tests!(content_versions_with_light_effort, by_content(true), light());
conformance_tests!(content_versions_without_attributes, by_content(false), light());
