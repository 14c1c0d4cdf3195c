//! The suite on the store in memory, bare and under the layers that change nothing.

use leasehold_conformance::{Subject, conformance_tests};
use leasehold_layers::{Faults, Meter, Retry, Timeout};

fn namespaced() -> Subject {
    Subject::memory().namespaced("tenant/7").expect("the namespace is a sound key")
}

fn metered() -> Subject {
    Subject::memory().layered("meter", |store| Ok(store.layer(Meter::new())))
}

fn without_faults() -> Subject {
    Subject::memory().layered("faults at rest", |store| Ok(store.layer(Faults::new())))
}

fn with_an_end() -> Subject {
    let end = Timeout::after(std::time::Duration::from_secs(60));
    Subject::memory().layered("timeout", move |store| Ok(store.layer(end.clone())))
}

fn tried_again() -> Subject {
    Subject::memory().layered("retry", |store| Ok(store.layer(Retry::new())))
}

conformance_tests!(memory, Subject::memory());
conformance_tests!(namespace_over_memory, namespaced());
conformance_tests!(meter_over_memory, metered());
conformance_tests!(resting_faults_over_memory, without_faults());
conformance_tests!(timeout_over_memory, with_an_end());
conformance_tests!(retry_over_memory, tried_again());
