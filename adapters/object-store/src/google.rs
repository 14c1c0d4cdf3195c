//! Opening a bucket on Google Cloud Storage.

use std::{
    fmt,
    future::{IntoFuture, Ready, ready},
    sync::Arc,
    time::Duration,
};

use leasehold_core::{Error, Result};
use object_store::{
    StaticCredentialProvider,
    gcp::{GcpCredential, GoogleCloudStorageBuilder, GoogleConfigKey},
};

use crate::{
    Backend, FromObjectStore,
    open::{self, Connection},
};

/// How to open a bucket on Google Cloud Storage, made by [`Google::bucket`]. Await it.
///
/// What is not set comes from the environment, as everywhere in `object_store`: `GOOGLE_SERVICE_ACCOUNT` and
/// `GOOGLE_APPLICATION_CREDENTIALS` name files with keys, `GOOGLE_SERVICE_ACCOUNT_KEY` holds one; without them the machine's
/// own account is asked for. Opening reads such a file and sends nothing, so a bucket that is not there is noticed by the
/// first call.
///
/// Every request is [sent once](Backend::sends_once); a layer that repeats what can be repeated belongs above. Untested
/// against the real service, as is [`Backend::google`], which it uses.
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for a name that no bucket can have, an endpoint that is none, a time-out
/// of nothing, and for an environment that makes no sense. No error repeats what the environment or an endpoint says.
#[must_use = "nothing is opened before .await"]
#[derive(Clone)]
pub struct Google {
    bucket: String,
    connection: Connection,
}

impl Google {
    /// Begins to open a bucket.
    ///
    /// ```no_run
    /// # async fn open() -> leasehold_core::Result<()> {
    /// let photos = leasehold_object_store::Google::bucket("photos").await?;
    /// let own = leasehold_object_store::Google::bucket("photos").endpoint("http://127.0.0.1:4443").anonymous().await?;
    /// # Ok(()) }
    /// ```
    pub fn bucket(name: impl Into<String>) -> Self {
        Self { bucket: name.into(), connection: Connection::new() }
    }

    /// The address of an emulator or a proxy: `http://127.0.0.1:4443`.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.connection.endpoint = Some(url.into());
        self
    }

    /// Asks without keys, as for a public bucket or an emulator.
    pub fn anonymous(mut self) -> Self {
        self.connection.anonymous = true;
        self
    }

    /// How long to wait for an answer, with the time to send up to 64 MiB in one request, and then for each piece of its
    /// body: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.connection.timeout = timeout;
        self
    }

    /// How long to wait for a connection: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connection.connect_timeout = timeout;
        self
    }

    fn open(self) -> Result<FromObjectStore> {
        if !open::is_name(&self.bucket, 3..=222, "-_.") {
            let shown: String = self.bucket.chars().take(64).collect();
            return Err(Error::invalid(format!(
                "{shown:?} is no bucket: a name has from 3 lower-case letters, digits, \"-\", \"_\" and \".\""
            )));
        }
        let builder =
            GoogleCloudStorageBuilder::from_env().with_bucket_name(self.bucket).with_retry(open::once());
        let (mut builder, endpoint) = self.connection.configure(builder, |builder, key, value| {
            builder.with_config(GoogleConfigKey::Client(key), value)
        })?;
        if let Some(endpoint) = endpoint {
            builder = builder.with_base_url(&endpoint);
        }
        if self.connection.anonymous {
            // With keys at hand none are looked for, and those are not sent.
            let none = StaticCredentialProvider::new(GcpCredential { bearer: String::new() });
            builder = builder.with_skip_signature(true).with_credentials(Arc::new(none));
        }
        let store = builder.build().map_err(|error| {
            let variables = "SERVICE_ACCOUNT and those whose names begin with GOOGLE_";
            open::not_set_up(&error, "Google Cloud Storage", variables)
        })?;
        Ok(FromObjectStore::new(Arc::new(store), Backend::google().sends_once()))
    }
}

impl IntoFuture for Google {
    type Output = Result<FromObjectStore>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self.open())
    }
}

impl fmt::Debug for Google {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Google").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}
