//! A community with a hub, a clock that stands still until it is moved, and workers by hand.

use std::{collections::BTreeMap, io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use riff_hub::{
    admission::{Rate, Refusal},
    blobs::Place,
    canonical::Digest,
    community::WEB,
    hub::{Act, Ask, Fairness, Hub, Limits, Room, Settings, WorkError},
    job::{Job, State},
    model::{Cost, Media, ModelSpec},
    seam::Manual,
    sound,
    store::{Channel, Member},
    wire::{Complete, Fail, FailKind, Hello, Lease, LeaseRequest, PROTOCOL, Report, Signal, Welcome},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::database::Database;

/// A model of pictures with every kind of input, at one second a run.
pub fn painter() -> ModelSpec {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295_u32},
            "count": {"type": "integer", "minimum": 1, "maximum": 4, "default": 4, "x-flags": ["n"]},
            "width": {"type": "integer", "minimum": 64, "maximum": 2048, "multipleOf": 8, "default": 512},
            "height": {"type": "integer", "minimum": 64, "maximum": 2048, "multipleOf": 8, "default": 512},
            "negative_prompt": {"type": "string", "maxLength": 100, "default": "", "x-flags": ["no"]},
            "steps": {"type": "integer", "minimum": 1, "maximum": 12, "default": 6},
            "guidance_scale": {"type": "number", "minimum": 0, "maximum": 20, "default": 7.0, "x-flags": ["cfg", "stylize"]},
            "sampler": {"enum": ["euler", "ddim"], "default": "euler"},
            "tile": {"type": "boolean", "default": false},
            "stop": {"type": "array", "items": {"type": "string"}, "default": []},
            "variations": {"type": "array", "default": [], "x-hidden": true},
            "blend": {"type": "array", "default": [], "x-hidden": true},
            "view_x": {"type": "number", "default": 0.5, "x-hidden": true},
            "view_y": {"type": "number", "default": 0.5, "x-hidden": true},
            "view_scale": {"type": "number", "maximum": 8, "default": 1, "x-hidden": true}
        }
    });
    spec("painter", Media::Image, schema)
}

/// A model of text that looks at a picture.
pub fn reader() -> ModelSpec {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295_u32},
            "image": {"type": "string", "x-media": "image", "default": ""},
            "others": {"type": "array", "items": {"type": "string", "x-media": "image"}, "default": []}
        }
    });
    spec("reader", Media::Text, schema)
}

/// A model that enlarges pictures.
pub fn upscaler() -> ModelSpec {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "image": {"type": "string", "x-media": "image", "default": ""},
            "upscale": {"type": "integer", "enum": [2, 4], "minimum": 2, "maximum": 4, "default": 2}
        }
    });
    spec("enlarger", Media::Image, schema)
}

/// A model of text that takes a history.
pub fn writer() -> ModelSpec {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "seed": {"type": "integer", "minimum": 0, "maximum": 4294967295_u32},
            "history": {"type": "array", "default": [], "x-hidden": true}
        }
    });
    spec("writer", Media::Text, schema)
}

pub fn spec(name: &str, media: Media, schema: Value) -> ModelSpec {
    let Value::Object(schema) = schema else { unreachable!("a schema is an object") };
    ModelSpec {
        name: name.into(),
        title: name.into(),
        card: String::new(),
        license: "CC0-1.0".into(),
        media,
        schema,
        fingerprint: Digest::of_bytes(name.as_bytes()),
        cost: Cost { fixed: 1.0, per_megapixel: 0.0, per_token: 0.0, load: 0.0 },
        mature: false,
        overflow: None,
        examples: Vec::new(),
    }
}

/// A model of sound.
pub fn singer() -> ModelSpec {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"seed": {"type": "integer", "minimum": 0, "maximum": 4294967295_u32}}
    });
    spec("singer", Media::Audio, schema)
}

/// A model of text that listens.
pub fn listener() -> ModelSpec {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {"audio": {"type": "string", "x-media": "audio", "default": ""}}
    });
    spec("listener", Media::Text, schema)
}

/// Sound of half a second.
pub const TONE: &[u8] = include_bytes!("../sounds/tone.wav");

