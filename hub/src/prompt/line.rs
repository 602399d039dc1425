//! A typed line: which command, which words, which flags. Nothing here knows a model.

use super::{BadPrompt, check_text, permute};
use crate::model::Media;

/// What a line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// A picture.
    Imagine,
    /// Sound.
    Sound,
    /// Text.
    Ask,
}

impl Command {
    /// As it is typed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imagine => "/imagine",
            Self::Sound => "/sound",
            Self::Ask => "/ask",
        }
    }

    /// What it makes.
    pub fn media(self) -> Media {
        match self {
            Self::Imagine => Media::Image,
            Self::Sound => Media::Audio,
            Self::Ask => Media::Text,
        }
    }
}

impl Media {
    /// The command that makes it.
    pub fn command(self) -> Command {
        match self {
            Self::Image => Command::Imagine,
            Self::Audio => Command::Sound,
            Self::Text => Command::Ask,
        }
    }
}

/// A flag as typed: its name, and every word up to the next flag. How many of them are its value depends on the model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Typed {
    pub name: String,
    pub rest: String,
}

/// One request of a line, before a model has read its flags.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What it asks for.
    pub command: Command,
    /// The model it names.
    pub model: Option<String>,
    pub(super) head: String,
    pub(super) flags: Vec<Typed>,
}

/// Splits a line into drafts, one for each permutation. A line without a command is `/imagine`.
///
/// # Errors
/// An unknown command, a line that is too long, or choices that are broken or too many.
pub fn parse_line(line: &str) -> Result<Vec<Draft>, BadPrompt> {
    let line = line.trim();
    check_text(line)?;
    let (command, body) = split_command(line)?;
    let texts = match command {
        Command::Imagine => permute::expand(body)?,
        Command::Sound | Command::Ask => vec![body.to_owned()],
    };
    texts.iter().map(|text| draft(command, text)).collect()
}

fn split_command(line: &str) -> Result<(Command, &str), BadPrompt> {
    let Some(body) = line.strip_prefix('/') else {
        return Ok((Command::Imagine, line));
    };
    let (name, body) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
    match name.to_lowercase().as_str() {
        "imagine" => Ok((Command::Imagine, body)),
        "sound" => Ok((Command::Sound, body)),
        "ask" => Ok((Command::Ask, body)),
        _ => Err(BadPrompt::Command(name.to_owned())),
    }
}

pub(super) fn draft(command: Command, text: &str) -> Result<Draft, BadPrompt> {
    let (head, mut flags) = split_flags(text);
    let mut model = None;
    let mut words = head;
    let named = |typed: &Typed| matches!(typed.name.as_str(), "model" | "m");
    for typed in flags.extract_if(.., |typed| named(typed)) {
        let (name, left) = take_word(&typed.rest);
        if model.is_some() {
            return Err(BadPrompt::Twice { flag: typed.name });
        }
        if name.is_empty() {
            return Err(BadPrompt::Value {
                given: format!("--{}", typed.name),
                flag: typed.name,
                expected: "the name of a model".to_owned(),
                example: "abstract".to_owned(),
            });
        }
        model = Some(name.to_lowercase());
        append(&mut words, left);
    }
    Ok(Draft { command, model, head: words, flags })
}

/// Splits off everything that starts like a flag.
fn split_flags(text: &str) -> (String, Vec<Typed>) {
    let mut head = String::new();
    let mut flags: Vec<Typed> = Vec::new();
    let mut start = 0;
    for (at, word) in words(text).chain([(text.len(), "")]) {
        let name = flag_name(word);
        if name.is_none() && at < text.len() {
            continue;
        }
        let piece = unescape(text[start..at].trim());
        match flags.last_mut() {
            Some(open) => append(&mut open.rest, &piece),
            None => head = piece,
        }
        if let Some(name) = name {
            let (name, value) = name.split_once('=').unwrap_or((name, ""));
            flags.push(Typed { name: name.to_lowercase(), rest: value.to_owned() });
            start = at + word.len();
        }
    }
    (head, flags)
}

/// The words of a text with where they start.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(|word| (word.as_ptr() as usize - text.as_ptr() as usize, word))
}

/// Phones turn `--` into one long dash.
const DASHES: [&str; 3] = ["--", "—", "–"];

fn flag_name(word: &str) -> Option<&str> {
    let name = DASHES.iter().find_map(|dash| word.strip_prefix(dash))?;
    name.starts_with(|c: char| c.is_ascii_alphabetic()).then_some(name)
}

/// Takes one backslash off words such as `\--not-a-flag`.
fn unescape(text: &str) -> String {
    map_words(text, |word| match word.strip_prefix('\\') {
        Some(rest) if flag_name(rest.trim_start_matches('\\')).is_some() => rest.to_owned(),
        _ => word.to_owned(),
    })
}

/// Puts one backslash before words that would be read as flags.
pub(super) fn escape(text: &str) -> String {
    map_words(text, |word| match flag_name(word.trim_start_matches('\\')) {
        Some(_) => format!("\\{word}"),
        None => word.to_owned(),
    })
}

fn map_words(text: &str, map: impl Fn(&str) -> String) -> String {
    let mut mapped = String::with_capacity(text.len());
    let mut end = 0;
    for (at, word) in words(text) {
        mapped.push_str(&text[end..at]);
        mapped.push_str(&map(word));
        end = at + word.len();
    }
    mapped.push_str(&text[end..]);
    mapped
}

/// The first word and what follows it.
pub(super) fn take_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

pub(super) fn append(text: &mut String, more: &str) {
    let more = more.trim();
    if !more.is_empty() && !text.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(line: &str) -> Draft {
        let [draft] = parse_line(line).unwrap().try_into().unwrap();
        draft
    }

    #[test]
    fn commands_models_and_flags_are_split() {
        let draft = only("/imagine a lighthouse --seed 7 —no fog, rain --model Abstract --tile");
        assert_eq!(draft.command, Command::Imagine);
        assert_eq!(draft.model.as_deref(), Some("abstract"));
        assert_eq!(draft.head, "a lighthouse");
        let flags: Vec<_> = draft.flags.iter().map(|f| (f.name.as_str(), f.rest.as_str())).collect();
        assert_eq!(flags, [("seed", "7"), ("no", "fog, rain"), ("tile", "")]);
    }

    #[test]
    fn a_backslash_makes_a_word_of_a_flag() {
        assert_eq!(only(r"/ask what does \--verbose do?").head, "what does --verbose do?");
        assert_eq!(only("/ask 3 -- 4 and -5").head, "3 -- 4 and -5");
    }

    #[test]
    fn unknown_commands_are_named() {
        assert_eq!(parse_line("/dream x"), Err(BadPrompt::Command("dream".into())));
        assert_eq!(
            parse_line("x --model"),
            Err(BadPrompt::Value {
                flag: "model".into(),
                given: "--model".into(),
                expected: "the name of a model".into(),
                example: "abstract".into(),
            })
        );
    }

    #[test]
    fn every_permutation_is_a_draft() {
        let drafts = parse_line("{red, blue} bird --seed {1, 2}").unwrap();
        let heads: Vec<_> = drafts.iter().map(|d| (d.head.as_str(), d.flags[0].rest.as_str())).collect();
        assert_eq!(heads, [("red bird", "1"), ("red bird", "2"), ("blue bird", "1"), ("blue bird", "2")]);
    }
}
