//! The suite on a directory, each handle opened on its own.

use leasehold_conformance::{Fixture, Subject, conformance_tests};
use leasehold_core::Store;
use leasehold_fs::Fs;
use tempfile::TempDir;

fn directory() -> Subject {
    Subject::new("directory", || async {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let (path, limited) = (directory.path().to_owned(), directory.path().to_owned());
        let open = move || {
            let path = path.clone();
            async move { Ok(Store::new(Fs::open(path).durable(false).await?)) }
        };
        let open_limited = move |bytes| {
            let path = limited.clone();
            async move { Ok(Store::new(Fs::open(path).durable(false).value_bytes_max(bytes).await?)) }
        };
        Ok(Fixture::new(open).limited(open_limited).guarded_by(directory))
    })
}

fn namespaced() -> Subject {
    directory().namespaced("tenant/7").expect("the namespace is a sound key")
}

conformance_tests!(fs, directory());
conformance_tests!(namespace_over_fs, namespaced());
