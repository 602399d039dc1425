//! Real Cog servers, started in the folders of [`predictors/`](predictors) on free loopback ports.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use reqwest::Url;
use riff_worker::engines::cog::Settings;
use tokio::sync::OnceCell;

/// Lines of the server's log after which it is as ready as it will ever be.
const SET_UP: [&str; 2] = ["Server ready", "Worker initialization failed"];
/// Ends the server when the test that started it is gone, however it ended: then the pipe to it is closed.
const SHELL: &str = r#""$0" -m cog.server.http --host 127.0.0.1 2>&1 & read -r _; kill $!; wait $!"#;

/// A server with one predictor.
pub struct Cog {
    predictor: &'static str,
    url: Url,
    _shell: Child,
}

impl Cog {
    /// Starts a server of one's own.
    pub async fn start(predictor: &'static str) -> Self {
        tokio::task::spawn_blocking(move || Self::start_here(predictor)).await.unwrap()
    }

    /// The server of a predictor that all tests share.
    pub async fn shared(predictor: &'static str) -> &'static Self {
        static IMAGE: OnceCell<Cog> = OnceCell::const_new();
        static SEVERAL: OnceCell<Cog> = OnceCell::const_new();
        static TEXT: OnceCell<Cog> = OnceCell::const_new();
        static TONE: OnceCell<Cog> = OnceCell::const_new();
        static STREAM: OnceCell<Cog> = OnceCell::const_new();
        let cell = match predictor {
            "image" => &IMAGE,
            "several" => &SEVERAL,
            "text" => &TEXT,
            "tone" => &TONE,
            "stream" => &STREAM,
            other => panic!("{other} is not shared"),
        };
        cell.get_or_init(|| Self::start(predictor)).await
    }

    fn start_here(predictor: &'static str) -> Self {
        let predictors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/tests/conformance/predictors");
        let folder = predictors.join(predictor);
        let bin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin");
        let python = bin.join("python");
        assert!(python.exists(), "{} is missing: run ./test once, it sets the servers up", python.display());
        let newer = folder.join("run.py").exists();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(bin.clone()).chain(std::env::split_paths(&path))).unwrap();
        let port = free_port();
        let mut shell = Command::new("sh")
            .args([Path::new("-c"), Path::new(SHELL), &python])
            .current_dir(&folder)
            .env("PATH", path)
            .env("PYTHONPATH", &predictors)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("COG_PREDICT_TYPE_STUB", if newer { "run.py:Runner" } else { "predict.py:Predictor" })
            .env("PORT", port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let ready = log.by_ref().map_while(Result::ok).any(|line| {
            said.push(line);
            SET_UP.iter().any(|sign| said.last().is_some_and(|line| line.contains(sign)))
        });
        assert!(ready, "the Cog server of {predictor} ended:\n{}", said.join("\n"));
        std::thread::spawn(move || log.for_each(drop));
        Self { predictor, url: format!("http://127.0.0.1:{port}/").parse().unwrap(), _shell: shell }
    }

    /// Where it is.
    #[allow(dead_code, reason = "the stories and the benches, which have this file too, need it")]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What its model is called.
    pub fn name(&self) -> &'static str {
        self.predictor
    }

    /// Settings of an engine in front of it.
    pub fn settings(&self) -> Settings {
        Settings::new(self.url.as_str(), self.predictor).unwrap()
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A path in a folder that ends with the test.
pub fn path_in(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join(name)
}
