//! Where a checkpoint is: a file, a folder, or a repository of a model hub in its cache on this machine, which has the layout
//! that huggingface_hub gives it: <https://huggingface.co/docs/huggingface_hub/guides/manage-cache>.

use std::path::{Component, Path, PathBuf};

use super::{flaw::Flaw, settings::Settings};

/// The file that every checkpoint in the layout of diffusers has.
pub const INDEX: &str = "model_index.json";
/// The revision that is meant where none is named.
const MAIN: &str = "main";

/// A checkpoint on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder in the layout of diffusers.
    Folder(PathBuf),
    /// A single file.
    File(PathBuf),
}

/// A repository of a model hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `owner/name`.
    pub id: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// The folder with the caches of all repositories.
    pub cache: PathBuf,
}

impl Repository {
    /// What `path` names, if it is no path on this machine.
    pub fn of(settings: &Settings) -> Option<Self> {
        let path = &settings.path;
        let mut parts = path.components();
        let (Some(Component::Normal(owner)), Some(Component::Normal(name)), None) =
            (parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let word = |text: &str| {
            !text.is_empty()
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        };
        let (owner, name) = (owner.to_str()?, name.to_str()?);
        let file = name.ends_with(".safetensors");
        (!path.exists() && !file && word(owner) && word(name)).then(|| Self {
            id: format!("{owner}/{name}"),
            revision: revision(settings).to_owned(),
            cache: settings.cache.clone().unwrap_or_else(usual_cache),
        })
    }

    /// Its folder in the cache.
    pub fn folder(&self) -> PathBuf {
        self.cache.join(format!("models--{}", self.id.replace('/', "--")))
    }
}

/// Finds what `path` names.
///
/// # Errors
/// [`Flaw::NoCheckpoint`], and [`Flaw::NotInCache`] for a repository that is not there, or not in this revision.
pub fn find(settings: &Settings) -> Result<Location, Flaw> {
    let path = &settings.path;
    if path.is_file() {
        return Ok(Location::File(path.clone()));
    }
    let (folder, named) = match Repository::of(settings) {
        Some(repository) => (snapshot(&repository.folder(), settings)?, true),
        None if path.join("snapshots").is_dir() => (snapshot(path, settings)?, true),
        None => (path.clone(), false),
    };
    match folder.join(INDEX).is_file() {
        true => Ok(Location::Folder(folder)),
        false if named && settings.download => Err(not_in(&folder, settings)),
        false => Err(Flaw::NoCheckpoint(folder)),
    }
}

/// The snapshot of a revision, in the cache of one repository.
fn snapshot(cache: &Path, settings: &Settings) -> Result<PathBuf, Flaw> {
    let revision = revision(settings);
    let commit = std::fs::read_to_string(cache.join("refs").join(revision));
    let commit = commit.map_or_else(|_| revision.to_owned(), |commit| commit.trim().to_owned());
    // A commit is the name of one folder, whatever the file says.
    let plain = Path::new(&commit).components().count() == 1 && commit != "..";
    let snapshot = cache.join("snapshots").join(&commit);
    match plain && snapshot.is_dir() {
        true => Ok(snapshot),
        false => Err(not_in(cache, settings)),
    }
}

fn not_in(cache: &Path, settings: &Settings) -> Flaw {
    let (cache, revision) = (cache.to_owned(), revision(settings).to_owned());
    Flaw::NotInCache { path: settings.path.clone(), revision, cache }
}

fn revision(settings: &Settings) -> &str {
    settings.revision.as_deref().unwrap_or(MAIN)
}

/// Where huggingface_hub keeps its caches: <https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables>.
fn usual_cache() -> PathBuf {
    let folder = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let home = || folder("HOME").unwrap_or_default();
    let caches = || folder("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache"));
    folder("HF_HUB_CACHE")
        .unwrap_or_else(|| folder("HF_HOME").unwrap_or_else(|| caches().join("huggingface")).join("hub"))
}
