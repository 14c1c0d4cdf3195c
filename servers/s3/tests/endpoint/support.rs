//! A server for each test, and the independent client.

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials as AwsCredentials, Region, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
};
use leasehold_core::Store;
use leasehold_memory::Memory;
use leasehold_s3_server::{Credentials, Listening, S3Server};

pub(crate) const ACCESS: &str = "access";
pub(crate) const SECRET: &str = "secret/with+signs";
pub(crate) const BUCKET: &str = "bucket";

/// A server over memory with one bucket, and a client that talks to it.
pub(crate) struct Place {
    pub(crate) server: Listening,
    pub(crate) client: Client,
    pub(crate) store: Store,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::over(Store::new(Memory::new())).await
    }

    pub(crate) async fn over(store: Store) -> Self {
        Self::with(store.clone(), |server| server).await
    }

    pub(crate) async fn with(store: Store, change: impl FnOnce(S3Server) -> S3Server) -> Self {
        let server =
            S3Server::new(store.clone()).credentials(Credentials::new(ACCESS, SECRET)).bucket(BUCKET);
        let server = change(server).bind("127.0.0.1:0").await.expect("a free port");
        let client = client(&server.url(), ACCESS, SECRET);
        Self { server, client, store }
    }

    /// Puts an object and returns its tag.
    pub(crate) async fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> String {
        let body = ByteStream::from(body.into());
        let put =
            self.client.put_object().bucket(BUCKET).key(key).body(body).send().await.expect("it is put");
        put.e_tag().expect("a tag").to_owned()
    }

    /// The content of an object, `None` where there is none.
    pub(crate) async fn get(&self, key: &str) -> Option<Vec<u8>> {
        match self.client.get_object().bucket(BUCKET).key(key).send().await {
            Ok(got) => Some(got.body.collect().await.expect("a whole body").to_vec()),
            Err(error) => {
                assert_eq!(told(&error), (404, "NoSuchKey".to_owned()));
                None
            }
        }
    }
}

/// A client that sends each request once.
pub(crate) fn client(url: &str, access_key: &str, secret_key: &str) -> Client {
    Client::from_conf(config(url, AwsCredentials::new(access_key, secret_key, None, None, "test")).build())
}

pub(crate) fn config(url: &str, credentials: AwsCredentials) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .force_path_style(true)
        .retry_config(RetryConfig::disabled())
}

/// The status and the code of a refusal.
#[track_caller]
pub(crate) fn told<E: ProvideErrorMetadata + std::fmt::Debug>(error: &SdkError<E>) -> (u16, String) {
    let status = error.raw_response().unwrap_or_else(|| panic!("an answer: {error:?}")).status().as_u16();
    (status, error.code().unwrap_or_default().to_owned())
}

/// That a call was refused with this status and code.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug, E: ProvideErrorMetadata + std::fmt::Debug>(
    result: Result<T, SdkError<E>>,
    status: u16,
    code: &str,
) {
    assert_eq!(told(&result.expect_err("it is refused")), (status, code.to_owned()));
}
