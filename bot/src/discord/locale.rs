//! Names and descriptions of commands and options in the languages that Riff has: data, in `bot/locales/`.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The name and the description of a command or an option.
#[derive(Debug, Clone, Deserialize)]
pub struct Words {
    /// As it is typed.
    pub name: String,
    /// What it does; menu commands have none.
    #[serde(default)]
    pub description: String,
}

type Texts = BTreeMap<String, Words>;

/// The language that everything is written in first.
static ENGLISH: LazyLock<Texts> = LazyLock::new(|| read(include_str!("../../locales/en.json")));

/// Further languages, by Discord's name for them (<https://discord.com/developers/docs/reference#locales>).
static OTHERS: LazyLock<[(&str, Texts); 2]> = LazyLock::new(|| {
    [("de", read(include_str!("../../locales/de.json"))), ("ja", read(include_str!("../../locales/ja.json")))]
});

fn read(json: &str) -> Texts {
    serde_json::from_str(json).expect("the locales are valid: a test reads them all")
}

/// The words of a key such as `imagine` or `field.seed`, in English.
pub fn words(key: &str) -> Option<&'static Words> {
    ENGLISH.get(key)
}

/// Adds the other languages' words to a command or an option.
pub fn localize(command: &mut Map<String, Value>, key: &str) {
    let of = |part: fn(&Words) -> &String| -> Map<String, Value> {
        OTHERS
            .iter()
            .filter_map(|(locale, texts)| Some((*locale, part(texts.get(key)?))))
            .filter(|(_, text)| !text.is_empty())
            .map(|(locale, text)| (locale.to_owned(), json!(text)))
            .collect()
    };
    for (name, texts) in [
        ("name_localizations", of(|words| &words.name)),
        ("description_localizations", of(|words| &words.description)),
    ] {
        if !texts.is_empty() {
            command.insert(name.to_owned(), Value::Object(texts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_text_and_none_is_too_long() {
        for (locale, texts) in OTHERS.iter() {
            let keys: Vec<_> = texts.keys().collect();
            assert_eq!(keys, ENGLISH.keys().collect::<Vec<_>>(), "{locale}");
        }
        for texts in OTHERS.iter().map(|(_, texts)| texts).chain([&*ENGLISH]) {
            for (key, words) in texts {
                assert!((1..=32).contains(&words.name.chars().count()), "{key}");
                assert!(words.description.chars().count() <= 100, "{key}");
                let menu = key.starts_with("menu.");
                assert_eq!(words.description.is_empty(), menu, "{key}");
                // https://discord.com/developers/docs/interactions/application-commands#application-command-object-application-command-naming
                let typed = |c: char| c.is_alphanumeric() || "-_'".contains(c);
                assert!(
                    menu || words.name.chars().all(|c| typed(c) && !c.is_uppercase()),
                    "{key}: {}",
                    words.name
                );
            }
        }
    }
}
