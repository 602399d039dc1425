//! Operators look at a hub: is it there, can it work, what does it do, and what is left of it after a disaster.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, routing::post};
use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::Span};
use prost::Message;
use reqwest::{Method, StatusCode, redirect::Policy};
use riff_hub::wire::Complete;
use riff_tests::{PATIENCE, Program, Riff, worker::picture};
use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;
use temporary_s3::{ACCESS_KEY, BUCKET, SECRET_KEY};
use tokio::{
    net::TcpListener,
    time::{interval, timeout},
};

use crate::{hub, hub_with_engines, riff};

/// A running hub with metrics, and where they are.
async fn measured() -> (Riff, String) {
    let mut riff = riff();
    riff.set("RIFF_OPERATE__LISTEN", "127.0.0.1:0").set("RIFF_QUEUE__MAX_ATTEMPTS", 1);
    riff.start().await.unwrap();
    riff.logged("metrics url=").await.unwrap();
    let log = riff.log();
    let line = log.lines().find(|line| line.contains("metrics url=")).unwrap();
    let at = line.find("http://").unwrap();
    let address = line[at..].trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned();
    (riff, address)
}

async fn text(address: &str) -> String {
    reqwest::get(format!("{address}/metrics"))
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .text()
        .await
        .unwrap()
}

/// A job that succeeds and one that fails, and a refusal.
async fn a_day(riff: &Riff) -> Program {
    let program = riff.program("robot").await.unwrap();
    let worker = riff.worker("w").await.unwrap();
    let done = program.job("a lighthouse").await.unwrap();
    let lease = worker.lease().await.unwrap();
    worker.upload(&lease, "image/png", picture(64, 64)).await.unwrap();
    let complete = Complete { attempt: lease.attempt, outputs: 1, gpu_seconds: 0.001, load_seconds: 0.001 };
    worker.client.complete(&lease.job, &complete).await.unwrap();
    program.ended(&done).await.unwrap();
    let fails = program.job("a pond").await.unwrap();
    worker.fail(&worker.lease().await.unwrap(), "it broke", true).await.unwrap();
    program.ended(&fails).await.unwrap();
    program.create("a cat --cfg purple").await.unwrap();
    program
}

#[tokio::test]
async fn a_hub_tells_what_it_does() {
    let (riff, address) = measured().await;
    let program = a_day(&riff).await;
    program.job("a hill").await.unwrap();
    program.call(Method::GET, "/no/such/page", None).await.unwrap();
    let metrics = text(&address).await;
    for line in [
        "riff_queue_jobs{model=\"painter\",lane=\"fast\"} 1",
        "riff_held_jobs{model=\"painter\",lane=\"fast\"} 0",
        "riff_lease_wait_seconds_count{model=\"painter\"} 2",
        "riff_jobs_total{model=\"painter\",state=\"succeeded\"} 1",
        "riff_jobs_total{model=\"painter\",state=\"failed\"} 1",
        "riff_loads_total{model=\"painter\"} 1",
        "riff_wasted_attempts_total{why=\"failed\"} 1",
        "riff_wasted_attempts_total{why=\"lost\"} 0",
        "riff_refusals_total{kind=\"bad-prompt\"} 1",
        "riff_workers 1",
        "riff_unfinished_jobs 1",
        "riff_http_requests_total{route=\"none\",method=\"GET\",status=\"404\"} 1",
        "riff_database_connections_max{pool=\"write\"} 1",
        "riff_outbox_posts{surface=\"web\"}",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.ends_with("# EOF\n"));
    assert!(!metrics.contains("robot"), "members are no labels");
    let public = program.call(Method::GET, "/metrics", None).await.unwrap();
    assert_eq!(public.status, StatusCode::NOT_FOUND, "they are not for everybody");
}

/// The names that a text exports, as queries use them.
fn exported(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .flat_map(|(name, kind)| match kind {
            "counter" => vec![format!("{name}_total")],
            "histogram" => ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")).to_vec(),
            _ => vec![name.to_owned()],
        })
        .collect()
}

fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    words.filter(|word| word.starts_with("riff_")).map(str::to_owned).collect()
}

fn deploy(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts under a key, wherever it is.
fn under<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == key => found.push(text),
            _ => under(value, key, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| under(value, key, found)),
        _ => {}
    }
}

#[tokio::test]
async fn dashboard_scaling_and_guide_name_what_is_exported() {
    let (riff, address) = measured().await;
    a_day(&riff).await;
    let exported = exported(&text(&address).await);
    let dashboard: Value = serde_json::from_str(&deploy("deploy/grafana/riff.json")).unwrap();
    let mut queries = Vec::new();
    under(&dashboard, "expr", &mut queries);
    let shown = named(&queries.join("\n"));
    assert!(shown.is_subset(&exported), "{:?}", shown.difference(&exported));
    let workers = deploy("deploy/kubernetes/workers.yaml");
    let scaled: String = workers.lines().filter(|line| line.trim_start().starts_with("query:")).collect();
    let scaled = named(&scaled);
    assert!(scaled.contains("riff_queue_age_seconds") && scaled.is_subset(&exported), "{scaled:?}");
    let guide = deploy("docs/operations.md");
    let untold: Vec<&String> = exported
        .iter()
        .filter(|name| {
            let name = name.trim_end_matches("_bucket").trim_end_matches("_sum").trim_end_matches("_count");
            !guide.contains(&format!("`{name}"))
        })
        .collect();
    assert!(untold.is_empty(), "docs/operations.md does not say what these are: {untold:?}");
}

