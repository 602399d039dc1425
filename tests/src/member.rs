//! A visitor of the web channel, doing what a browser does: forms, links and one cookie.

use anyhow::{Context, bail};
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, RANGE},
};
use serde_json::Value;

use crate::{Card, PATIENCE, card::Action, feed::Feed};

/// A visitor with a name.
pub struct Member {
    http: Client,
    url: String,
    pub name: String,
    pub channel: String,
}

impl Member {
    pub fn new(url: &str, name: &str) -> anyhow::Result<Self> {
        let http = Client::builder().cookie_store(true).timeout(PATIENCE).build()?;
        Ok(Self { http, url: url.to_owned(), name: name.to_owned(), channel: "general".to_owned() })
    }

    /// Opens the channel's page and keeps it open.
    pub async fn open_channel(&self) -> anyhow::Result<Feed> {
        self.open_channel_after(i64::MAX).await
    }

    /// Keeps a page open that was rendered when post number `after` was the newest.
    pub async fn open_channel_after(&self, after: i64) -> anyhow::Result<Feed> {
        let url = format!("{}/c/{}/events?after={after}", self.url, self.channel);
        Ok(Feed::new(self.http.get(url).send().await?.error_for_status()?))
    }

    /// Sends a line from the prompt box.
    ///
    /// # Errors
    /// With the sentence that the page shows.
    pub async fn send(&self, line: &str) -> anyhow::Result<()> {
        self.send_form(&[("prompt", line)]).await
    }

    /// Sends the prompt box with whatever its settings hold.
    pub async fn send_form(&self, fields: &[(&str, &str)]) -> anyhow::Result<()> {
        self.post(&format!("/c/{}/prompt", self.channel), fields).await.map(drop)
    }

    /// Sends the prompt box with a file that was chosen in it: its field, its name and what is in it.
    pub async fn send_file(
        &self,
        fields: &[(&str, &str)],
        (field, name, bytes): (&str, &str, &[u8]),
    ) -> anyhow::Result<()> {
        const BOUNDARY: &str = "----riff-tests";
        let mut body = Vec::new();
        for (name, value) in [("name", self.name.as_str())].iter().chain(fields) {
            let head =
                format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend_from_slice(head.as_bytes());
        }
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let request = self.http.post(format!("{}/c/{}/prompt", self.url, self.channel));
        let request = request.header(ACCEPT, "application/json");
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        sentence_or_text(request.header(CONTENT_TYPE, kind).body(body).send().await?).await.map(drop)
    }

    pub async fn imagine(&self, words: &str) -> anyhow::Result<()> {
        self.send(&format!("/imagine {words}")).await
    }

    pub async fn ask(&self, words: &str) -> anyhow::Result<()> {
        self.send(&format!("/ask {words}")).await
    }

    /// The sentence that the page shows for a line that does not work.
    pub async fn refused(&self, line: &str) -> String {
        match self.send(line).await {
            Ok(()) => panic!("{line:?} was taken"),
            Err(sentence) => sentence.to_string(),
        }
    }

    /// Presses a button of a card. A link gives its page.
    pub async fn click(&self, card: &Card, label: &str) -> anyhow::Result<String> {
        match card.action(label)? {
            Action::Post { to, fields } => {
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                self.post(to, &fields).await
            }
            Action::Open(to) => self.page(to).await,
        }
    }

    /// Answers a text below its card.
    pub async fn reply(&self, card: &Card, text: &str) -> anyhow::Result<()> {
        let recipe = card.recipe.trim_start_matches("/r/");
        let fields = [("recipe", recipe), ("do", "reply:0"), ("text", text)];
        self.post(&format!("/c/{}/riff", self.channel), &fields).await.map(drop)
    }

    /// Drops a file on the page; gives the page that opens.
    pub async fn drop_file(&self, bytes: Vec<u8>) -> anyhow::Result<String> {
        let to = format!("{}/c/{}/drop", self.url, self.channel);
        let answer = self.http.post(to).body(bytes).send().await?;
        let answer: Value = serde_json::from_str(&sentence_or_text(answer).await?)?;
        self.page(answer["open"].as_str().context("it says what opens")?).await
    }

    pub async fn post(&self, to: &str, fields: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut form = vec![("name", self.name.as_str())];
        form.extend_from_slice(fields);
        let request = self.http.post(format!("{}{to}", self.url)).header(ACCEPT, "application/json");
        sentence_or_text(request.form(&form).send().await?).await
    }

    /// The HTML of a page.
    pub async fn page(&self, path: &str) -> anyhow::Result<String> {
        let path = path.split('#').next().unwrap_or(path);
        let response = self.http.get(format!("{}{path}", self.url)).send().await?;
        Ok(response.error_for_status()?.text().await?)
    }

    /// Status and HTML of a page, whatever the status.
    pub async fn look(&self, path: &str) -> anyhow::Result<(StatusCode, String)> {
        let response = self.http.get(format!("{}{path}", self.url)).send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// The cards of the channel's page.
    pub async fn cards(&self) -> anyhow::Result<Vec<Card>> {
        Card::read_all(&self.page(&format!("/c/{}", self.channel)).await?)
    }

    /// Media type and bytes behind an address, for a reader who takes `accept`.
    pub async fn fetch_as(&self, path: &str, accept: &str) -> anyhow::Result<(String, Vec<u8>)> {
        let request = self.http.get(format!("{}{path}", self.url)).header(ACCEPT, accept);
        let response = request.send().await?.error_for_status()?;
        let kind = response.headers().get(CONTENT_TYPE).context("it says what it is")?.to_str()?.to_owned();
        Ok((kind, response.bytes().await?.to_vec()))
    }

    /// Status, extent and bytes of a part of what is behind an address.
    pub async fn fetch_part(&self, path: &str, range: &str) -> anyhow::Result<(StatusCode, String, Vec<u8>)> {
        let response = self.http.get(format!("{}{path}", self.url)).header(RANGE, range).send().await?;
        let extent =
            response.headers().get(CONTENT_RANGE).context("it says which part")?.to_str()?.to_owned();
        Ok((response.status(), extent, response.bytes().await?.to_vec()))
    }

    /// The bytes behind an address.
    pub async fn fetch(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let response = self.http.get(format!("{}{path}", self.url)).send().await?;
        Ok(response.error_for_status()?.bytes().await?.to_vec())
    }
}

async fn sentence_or_text(response: Response) -> anyhow::Result<String> {
    let status = response.status();
    let text = response.text().await?;
    if status.is_success() {
        return Ok(text);
    }
    let problem: Value = serde_json::from_str(&text).with_context(|| format!("{status}: {text}"))?;
    bail!("{}", problem["detail"].as_str().unwrap_or(&text).to_owned())
}
