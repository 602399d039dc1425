//! A PostgreSQL for tests and benchmarks: the machine's own programs (Debian's package `postgresql`), on a free loopback
//! port, in a folder that goes when the server ends.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, User, chown, geteuid},
};
use tempfile::TempDir;

/// Where Debian, and PostgreSQL's own packages, install versions side by side.
const VERSIONS: &str = "/usr/lib/postgresql";

/// What survives a crash of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// PostgreSQL's default: every step that was answered.
    Full,
    /// Nothing, which makes tests faster.
    None,
}

/// A running server.
pub struct Server {
    process: Child,
    port: u16,
    programs: PathBuf,
    databases: AtomicU64,
    _folder: TempDir,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// A server without durability that all who ask for it at the same time share.
///
/// # Errors
/// If PostgreSQL is not installed or does not start.
pub fn shared() -> anyhow::Result<Arc<Server>> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = shared.upgrade() {
        return Ok(server);
    }
    let server = Arc::new(Server::start(Durability::None, &[])?);
    *shared = Arc::downgrade(&server);
    Ok(server)
}

impl Server {
    /// Starts a server with further settings, each `name=value`, and resolves when it takes connections.
    ///
    /// # Errors
    /// If PostgreSQL is not installed or does not start.
    pub fn start(durability: Durability, settings: &[&str]) -> anyhow::Result<Self> {
        let programs = programs()?;
        let folder = TempDir::with_prefix("postgres-")?;
        let data = folder.path().join("data");
        let owner = owner(folder.path())?;
        let mut init = as_owner(&programs.join("initdb"), owner.as_ref());
        init.args([
            "--auth=trust",
            "--username=riff",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "-D",
        ]);
        let made = init.arg(&data).output().context("initdb does not start")?;
        ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = as_owner(&programs.join("postgres"), owner.as_ref());
        server.arg("-D").arg(&data).args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
        let fast = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
        let durability: &[&str] = if durability == Durability::None { &fast } else { &[] };
        for setting in durability.iter().chain(settings).chain(&["max_connections=300"]) {
            server.args(["-c", setting]);
        }
        let mut process = server.stderr(Stdio::piped()).spawn().context("postgres does not start")?;
        await_ready(&mut process)?;
        Ok(Self { process, port, programs, databases: AtomicU64::new(0), _folder: folder })
    }

    /// Where a database is.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://riff@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and gives its address.
    ///
    /// # Errors
    /// If the server does not make it.
    pub fn database(&self) -> anyhow::Result<String> {
        let name = format!("riff_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(&name))
    }

    /// Runs statements in a database and gives what `psql` writes, without headers.
    ///
    /// # Errors
    /// With the server's words, if a statement fails.
    pub fn sql(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "-qtAX", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url(database)]);
        let done = psql.output().context("psql does not start")?;
        ensure!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(String::from_utf8(done.stdout)?.trim_end().to_owned())
    }

    /// One of PostgreSQL's programs, such as `pgbench`.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// Processes of the server, the first of all: what it uses of memory and time is theirs.
    pub fn process(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Immediate shutdown (https://www.postgresql.org/docs/current/server-shutdown.html): the folder goes anyway.
        let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGQUIT);
        let _ = self.process.wait();
    }
}

/// The folder with the programs of the newest version.
fn programs() -> anyhow::Result<PathBuf> {
    let missing = || format!("there is no PostgreSQL in {VERSIONS}; install the package postgresql");
    let versions = std::fs::read_dir(VERSIONS).with_context(missing)?;
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.filter_map(|entry| Some(entry.ok()?.path())).max_by_key(number);
    Ok(newest.with_context(missing)?.join("bin"))
}

/// Where this is root, which PostgreSQL refuses to run as: the user `postgres`, who owns the folder from now on.
fn owner(folder: &Path) -> anyhow::Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let owner = User::from_name("postgres")?.context("there is no user postgres")?;
    chown(folder, Some(owner.uid), Some(owner.gid))?;
    Ok(Some(owner))
}

fn as_owner(program: &Path, owner: Option<&User>) -> Command {
    let mut command = Command::new(program);
    if let Some(owner) = owner {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Reads the server's log up to the line that it is ready, and the rest of it in a thread.
fn await_ready(process: &mut Child) -> anyhow::Result<()> {
    let log = process.stderr.take().context("the server has no log")?;
    let mut lines = BufReader::new(log).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        if line.contains("ready to accept connections") {
            thread::spawn(move || lines.for_each(drop));
            return Ok(());
        }
        said.push_str(&line);
        said.push('\n');
    }
    anyhow::bail!("postgres ended: {said}")
}