#[test]
fn what_is_deployed_can_be_read() {
    for (file, documents) in [
        ("deploy/compose.yaml", 1),
        ("deploy/prometheus.yaml", 1),
        ("deploy/kubernetes/hubs.yaml", 4),
        ("deploy/kubernetes/workers.yaml", 3),
        ("deploy/grafana/provisioning/datasources/prometheus.yaml", 1),
        ("deploy/grafana/provisioning/dashboards/riff.yaml", 1),
    ] {
        let text = deploy(file);
        let read = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(read.len(), documents, "{file}");
        assert!(read.iter().all(Yaml::is_mapping), "{file}");
    }
}

/// Every setting that a deployment sets is one: a hub starts with them.
#[tokio::test]
async fn settings_of_the_deployments_are_settings() {
    let mut riff = riff();
    let mut set = BTreeSet::new();
    for file in ["deploy/compose.yaml", "deploy/kubernetes/hubs.yaml", "Dockerfile"] {
        let text = deploy(file);
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        set.extend(words.filter(|word| word.starts_with("RIFF_")).map(str::to_owned));
    }
    for known in ["RIFF_HUB", "RIFF_TOKEN", "RIFF_WEIGHTS"] {
        assert!(set.remove(known), "{known} is a worker's");
    }
    let values = [("RIFF_LOG__FORMAT", "json"), ("RIFF_DISCORD__RECEIVE", "endpoint")];
    let kept = ["RIFF_DATA", "RIFF_LISTEN", "RIFF_OPERATE__LISTEN", "RIFF_WORKER__IN_PROCESS"];
    assert!(set.contains("RIFF_BLOBS__URL") && set.contains("RIFF_STORE__POSTGRES"), "{set:?}");
    for key in set.iter().filter(|key| !kept.contains(&key.as_str())) {
        let value = values.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value);
        riff.set(key, value);
    }
    riff.start().await.unwrap();
}

/// A hub with its results in a real S3-compatible store.
async fn on_s3(store: &temporary_s3::Store) -> Riff {
    let mut riff = riff();
    riff.set("RIFF_BLOBS__URL", format!("s3://{BUCKET}/riff"))
        .set("RIFF_BLOBS__ENDPOINT", store.endpoint())
        .set("RIFF_BLOBS__ACCESS_KEY", ACCESS_KEY)
        .set("RIFF_BLOBS__SECRET_KEY", SECRET_KEY);
    riff
}

