//! Stores by URL.

#[cfg(any(feature = "s3", feature = "r2", feature = "gcs", feature = "azure"))]
mod bucket;
mod parameters;

use leasehold_core::{Error, Result, Store};
use leasehold_fs::Fs;
use leasehold_memory::Memory;

use self::parameters::Parameters;
use crate::Stack;

/// Opens the store that `url` names.
///
/// | URL | store |
/// |---|---|
/// | `mem:` | in memory, gone with its last handle |
/// | `fs:PATH`, or a bare path | the directory at `PATH`, made if its parent exists |
/// | `s3://BUCKET`, `s3://BUCKET/PREFIX` | a bucket on S3 or what speaks its protocol, or the keys below a prefix of it |
/// | `r2://ACCOUNT/BUCKET`, `r2://ACCOUNT/BUCKET/PREFIX` | the same on Cloudflare R2 |
/// | `gs://BUCKET`, `gs://BUCKET/PREFIX` | the same on Google Cloud Storage, with the feature `gcs` |
/// | `az://CONTAINER`, `az://CONTAINER/PREFIX` | the same on Azure Blob Storage, with the feature `azure` |
/// | a path that ends in `.toml` | the [stack](crate::Stack) that the file describes |
///
/// Parameters follow a `?`, with `&` between them; their values are percent-decoded:
///
/// | | parameter | |
/// |---|---|---|
/// | `fs:` | `durable=false` | acknowledges before anything is synced |
/// | | `reuse_files=true` | writes the files of replaced values again, which is faster; see [`Open::reuse_files`](crate::fs::Open::reuse_files) |
/// | `s3:` | `endpoint=URL` | a server other than AWS |
/// | | `region=NAME` | what requests are signed for |
/// | | `path_style=BOOL` | whether the bucket stands in the path; default: with an endpoint |
/// | | `profile=NAME` | of the shared configuration |
/// | | `anonymous=true` | asks without keys |
/// | | `create=true` | makes the bucket if it is not there |
/// | | `conditional_delete=BOOL`, `conditional_multipart=BOOL` | vouches that the server decides these exactly; default: on AWS |
/// | `r2:` | `jurisdiction=eu`, `=fedramp` | where the bucket's data lies |
/// | | `endpoint=URL` | the simulator's |
/// | | `edge=URL` | reads through the Worker there, with the token in `LEASEHOLD_R2_EDGE_TOKEN` |
/// | `gs:` | `endpoint=URL` | an emulator's |
/// | | `anonymous=true` | asks without keys |
/// | `az:` | `account=NAME` | the storage account; default: `AZURE_STORAGE_ACCOUNT_NAME` |
/// | | `endpoint=URL` | the account's on an emulator |
/// | | `anonymous=true` | asks without keys |
///
/// Keys are found as the tools of each service find them: in `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` or a profile,
/// in what `GOOGLE_APPLICATION_CREDENTIALS` names, in `AZURE_STORAGE_ACCOUNT_KEY`, or from the machine. They never stand
/// in a URL.
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for a scheme or a parameter that is not known, naming those that
/// are; what opening the store fails with. Opening a bucket sends nothing, so that one that is not there is noticed by the
/// first call.
pub async fn open(url: &str) -> Result<Store> {
    Ok(Stack::of(url)?.open().await?.store)
}

/// Opens the store that `url` names, if there is one: nothing is made, so that a mistyped path does not look like an empty
/// store.
///
/// # Errors
/// As [`open`], and [`Invalid`](leasehold_core::ErrorKind::Invalid) where there is no store.
pub async fn open_existing(url: &str) -> Result<Store> {
    Ok(Stack::of(url)?.open_existing().await?.store)
}

/// Opens what is no stack.
pub(crate) async fn open_url(url: &str, create: bool) -> Result<Store> {
    let Some(scheme) = scheme(url) else { return directory(url, create).await };
    let rest = &url[scheme.len() + 1..];
    match scheme {
        "mem" if rest.is_empty() => Ok(Store::new(Memory::new())),
        "mem" => Err(Error::invalid("a store in memory has no name: write \"mem:\"")),
        "fs" => directory(rest, create).await,
        #[cfg(feature = "s3")]
        "s3" => bucket::s3(rest, create).await,
        #[cfg(feature = "r2")]
        "r2" => bucket::r2(rest).await,
        #[cfg(feature = "gcs")]
        "gs" => bucket::gs(rest).await,
        #[cfg(feature = "azure")]
        "az" => bucket::az(rest).await,
        #[cfg(not(feature = "s3"))]
        "s3" => Err(left_out(scheme, "s3")),
        #[cfg(not(feature = "r2"))]
        "r2" => Err(left_out(scheme, "r2")),
        #[cfg(not(feature = "gcs"))]
        "gs" => Err(left_out(scheme, "gcs")),
        #[cfg(not(feature = "azure"))]
        "az" => Err(left_out(scheme, "azure")),
        other => Err(Error::invalid(format!(
            "no store is known by \"{other}:\"; use \"fs:PATH\", a path, \"s3://BUCKET\", \"r2://ACCOUNT/BUCKET\", \
             \"gs://BUCKET\", \"az://CONTAINER\" or \"mem:\" (a path with a colon needs \"fs:\" in front)"
        ))),
    }
}

#[cfg(not(all(feature = "s3", feature = "r2", feature = "gcs", feature = "azure")))]
fn left_out(scheme: &str, feature: &str) -> Error {
    Error::invalid(format!("this build has no \"{scheme}:\"; build leasehold with the feature \"{feature}\""))
}

/// What stands before the first colon, if it can be a scheme rather than part of a path.
pub(crate) fn scheme(url: &str) -> Option<&str> {
    let (scheme, _) = url.split_once(':')?;
    let sound = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    sound.then_some(scheme)
}

async fn directory(rest: &str, create: bool) -> Result<Store> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.is_empty() {
        return Err(Error::invalid("a directory store needs a path: \"fs:/var/lib/app\""));
    }
    // Both "fs:/path" and the form with an empty authority, "fs:///path".
    let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    let mut parameters = Parameters::parse("a directory store", &["durable", "reuse_files"], query)?;
    let durable = parameters.flag("durable")?.unwrap_or(true);
    let reuse_files = parameters.flag("reuse_files")?.unwrap_or(false);
    Ok(Store::new(Fs::open(path).create(create).durable(durable).reuse_files(reuse_files).await?))
}
