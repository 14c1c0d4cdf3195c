//! Opening a bucket of an account.

use std::{fmt, future::IntoFuture, pin::Pin, sync::Arc, time::Duration};

use leasehold_core::{Environment, Error, Result};
use leasehold_s3::S3;

use crate::{R2, edge::Edge};

/// R2 takes about one write a second on one key, and answers those beyond it with status 429.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// How old a value is at most that the Worker serves, as it is deployed.
const EDGE_AGE_MAX: Duration = Duration::from_secs(60);

/// Where an account's data may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Jurisdiction {
    /// Anywhere.
    #[default]
    Default,
    /// In the European Union.
    Eu,
    /// Where the United States' programme for authorities wants it.
    FedRamp,
}

/// How to open a bucket, made by [`R2::bucket`]. Await it. What is not set comes from the environment, as
/// [`leasehold_s3::Open`] says.
#[must_use = "nothing is opened before .await"]
#[derive(Clone)]
pub struct Open {
    account: String,
    jurisdiction: Jurisdiction,
    endpoint: Option<String>,
    edge: Option<(String, String)>,
    edge_age_max: Duration,
    environment: Environment,
    bucket: String,
    s3: leasehold_s3::Open,
}

impl R2 {
    /// Begins to open a bucket of an account, which is named by its id of 32 hexadecimal digits.
    ///
    /// ```no_run
    /// # async fn open(account: &str) -> leasehold_core::Result<()> {
    /// let photos = leasehold_r2::R2::bucket(account, "photos").await?;
    /// # Ok(()) }
    /// ```
    pub fn bucket(account: impl Into<String>, bucket: impl Into<String>) -> Open {
        let bucket = bucket.into();
        Open {
            account: account.into(),
            jurisdiction: Jurisdiction::Default,
            endpoint: None,
            edge: None,
            edge_age_max: EDGE_AGE_MAX,
            environment: Environment::default(),
            s3: S3::bucket(bucket.clone())
                .region("auto")
                .conditional_delete(false)
                .conditional_multipart(false)
                .throttled_wait(WRITE_INTERVAL),
            bucket,
        }
    }
}

impl Open {
    /// Where the bucket's data lies.
    pub fn jurisdiction(mut self, jurisdiction: Jurisdiction) -> Self {
        self.jurisdiction = jurisdiction;
        self
    }

    /// Another address than the account's: the simulator's.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Fixed keys, as R2 makes them for its S3 interface.
    pub fn keys(mut self, id: &str, secret: &str) -> Self {
        self.s3 = self.s3.keys(id, secret);
        self
    }

    /// Reads through the Worker at `url`, which knows `token`.
    ///
    /// What is read is then as old as the Worker's cache allows, so the store no longer claims
    /// [`Linearizable`](leasehold_core::Capability::Linearizable), and coordinators are not built on it. Writes go to the
    /// bucket, and ask the Worker to forget what it had.
    pub fn edge(mut self, url: impl Into<String>, token: impl Into<String>) -> Self {
        self.edge = Some((url.into(), token.into()));
        self
    }

    /// How old a value may be that the Worker serves: its `CACHE_SECONDS`, 60 s unless it was deployed with others. For so
    /// long a key that was written through this handle is read from the bucket.
    pub fn edge_age_max(mut self, age: Duration) -> Self {
        self.edge_age_max = age;
        self
    }

    /// As [`leasehold_s3::Open::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.s3 = self.s3.timeout(timeout);
        self
    }

    /// The wait after R2 has asked for a slower pace: 1 s, as long as R2 wants between two writes of one key.
    pub fn throttled_wait(mut self, wait: Duration) -> Self {
        self.s3 = self.s3.throttled_wait(wait);
        self
    }

    /// The clock and generator to use.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    async fn open(self) -> Result<R2> {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.clone(),
            None => address(&self.account, self.jurisdiction)?,
        };
        let edge = match &self.edge {
            Some((url, token)) => {
                let edge = Edge::open(&self.bucket, url, token, self.edge_age_max, self.environment.clone());
                Some(Arc::new(edge.await?))
            }
            None => None,
        };
        let bucket = self.s3.endpoint(endpoint).environment(self.environment).await?;
        Ok(R2 { bucket, edge, account: self.account, name: self.bucket })
    }
}

fn address(account: &str, jurisdiction: Jurisdiction) -> Result<String> {
    if account.len() != 32 || !account.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let shown: String = account.chars().take(64).collect();
        return Err(Error::invalid(format!(
            "{shown:?} is no account of R2: an id has 32 hexadecimal digits"
        )));
    }
    let within = match jurisdiction {
        Jurisdiction::Default => "",
        Jurisdiction::Eu => ".eu",
        Jurisdiction::FedRamp => ".fedramp",
    };
    Ok(format!("https://{account}{within}.r2.cloudflarestorage.com"))
}

impl IntoFuture for Open {
    type Output = Result<R2>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<R2>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_an_address_in_each_jurisdiction() {
        let account = "0123456789abcdef0123456789abcdef";
        for (jurisdiction, host) in [
            (Jurisdiction::Default, "0123456789abcdef0123456789abcdef.r2"),
            (Jurisdiction::Eu, "0123456789abcdef0123456789abcdef.eu.r2"),
            (Jurisdiction::FedRamp, "0123456789abcdef0123456789abcdef.fedramp.r2"),
        ] {
            let url = address(account, jurisdiction).unwrap();
            assert_eq!(url, format!("https://{host}.cloudflarestorage.com"));
        }
        for account in ["", "photos", "0123456789abcdef0123456789abcdeg", "0123456789abcdef0123456789abcde/"]
        {
            assert!(address(account, Jurisdiction::Default).is_err(), "{account}");
        }
    }
}
