//! The download of a repository into the cache, for sections that ask for it. It runs beside everything else, and what there
//! is stays: a download that broke off goes on where it was.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use hf_hub::{
    Repo, RepoType,
    api::sync::{ApiBuilder, ApiError, ApiRepo},
};

use super::{
    location::{INDEX, Repository},
    source::{NETWORK, TEXT},
};
use crate::engine::EngineError;

/// Folders of networks, with what their weights are called.
const NETWORKS: [(&str, &str); 6] = [
    ("unet", NETWORK),
    ("transformer", NETWORK),
    ("vae", NETWORK),
    ("text_encoder", TEXT),
    ("text_encoder_2", TEXT),
    ("text_encoder_3", TEXT),
];
/// Folders of everything else.
const OTHERS: [&str; 4] = ["scheduler", "tokenizer", "tokenizer_2", "tokenizer_3"];
/// How often a request is made again.
const RETRIES: usize = 3;

/// What is downloaded, and from where.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The repository.
    pub repository: Repository,
    /// Address of the hub.
    pub endpoint: String,
    /// Token of an account, for repositories that ask for one.
    pub token: Option<String>,
    /// Which of several sets of weights.
    pub variant: Option<String>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Idle,
    /// With the sentence that says how far.
    Running(String),
    Failed(String),
}

/// The download of one section. Its thread ends after the file in hand when this is dropped.
pub struct Download {
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

impl Default for Download {
    fn default() -> Self {
        Self { state: Arc::new(Mutex::new(State::Idle)), stopped: Arc::default() }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

impl Download {
    /// How far it is, while it is under way. What the cache has meanwhile changes with every file.
    pub fn under_way(&self) -> Option<EngineError> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Running(said) => Some(EngineError::Unavailable(said.clone())),
            State::Idle | State::Failed(_) => None,
        }
    }

    /// Says how far it is, and begins it if it is not under way. After a failure, that is told once.
    pub fn go_on(&self, wanted: Wanted) -> EngineError {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let said = match std::mem::replace(&mut *state, State::Idle) {
            State::Failed(why) => {
                let id = &wanted.repository.id;
                return EngineError::Unavailable(format!("{id} cannot be downloaded: {why}"));
            }
            State::Idle => {
                let said = progress(&wanted.repository.id, 0, 0);
                self.begin(wanted);
                said
            }
            State::Running(said) => said,
        };
        *state = State::Running(said.clone());
        EngineError::Unavailable(said)
    }

