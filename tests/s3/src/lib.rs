//! An S3-compatible store for tests: `s3s`, which checks signatures as Amazon's does, on a free loopback port in front of a
//! folder that goes when the store does.

use std::{net::SocketAddr, path::PathBuf};

use hyper_util::{rt::TokioIo, server::conn::auto};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
};

/// The bucket that is there.
pub const BUCKET: &str = "riff";
/// Who may use it.
pub const ACCESS_KEY: &str = "riff-access";
/// And the key that their requests are signed with.
pub const SECRET_KEY: &str = "riff-secret";

/// A running store.
pub struct Store {
    address: SocketAddr,
    folder: TempDir,
    serving: AbortHandle,
}

impl Store {
    /// Starts a store with one empty bucket. Must be called within a tokio runtime, and ends with it.
    ///
    /// # Errors
    /// If there is no port or no folder for it.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("s3-")?;
        std::fs::create_dir(folder.path().join(BUCKET))?;
        let files = s3s_fs::FileSystem::new(folder.path()).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let serving = tokio::spawn(async move {
            // They end with this task: a store that is gone answers on no old connection either.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                connections.spawn(async move {
                    let server = auto::Builder::new(hyper_util::rt::TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { address, folder, serving: serving.abort_handle() })
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder with what is in the bucket.
    pub fn files(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
