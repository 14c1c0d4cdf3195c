//! Buckets: on S3 and what speaks its protocol, on R2, on Google Cloud Storage and on Azure.

use leasehold_core::{Error, Result, StorageAdapter, Store};

use super::Parameters;

/// The keys below `prefix`, or all.
fn below(store: impl StorageAdapter, prefix: &str) -> Result<Store> {
    let store = Store::new(store);
    match prefix.trim_end_matches('/') {
        "" => Ok(store),
        prefix => store.namespace(prefix),
    }
}

/// What holds the keys of a store that speaks S3.
#[cfg(any(feature = "s3", feature = "r2"))]
const S3_KEYS: &str = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// The places and the query of what follows a scheme. Keys belong into `variables`.
fn split<'a>(rest: &'a str, variables: &str) -> Result<(&'a str, &'a str)> {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.contains('@') {
        // Not repeated: it is most likely a secret.
        return Err(Error::invalid(format!("keys do not belong in a URL; put them into {variables}")));
    }
    Ok((place, query))
}

#[cfg(feature = "s3")]
pub(super) async fn s3(rest: &str, create: bool) -> Result<Store> {
    const KNOWN: &[&str] = &[
        "endpoint",
        "region",
        "path_style",
        "profile",
        "anonymous",
        "create",
        "conditional_delete",
        "conditional_multipart",
    ];
    let (place, query) = split(rest, S3_KEYS)?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(Error::invalid("a bucket needs a name: \"s3://photos\""));
    }
    let mut given = Parameters::parse("a bucket on S3", KNOWN, query)?;
    let mut open = leasehold_s3::S3::bucket(bucket);
    if let Some(endpoint) = given.text("endpoint") {
        open = open.endpoint(endpoint);
    }
    if let Some(region) = given.text("region") {
        open = open.region(region);
    }
    if let Some(profile) = given.text("profile") {
        open = open.profile(profile);
    }
    if let Some(path_style) = given.flag("path_style")? {
        open = open.path_style(path_style);
    }
    if given.flag("anonymous")? == Some(true) {
        open = open.anonymous();
    }
    if let Some(exact) = given.flag("conditional_delete")? {
        open = open.conditional_delete(exact);
    }
    if let Some(exact) = given.flag("conditional_multipart")? {
        open = open.conditional_multipart(exact);
    }
    let made = given.flag("create")? == Some(true);
    below(open.create(create && made).await?, prefix)
}

#[cfg(feature = "r2")]
pub(super) async fn r2(rest: &str) -> Result<Store> {
    const TOKEN: &str = "LEASEHOLD_R2_EDGE_TOKEN";
    let (place, query) = split(rest, S3_KEYS)?;
    let mut places = place.splitn(3, '/');
    let (account, bucket) = (places.next().unwrap_or(""), places.next().unwrap_or(""));
    if account.is_empty() || bucket.is_empty() {
        return Err(Error::invalid("a bucket on R2 needs an account and a name: \"r2://ACCOUNT/photos\""));
    }
    let mut given = Parameters::parse("a bucket on R2", &["jurisdiction", "endpoint", "edge"], query)?;
    let jurisdiction = match given.text("jurisdiction").as_deref() {
        None => leasehold_r2::Jurisdiction::Default,
        Some("eu") => leasehold_r2::Jurisdiction::Eu,
        Some("fedramp") => leasehold_r2::Jurisdiction::FedRamp,
        Some(_) => return Err(Error::invalid("jurisdiction is either eu or fedramp")),
    };
    let mut open = leasehold_r2::R2::bucket(account, bucket).jurisdiction(jurisdiction);
    if let Some(endpoint) = given.text("endpoint") {
        open = open.endpoint(endpoint);
    }
    if let Some(edge) = given.text("edge") {
        let token = std::env::var(TOKEN).map_err(|_| {
            Error::invalid(format!("{TOKEN} is not set; it holds the token that the Worker knows"))
        })?;
        open = open.edge(edge, token);
    }
    below(open.await?, places.next().unwrap_or(""))
}

#[cfg(feature = "gcs")]
pub(super) async fn gs(rest: &str) -> Result<Store> {
    let keys = "a file, and its path into GOOGLE_APPLICATION_CREDENTIALS";
    let (place, query) = split(rest, keys)?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(Error::invalid("a bucket needs a name: \"gs://photos\""));
    }
    let mut given = Parameters::parse("a bucket on Google Cloud Storage", &["endpoint", "anonymous"], query)?;
    let mut open = leasehold_object_store::Google::bucket(bucket);
    if let Some(endpoint) = given.text("endpoint") {
        open = open.endpoint(endpoint);
    }
    if given.flag("anonymous")? == Some(true) {
        open = open.anonymous();
    }
    below(open.await?, prefix)
}

#[cfg(feature = "azure")]
pub(super) async fn az(rest: &str) -> Result<Store> {
    let (place, query) = split(rest, "AZURE_STORAGE_ACCOUNT_KEY")?;
    let (container, prefix) = place.split_once('/').unwrap_or((place, ""));
    if container.is_empty() {
        return Err(Error::invalid("a container needs a name: \"az://photos\""));
    }
    let mut given = Parameters::parse("a container on Azure", &["account", "endpoint", "anonymous"], query)?;
    let mut open = leasehold_object_store::Azure::container(container);
    if let Some(account) = given.text("account") {
        open = open.account(account);
    }
    if let Some(endpoint) = given.text("endpoint") {
        open = open.endpoint(endpoint);
    }
    if given.flag("anonymous")? == Some(true) {
        open = open.anonymous();
    }
    below(open.await?, prefix)
}