/// The address of the first result of a job that a worker makes now.
async fn made(riff: &Riff, program: &Program) -> String {
    let worker = riff.worker("w").await.unwrap();
    let job = program.job("a lighthouse").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    let ended = program.ended(&job).await.unwrap();
    ended["outputs"][0]["url"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn results_in_s3_are_shown_and_a_hub_without_its_store_is_not_ready() {
    let store = temporary_s3::Store::start().await.unwrap();
    let mut riff = on_s3(&store).await;
    riff.start().await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let url = made(&riff, &program).await;
    let shown = reqwest::get(&url).await.unwrap();
    assert_eq!(shown.headers()["content-type"], "image/png");
    image::load_from_memory(&shown.bytes().await.unwrap()).unwrap();
    assert!(!riff.data().join("blobs").exists(), "nothing is in the data folder");
    let ready = async |program: &Program| program.call(Method::GET, "/readyz", None).await.unwrap();
    assert_eq!(ready(&program).await.status, StatusCode::OK);

    drop(store);
    let mut look = interval(Duration::from_millis(100));
    let answer = timeout(PATIENCE, async {
        loop {
            let answer = ready(&program).await;
            if answer.status != StatusCode::OK {
                return answer;
            }
            look.tick().await;
        }
    });
    let answer = answer.await.unwrap();
    assert_eq!(
        (answer.status, answer.body["type"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("/problems/not-ready"))
    );
    let lives = program.call(Method::GET, "/healthz", None).await.unwrap();
    assert_eq!(lives.status, StatusCode::OK, "starting it anew would not help");
    assert!(!riff.log().contains(SECRET_KEY));
}

#[tokio::test]
async fn large_results_can_come_from_the_store_itself() {
    let store = temporary_s3::Store::start().await.unwrap();
    let mut riff = on_s3(&store).await;
    riff.set("RIFF_BLOBS__REDIRECT_FROM_BYTES", 1).start().await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let url = made(&riff, &program).await;
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let sent = client.get(&url).send().await.unwrap();
    assert_eq!(sent.status(), StatusCode::TEMPORARY_REDIRECT);
    let address = sent.headers()["location"].to_str().unwrap().to_owned();
    assert!(address.starts_with(&store.endpoint()), "{address}");
    let bytes = client.get(&address).send().await.unwrap().error_for_status().unwrap().bytes().await.unwrap();
    image::load_from_memory(&bytes).unwrap();
}

#[tokio::test]
async fn one_search_finds_the_way_of_a_prompt_from_the_hub_to_the_device_and_back() {
    let riff = hub_with_engines().await;
    let program = riff.program("robot").await.unwrap();
    let job = program.job("a lighthouse --seed 7 --n 1 --width 64 --height 64").await.unwrap();
    program.ended(&job).await.unwrap();
    riff.logged("posted").await.unwrap();
    riff.logged("handed in").await.unwrap();
    let (log, trace) = (riff.log(), riff_hub::trace::of(&job));
    for event in ["enqueued", "leased", "handed in", "completed", "posted"] {
        let found = log.lines().any(|line| line.contains(event) && line.contains(&trace));
        assert!(found, "{event} with {trace} is not in\n{log}");
    }
}

#[tokio::test]
async fn a_backup_of_a_running_hub_is_a_hub() {
    let riff = hub().await;
    let program = riff.program("robot").await.unwrap();
    let worker = riff.worker("w").await.unwrap();
    let job = program.job("a lighthouse").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    let ended = program.ended(&job).await.unwrap();

    let mut restored = crate::riff();
    let folder = restored.data().to_owned();
    let told = riff.cli(&["backup", folder.to_str().unwrap()]).await.unwrap();
    assert_eq!(told, "1 results copied, 0 were there");
    // A second one brings the first up to date, with what came since.
    let later = program.job("a pond").await.unwrap();
    worker.finish(&worker.lease().await.unwrap()).await.unwrap();
    program.ended(&later).await.unwrap();
    assert_eq!(
        riff.cli(&["backup", folder.to_str().unwrap()]).await.unwrap(),
        "1 results copied, 1 were there"
    );

    restored.start().await.unwrap();
    let program =
        Program::new(restored.url(), &restored.cli(&["token", "create", "--member", "robot"]).await.unwrap());
    let again = program.show(&job).await.unwrap();
    let blob =
        |job: &Value| job["outputs"][0]["url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(blob(&again.body), blob(&ended));
    assert_eq!(program.show(&later).await.unwrap().text("state"), "succeeded");
    let url = again.body["outputs"][0]["url"].as_str().unwrap();
    image::load_from_memory(&reqwest::get(url).await.unwrap().bytes().await.unwrap()).unwrap();
    restored.stop().await.unwrap();
    restored.checker().await.unwrap().check().await.unwrap();
}

/// A collector that keeps what it is sent.
async fn collector() -> (String, Arc<Mutex<Vec<Span>>>) {
    let spans = Arc::new(Mutex::new(Vec::new()));
    let kept = spans.clone();
    let take = move |body: Bytes| async move {
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        kept.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (address, spans)
}

#[tokio::test]
async fn a_collector_gets_the_trace_of_each_job() {
    let (collector, spans) = collector().await;
    let mut riff = riff();
    riff.set("RIFF_OPERATE__OTLP", &collector).set("RIFF_QUEUE__MAX_ATTEMPTS", 2);
    riff.start().await.unwrap();
    let program = riff.program("robot").await.unwrap();
    let worker = riff.worker("w").await.unwrap();
    let job = program.job("a lighthouse").await.unwrap();
    let first = worker.lease().await.unwrap();
    worker.fail(&first, "it broke", true).await.unwrap();
    let second = worker.lease().await.unwrap();
    worker.upload(&second, "image/png", picture(64, 64)).await.unwrap();
    let complete = Complete { attempt: second.attempt, outputs: 1, gpu_seconds: 0.001, load_seconds: 0.0 };
    worker.client.complete(&second.job, &complete).await.unwrap();
    program.ended(&job).await.unwrap();
    riff.logged("posted").await.unwrap();
    riff.stop().await.unwrap();

    let spans = spans.lock().unwrap();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let [whole] = named("job").try_into().unwrap();
    assert_eq!(hex(&whole.trace_id), riff_hub::trace::of(&first.job));
    let (waits, attempts, posts) = (named("wait"), named("attempt"), named("post"));
    assert_eq!((waits.len(), attempts.len(), posts.len()), (2, 2, 1), "{spans:#?}");
    for span in waits.iter().chain(&attempts).chain(&posts) {
        assert_eq!((&span.trace_id, &span.parent_span_id), (&whole.trace_id, &whole.span_id));
        assert!(span.start_time_unix_nano >= whole.start_time_unix_nano);
    }
    let known = [&first, &second].map(|lease| lease.traceparent.clone().unwrap());
    for (attempt, known) in attempts.iter().zip(known) {
        assert!(known.contains(&hex(&attempt.span_id)), "workers know it by {known}");
    }
    assert_eq!(attempts[0].status.as_ref().unwrap().message, "it broke");
    assert!(attempts[1].status.as_ref().is_none_or(|status| status.message.is_empty()));
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_by_name() {
    let mut riff = riff();
    riff.set("RIFF_OPERATE__OTLP", "collector");
    let refused = riff.start().await.unwrap_err().to_string();
    assert!(refused.contains("operate.otlp = \"collector\" is no address"), "{refused}");
}
