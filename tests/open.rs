//! Stores by URL: what opens, and what a mistake is told.

use std::{fs, path::Path};

use leasehold::{Capability, ErrorKind, Store, fs::Fs};

#[tokio::test]
async fn a_path_and_both_forms_of_url_name_the_same_directory() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    leasehold::open(path).await.unwrap().put("k", "v").await.unwrap();
    for url in [format!("fs:{path}"), format!("fs://{path}"), format!("fs:{path}?durable=false")] {
        let store = leasehold::open(&url).await.unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap().text().await.unwrap(), "v", "{url}");
    }
}

#[tokio::test]
async fn durability_is_on_unless_it_is_turned_off_by_name() {
    // On a disk: what is in memory does not claim to be durable.
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = root.path().to_str().unwrap();
    for (url, durable) in [
        (path.to_owned(), true),
        (format!("fs:{path}"), true),
        (format!("fs:{path}?durable=true"), true),
        (format!("fs:{path}?durable=false"), false),
        ("mem:".to_owned(), false),
    ] {
        let store = leasehold::open(&url).await.unwrap();
        assert_eq!(store.capabilities().supports(Capability::Durable), durable, "{url}");
    }
}

#[tokio::test]
async fn files_are_reused_where_the_url_says_so_and_the_filesystem_can() {
    /// How many files are kept once one value is replaced by another.
    async fn kept(store: &Store, root: &Path) -> usize {
        for value in ["1", "2"] {
            store.put("k", value).await.unwrap();
        }
        let areas = fs::read_dir(root.join(".leasehold/stage")).unwrap().map(|entry| entry.unwrap().path());
        areas.filter(|area| area.is_dir()).map(|area| fs::read_dir(area).unwrap().count()).sum()
    }
    let directory = || tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let root = directory();
    let asked = Store::new(Fs::open(root.path()).reuse_files(true).await.unwrap());
    let where_asked = kept(&asked, root.path()).await;
    for (query, expected) in [("", 0), ("?reuse_files=false", 0), ("?reuse_files=true", where_asked)] {
        let root = directory();
        let store = leasehold::open(&format!("fs:{}{query}", root.path().display())).await.unwrap();
        assert_eq!(kept(&store, root.path()).await, expected, "{query:?}");
    }
}

#[tokio::test]
async fn a_url_that_nobody_knows_is_refused_with_what_is_known() {
    for (url, says) in [
        ("etcd://host/x", "no store is known by \"etcd:\""),
        ("mem:cache", "has no name"),
        ("fs:", "needs a path"),
        ("", "needs a path"),
        ("fs:/tmp?fsync=no", "\"fsync\" is no parameter of a directory store; known: durable, reuse_files"),
        ("fs:/tmp?durable=maybe", "either true or false"),
        ("/no/such/parent/at/all", "parent directory does not exist"),
    ] {
        let error = leasehold::open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {error}");
        assert!(error.to_string().contains(says), "{url}: {error}");
    }
}

#[cfg(all(feature = "s3", feature = "r2"))]
#[tokio::test]
async fn a_bucket_that_is_written_wrongly_is_refused_without_repeating_secrets() {
    for (url, says) in [
        ("s3://", "needs a name"),
        ("s3://a/b?endpoint=http://127.0.0.1:1&region=r", "\"a\" is no bucket"),
        (
            "s3://photos?secret_key=hush",
            "\"secret_key\" is no parameter of a bucket on S3; known: endpoint, region",
        ),
        ("s3://id:hush@photos", "keys do not belong in a URL"),
        ("s3://photos?endpoint=http://id:hush@host&region=r", "holds credentials"),
        ("s3://photos?path_style=hush", "path_style is either true or false"),
        ("s3://photos?region=r&region=hush", "given twice"),
        ("r2://account", "needs an account and a name"),
        ("r2://account/photos", "32 hexadecimal digits"),
        ("r2://id:hush@account/photos", "keys do not belong in a URL"),
        ("r2://0123456789abcdef0123456789abcdef/photos?jurisdiction=hush", "eu or fedramp"),
    ] {
        let error = leasehold::open(url).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {shown}");
        assert!(shown.contains(says) && !shown.contains("hush"), "{url}: {shown}");
    }
}

#[cfg(not(any(feature = "gcs", feature = "azure")))]
#[tokio::test]
async fn a_store_that_was_left_out_names_the_feature_that_brings_it() {
    for (url, feature) in [("gs://photos", "gcs"), ("az://photos?account=acme", "azure")] {
        let error = leasehold::open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(&format!("the feature \"{feature}\"")), "{error}");
    }
}

#[cfg(all(feature = "gcs", feature = "azure"))]
#[tokio::test]
async fn buckets_and_containers_of_other_services_open_without_a_request() {
    for url in [
        "gs://photos?endpoint=http://127.0.0.1:1&anonymous=true",
        "gs://photos/2026/?anonymous=true",
        "az://photos?account=acme&anonymous=true",
        "az://photos/2026?account=devstoreaccount1&endpoint=http://127.0.0.1:1/devstoreaccount1&anonymous=true",
    ] {
        let store = leasehold::open(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        for capability in [Capability::ConditionalPut, Capability::UniqueVersions, Capability::Durable] {
            assert!(store.capabilities().supports(capability), "{url}: {capability:?}");
        }
    }
}

#[cfg(all(feature = "gcs", feature = "azure"))]
#[tokio::test]
async fn a_bucket_or_container_that_is_written_wrongly_is_refused_without_repeating_secrets() {
    for (url, says) in [
        ("gs://", "needs a name"),
        ("gs://Photos", "\"Photos\" is no bucket"),
        ("gs://id:hush@photos", "keys do not belong in a URL"),
        (
            "gs://photos?service_account_key=hush",
            "\"service_account_key\" is no parameter of a bucket on Google Cloud Storage; known: endpoint, anonymous",
        ),
        ("gs://photos?endpoint=http://id:hush@host", "holds credentials"),
        ("gs://photos?endpoint=hush", "neither http nor https"),
        ("gs://photos?anonymous=hush", "anonymous is either true or false"),
        ("gs://photos/a/../b?anonymous=true", "is not a key"),
        ("az://", "needs a name"),
        ("az://a?account=acme", "\"a\" is no container"),
        ("az://photos@hush.dfs.core.windows.net/x", "keys do not belong in a URL"),
        (
            "az://photos?access_key=hush",
            "\"access_key\" is no parameter of a container on Azure; known: account, endpoint, anonymous",
        ),
        ("az://photos?account=hush.example.com/", "3 to 24 lower-case letters and digits"),
        ("az://photos?account=acme&endpoint=https://host/?sig=hush", "has a query"),
    ] {
        let error = leasehold::open(url).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {shown}");
        assert!(shown.contains(says) && !shown.contains("hush"), "{url}: {shown}");
    }
}
