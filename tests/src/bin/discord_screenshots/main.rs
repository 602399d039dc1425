//! Draws the pictures of `docs/discord.md`: the real `riff` with its real engines on the fake Discord, what its people see
//! there as Discord's own components, and a browser that takes the picture. `docs/discord/screenshots` runs it.
//!
//! It is a tool for who writes documents, and no test.

mod html;
mod markdown;
mod scene;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use fantoccini::Locator;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use riff_tests::browser::Browser;
use tempfile::TempDir;

use self::scene::Stage;

/// Largest picture that a document shows, in bytes.
const MAX_BYTES: usize = 250_000;
/// Width and height of the window, in pixels; a picture shows no more of it than its messages take.
const WINDOW: (u32, u32) = (660, 1_000);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/discord").canonicalize()?;
    let camera = Camera::open(folder).await?;
    let mut stage = Stage::set().await?;
    camera.take("grid", &stage.grid().await?).await?;
    camera.take("remix", &stage.remix().await?).await?;
    camera.take("refusal", &stage.refusal().await?).await?;
    camera.take("setup", &stage.setup().await?).await?;
    camera.take("conversation", &stage.conversation().await?).await?;
    camera.browser.close().await?;
    stage.end().await
}

/// The browser, and where its pictures go.
struct Camera {
    browser: Browser,
    folder: PathBuf,
    pages: TempDir,
}

impl Camera {
    async fn open(folder: PathBuf) -> anyhow::Result<Self> {
        let built = folder.join("node_modules/.page/page.js");
        ensure!(built.is_file(), "{} is not there: run docs/discord/screenshots", built.display());
        Ok(Self { browser: Browser::open(WINDOW.0, WINDOW.1).await?, folder, pages: TempDir::new()? })
    }

    /// Takes a picture of a page: of its messages, and of the dialog where one covers them.
    async fn take(&self, name: &str, body: &str) -> anyhow::Result<()> {
        let components = self.folder.join("node_modules/.page/page");
        let components = components.display();
        let page = self.pages.path().join(format!("{name}.html"));
        fs::write(
            &page,
            format!(
                "<!doctype html><meta charset=utf-8><title>{name}</title>\
                 <link rel=stylesheet href=\"file://{components}.css\">{body}\
                 <script src=\"file://{components}.js\"></script>"
            ),
        )?;
        self.browser.tab.goto(&format!("file://{}", page.display())).await?;
        self.browser.see("html[data-ready]").await?;
        let messages = self.browser.tab.find(Locator::Css("discord-messages")).await?;
        let (.., width, height) = messages.rectangle().await?;
        let png = small(&self.browser.tab.screenshot().await?, width as u32, height as u32)?;
        ensure!(png.len() <= MAX_BYTES, "{name}.png has {} bytes, more than {MAX_BYTES}", png.len());
        let file = self.folder.join(format!("{name}.png"));
        fs::write(&file, &png).with_context(|| format!("{} cannot be written", file.display()))?;
        println!("{} ({} kB)", file.display(), png.len() / 1_000);
        Ok(())
    }
}

/// The upper left part of a picture, in fewer bytes: the browser is in a hurry, and writes how transparent nothing is.
fn small(png: &[u8], width: u32, height: u32) -> anyhow::Result<Vec<u8>> {
    let whole = image::load_from_memory(png)?.to_rgb8();
    ensure!(height <= whole.height(), "the messages are {height} pixels high: enlarge the window");
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive);
    image::imageops::crop_imm(&whole, 0, 0, width, height).to_image().write_with_encoder(encoder)?;
    Ok(bytes)
}
