//! The suite on a directory, each handle opened on its own.

use leasehold_conformance::{Fixture, Subject, conformance_tests};
use leasehold_core::Store;
use leasehold_fs::Fs;
use tempfile::TempDir;

/// Stores that reuse files are durable, and lie on a disk: what is kept in memory, as a directory for temporary files may be, is not.
fn directory(name: &str, reusing: bool) -> Subject {
    Subject::new(name, move || async move {
        let made = if reusing { TempDir::new_in(env!("CARGO_TARGET_TMPDIR")) } else { TempDir::new() };
        let directory = made.expect("a temporary directory can be made");
        let opening = Fs::open(directory.path()).durable(reusing).reuse_files(reusing);
        let limited = opening.clone();
        let open = move || {
            let opening = opening.clone();
            async move { Ok(Store::new(opening.await?)) }
        };
        let open_limited = move |bytes| {
            let opening = limited.clone().value_bytes_max(bytes);
            async move { Ok(Store::new(opening.await?)) }
        };
        Ok(Fixture::new(open).limited(open_limited).guarded_by(directory))
    })
}

fn namespaced() -> Subject {
    directory("directory", false).namespaced("tenant/7").expect("the namespace is a sound key")
}

conformance_tests!(fs, directory("directory", false));
conformance_tests!(reused_files, directory("directory that reuses files", true));
conformance_tests!(namespace_over_fs, namespaced());
