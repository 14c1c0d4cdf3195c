//! Opening a bucket: where it is, who asks, and how patiently.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use aws_config::{
    BehaviorVersion, Region, environment::EnvironmentVariableRegionProvider,
    meta::region::RegionProviderChain, profile::ProfileFileRegionProvider,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use http::HeaderValue;
use leasehold_core::{Environment, Error, ErrorKind, Result};

use crate::{
    S3, bucket,
    credentials::{Credentials, Provided},
    http::Http,
    pace::Pace,
    store::Settings,
    target::{Addressing, Target},
    wire::Wire,
};

/// The smallest part that S3 takes, save for the last.
const PART_BYTES_MIN: u64 = 5 << 20;

/// How to open a bucket, made by [`S3::bucket`]. Await it.
///
/// What is not set comes from the environment, as for every tool of AWS: `AWS_REGION`, `AWS_PROFILE`,
/// `AWS_ENDPOINT_URL_S3`, `AWS_ACCESS_KEY_ID` and the rest of the credential chain: profiles, single sign-on, roles by web
/// identity, containers, instances. Keys are renewed before they expire.
///
/// Opening sends nothing to the bucket, unless it is to be [made](Open::create).
#[must_use = "nothing is opened before .await"]
#[derive(Clone)]
pub struct Open {
    bucket: String,
    region: Option<String>,
    endpoint: Option<String>,
    addressing: Option<Addressing>,
    profile: Option<String>,
    who: Who,
    timeout: Duration,
    connect_timeout: Duration,
    pace: Pace,
    part_bytes: u64,
    value_bytes_max: u64,
    conditional_delete: Option<bool>,
    conditional_multipart: Option<bool>,
    create: bool,
    environment: Environment,
}

#[derive(Clone)]
enum Who {
    Chain,
    Provider(SharedCredentialsProvider),
    Anonymous,
    Bearer(String),
}

impl S3 {
    /// Begins to open a bucket.
    ///
    /// ```no_run
    /// # async fn open() -> leasehold_core::Result<()> {
    /// let aws = leasehold_s3::S3::bucket("photos").region("eu-west-1").await?;
    /// let own = leasehold_s3::S3::bucket("photos").endpoint("http://127.0.0.1:9000").await?;
    /// # Ok(()) }
    /// ```
    pub fn bucket(name: impl Into<String>) -> Open {
        Open {
            bucket: name.into(),
            region: None,
            endpoint: None,
            addressing: None,
            profile: None,
            who: Who::Chain,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            pace: Pace::default(),
            part_bytes: 8 << 20,
            value_bytes_max: 5 << 40,
            conditional_delete: None,
            conditional_multipart: None,
            create: false,
            environment: Environment::default(),
        }
    }
}

