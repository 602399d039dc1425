//! A card of the channel, read from the HTML that a member sees.

use std::fmt::{self, Display};

use anyhow::Context;
use scraper::{ElementRef, Html, Selector};

/// One card.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    pub job: String,
    pub live: bool,
    pub member: String,
    pub prompt: String,
    pub origin: Option<String>,
    pub status: Option<String>,
    pub reason: Option<String>,
    pub text: Option<String>,
    /// Address of the recipe's page.
    pub recipe: String,
    /// Addresses of the full pictures.
    pub pictures: Vec<String>,
    /// Addresses of the sounds.
    pub sounds: Vec<String>,
    pub buttons: Vec<Button>,
    pub command: String,
}

/// Something to press: what it says, and what pressing it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Button {
    pub label: String,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Sends a form.
    Post { to: String, fields: Vec<(String, String)> },
    /// Opens a page.
    Open(String),
}

fn select(selector: &str) -> Selector {
    Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}"))
}

fn words(element: ElementRef<'_>) -> String {
    element.text().collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Card {
    /// Every card of a page or of an event.
    pub fn read_all(html: &str) -> anyhow::Result<Vec<Self>> {
        let page = Html::parse_document(html);
        page.select(&select("article.card")).map(Self::of).collect()
    }

    /// The only card of an event.
    pub fn read(html: &str) -> anyhow::Result<Self> {
        Self::read_all(html)?.pop().context("there is no card in it")
    }

    fn of(card: ElementRef<'_>) -> anyhow::Result<Self> {
        let first = |selector: &str| card.select(&select(selector)).next();
        let attribute = |selector: &str, name: &str| {
            first(selector).and_then(|element| element.attr(name)).map(str::to_owned)
        };
        let text = first(".text").filter(|element| element.attr("hidden").is_none());
        Ok(Self {
            job: card.attr("data-job").context("a card names its job")?.to_owned(),
            live: card.value().classes().any(|class| class == "live"),
            member: first("header b").map(words).context("a card names its member")?,
            prompt: first(".prompt").map(words).context("a card shows its prompt")?,
            origin: first(".meta a[href^='/r/']:not(:has(time))").map(words),
            status: first(".status").map(words),
            reason: first(".reason").map(words),
            text: text.map(|element| element.text().collect()),
            recipe: attribute("a:has(time)", "href").context("a card links to its recipe")?,
            pictures: card
                .select(&select(".grid a"))
                .filter_map(|a| a.attr("href").map(str::to_owned))
                .collect(),
            sounds: card
                .select(&select("audio[controls]"))
                .filter_map(|audio| audio.attr("src").map(str::to_owned))
                .collect(),
            buttons: buttons(card),
            command: attribute("[data-copy]", "data-copy").context("a card can be copied")?,
        })
    }

    /// What happens when that button is pressed.
    pub fn action(&self, label: &str) -> anyhow::Result<&Action> {
        let found = self.buttons.iter().find(|button| button.label.contains(label));
        let known = || self.buttons.iter().map(|button| button.label.as_str()).collect::<Vec<_>>().join(" ");
        found.map(|button| &button.action).with_context(|| format!("no button {label:?} among: {}", known()))
    }
}

fn buttons(card: ElementRef<'_>) -> Vec<Button> {
    let (forms, links) = (select(".buttons form"), select(".buttons a.button"));
    let forms = card.select(&forms).flat_map(|form| {
        let to = form.attr("action").unwrap_or_default().to_owned();
        let hidden: Vec<(String, String)> = form
            .select(&select("input[type=hidden]"))
            .filter_map(|input| Some((input.attr("name")?.to_owned(), input.attr("value")?.to_owned())))
            .collect();
        form.select(&select("button"))
            .map(|button| {
                let own = button.attr("name").zip(button.attr("value"));
                let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
                let fields = hidden.iter().cloned().chain(own).collect();
                Button { label: words(button), action: Action::Post { to: to.clone(), fields } }
            })
            .collect::<Vec<_>>()
    });
    let links = card.select(&links).map(|link| Button {
        label: words(link),
        action: Action::Open(link.attr("href").unwrap_or_default().to_owned()),
    });
    forms.chain(links).collect()
}

/// As a reader sees it, for snapshots: nothing in it changes from run to run.
impl Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.member, self.prompt)?;
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        for (name, line) in [("status", &self.status), ("reason", &self.reason), ("text", &self.text)] {
            if let Some(line) = line {
                write!(f, "\n{name}: {}", line.trim())?;
            }
        }
        for (name, files) in [("pictures", &self.pictures), ("sounds", &self.sounds)] {
            if !files.is_empty() {
                write!(f, "\n{name}: {}", files.len())?;
            }
        }
        let labels: Vec<&str> = self.buttons.iter().map(|button| button.label.as_str()).collect();
        write!(f, "\nbuttons: {}", labels.join(" | "))
    }
}
