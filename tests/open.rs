//! Stores by URL: what opens, and what a mistake is told.

use leasehold::{Capability, ErrorKind};

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
async fn a_url_that_nobody_knows_is_refused_with_what_is_known() {
    for (url, says) in [
        ("etcd://host/x", "no store is known by \"etcd:\""),
        ("mem:cache", "has no name"),
        ("fs:", "needs a path"),
        ("", "needs a path"),
        ("fs:/tmp?fsync=no", "\"fsync\" is no parameter of a directory store; known: durable"),
        ("fs:/tmp?durable=maybe", "either true or false"),
        ("/no/such/parent/at/all", "parent directory does not exist"),
    ] {
        let error = leasehold::open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {error}");
        assert!(error.to_string().contains(says), "{url}: {error}");
    }
}

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
