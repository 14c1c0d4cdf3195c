//! Who asks: access keys that are renewed before they expire, or nobody.

use std::{fmt, sync::Arc, time::Duration};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use http::HeaderValue;
use leasehold_core::{Environment, Error, ErrorKind, Result};
use parking_lot::RwLock;

use crate::sign::Keys;

/// Keys are renewed when they have less than this left.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// How a request is authenticated.
pub(crate) enum Credentials {
    /// Signed with keys.
    Provided(Provided),
    /// Not at all.
    Anonymous,
    /// With a token in the `Authorization` header.
    Bearer(HeaderValue),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provided(_) => "Provided",
            Self::Anonymous => "Anonymous",
            Self::Bearer(_) => "Bearer",
        })
    }
}

/// Keys from a provider, kept as long as they are good.
pub(crate) struct Provided {
    provider: SharedCredentialsProvider,
    environment: Environment,
    kept: RwLock<Option<Arc<Keys>>>,
    /// Held while new keys are asked for, so that they are asked for once.
    renewing: tokio::sync::Mutex<()>,
}

impl Provided {
    pub(crate) fn new(provider: SharedCredentialsProvider, environment: Environment) -> Self {
        Self { provider, environment, kept: RwLock::new(None), renewing: tokio::sync::Mutex::new(()) }
    }

    /// Keys that are good now. Asks the provider for the first ones and before these expire, once for all callers; when
    /// that fails, keys that are still good are used on.
    pub(crate) async fn keys(&self) -> Result<Arc<Keys>> {
        if let Some(keys) = self.good_for(RENEWED_BEFORE) {
            return Ok(keys);
        }
        let _renewing = self.renewing.lock().await;
        if let Some(keys) = self.good_for(RENEWED_BEFORE) {
            return Ok(keys);
        }
        match self.ask().await {
            Ok(keys) => {
                *self.kept.write() = Some(keys.clone());
                Ok(keys)
            }
            Err(error) => self.good_for(Duration::ZERO).ok_or(error),
        }
    }

    /// Asks again after the store has refused `refused` as expired; `None` when nothing better is to be had.
    pub(crate) async fn replace(&self, refused: &Arc<Keys>) -> Option<Arc<Keys>> {
        let _renewing = self.renewing.lock().await;
        let kept = self.kept.read().clone();
        if let Some(kept) = kept.filter(|kept| !Arc::ptr_eq(kept, refused)) {
            return Some(kept);
        }
        let keys = self.ask().await.ok().filter(|keys| !keys.are(refused))?;
        *self.kept.write() = Some(keys.clone());
        Some(keys)
    }

    fn good_for(&self, longer: Duration) -> Option<Arc<Keys>> {
        let kept = self.kept.read();
        let keys = kept.as_ref()?;
        let good = keys.expires.is_none_or(|at| self.environment.clock.wall() + longer < at);
        good.then(|| keys.clone())
    }

    async fn ask(&self) -> Result<Arc<Keys>> {
        let keys = self.provider.provide_credentials().await.map_err(|source| {
            let message =
                "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile";
            Error::new(ErrorKind::Denied, message).because(source)
        })?;
        let refuse =
            || Error::new(ErrorKind::Denied, "the credentials hold characters that no header can carry");
        let token = keys.session_token().map(HeaderValue::from_str).transpose().map_err(|_| refuse())?;
        let token = token.map(|mut token| {
            token.set_sensitive(true);
            token
        });
        HeaderValue::from_str(keys.access_key_id()).map_err(|_| refuse())?;
        Ok(Arc::new(Keys::new(keys.access_key_id(), keys.secret_access_key(), token, keys.expiry())))
    }
}
