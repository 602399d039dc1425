//! Repositories of a model hub: in their cache, and downloaded from a server with the addresses and headers of one
//! (<https://huggingface.co/docs/hub/api>).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as Place, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use riff_hub::model::ModelSpec;
use riff_worker::engine::{Engine, EngineError};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Subject, files_in, tiny};

const COMMIT: &str = "462165984030d82259a11f4367a4eed129e94a7b";
const UNET: &str = "unet/diffusion_pytorch_model";

/// A cache as huggingface_hub leaves it, with these files of a repository.
fn cache(files: &BTreeMap<String, Vec<u8>>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("models--acme--tiny-fox");
    for name in ["blobs", "refs"] {
        fs::create_dir_all(repository.join(name)).unwrap();
    }
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    for (number, (name, bytes)) in files.iter().enumerate() {
        let blob = repository.join(format!("blobs/{number:040x}"));
        fs::write(&blob, bytes).unwrap();
        let pointer = repository.join("snapshots").join(COMMIT).join(name);
        fs::create_dir_all(pointer.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&blob, pointer).unwrap();
    }
    folder
}

/// The files of a tiny checkpoint, by their names in its repository.
fn files(name: &str) -> BTreeMap<String, Vec<u8>> {
    let folder = tiny(name);
    let beside = ["references.safetensors", "single.safetensors"].map(|name| folder.join(name));
    let files = files_in(&folder).into_iter().filter(|path| !beside.contains(path));
    let name = |path: &PathBuf| path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
    files.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

/// A file of safetensors as two, and the index that says which tensor is in which.
fn shards(bytes: &[u8], variant: &str) -> [(String, Vec<u8>); 3] {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensors: Vec<_> = header.iter().filter(|(name, _)| *name != "__metadata__").collect();
    let file = |number: usize| format!("diffusion_pytorch_model{variant}-{number:05}-of-00002.safetensors");
    let mut map = BTreeMap::new();
    let mut made = Vec::new();
    for (number, half) in [(1, &tensors[..tensors.len() / 2]), (2, &tensors[tensors.len() / 2..])] {
        let (mut header, mut data) = (BTreeMap::new(), Vec::<u8>::new());
        for (name, entry) in half {
            let offset = |i: usize| 8 + length + entry["data_offsets"][i].as_u64().unwrap() as usize;
            let from = data.len();
            data.extend(&bytes[offset(0)..offset(1)]);
            let entry =
                json!({"dtype": entry["dtype"], "shape": entry["shape"], "data_offsets": [from, data.len()]});
            header.insert((*name).clone(), entry);
            map.insert((*name).clone(), file(number));
        }
        let header = serde_json::to_vec(&header).unwrap();
        let mut shard = (header.len() as u64).to_le_bytes().to_vec();
        shard.extend(header);
        shard.extend(data);
        made.push((format!("unet/{}", file(number)), shard));
    }
    let index = json!({"metadata": {"total_size": bytes.len()}, "weight_map": map}).to_string();
    let name = match variant {
        "" => format!("{UNET}.safetensors.index.json"),
        variant => format!("{UNET}.safetensors.index{variant}.json"),
    };
    let [one, two] = made.try_into().unwrap();
    [one, two, (name, index.into_bytes())]
}

fn settings(cache: &Path, more: &str) -> String {
    format!("cache = {cache:?}\nsampler = \"dpmpp_2m\"\n{more}")
}

async fn open(cache: &Path, path: &Path, more: &str) -> Result<Subject, EngineError> {
    Subject::open(path, &settings(cache, more)).await
}

async fn picture(subject: &Subject) -> image::RgbImage {
    subject.picture("a fox", &json!({})).await
}

#[tokio::test]
async fn repositories_in_the_cache_go_by_name_or_folder() {
    let cache = cache(&files("sd15"));
    let expected = picture(&Subject::open(&tiny("sd15"), "sampler = \"dpmpp_2m\"").await.unwrap()).await;
    let folder = cache.path().join("models--acme--tiny-fox");
    let snapshot = folder.join("snapshots").join(COMMIT);
    for (path, more) in [
        (PathBuf::from("acme/tiny-fox"), String::new()),
        (PathBuf::from("acme/tiny-fox"), format!("revision = {COMMIT:?}")),
        (folder, String::new()),
        (snapshot, "name = \"tiny-fox\"".to_owned()),
    ] {
        let subject = open(cache.path(), &path, &more).await.unwrap();
        assert_eq!(subject.spec.name, "tiny-fox", "{path:?}");
        assert_eq!(picture(&subject).await, expected, "{path:?}");
    }
}

#[tokio::test]
async fn variants_and_shards_give_the_same() {
    let expected = picture(&Subject::open(&tiny("sd15"), "sampler = \"dpmpp_2m\"").await.unwrap()).await;
    let whole = format!("{UNET}.safetensors");
    for (variant, more) in [("", ""), (".fp16", ""), (".fp16", "variant = \"fp16\"")] {
        let mut files = files("sd15");
        let bytes = files.remove(&whole).unwrap();
        files.extend(shards(&bytes, variant));
        let named = |name: &str| name.replace(".safetensors", &format!("{variant}.safetensors"));
        for other in ["vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"] {
            let bytes = files.remove(other).unwrap();
            files.insert(named(other), bytes);
        }
        if !more.is_empty() {
            // A set of weights that nobody asked for: it would not even be read.
            files.insert(whole.clone(), b"none".to_vec());
        }
        let cache = cache(&files);
        let subject = open(cache.path(), Path::new("acme/tiny-fox"), more).await.unwrap();
        assert_eq!(picture(&subject).await, expected, "{variant} {more}");
    }
    let cache = cache(&files("sd15"));
    let error = open(cache.path(), Path::new("acme/tiny-fox"), "variant = \"bf16\"").await.err().unwrap();
    assert!(error.to_string().contains("has no diffusion_pytorch_model.bf16.safetensors"), "{error}");
    let mut astray = files("sd15");
    let index = json!({"weight_map": {"conv_in.weight": "../../../secret.safetensors"}}).to_string();
    astray.insert(format!("{UNET}.safetensors.index.json"), index.into_bytes());
    let cache = self::cache(&astray);
    let error = open(cache.path(), Path::new("acme/tiny-fox"), "").await.err().unwrap();
    assert!(error.to_string().contains("which is no file beside it"), "{error}");
}

#[tokio::test]
async fn what_is_not_in_the_cache_is_said_with_what_to_do() {
    let cache = cache(&files("sd15"));
    for (path, more) in [("acme/other", ""), ("acme/tiny-fox", "revision = \"v2\"")] {
        let error = open(cache.path(), Path::new(path), more).await.err().unwrap();
        let said = error.to_string();
        assert!(
            matches!(error, EngineError::Weights(_)) && said.contains(&format!("hf download {path}")),
            "{said}"
        );
    }
    // A reference that leads elsewhere is none.
    fs::write(cache.path().join("models--acme--tiny-fox/refs/main"), "../../..").unwrap();
    let error = open(cache.path(), Path::new("acme/tiny-fox"), "").await.err().unwrap();
    assert!(error.to_string().contains("is not in"), "{error}");
}

/// A hub with one repository.
struct Hub {
    files: BTreeMap<String, Vec<u8>>,
    /// The name of a file whose second half never comes.
    broken: Mutex<Option<String>>,
    asked: Mutex<Vec<String>>,
}

impl Hub {
    async fn start(files: BTreeMap<String, Vec<u8>>, broken: Option<&str>) -> (Arc<Self>, String) {
        let broken = Mutex::new(broken.map(str::to_owned));
        let hub = Arc::new(Self { files, broken, asked: Mutex::default() });
        let routes = Router::new()
            .route("/api/models/acme/tiny-fox/revision/main", get(info))
            .route("/acme/tiny-fox/resolve/main/{*file}", get(file))
            .with_state(hub.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (hub, format!("http://{address}"))
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn info(State(hub): State<Arc<Hub>>) -> axum::Json<Value> {
    let siblings: Vec<Value> = hub.files.keys().map(|name| json!({"rfilename": name})).collect();
    axum::Json(json!({"id": "acme/tiny-fox", "sha": COMMIT, "siblings": siblings}))
}

async fn file(State(hub): State<Arc<Hub>>, Place(name): Place<String>, headers: HeaderMap) -> Response {
    let Some(bytes) = hub.files.get(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    let (from, to) = range.and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
    let from: usize = from.parse().unwrap();
    let mut to = to.parse().map_or(bytes.len(), |to: usize| to + 1).min(bytes.len());
    if to > 1 {
        hub.asked.lock().unwrap().push(name.clone());
        if hub.broken.lock().unwrap().take_if(|broken| *broken == name).is_some() {
            to /= 2;
        }
    }
    let range = format!("bytes {from}-{}/{}", to.saturating_sub(1), bytes.len());
    let tag = format!("\"{}\"", blake3_of(bytes));
    let headers = [(header::CONTENT_RANGE, range), (header::ETAG, tag)];
    let body = Bytes::copy_from_slice(&bytes[from.min(to)..to]);
    (StatusCode::PARTIAL_CONTENT, headers, [("x-repo-commit", COMMIT)], body).into_response()
}

fn blake3_of(bytes: &[u8]) -> String {
    riff_hub::canonical::Digest::of_bytes(bytes).to_string()
}

/// Asks again until the download has ended, as the worker does every 30 s. What was said meanwhile, and how it ended.
async fn wait(engine: &dyn Engine) -> (Vec<String>, Result<Vec<ModelSpec>, EngineError>) {
    let ask = async {
        let mut said = Vec::new();
        loop {
            match engine.discover().await {
                Err(EngineError::Unavailable(text)) if text.contains("is being downloaded") => {
                    said.push(text)
                }
                ended => return (said, ended),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ask).await.unwrap()
}

fn engine(cache: &Path, more: &str) -> Arc<dyn Engine> {
    let section = crate::support::section(Path::new("acme/tiny-fox"), &settings(cache, more));
    let settings =
        figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&section));
    riff_worker::engines::diffusion::engine(settings.extract().unwrap())
}

#[tokio::test]
async fn repositories_are_downloaded_where_the_section_asks_for_it() {
    let mut published = files("sd15");
    published.insert("README.md".to_owned(), b"a fox".to_vec());
    published.insert("unet/diffusion_pytorch_model.bin".to_owned(), b"pickle".to_vec());
    let (hub, url) = Hub::start(published, None).await;
    let cache = tempfile::tempdir().unwrap();
    let idle = engine(cache.path(), &format!("endpoint = {url:?}"));
    assert!(matches!(idle.discover().await, Err(EngineError::Weights(_))));
    assert_eq!(hub.asked(), Vec::<String>::new(), "nothing is fetched unless asked for");

    let (said, ended) = wait(&*engine(cache.path(), &format!("endpoint = {url:?}\ndownload = true"))).await;
    assert_eq!(ended.unwrap()[0].name, "tiny-fox");
    assert!(said[0].starts_with("acme/tiny-fox is being downloaded: "), "{said:?}");
    let asked = hub.asked();
    assert_eq!(asked.last().map(String::as_str), Some("model_index.json"), "{asked:?}");
    assert!(!asked.iter().any(|name| name.ends_with(".bin") || name == "README.md"), "{asked:?}");

    let subject = open(cache.path(), Path::new("acme/tiny-fox"), "").await.unwrap();
    let expected = Subject::open(&tiny("sd15"), "sampler = \"dpmpp_2m\"").await.unwrap();
    assert_eq!(picture(&subject).await, picture(&expected).await);
    assert_eq!(hub.asked(), asked, "what is here is not fetched again");
}

#[tokio::test]
async fn downloads_that_break_off_are_said_and_go_on() {
    let (hub, url) = Hub::start(files("sd15"), Some("vae/diffusion_pytorch_model.safetensors")).await;
    let cache = tempfile::tempdir().unwrap();
    let engine = engine(cache.path(), &format!("endpoint = {url:?}\ndownload = true"));
    let error = wait(&*engine).await.1.unwrap_err().to_string();
    assert!(error.contains("acme/tiny-fox cannot be downloaded"), "{error}");
    let before = hub.asked().len();
    wait(&*engine).await.1.unwrap();
    let again = &hub.asked()[before..];
    assert!(!again.iter().any(|name| name.starts_with("unet/diff")), "what came is kept: {again:?}");

    let other =
        self::engine(cache.path(), &format!("endpoint = {url:?}\ndownload = true\nrevision = \"v2\""));
    let error = wait(&*other).await.1.unwrap_err().to_string();
    assert!(error.contains("cannot be downloaded") && error.contains("404"), "{error}");
    let other =
        self::engine(cache.path(), "download = true\nrevision = \"v2\"\ntoken_env = \"RIFF_NO_SUCH\"");
    let error = other.discover().await.unwrap_err().to_string();
    assert!(error.contains("the variable RIFF_NO_SUCH"), "{error}");
}
