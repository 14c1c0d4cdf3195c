//! Who asks: access keys that are renewed before they expire, or nobody.

use std::{fmt, sync::Arc, time::Duration};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use http::HeaderValue;
use leasehold_core::{Environment, Error, ErrorKind, Result};
use parking_lot::RwLock;
use tokio::sync::{Mutex, MutexGuard};

use crate::sign::Keys;

/// Keys are renewed when they have less than this left.
const RENEWED_BEFORE: Duration = Duration::from_secs(300);

/// Keys that are still good are asked for no more often than this.
const RENEWED_EVERY: Duration = Duration::from_secs(10);

/// How long a provider may take.
const ASKED_FOR_MAX: Duration = Duration::from_secs(30);

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
    /// Held while new keys are asked for, so that they are asked for once. Says when those that are still good may be
    /// asked for again.
    renewing: Mutex<Option<Duration>>,
}

impl Provided {
    pub(crate) fn new(provider: SharedCredentialsProvider, environment: Environment) -> Self {
        Self { provider, environment, kept: RwLock::new(None), renewing: Mutex::new(None) }
    }

    /// Keys that are good now. Asks the provider for the first ones and before these expire, once for all callers, and only
    /// one of them waits while there are good ones; when that fails, keys that are still good are used on.
    pub(crate) async fn keys(&self) -> Result<Arc<Keys>> {
        if let Some(keys) = self.good_for(RENEWED_BEFORE) {
            return Ok(keys);
        }
        let good = self.good_for(Duration::ZERO);
        let renewing = match self.renewing.try_lock() {
            Ok(renewing) => renewing,
            // Somebody is at it, and need not be waited for.
            Err(_) if let Some(keys) = good => return Ok(keys),
            Err(_) => self.renewing.lock().await,
        };
        if let Some(keys) = self.good_for(RENEWED_BEFORE) {
            return Ok(keys);
        }
        let now = self.environment.clock.monotonic();
        if let Some(keys) = good.clone().filter(|_| renewing.is_some_and(|next| now < next)) {
            return Ok(keys);
        }
        self.renew(renewing).await.or_else(|error| self.good_for(Duration::ZERO).ok_or(error))
    }

    async fn renew(&self, mut next: MutexGuard<'_, Option<Duration>>) -> Result<Arc<Keys>> {
        // Said before, so that it also holds for a call that is dropped or fails.
        *next = Some(self.environment.clock.monotonic() + RENEWED_EVERY);
        let keys = self.ask().await?;
        *self.kept.write() = Some(keys.clone());
        Ok(keys)
    }

    /// Asks again after the store has refused `refused` as expired; `None` when nothing better is to be had.
    pub(crate) async fn replace(&self, refused: &Arc<Keys>) -> Option<Arc<Keys>> {
        let renewing = self.renewing.lock().await;
        let kept = self.kept.read().clone();
        if let Some(kept) = kept.filter(|kept| !Arc::ptr_eq(kept, refused)) {
            return Some(kept);
        }
        self.renew(renewing).await.ok().filter(|keys| !keys.are(refused))
    }

    fn good_for(&self, longer: Duration) -> Option<Arc<Keys>> {
        let kept = self.kept.read();
        let keys = kept.as_ref()?;
        let good = keys.expires.is_none_or(|at| self.environment.clock.wall() + longer < at);
        good.then(|| keys.clone())
    }

    async fn ask(&self) -> Result<Arc<Keys>> {
        let asked = tokio::time::timeout(ASKED_FOR_MAX, self.provider.provide_credentials()).await;
        let asked = asked.map_err(|_| {
            let message = format!("no credentials came within {ASKED_FOR_MAX:?}; check what provides them");
            Error::new(ErrorKind::Denied, message)
        })?;
        let keys = asked.map_err(|source| {
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
