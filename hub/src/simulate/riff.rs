//! Riff's hub as one of the schedulers: the prompts go in as members send them, and the GPUs lease, report, upload and
//! complete as workers do.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;

use super::{Model, SimulateError, Workload, fleet::Takes, run::Decides};
use crate::{
    admission::Rate,
    blobs::Place,
    canonical::Digest,
    hub::{Ask, Fairness, Hub, Limits, Privacy, Room, Settings},
    model::{Cost, Media, ModelSpec},
    seam::Manual,
    sound,
    store::{Member, StoreOptions},
    wire::{Complete, Hello, LeaseRequest, PROTOCOL, Report},
};

/// Longer than anything in a simulation.
const EVER: Duration = Duration::from_secs(100 * 24 * 3_600);
/// The role of members with a larger share.
const PATRON: &str = "patron";

pub(super) struct Riff<'a> {
    workload: &'a Workload,
    hub: Hub,
    clock: Arc<Manual>,
    members: Vec<Member>,
    names: Vec<String>,
    /// The numbers of jobs by their ids.
    jobs: HashMap<String, usize>,
    /// What each GPU holds: job and attempt.
    held: HashMap<usize, (String, u32)>,
}

impl<'a> Riff<'a> {
    /// A hub whose members are here and whose GPUs have said hello.
    pub async fn open(workload: &'a Workload, folder: &Path) -> Result<Self, SimulateError> {
        let clock = Arc::new(Manual::new(workload.scenario.seed));
        let hub = Hub::open(folder, settings(workload), clock.clone()).await?;
        let name = |of: &str, i: usize| format!("{of}-{i}");
        let members =
            (0..workload.members.len()).map(|i| Member { id: name("member", i), name: name("member", i) });
        let members: Vec<Member> = members.collect();
        for (who, member) in members.iter().zip(&workload.members) {
            hub.enter(who, &room(member.community)).await?;
        }
        let names: Vec<String> = (0..workload.models.len()).map(|i| name("model", i)).collect();
        for (i, gpu) in workload.gpus.iter().enumerate() {
            let fitting = workload.models.iter().zip(&names).filter(|(model, _)| gpu.fits(model));
            let models = fitting.map(|(model, name)| spec(model, name)).collect();
            hub.hello(&name("gpu", i), &Hello { protocol: PROTOCOL, models, pools: Vec::new() }).await?;
        }
        Ok(Self { workload, hub, clock, members, names, jobs: HashMap::new(), held: HashMap::new() })
    }
}

impl Decides for Riff<'_> {
    fn advance(&mut self, by_ms: i64) {
        self.clock.advance(Duration::from_millis(by_ms as u64));
    }

    async fn submit(&mut self, job: usize) -> Result<Option<i64>, SimulateError> {
        let asked = &self.workload.jobs[job];
        let member = &self.workload.members[asked.member];
        let roles = if member.weight > 1.0 { vec![PATRON.to_owned()] } else { Vec::new() };
        let room = room(member.community);
        let ask = Ask {
            who: &self.members[asked.member],
            channel: &room.id,
            roles: &roles,
            privacy: Privacy::Public,
            reply: None,
            request: None,
        };
        let line =
            format!("/ask {job} --model {} --max-tokens {}", self.names[asked.model], asked.announced_ms);
        let queued = self.hub.submit(&ask, &line).await?.swap_remove(0);
        let place = self.hub.view(&queued.id).await?.place;
        self.jobs.insert(queued.id, job);
        Ok(place.and_then(|place| place.eta_ms))
    }

    async fn next(&mut self, gpu: usize, loaded: &[usize]) -> Result<Option<usize>, SimulateError> {
        let worker = format!("gpu-{gpu}");
        let loaded = loaded.iter().map(|model| self.names[*model].clone()).collect();
        let request = LeaseRequest { loaded, ..LeaseRequest::default() };
        let Some(lease) = self.hub.lease(&worker, &request).await? else {
            return Ok(None);
        };
        let report = Report { attempt: lease.attempt, ..Report::default() };
        self.hub.report(&worker, &lease.job, report).await?;
        let job = self.jobs.get(&lease.job).copied();
        self.held.insert(gpu, (lease.job, lease.attempt));
        Ok(job)
    }

    async fn done(&mut self, gpu: usize, _: usize, took: Takes) -> Result<(), SimulateError> {
        let Some((job, attempt)) = self.held.remove(&gpu) else {
            return Ok(());
        };
        let worker = format!("gpu-{gpu}");
        let output = Bytes::from_static(b"done");
        self.hub.store_output((&worker, &job, attempt), 0, "text/plain", output).await?;
        let seconds = |ms: i64| ms as f64 / 1_000.0;
        let (gpu_seconds, load_seconds) = (seconds(took.run_ms), seconds(took.load_ms));
        self.hub
            .complete(&worker, &job, &Complete { attempt, outputs: 1, gpu_seconds, load_seconds })
            .await?;
        Ok(())
    }
}

/// Nobody is refused, and no lease is lost.
fn settings(workload: &Workload) -> Settings {
    let rate = Rate { per_minute: std::num::NonZeroU32::MAX, burst: std::num::NonZeroU32::MAX };
    let scenario = &workload.scenario;
    let communities = scenario.communities.iter().enumerate();
    Settings {
        store: StoreOptions { full_sync: false, busy_timeout: Duration::from_secs(5), postgres: None },
        blobs: Place::Folder,
        limits: Limits { all: i64::MAX, community: i64::MAX },
        sounds: sound::Limits { bytes: 0, seconds: 0.0 },
        member_rate: rate,
        channel_rate: rate,
        allowance_ms: i64::from(u32::MAX) * 1_000,
        max_waiting: i64::from(u32::MAX),
        lease: EVER,
        heartbeat: EVER,
        max_attempts: 1,
        backoff: EVER,
        expire_after: EVER,
        fairness: Fairness {
            communities: communities.map(|(i, community)| (room(i).community, community.weight)).collect(),
            roles: HashMap::from([(PATRON.to_owned(), 2.0)]),
        },
        swap_share: scenario.swap_share,
        default_models: Vec::new(),
        blocked_words: Vec::new(),
    }
}

fn room(community: usize) -> Room {
    Room {
        id: format!("room-{community}"),
        title: format!("room-{community}"),
        surface: "simulation".to_owned(),
        community: format!("community-{community}"),
        community_name: format!("community-{community}"),
        mature: false,
    }
}

/// A model of text whose runs cost a millisecond for each token that is asked for.
fn spec(model: &Model, name: &str) -> ModelSpec {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "seed": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "max_tokens": {"type": "integer", "minimum": 1, "maximum": u32::MAX, "default": 1}
        }
    });
    ModelSpec {
        name: name.to_owned(),
        title: name.to_owned(),
        card: String::new(),
        license: "CC0-1.0".to_owned(),
        media: Media::Text,
        schema: schema.as_object().cloned().unwrap_or_default(),
        fingerprint: Digest::of_bytes(name.as_bytes()),
        cost: Cost { fixed: 0.0, per_megapixel: 0.0, per_token: 0.001, load: model.load_ms as f64 / 1_000.0 },
        mature: false,
        overflow: None,
        examples: Vec::new(),
    }
}
