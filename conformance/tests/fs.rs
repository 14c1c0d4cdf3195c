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

/// Durable, on a disk, where files of replaced values are written again if the filesystem can.
fn reusing() -> Subject {
    Subject::new("directory that reuses files", || async {
        let directory =
            TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary directory can be made");
        let (path, limited) = (directory.path().to_owned(), directory.path().to_owned());
        let open = move || {
            let path = path.clone();
            async move { Ok(Store::new(Fs::open(path).reuse_files(true).await?)) }
        };
        let open_limited = move |bytes| {
            let path = limited.clone();
            async move { Ok(Store::new(Fs::open(path).reuse_files(true).value_bytes_max(bytes).await?)) }
        };
        Ok(Fixture::new(open).limited(open_limited).guarded_by(directory))
    })
}

fn namespaced() -> Subject {
    directory().namespaced("tenant/7").expect("the namespace is a sound key")
}

conformance_tests!(fs, directory());
conformance_tests!(reused_files, reusing());
conformance_tests!(namespace_over_fs, namespaced());
