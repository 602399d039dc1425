//! Messages and dialogs as they travel, as elements of `@skyra/discord-components-core`.

use fake_discord::{Message, Modal};
use serde_json::Value;

use crate::markdown::{escape, inline, text};

/// When everything is said: pictures are the same whenever they are taken.
const TIME: &str = "Today at 10:24";

/// Draws messages, with names for ids.
#[derive(Default)]
pub struct Page {
    names: Vec<(String, String)>,
}

impl Page {
    /// Says how something that is written as an id is called.
    pub fn name(&mut self, written: String, name: String) {
        self.names.push((written, name));
    }

    /// A channel with these messages.
    pub fn messages(&self, channel: &str, messages: &[Message]) -> String {
        let drawn: String = messages.iter().map(|message| self.message(message)).collect();
        format!(
            "<discord-messages channel-type=text channel-name=\"{}\">{drawn}</discord-messages>",
            escape(channel)
        )
    }

    /// A dialog.
    pub fn modal(&self, modal: &Modal) -> String {
        let fields: String = modal
            .fields
            .iter()
            .map(|field| {
                let kind = if field.paragraph { "paragraph" } else { "short" };
                let required = if field.required { " required" } else { "" };
                let label = escape(&field.label);
                let value = escape(&field.value);
                format!(
                    "<discord-input-text type={kind} label=\"{label}\" default-value=\"{value}\" max-length={}{required}>\
                     </discord-input-text>",
                    field.max_length
                )
            })
            .collect();
        format!(
            "<discord-modal modal-id=dialog modal-title=\"{}\" author=Riff avatar=\"{}\">{fields}</discord-modal>",
            escape(&modal.title),
            avatar("Riff")
        )
    }

    fn message(&self, message: &Message) -> String {
        let raw = &message.raw;
        let bot = if raw["author"]["bot"] == true { " bot" } else { "" };
        let private = if message.is_private() { " ephemeral" } else { "" };
        let rows: String = list(&raw["components"]).map(|row| self.row(row)).collect();
        let rows = match rows.is_empty() {
            true => String::new(),
            false => format!("<discord-attachments slot=components>{rows}</discord-attachments>"),
        };
        format!(
            "<discord-message author=\"{author}\" avatar=\"{}\" timestamp=\"{TIME}\"{bot}{private}>{}{}{}{}{rows}</discord-message>",
            avatar(&message.author),
            self.above(raw),
            text(&message.content, &self.names),
            gallery(message),
            message.embeds().iter().map(|embed| self.embed(embed)).collect::<String>(),
            author = escape(&message.author),
        )
    }

    /// What a message answers: another message, or a command.
    fn above(&self, raw: &Value) -> String {
        let to = &raw["referenced_message"];
        if let Some(author) = to["author"]["username"].as_str() {
            let said = string(&to["content"]).lines().next().unwrap_or_default();
            let bot = if to["author"]["bot"] == true { " bot" } else { "" };
            return format!(
                "<discord-reply slot=reply author=\"{}\" avatar=\"{}\"{bot}>{}</discord-reply>",
                escape(author),
                avatar(author),
                inline(said, &self.names)
            );
        }
        let by = &raw["interaction_metadata"];
        match (by["user"]["username"].as_str(), by["name"].as_str()) {
            (Some(user), Some(command)) => format!(
                "<discord-command slot=reply author=\"{}\" avatar=\"{}\" command=\"{}\"></discord-command>",
                escape(user),
                avatar(user),
                escape(command)
            ),
            _ => String::new(),
        }
    }

    fn embed(&self, embed: &Value) -> String {
        let mut inside = String::new();
        if let Some(said) = embed["description"].as_str() {
            let said = text(said, &self.names);
            inside =
                format!("<discord-embed-description slot=description>{said}</discord-embed-description>");
        }
        let field = |field: &Value| {
            let title = escape(string(&field["name"]));
            let value = text(string(&field["value"]), &self.names);
            format!("<discord-embed-field field-title=\"{title}\">{value}</discord-embed-field>")
        };
        let fields: String = list(&embed["fields"]).map(field).collect();
        format!(
            "<discord-embed slot=embeds embed-title=\"{}\">{inside}\
             <discord-embed-fields slot=fields>{fields}</discord-embed-fields></discord-embed>",
            escape(string(&embed["title"]))
        )
    }

    fn row(&self, row: &Value) -> String {
        let parts: String = list(&row["components"])
            .map(|part| if part["type"] == 2 { button(part, &self.names) } else { self.select(part) })
            .collect();
        format!("<discord-action-row>{parts}</discord-action-row>")
    }

    /// A select menu as it is before it is opened: what is picked, or what it asks.
    fn select(&self, select: &Value) -> String {
        let picked: Vec<&str> = list(&select["default_values"])
            .filter_map(|value| {
                // Discord writes ids as texts, and takes numbers too.
                let id = value["id"].to_string();
                let called = |(written, _): &&(String, String)| written.contains(id.trim_matches('"'));
                self.names.iter().find(called).map(|(_, name)| name.as_str())
            })
            .collect();
        let shown = match picked.is_empty() {
            true => string(&select["placeholder"]).to_owned(),
            false => picked.join(", "),
        };
        format!(
            "<discord-string-select-menu placeholder=\"{}\"></discord-string-select-menu>",
            escape(&shown)
        )
    }
}

fn gallery(message: &Message) -> String {
    let pictures = message.attachments.iter().filter(|file| file.content_type.starts_with("image/"));
    let pictures: String =
        pictures.map(|file| format!("<img src=\"{}\" alt=\"\">", escape(&file.url))).collect();
    match pictures.is_empty() {
        true => String::new(),
        false => format!("<div slot=attachments class=gallery>{pictures}</div>"),
    }
}

fn button(button: &Value, names: &[(String, String)]) -> String {
    let kind = match button["style"].as_u64() {
        Some(1) => "primary",
        Some(3) => "success",
        Some(4) => "destructive",
        _ => "secondary",
    };
    let said = [string(&button["emoji"]["name"]), string(&button["label"])].join(" ");
    format!("<discord-button type={kind}>{}</discord-button>", inline(said.trim(), names))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A picture of somebody: their first letter on a colour of their own.
fn avatar(name: &str) -> String {
    const COLOURS: [&str; 5] = ["2f7fd6", "3ba55d", "d9822b", "c04f8a", "008b94"];
    let colour = match name {
        "Riff" => "5b3df5",
        _ => COLOURS[name.bytes().map(usize::from).sum::<usize>() % COLOURS.len()],
    };
    let letter = name.chars().next().map_or(String::new(), |letter| letter.to_uppercase().to_string());
    format!(
        "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='80' height='80'%3E\
         %3Crect width='80' height='80' fill='%23{colour}'/%3E\
         %3Ctext x='40' y='54' font-size='40' font-family='sans-serif' font-weight='bold' fill='white' \
         text-anchor='middle'%3E{letter}%3C/text%3E%3C/svg%3E"
    )
}