/// A picture as a worker uploads it.
pub fn picture() -> Bytes {
    let mut bytes = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(8, 8, image::Rgb([9, 99, 199]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner().into()
}

pub struct Community {
    pub hub: Hub,
    pub clock: Arc<Manual>,
    #[allow(dead_code, reason = "only those who open another hub ask for it")]
    pub data: TempDir,
    _database: Database,
}

impl Community {
    /// One hour of quota a day, leases of 10 s, three attempts, 2 s before the second.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let data = TempDir::new().unwrap();
        let database = Database::new();
        let plenty = Rate { per_minute: 1_000_000.try_into().unwrap(), burst: 1_000_000.try_into().unwrap() };
        let mut settings = Settings {
            store: database.options(),
            blobs: Place::Folder,
            member_rate: plenty,
            channel_rate: plenty,
            allowance_ms: 3_600_000,
            max_waiting: 1_000,
            limits: Limits { all: 100_000, community: 100_000 },
            lease: Duration::from_secs(10),
            heartbeat: Duration::from_secs(2),
            max_attempts: 3,
            backoff: Duration::from_secs(2),
            expire_after: Duration::from_secs(3_600),
            fairness: Fairness::default(),
            swap_share: 0.05,
            default_models: Vec::new(),
            blocked_words: Vec::new(),
            sounds: sound::Limits { bytes: 1 << 20, seconds: 60.0 },
        };
        change(&mut settings);
        let clock = Arc::new(Manual::new(1));
        let hub = Hub::open(data.path(), settings, clock.clone()).await.unwrap();
        let general = Channel { id: "general".into(), title: "general".into(), topic: String::new() };
        hub.store.put_channels(&[general]).await.unwrap();
        Self { hub, clock, data, _database: database }
    }

    /// A worker that serves these models is here.
    pub async fn hello(&self, worker: &str, models: &[ModelSpec]) -> Welcome {
        let hello = Hello { protocol: PROTOCOL, models: models.to_vec(), pools: Vec::new() };
        self.hub.hello(worker, &hello).await.unwrap()
    }

    pub async fn member(&self, name: &str) -> Member {
        self.hub.join(name).await.unwrap()
    }

    pub async fn submit(&self, who: &Member, line: &str) -> Result<Job, Refusal> {
        self.submit_in(who, "general", line).await
    }

    pub async fn job(&self, who: &Member, line: &str) -> Job {
        self.submit(who, line).await.unwrap()
    }

    /// A room of another surface, in the community of that id.
    pub async fn room(&self, who: &Member, id: &str, community: &str) -> Room {
        let room = Room {
            id: id.into(),
            title: id.into(),
            surface: "chat".into(),
            community: community.into(),
            community_name: community.into(),
            mature: false,
        };
        self.hub.enter(who, &room).await.unwrap();
        room
    }

    pub async fn submit_in(&self, who: &Member, channel: &str, line: &str) -> Result<Job, Refusal> {
        Ok(self.hub.submit(&Ask::public(who, channel), line).await?.remove(0))
    }

    /// A moderator of the web channels does something.
    pub async fn act(&self, moderator: &Member, act: Act) {
        self.hub.moderate(moderator, WEB, &act).await.unwrap();
    }

    pub async fn lease(&self, worker: &str) -> Option<Lease> {
        self.hub.lease(worker, &LeaseRequest::default()).await.unwrap()
    }

    /// Asks for a job for later.
    pub async fn lease_ahead(&self, worker: &str) -> Option<Lease> {
        let request = LeaseRequest { ahead: true, ..LeaseRequest::default() };
        self.hub.lease(worker, &request).await.unwrap()
    }

    pub async fn report(&self, worker: &str, lease: &Lease) -> Result<Signal, WorkError> {
        self.hub.report(worker, &lease.job, Report { attempt: lease.attempt, ..Report::default() }).await
    }

    pub async fn upload(&self, worker: &str, lease: &Lease) -> Result<(), WorkError> {
        let model = self.hub.store.model(lease.recipe.model).await?.unwrap().spec;
        let (media_type, bytes) = match model.media {
            Media::Image => ("image/png", picture()),
            Media::Audio => ("audio/wav", Bytes::from_static(TONE)),
            Media::Text => ("text/plain", Bytes::from_static(b"an answer")),
        };
        for index in 0..lease.recipe.count() {
            let held = (worker, lease.job.as_str(), lease.attempt);
            self.hub.store_output(held, index, media_type, bytes.clone()).await?;
        }
        Ok(())
    }

    pub async fn finish(&self, worker: &str, lease: &Lease, gpu_seconds: f64) -> Result<(), WorkError> {
        self.upload(worker, lease).await?;
        let outputs = lease.recipe.count();
        let complete = Complete { attempt: lease.attempt, outputs, gpu_seconds, load_seconds: 0.0 };
        self.hub.complete(worker, &lease.job, &complete).await
    }

    /// The next job is done, in a second.
    pub async fn serve(&self, worker: &str) -> Lease {
        let lease = self.lease(worker).await.unwrap();
        self.finish(worker, &lease, 1.0).await.unwrap();
        lease
    }

    pub async fn fail(&self, worker: &str, lease: &Lease, retry: bool) -> Result<(), WorkError> {
        let kind = FailKind::Other;
        let fail = Fail { attempt: lease.attempt, reason: "it broke".into(), retry, kind };
        self.hub.fail(worker, &lease.job, &fail).await
    }

    /// A worker had too little memory for a job.
    pub async fn run_out_of_memory(&self, worker: &str, lease: &Lease) {
        let (reason, kind) = ("out of memory: 24 GiB are too few".into(), FailKind::OutOfMemory);
        let fail = Fail { attempt: lease.attempt, reason, retry: true, kind };
        self.hub.fail(worker, &lease.job, &fail).await.unwrap();
    }

    /// Time passes, and the hub looks after its leases.
    pub async fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.hub.sweep().await.unwrap();
    }

    pub async fn now(&self, job: &Job) -> Job {
        self.hub.store.job(&job.id).await.unwrap().unwrap()
    }

    pub async fn state(&self, job: &Job) -> State {
        self.now(job).await.state
    }

    /// Seconds of quota that a member has left today.
    pub async fn left(&self, who: &Member) -> f64 {
        self.hub.allowance(who, WEB, &[]).await.unwrap().left_ms as f64 / 1_000.0
    }
}

/// Inputs with defaults filled in, as a recipe holds them.
pub fn params(spec: &ModelSpec, given: &[(&str, Value)]) -> BTreeMap<String, Value> {
    let mut params = given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    riff_hub::schema::fill_defaults(&mut params, spec);
    params
}
