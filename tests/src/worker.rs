//! A worker whose every move a story decides. It speaks the real protocol through the real client.

use std::{io::Cursor, time::Duration};

use anyhow::Context;
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec},
    wire::{Complete, Fail, FailKind, Hello, Lease, LeaseRequest, PROTOCOL, Report, Signal, Welcome},
};
use riff_worker::client::{CallError, Client};
use serde_json::{Value, json};

use crate::PATIENCE;

/// A worker by hand.
pub struct Worker {
    pub client: Client,
    pub welcome: Welcome,
}

/// A model of pictures that costs one second a run and takes a seed, a size and a count.
pub fn painter() -> ModelSpec {
    let properties = json!({
        "seed": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
        "count": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1, "x-flags": ["n"]},
        "width": {"type": "integer", "minimum": 8, "maximum": 1024, "multipleOf": 8, "default": 64},
        "height": {"type": "integer", "minimum": 8, "maximum": 1024, "multipleOf": 8, "default": 64},
    });
    spec("painter", Media::Image, properties)
}

/// A model with these inputs that costs one second a run.
pub fn spec(name: &str, media: Media, properties: Value) -> ModelSpec {
    let schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    ModelSpec {
        name: name.to_owned(),
        title: name.to_owned(),
        card: format!("The {name} does what the story wants."),
        license: "CC0-1.0".to_owned(),
        media,
        schema: match schema {
            Value::Object(schema) => schema,
            _ => Default::default(),
        },
        fingerprint: Digest::of_bytes(name.as_bytes()),
        cost: Cost { fixed: 1.0, per_megapixel: 0.0, per_token: 0.0, load: 0.0 },
        mature: false,
        overflow: None,
        examples: Vec::new(),
    }
}

/// A PNG of one colour.
pub fn picture(width: u32, height: u32) -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(width, height, image::Rgb([200, 40, 90]));
    match image.write_to(&mut bytes, image::ImageFormat::Png) {
        Ok(()) => bytes.into_inner().into(),
        Err(error) => panic!("a picture cannot be encoded: {error}"),
    }
}

impl Worker {
    pub async fn hello(url: &str, token: &str, models: Vec<ModelSpec>) -> anyhow::Result<Self> {
        let client = Client::new(url, token)?;
        let hello = Hello { protocol: PROTOCOL, models, pools: Vec::new() };
        let welcome = client.hello(&hello).await?;
        Ok(Self { client, welcome })
    }

    /// Takes a job, waiting for one.
    pub async fn lease(&self) -> anyhow::Result<Lease> {
        self.lease_within(PATIENCE).await?.context("no job came")
    }

    /// Takes a job if there is one at once.
    pub async fn lease_now(&self) -> anyhow::Result<Option<Lease>> {
        self.lease_within(Duration::ZERO).await
    }

    async fn lease_within(&self, wait: Duration) -> anyhow::Result<Option<Lease>> {
        let request = LeaseRequest { wait_ms: wait.as_millis() as u64, ..LeaseRequest::default() };
        Ok(self.client.lease(&request).await?)
    }

    pub async fn report(&self, lease: &Lease, progress: f32) -> Result<Signal, CallError> {
        let report = Report { attempt: lease.attempt, progress, ..Report::default() };
        self.client.report(&lease.job, &report, PATIENCE).await
    }

    pub async fn upload(&self, lease: &Lease, media_type: &str, bytes: Bytes) -> Result<(), CallError> {
        self.client.put_output(lease, 0, media_type, bytes).await.map(drop)
    }

    pub async fn complete(&self, lease: &Lease, gpu_seconds: f64) -> Result<(), CallError> {
        let outputs = lease.recipe.count();
        let complete = Complete { attempt: lease.attempt, outputs, gpu_seconds, load_seconds: 0.0 };
        self.client.complete(&lease.job, &complete).await
    }

    /// Uploads every picture and completes.
    pub async fn finish(&self, lease: &Lease) -> Result<(), CallError> {
        let (width, height) = lease.recipe.size().unwrap_or((64, 64));
        for index in 0..lease.recipe.count() {
            self.client.put_output(lease, index, "image/png", picture(width, height)).await?;
        }
        self.complete(lease, 0.0).await
    }

    /// Reports progress with a preview.
    pub async fn show(&self, lease: &Lease, progress: f32, preview: &[u8]) -> Result<Signal, CallError> {
        let preview = Some(BASE64_STANDARD.encode(preview));
        let report = Report { attempt: lease.attempt, progress, preview, ..Report::default() };
        self.client.report(&lease.job, &report, PATIENCE).await
    }

    /// Shows all text so far.
    pub async fn say(&self, lease: &Lease, text: &str) -> Result<Signal, CallError> {
        let report = Report {
            attempt: lease.attempt,
            progress: 0.5,
            text: Some(text.to_owned()),
            ..Report::default()
        };
        self.client.report(&lease.job, &report, PATIENCE).await
    }

    /// Answers with a text and completes.
    pub async fn answer(&self, lease: &Lease, text: &str) -> Result<(), CallError> {
        self.upload(lease, "text/plain", Bytes::copy_from_slice(text.as_bytes())).await?;
        self.complete(lease, 0.0).await
    }

    pub async fn fail(&self, lease: &Lease, reason: &str, retry: bool) -> Result<(), CallError> {
        let kind = FailKind::Other;
        let fail = Fail { attempt: lease.attempt, reason: reason.to_owned(), retry, kind };
        self.client.fail(&lease.job, &fail).await
    }
}