impl Open {
    /// The region that requests are signed for.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.region = Some(region.into());
        self
    }

    /// The address of a server other than AWS: `http://127.0.0.1:9000`.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Whether the bucket stands in the path rather than in the host name. Default: on every endpoint but AWS.
    pub fn path_style(mut self, path_style: bool) -> Self {
        self.addressing = Some(if path_style { Addressing::Path } else { Addressing::Host });
        self
    }

    /// Says that the endpoint is the bucket's own address, which requests do not name again: a custom domain.
    pub fn endpoint_is_bucket(mut self) -> Self {
        self.addressing = Some(Addressing::Endpoint);
        self
    }

    /// The profile of the shared configuration to use.
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Fixed keys, instead of the chain.
    pub fn keys(self, id: &str, secret: &str) -> Self {
        self.provider(aws_credential_types::Credentials::new(id, secret, None, None, "leasehold"))
    }

    /// Where keys come from, instead of the chain.
    pub fn provider(
        mut self,
        provider: impl aws_credential_types::provider::ProvideCredentials + 'static,
    ) -> Self {
        self.who = Who::Provider(SharedCredentialsProvider::new(provider));
        self
    }

    /// Asks without keys, as for a public bucket.
    pub fn anonymous(mut self) -> Self {
        self.who = Who::Anonymous;
        self
    }

    /// Asks with a token instead of a signature, as something in front of a bucket may want it.
    pub fn bearer(mut self, token: impl Into<String>) -> Self {
        self.who = Who::Bearer(token.into());
        self
    }

    /// How long to wait for the head of an answer, and then for each piece of its body: 10 s. Uploads get one second more for
    /// each 256 KiB.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long to wait for a connection: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How often a request is sent at most, where sending it again is safe: 5.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.pace.attempts_max = attempts;
        self
    }

    /// The first wait after the server has asked for a slower pace: 100 ms; it doubles from one time to the next.
    pub fn throttled_wait(mut self, wait: Duration) -> Self {
        self.pace.throttled = wait;
        self
    }

    /// From which size on values are uploaded in parts, and the size of a part: 8 MiB, at least 5. An upload holds up to five
    /// parts in memory.
    pub fn part_bytes(mut self, bytes: u64) -> Self {
        self.part_bytes = bytes;
        self
    }

    /// The largest value that is taken: 5 TiB.
    pub fn value_bytes_max(mut self, bytes: u64) -> Self {
        self.value_bytes_max = bytes;
        self
    }

    /// Vouches that the server decides deletes with `If-Match` exactly. Default: on AWS only.
    pub fn conditional_delete(mut self, exact: bool) -> Self {
        self.conditional_delete = Some(exact);
        self
    }

    /// Vouches that the server decides conditions exactly when a multipart upload is completed. Default: on AWS only.
    /// Without, values written under a precondition go in one request, and are held in memory up to 256 MiB.
    pub fn conditional_multipart(mut self, exact: bool) -> Self {
        self.conditional_multipart = Some(exact);
        self
    }

    /// Makes the bucket if it is not there. Default: no, and nothing is sent while opening.
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The clock and generator to use.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    fn check(&self) -> Result<()> {
        if !(PART_BYTES_MIN..=5 << 30).contains(&self.part_bytes) {
            return Err(Error::invalid("a part has from 5 MiB to 5 GiB"));
        }
        if self.pace.attempts_max == 0 || self.timeout.is_zero() || self.connect_timeout.is_zero() {
            return Err(Error::invalid("attempts and time-outs are at least 1"));
        }
        Ok(())
    }

    async fn open(self) -> Result<S3> {
        self.check()?;
        let endpoint = self.endpoint.clone().or_else(|| std::env::var("AWS_ENDPOINT_URL_S3").ok());
        let chain = matches!(self.who, Who::Chain);
        // Reading the shared configuration takes time, and is left out where nothing is missing.
        let shared =
            if chain || self.region.is_none() { Some(self.shared(endpoint.is_some()).await) } else { None };
        let shared = shared.as_ref();
        let endpoint = endpoint.or_else(|| shared?.endpoint_url().map(str::to_owned));
        let region = self.region.clone().or_else(|| Some(shared?.region()?.as_ref().to_owned()));
        let region = region
            .ok_or_else(|| Error::invalid("no region is known for the bucket; name it, or set AWS_REGION"))?;
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Error::invalid(format!("{region:?} is no region; it is written like \"eu-west-1\"")));
        }
        let in_path = endpoint.is_some() || self.bucket.contains('.');
        let usual = if in_path { Addressing::Path } else { Addressing::Host };
        let addressing = self.addressing.unwrap_or(usual);
        let target = Target::new(&self.bucket, &region, endpoint.as_deref(), addressing)?;
        let credentials = match self.who {
            Who::Anonymous => Credentials::Anonymous,
            Who::Bearer(token) => Credentials::Bearer(bearer(&token)?),
            Who::Provider(provider) => {
                Credentials::Provided(Provided::new(provider, self.environment.clone()))
            }
            Who::Chain => {
                let provider = shared.and_then(|shared| shared.credentials_provider()).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Denied,
                        "no source of credentials is set up; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                    )
                })?;
                Credentials::Provided(Provided::new(provider, self.environment.clone()))
            }
        };
        let aws = endpoint.is_none();
        let create = self.create;
        let opened = S3 {
            settings: Settings {
                part_bytes: self.part_bytes,
                value_bytes_max: self.value_bytes_max,
                conditional_delete: self.conditional_delete.unwrap_or(aws),
                conditional_multipart: self.conditional_multipart.unwrap_or(aws),
            },
            wire: Arc::new(Wire {
                http: Http::new(target.tls(), self.connect_timeout)?,
                target,
                region,
                credentials,
                pace: self.pace,
                timeout: self.timeout,
                environment: self.environment,
                bucket_seen: AtomicBool::new(false),
            }),
        };
        if create {
            bucket::create(&opened.wire).await.map_err(|error| error.during("create").at(&opened))?;
        }
        Ok(opened)
    }

    async fn shared(&self, own_endpoint: bool) -> aws_config::SdkConfig {
        let region = match &self.region {
            Some(region) => RegionProviderChain::first_try(Region::new(region.clone())),
            // A server of one's own seldom cares, and the machine's own region, which takes time to find out, is not its.
            None if own_endpoint => RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new())
                .or_else(Region::from_static("us-east-1")),
            None => RegionProviderChain::default_provider(),
        };
        let loader = aws_config::defaults(BehaviorVersion::latest()).region(region);
        match &self.profile {
            Some(profile) => loader.profile_name(profile).load().await,
            None => loader.load().await,
        }
    }
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| Error::invalid("the token has characters that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl IntoFuture for Open {
    type Output = Result<S3>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<S3>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.open())
    }
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("bucket", &self.bucket)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}
