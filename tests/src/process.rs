//! The `riff` process under test, on a free loopback port and a data folder of its own.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, bail};
use riff_hub::model::ModelSpec;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
    sync::watch,
    time::timeout,
};

use crate::{Checker, Member, PATIENCE, Program, Worker};

/// A running `riff`, or one that was stopped and can be started again on the same data.
pub struct Riff {
    data: TempDir,
    /// The data folder of another hub, whose blobs this one shares.
    shared: Option<PathBuf>,
    binary: PathBuf,
    settings: BTreeMap<String, String>,
    /// A shell command that changes the limits of the process before it starts.
    limits: Option<String>,
    running: Option<Running>,
    log: Log,
}

/// Everything that the process wrote to standard error since its last start.
pub(crate) type Log = watch::Receiver<String>;

struct Running {
    child: Child,
    url: String,
    /// Kept open: a process whose standard output is closed would die of it.
    _stdout: Lines<BufReader<ChildStdout>>,
}

/// What a process that could not start said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stderr: String,
}

impl Riff {
    /// A hub that is not started yet, with the defaults for stories: no worker in the process, no waiting for the disk.
    pub fn new(binary: &str) -> anyhow::Result<Self> {
        let data = TempDir::new()?;
        let folder = data.path().display().to_string();
        let defaults = [
            ("RIFF_DATA", folder.as_str()),
            ("RIFF_LISTEN", "127.0.0.1:0"),
            ("RIFF_WORKER__IN_PROCESS", "false"),
            ("RIFF_STORE__FULL_SYNC", "false"),
            ("RIFF_RATE__PROMPTS_PER_MINUTE_MEMBER", "100000"),
            ("RIFF_RATE__BURST_MEMBER", "10000"),
            ("RIFF_RATE__PROMPTS_PER_MINUTE_CHANNEL", "100000"),
            ("RIFF_RATE__BURST_CHANNEL", "10000"),
        ];
        let settings = defaults.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Ok(Self {
            data,
            shared: None,
            binary: binary.into(),
            settings,
            limits: None,
            running: None,
            log: watch::channel(String::new()).1,
        })
    }

