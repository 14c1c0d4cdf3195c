//! The suite on what behaves as R2 does: no conditional deletes, ETags that come back with their content.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use leasehold_conformance::{Effort, Fixture, Options, Subject, conformance_tests};

use support::Place;

fn bucket() -> Subject {
    Subject::new("R2", || async {
        let place = Place::start().await;
        let open = place.open();
        let another = move || {
            let open = open.clone();
            async move { open.await.map(leasehold_core::Store::new) }
        };
        // The bucket's name is part of the key below.
        Ok(Fixture::new(another).key_bytes_taken("photos/".len()).guarded_by(place))
    })
}

conformance_tests!(r2, bucket(), Options::default().effort(Effort::Light));
