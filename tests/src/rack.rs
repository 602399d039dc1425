//! The `riff-worker` process under test, with a settings file of its own.

use std::process::{ExitStatus, Output, Stdio};

use anyhow::Context;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use crate::{
    PATIENCE, Riff,
    process::{Log, logged, read_log, terminate},
};

/// A machine that is to run `riff-worker`.
pub struct Rack {
    folder: TempDir,
    binary: String,
    token: String,
    hub: String,
}

/// A running `riff-worker`.
pub struct Running {
    child: Child,
    log: Log,
}

impl Rack {
    /// One with a token of that name, and these sections in its settings.
    pub async fn new(binary: &str, riff: &Riff, name: &str, sections: &str) -> anyhow::Result<Self> {
        let token = riff.cli(&["token", "create", "--worker", name]).await?;
        let folder = TempDir::new()?;
        std::fs::create_dir(folder.path().join("weights"))?;
        std::fs::write(folder.path().join("worker.toml"), sections)?;
        Ok(Self { folder, binary: binary.to_owned(), token, hub: riff.url().to_owned() })
    }

    /// Has it look for the hub elsewhere, such as behind a balancer.
    pub fn reach(&mut self, hub: &str) -> &mut Self {
        hub.clone_into(&mut self.hub);
        self
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("RIFF_")) {
            command.env_remove(key);
        }
        command.current_dir(self.folder.path()).args(["--config", "worker.toml"]).args(arguments);
        command.env("RIFF_HUB", &self.hub).env("RIFF_TOKEN", &self.token).kill_on_drop(true);
        command
    }

    /// Starts it.
    pub fn start(&self) -> anyhow::Result<Running> {
        let mut child = self.command(&[]).stderr(Stdio::piped()).spawn()?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let (told, log) = watch::channel(String::new());
        tokio::spawn(read_log(stderr, told));
        Ok(Running { child, log })
    }

    /// What `riff-worker doctor` says.
    pub async fn doctor(&self) -> anyhow::Result<Output> {
        Ok(timeout(PATIENCE, self.command(&["doctor"]).output()).await??)
    }
}

impl Running {
    /// Waits until it has logged something.
    pub async fn logged(&self, words: &str) -> anyhow::Result<()> {
        logged(&self.log, words).await
    }

    /// Kills it as `kill -9` does.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("riff-worker has ended already")
    }

    /// All that it logged.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Asks it to stop (SIGTERM).
    pub async fn ask_to_stop(&self) -> anyhow::Result<()> {
        terminate(self.pid()?).await
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(timeout(PATIENCE, self.child.wait()).await??)
    }
}