    /// Sets an environment variable of the process from its next start on.
    pub fn set(&mut self, key: &str, value: impl ToString) -> &mut Self {
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    pub fn unset(&mut self, key: &str) -> &mut Self {
        self.settings.remove(key);
        self
    }

    /// Runs a shell command in the process before `riff` takes it over: `ulimit`s.
    pub fn limit(&mut self, shell: Option<&str>) -> &mut Self {
        self.limits = shell.map(str::to_owned);
        self
    }

    /// With the real engines in the process; prompts that name no model go to the fastest.
    pub fn with_engines(&mut self) -> &mut Self {
        self.as_it_comes().set("RIFF_DEFAULT_MODELS", r#"["abstract", "smollm2-135m-instruct"]"#)
    }

    /// With the real engines in the process, and what the settings say of them.
    pub fn as_it_comes(&mut self) -> &mut Self {
        self.set("RIFF_WORKER__IN_PROCESS", "true").set("RIFF_WORKER__WEIGHTS", weights().display())
    }

    /// With a bot on that Discord.
    pub fn on_discord(&mut self, discord: &fake_discord::Discord) -> &mut Self {
        self.set("DISCORD_TOKEN", discord.token()).set("RIFF_DISCORD__API", discord.url())
    }

    /// With its rows in that PostgreSQL database.
    pub fn on_postgres(&mut self, url: &str) -> &mut Self {
        self.set("RIFF_STORE__POSTGRES", url)
    }

    /// Another hub on the database and the blobs of this one, which is not started yet.
    pub fn another(&self) -> anyhow::Result<Self> {
        let mut another = Self::new(&self.binary.display().to_string())?;
        another.settings = self.settings.clone();
        another.shared = Some(self.data().to_owned());
        Ok(another)
    }

    pub fn data(&self) -> &Path {
        self.shared.as_deref().unwrap_or(self.data.path())
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// With what it printed if it ended instead.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        match self.launch(&[]).await? {
            Ok(()) => Ok(()),
            Err(ended) => bail!("riff ended with {}: {}", ended.status, ended.stderr),
        }
    }

    /// Starts it and expects that it refuses to serve; gives what it said.
    pub async fn start_in_vain(&mut self, arguments: &[&str]) -> anyhow::Result<Ended> {
        match self.launch(arguments).await? {
            Ok(()) => bail!("riff started"),
            Err(ended) => Ok(ended),
        }
    }

    /// Starts it on another data folder and expects that it refuses to serve.
    pub async fn start_in_vain_on(&mut self, data: &Path) -> anyhow::Result<Ended> {
        self.set("RIFF_DATA", data.display()).start_in_vain(&[]).await
    }

    async fn launch(&mut self, arguments: &[&str]) -> anyhow::Result<Result<(), Ended>> {
        let mut command = self.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.binary.display()))?;
        let stderr = child.stderr.take().context("standard error is piped")?;
        let (told, log) = watch::channel(String::new());
        let reading = tokio::spawn(read_log(stderr, told));
        self.log = log;
        let stdout = child.stdout.take().context("standard output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = timeout(PATIENCE, lines.next_line()).await?? {
            if let Some(url) = line.strip_prefix("Riff is at ") {
                let url = url.trim().to_owned();
                self.running = Some(Running { child, url, _stdout: lines });
                return Ok(Ok(()));
            }
        }
        let status = timeout(PATIENCE, child.wait()).await??;
        reading.await?;
        Ok(Err(Ended { status, stderr: self.log.borrow().clone() }))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = match &self.limits {
            Some(limits) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("{limits}; exec \"$0\" \"$@\"")).arg(&self.binary);
                shell
            }
            None => Command::new(&self.binary),
        };
        let ours = |key: &str| key.starts_with("RIFF_") || key == "DISCORD_TOKEN";
        for (key, _) in std::env::vars().filter(|(key, _)| ours(key)) {
            command.env_remove(key);
        }
        command.args(arguments).envs(&self.settings);
        command
    }

    /// Runs a subcommand to its end; gives its standard output.
    pub async fn cli(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = timeout(PATIENCE, self.command(arguments).output()).await??;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Kills it as `kill -9` does.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut running = self.running.take().context("riff is not running")?;
        running.child.kill().await?;
        Ok(())
    }

    /// Lets it do nothing (SIGSTOP) until [`resume`](Self::resume): its connections stay open.
    pub async fn pause(&self) -> anyhow::Result<()> {
        signal("-STOP", self.pid()?).await
    }

    /// Lets it go on.
    pub async fn resume(&self) -> anyhow::Result<()> {
        signal("-CONT", self.pid()?).await
    }

    /// Asks it to stop (SIGTERM) and waits for its end.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        let mut running = self.running.take().context("riff is not running")?;
        let pid = running.child.id().context("riff has ended already")?;
        terminate(pid).await?;
        Ok(timeout(PATIENCE, running.child.wait()).await??)
    }

    /// Waits until it dies by itself.
    pub async fn died(&mut self) -> anyhow::Result<ExitStatus> {
        let mut running = self.running.take().context("riff is not running")?;
        Ok(timeout(PATIENCE, running.child.wait()).await??)
    }

    pub fn url(&self) -> &str {
        self.running.as_ref().map_or("http://127.0.0.1:1", |running| &running.url)
    }

    /// Its process id.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let running = self.running.as_ref().context("riff is not running")?;
        running.child.id().context("riff has ended already")
    }

    /// All that the process logged since its last start.
    pub fn log(&self) -> String {
        self.log.borrow().clone()
    }

    /// Waits until the process has logged something.
    pub async fn logged(&self, words: &str) -> anyhow::Result<()> {
        logged(&self.log, words).await
    }

    /// Waits until the worker in the process is there.
    pub async fn engines_ready(&self) -> anyhow::Result<()> {
        self.logged("worker is here").await
    }

    /// A visitor of the web channel who goes by that name.
    pub fn member(&self, name: &str) -> anyhow::Result<Member> {
        Member::new(self.url(), name)
    }

    /// A script with a token of that member.
    pub async fn program(&self, member: &str) -> anyhow::Result<Program> {
        let token = self.cli(&["token", "create", "--member", member]).await?;
        Ok(Program::new(self.url(), &token))
    }

    /// A worker whose every move the story decides, serving `painter`.
    pub async fn worker(&self, name: &str) -> anyhow::Result<Worker> {
        self.worker_of(name, vec![crate::worker::painter()]).await
    }

    /// The same, serving those models.
    pub async fn worker_of(&self, name: &str, models: Vec<ModelSpec>) -> anyhow::Result<Worker> {
        let token = self.cli(&["token", "create", "--worker", name]).await?;
        Worker::hello(self.url(), &token, models).await
    }

    /// Whoever looks into the database behind the hub's back.
    pub async fn checker(&self) -> anyhow::Result<Checker> {
        match self.settings.get("RIFF_STORE__POSTGRES") {
            Some(url) => Checker::open_postgres(url, self.data()).await,
            None => Checker::open(self.data()).await,
        }
    }
}

/// Asks a process to stop.
pub(crate) async fn terminate(pid: u32) -> anyhow::Result<()> {
    signal("-TERM", pid).await
}

async fn signal(which: &str, pid: u32) -> anyhow::Result<()> {
    Command::new("kill").args([which, &pid.to_string()]).status().await?;
    Ok(())
}

/// Waits until a process has logged something.
pub(crate) async fn logged(log: &Log, words: &str) -> anyhow::Result<()> {
    let mut log = log.clone();
    let found = timeout(PATIENCE, log.wait_for(|log| log.contains(words))).await.map(|found| found.map(drop));
    match found {
        Ok(Ok(())) => Ok(()),
        _ => bail!("{words:?} was not logged: {}", *log.borrow()),
    }
}

pub(crate) async fn read_log(stderr: ChildStderr, told: watch::Sender<String>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        told.send_modify(|log| {
            log.push_str(&line);
            log.push('\n');
        });
    }
}

/// The folder with weights: `RIFF_WEIGHTS`, or `weights/` of the repository.
pub fn weights() -> PathBuf {
    match std::env::var_os("RIFF_WEIGHTS") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../weights"),
    }
}
