//! A real browser: Chromium without a window, driven through ChromeDriver.

use std::{
    path::PathBuf,
    process::{Command as Probe, Stdio},
};

use anyhow::{Context, bail};
use fantoccini::{Client, ClientBuilder, Locator, elements::Element, error::CmdError, wd::Capabilities};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, timeout},
};

use crate::PATIENCE;

/// A browser with one tab.
pub struct Browser {
    pub tab: Client,
    _driver: Child,
    _profile: TempDir,
}

/// What ChromeDriver says of a search that the page's change cut off.
const NAVIGATED: &str = "aborted by navigation";

/// What Chromium needs to run without a window, as root, and without looking for the internet.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

impl Browser {
    /// Opens a browser with a window of that many pixels.
    pub async fn open(width: u32, height: u32) -> anyhow::Result<Self> {
        let driver = program(&["chromedriver"])?;
        let chromium = program(&["chromium", "chromium-browser", "google-chrome"])?;
        let mut process = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("standard output is piped")?).lines();
        let port = loop {
            let line = timeout(PATIENCE, lines.next_line()).await??.context("chromedriver ended")?;
            // “ChromeDriver was started successfully on port 40213.”
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').trim().to_owned();
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let profile = TempDir::new()?;
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(|&argument| argument.to_owned()).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        arguments.push(format!("--window-size={width},{height}"));
        let options = json!({"binary": chromium, "args": arguments});
        let capabilities = Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let tab = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await?;
        Ok(Self { tab, _driver: process, _profile: profile })
    }

    /// Waits for an element.
    pub async fn see(&self, css: &str) -> anyhow::Result<Element> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.tab.wait().at_most(left).for_element(Locator::Css(css)).await {
                // The page changed while ChromeDriver looked at the old one.
                Err(CmdError::NotW3C(answer)) if answer == NAVIGATED && !left.is_zero() => {}
                found => return found.with_context(|| format!("{css} did not appear")),
            }
        }
    }

    /// How many elements there are now.
    pub async fn count(&self, css: &str) -> anyhow::Result<usize> {
        Ok(self.tab.find_all(Locator::Css(css)).await?.len())
    }

    /// Closes the tab and ends the browser.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.tab.close().await?)
    }
}

fn program(names: &[&str]) -> anyhow::Result<PathBuf> {
    for name in names {
        let found = Probe::new("sh").arg("-c").arg(format!("command -v {name}")).output()?;
        if found.status.success() {
            return Ok(String::from_utf8(found.stdout)?.trim().into());
        }
    }
    bail!("{} is not installed; ./test installs it", names.join(" or "))
}