    fn begin(&self, wanted: Wanted) {
        let (state, stopped) = (self.state.clone(), self.stopped.clone());
        let set = move |now: State| *state.lock().unwrap_or_else(PoisonError::into_inner) = now;
        std::thread::spawn(move || {
            let id = wanted.repository.id.clone();
            tracing::info!(repository = id, "download begins");
            let mut told = |done, all| {
                set(State::Running(progress(&id, done, all)));
                !stopped.load(Ordering::Relaxed)
            };
            match fetch(&wanted, &mut told) {
                Ok(()) => {
                    tracing::info!(repository = id, "download ended");
                    set(State::Idle);
                }
                Err(error) => set(State::Failed(error.to_string())),
            }
        });
    }
}

fn progress(id: &str, done: usize, all: usize) -> String {
    format!("{id} is being downloaded: {done} of {all} files are here")
}

/// Why a download ended early.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Hub(#[from] ApiError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the repository has no {INDEX}: expected a checkpoint in the layout of diffusers")]
    NoCheckpoint,
    #[error("the repository has no safetensors in {0}{1}")]
    NoWeights(&'static str, String),
    #[error("{name} arrived with {has} bytes of {needs}")]
    Short { name: String, has: u64, needs: u64 },
}

/// Gets every file that is needed, the index last: where that is, everything is. `told` says whether to go on.
fn fetch(wanted: &Wanted, told: &mut dyn FnMut(usize, usize) -> bool) -> Result<(), Broken> {
    let repository = &wanted.repository;
    let api = ApiBuilder::new()
        .with_endpoint(wanted.endpoint.trim_end_matches('/').to_owned())
        .with_cache_dir(repository.cache.clone())
        .with_token(wanted.token.clone())
        .with_progress(false)
        .with_retries(RETRIES)
        .build()?;
    let repo = Repo::with_revision(repository.id.clone(), RepoType::Model, repository.revision.clone());
    let repo = api.repo(repo);
    let names: Vec<String> = repo.info()?.siblings.into_iter().map(|file| file.rfilename).collect();
    let needed = needed(&names, wanted.variant.as_deref())?;
    for (done, name) in needed.iter().enumerate() {
        if !told(done, needed.len()) {
            return Ok(());
        }
        let needs = api.metadata(&repo.url(name))?.size() as u64;
        whole(&repo, name, needs)?;
    }
    Ok(())
}

/// Gets a file, and makes sure that all of it came.
fn whole(repo: &ApiRepo, name: &str, needs: u64) -> Result<(), Broken> {
    let path = repo.get(name)?;
    let has = std::fs::metadata(&path)?.len();
    if has == needs {
        return Ok(());
    }
    // What is there would pass for the file from now on.
    std::fs::remove_file(std::fs::canonicalize(&path)?)?;
    if path.is_symlink() {
        std::fs::remove_file(&path)?;
    }
    Err(Broken::Short { name: name.to_owned(), has, needs })
}

/// The files of a repository that this engine reads.
fn needed(names: &[String], variant: Option<&str>) -> Result<Vec<String>, Broken> {
    if !names.iter().any(|name| name == INDEX) {
        return Err(Broken::NoCheckpoint);
    }
    let within = |folder: &str| {
        let files = names.iter().filter_map(|name| name.strip_prefix(folder)?.strip_prefix('/'));
        files.filter(|name| Path::new(name).components().count() == 1 && *name != "..").collect::<Vec<_>>()
    };
    let mut needed = Vec::new();
    let mut take = |folder: &str, files: Vec<&str>| {
        needed.extend(files.into_iter().map(|file| format!("{folder}/{file}")));
    };
    let plain = |name: &&str| name.ends_with(".json") || name.ends_with(".txt");
    for folder in OTHERS {
        take(folder, within(folder).into_iter().filter(plain).collect());
    }
    for (folder, stem) in NETWORKS {
        let files = within(folder);
        take(folder, files.iter().copied().filter(plain).collect());
        let variants = variant.map_or(vec![None, Some("fp16")], |variant| vec![Some(variant)]);
        let of = |variant: Option<&str>| {
            files.iter().copied().filter(|name| is_of(name, stem, variant)).collect::<Vec<_>>()
        };
        match variants.into_iter().map(of).find(|files| !files.is_empty()) {
            Some(weights) => take(folder, weights),
            None if files.is_empty() => {}
            None => {
                let variant =
                    variant.map(|variant| format!(" of the variant {variant:?}")).unwrap_or_default();
                return Err(Broken::NoWeights(folder, variant));
            }
        }
    }
    needed.push(INDEX.to_owned());
    Ok(needed)
}

/// Whether a file has weights of a variant: one of several parts too, `model.fp16-00001-of-00002.safetensors`.
fn is_of(name: &str, stem: &str, variant: Option<&str>) -> bool {
    let rest = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(".safetensors"));
    let part = |word: &&str| *word == "of" || word.bytes().all(|byte| byte.is_ascii_digit());
    rest.is_some_and(|rest| {
        let words = rest.split(['.', '-']).filter(|word| !word.is_empty() && !part(word));
        words.collect::<Vec<_>>() == variant.into_iter().collect::<Vec<_>>()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_repository_only_what_is_read_is_downloaded() {
        let names = [
            "README.md",
            "model_index.json",
            "sd_xl_base_1.0.safetensors",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/model.safetensors",
            "text_encoder/pytorch_model.bin",
            "tokenizer/merges.txt",
            "tokenizer/../../evil.json",
            "tokenizer_3/tokenizer.json",
            "transformer/diffusion_pytorch_model.fp16.safetensors",
            "transformer/diffusion_pytorch_model.safetensors",
            "unet/config.json",
            "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
            "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
            "unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_pytorch_model.safetensors.index.json",
            "vae/config.json",
            "vae/diffusion_pytorch_model.fp16.safetensors",
            "vae_1_0/diffusion_pytorch_model.safetensors",
        ]
        .map(str::to_owned);
        let common = [
            "scheduler/scheduler_config.json",
            "tokenizer/merges.txt",
            "tokenizer_3/tokenizer.json",
            "unet/config.json",
        ];
        for (variant, weights, left) in [
            (
                None,
                vec![
                    "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
                    "text_encoder/model.safetensors",
                    "transformer/diffusion_pytorch_model.safetensors",
                ],
                "text_encoder/model.fp16.safetensors",
            ),
            (
                Some("fp16"),
                vec![
                    "unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors",
                    "text_encoder/model.fp16.safetensors",
                ],
                "text_encoder/model.safetensors",
            ),
        ] {
            let needed = needed(&names, variant).unwrap();
            for name in
                common.into_iter().chain(weights).chain(["vae/diffusion_pytorch_model.fp16.safetensors"])
            {
                assert!(needed.iter().any(|needed| needed == name), "{variant:?} {name}");
            }
            for name in [
                left,
                "README.md",
                "text_encoder/pytorch_model.bin",
                "tokenizer/../../evil.json",
                "unet/diffusion_pytorch_model.non_ema.safetensors",
            ] {
                assert!(!needed.iter().any(|needed| needed == name), "{variant:?} {name}");
            }
            assert_eq!(needed.last().map(String::as_str), Some(INDEX));
        }
        let error = needed(&names, Some("bf16")).unwrap_err().to_string();
        assert_eq!(error, "the repository has no safetensors in unet of the variant \"bf16\"");
        assert!(matches!(needed(&names[2..], None), Err(Broken::NoCheckpoint)));
    }
}
