//! Opening a container of Azure Blob Storage.

use std::{
    fmt,
    future::{IntoFuture, Ready, ready},
    sync::Arc,
    time::Duration,
};

use leasehold_core::{Error, Result};
use object_store::{
    StaticCredentialProvider,
    azure::{AzureConfigKey, AzureCredential, MicrosoftAzureBuilder},
};

use crate::{
    Backend, FromObjectStore,
    open::{self, Connection},
};

/// Containers that the service names itself.
const SPECIAL: [&str; 3] = ["$root", "$web", "$logs"];

/// How to open a container of Azure Blob Storage, made by [`Azure::container`]. Await it.
///
/// What is not set comes from the environment, as everywhere in `object_store`: `AZURE_STORAGE_ACCOUNT_NAME`, and
/// `AZURE_STORAGE_ACCOUNT_KEY`, `AZURE_STORAGE_SAS_KEY` or `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` and `AZURE_TENANT_ID`;
/// without them the machine's own identity is asked for. Opening sends nothing, so a container that is not there is noticed
/// by the first call.
///
/// Every request is [sent once](Backend::sends_once); a layer that repeats what can be repeated belongs above. Untested
/// against the real service, as is [`Backend::azure`], which it uses.
///
/// # Errors
/// [`Invalid`](leasehold_core::ErrorKind::Invalid) for names that no container and no account can have, an account that is
/// not known, an endpoint that is none, a time-out of nothing, and for an environment that makes no sense. No error repeats
/// what the environment or an endpoint says.
#[must_use = "nothing is opened before .await"]
#[derive(Clone)]
pub struct Azure {
    container: String,
    account: Option<String>,
    connection: Connection,
}

impl Azure {
    /// Begins to open a container.
    ///
    /// ```no_run
    /// # async fn open() -> leasehold_core::Result<()> {
    /// let photos = leasehold_object_store::Azure::container("photos").account("acme").await?;
    /// let own = leasehold_object_store::Azure::container("photos")
    ///     .account("devstoreaccount1")
    ///     .endpoint("http://127.0.0.1:10000/devstoreaccount1")
    ///     .await?;
    /// # Ok(()) }
    /// ```
    pub fn container(name: impl Into<String>) -> Self {
        Self { container: name.into(), account: None, connection: Connection::new() }
    }

    /// The storage account that the container belongs to.
    pub fn account(mut self, name: impl Into<String>) -> Self {
        self.account = Some(name.into());
        self
    }

    /// The address of the account on an emulator or behind a proxy: `http://127.0.0.1:10000/devstoreaccount1`.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.connection.endpoint = Some(url.into());
        self
    }

    /// Asks without keys, as for a public container.
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
        if !SPECIAL.contains(&&*self.container) && !open::is_name(&self.container, 3..=63, "-") {
            let shown: String = self.container.chars().take(64).collect();
            return Err(Error::invalid(format!(
                "{shown:?} is no container: a name has 3 to 63 lower-case letters, digits and \"-\""
            )));
        }
        let builder =
            MicrosoftAzureBuilder::from_env().with_container_name(self.container).with_retry(open::once());
        let (mut builder, endpoint) = self.connection.configure(builder, |builder, key, value| {
            builder.with_config(AzureConfigKey::Client(key), value)
        })?;
        if let Some(account) = self.account {
            builder = builder.with_account(account);
        }
        if let Some(endpoint) = endpoint {
            // The emulator of the environment has an address of its own, which would come first.
            builder = builder.with_endpoint(endpoint).with_use_emulator(false);
        }
        match builder.get_config_value(&AzureConfigKey::AccountName) {
            Some(account) if open::is_name(&account, 3..=24, "") => {}
            Some(_) => {
                let message =
                    "the storage account has no such name: one has 3 to 24 lower-case letters and digits";
                return Err(Error::invalid(message));
            }
            // The emulator has a usual one.
            None if builder.get_config_value(&AzureConfigKey::UseEmulator).as_deref() == Some("true") => {}
            None => {
                let message = "no storage account is known for the container; name it, or set AZURE_STORAGE_ACCOUNT_NAME";
                return Err(Error::invalid(message));
            }
        }
        if self.connection.anonymous {
            // With keys at hand none are looked for, and those are not sent.
            let none = StaticCredentialProvider::new(AzureCredential::BearerToken(String::new()));
            builder = builder.with_skip_signature(true).with_credentials(Arc::new(none));
        }
        let store = builder.build().map_err(|error| {
            open::not_set_up(&error, "Azure Blob Storage", "those whose names begin with AZURE_")
        })?;
        Ok(FromObjectStore::new(Arc::new(store), Backend::azure().sends_once()))
    }
}

impl IntoFuture for Azure {
    type Output = Result<FromObjectStore>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self.open())
    }
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Azure").field("container", &self.container).finish_non_exhaustive()
    }
}
