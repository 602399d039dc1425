//! How messages read in snapshots: nothing in it changes from run to run.

use std::fmt::{self, Display};

use serde_json::Value;

use crate::{Message, Shown, press::says};

/// How much of a message is shown where it is only referred to, in characters.
const GLIMPSE: usize = 60;

impl Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![format!("{}:", self.author)];
        if let Some(only) = &self.private_to {
            lines[0] += &format!(" (only {only} sees this)");
        }
        if !self.raw["message_reference"].is_null() {
            let to = &self.raw["referenced_message"];
            let author = to["author"]["username"].as_str().unwrap_or("a message that is gone");
            let text = to["content"].as_str().unwrap_or_default().lines().next().unwrap_or_default();
            let text: String = self.readable(text).chars().take(GLIMPSE).collect();
            lines.push(format!("in reply to {author}: {text}").trim_end_matches([' ', ':']).to_owned());
        }
        if self.loading {
            lines.push("(thinking…)".to_owned());
        }
        lines.extend(Some(self.readable(&self.content)).filter(|text| !text.is_empty()));
        self.embeds().iter().for_each(|embed| self.embed(&mut lines, embed));
        for file in &self.attachments {
            lines.push(sized(&file.filename, file.width, file.height));
        }
        for row in self.raw["components"].as_array().into_iter().flatten() {
            let parts = row["components"].as_array().into_iter().flatten();
            lines.push(parts.map(|part| self.part(part)).collect::<Vec<_>>().join(" "));
        }
        f.write_str(&lines.join("\n"))
    }
}

impl Message {
    fn embed(&self, lines: &mut Vec<String>, embed: &Value) {
        let mut add = |before: &str, text: &Value| {
            let text = text.as_str().map(|text| self.readable(text)).filter(|text| !text.is_empty());
            lines.extend(text.map(|text| format!("{before}{text}")));
        };
        add("| ", &embed["author"]["name"]);
        add("| # ", &embed["title"]);
        if let Some(text) = embed["description"].as_str() {
            text.lines().for_each(|line| add("| ", &line.into()));
        }
        for field in embed["fields"].as_array().into_iter().flatten() {
            let name = self.readable(field["name"].as_str().unwrap_or_default());
            add(&format!("| {name}: "), &field["value"]);
        }
        for place in ["image", "thumbnail"] {
            let name = embed[place]["url"].as_str().and_then(|url| url.rsplit('/').next());
            let (width, height) = (embed[place]["width"].as_u64(), embed[place]["height"].as_u64());
            add("| ", &name.map(|name| format!("{place}: {}", sized(name, width, height))).into());
        }
        add("| -- ", &embed["footer"]["text"]);
    }

    fn part(&self, part: &Value) -> String {
        let off = if part["disabled"] == true { " off" } else { "" };
        if part["type"] == 2 {
            let link = if part["url"].is_null() { "" } else { " ->" };
            return format!("[{}{link}{off}]", self.readable(&says(part)));
        }
        let options = part["options"].as_array().into_iter().flatten().map(|option| {
            let star = if option["default"] == true { "*" } else { "" };
            format!("{}{star}", option["label"].as_str().unwrap_or_default())
        });
        let options = options.collect::<Vec<_>>().join(" | ");
        let placeholder = part["placeholder"].as_str().unwrap_or("choose");
        format!("<{placeholder}: {options}{off}>").replace(": >", ">")
    }

    /// A text with names for ids, and without what changes from run to run.
    fn readable(&self, text: &str) -> String {
        let mut text =
            self.names.iter().fold(text.to_owned(), |text, (written, name)| text.replace(written, name));
        while let Some((start, end)) = marked(&text, "<t:") {
            text.replace_range(start..=end, "(time)");
        }
        while let Some((start, end)) = marked(&text, "</") {
            let name = text[start + 1..end].split(':').next().unwrap_or_default().to_owned();
            text.replace_range(start..=end, &name);
        }
        text
    }
}

/// Where something that begins so, and ends with `>`, stands.
fn marked(text: &str, begin: &str) -> Option<(usize, usize)> {
    let start = text.find(begin)?;
    Some((start, start + text[start..].find('>')?))
}

fn sized(name: &str, width: Option<u64>, height: Option<u64>) -> String {
    match width.zip(height) {
        Some((width, height)) => format!("{name} {width}×{height}"),
        None => name.to_owned(),
    }
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Modal(modal) => modal.fmt(f),
            Self::Message(message) | Self::Ephemeral(message) | Self::Updated(message) => message.fmt(f),
            Self::Deferred { message, .. } => message.fmt(f),
        }
    }
}
