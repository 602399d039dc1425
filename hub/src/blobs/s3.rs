//! An S3-compatible store, reached with the HTTP client and the TLS that the other foreign servers are reached with.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::{
    ClientOptions, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    },
};
use reqwest12::{Body, Client, Request};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer, or its next part, may take.
const READ: Duration = Duration::from_secs(30);
/// How long, and how often, a request is tried again that the store could not answer.
const TRY_FOR: Duration = Duration::from_secs(20);
const TRIES: usize = 4;

/// Where such a store is, and who may use it.
#[derive(Clone)]
pub struct S3 {
    /// The bucket, which is there already.
    pub bucket: String,
    /// What every key begins with; empty for nothing.
    pub prefix: String,
    /// Its address where it is not Amazon's, such as `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
    /// Who asks, and the secret that requests are signed with; nothing for what the machine's role at Amazon gives.
    pub keys: Option<(String, String)>,
    /// Whether the bucket is a part of the path, and not of the host's name.
    pub path_style: bool,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("S3")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl S3 {
    pub(super) fn open(&self) -> object_store::Result<AmazonS3> {
        let retry = RetryConfig { max_retries: TRIES, retry_timeout: TRY_FOR, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&self.bucket)
            .with_region(&self.region)
            .with_virtual_hosted_style_request(!self.path_style)
            .with_retry(retry)
            .with_http_connector(Connector);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some((access, secret)) = &self.keys {
            builder = builder.with_access_key_id(access).with_secret_access_key(secret);
        }
        builder.build()
    }

    pub(super) fn key_prefix(&self) -> String {
        match self.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }
}

#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = Client::builder().connect_timeout(CONNECT).read_timeout(READ).build();
        let client =
            client.map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(HttpClient::new(Service(client)))
    }
}

#[derive(Debug)]
struct Service(Client);

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = Request::try_from(request.map(Body::wrap)).map_err(fault)?;
        let response = self.0.execute(request).await.map_err(fault)?;
        let (parts, body) = http::Response::<Body>::from(response).into_parts();
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body.map_err(fault))))
    }
}

/// What kind of failure it is decides whether it is tried again. The address is left out: it may be a signed one.
fn fault(error: reqwest12::Error) -> HttpError {
    let kind = match () {
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_body() || error.is_request() => HttpErrorKind::Interrupted,
        () if error.is_decode() => HttpErrorKind::Decode,
        () => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error.without_url())
}
