//! The limits that Discord puts on messages, modals and commands beyond what its description says, with the errors in the
//! tree that Discord answers with. Sources: <https://discord.com/developers/docs/resources/message#create-message>,
//! `…#embed-object-embed-limits`, <https://discord.com/developers/docs/components/reference>,
//! <https://discord.com/developers/docs/interactions/application-commands>.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::refused::Refused;

const CONTENT: usize = 2000;
const EMBED_TOTAL: usize = 6000;
const ROWS: usize = 5;
const BUTTONS: usize = 5;
const CUSTOM_ID: usize = 100;
const LABEL: usize = 80;
const SELECT_OPTIONS: usize = 25;
const MODAL_TITLE: usize = 45;
const INPUT_LABEL: usize = 45;
const INPUT_VALUE: usize = 4000;
const PLACEHOLDER: usize = 150;
const COMMAND_OPTIONS: usize = 25;
const COMMAND_NAME: usize = 32;
const COMMAND_DESCRIPTION: usize = 100;
const CHOICES: usize = 25;
const CHOICE: usize = 100;
/// Sum of the lengths of a command's names, descriptions and choices.
const COMMAND_TOTAL: usize = 8000;

/// Problems by path.
#[derive(Default)]
struct Problems(Value);

impl Problems {
    fn add(&mut self, path: &[String], message: String) {
        let mut at = &mut self.0;
        for part in path {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[part.as_str()];
        }
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let problem = json!({"code": "BASE_TYPE_INVALID", "message": message});
        match at["_errors"].as_array_mut() {
            Some(list) => list.push(problem),
            None => at["_errors"] = json!([problem]),
        }
    }

    /// Refuses a text that is too long.
    fn length(&mut self, value: &Value, path: &[String], limit: usize) {
        if value.as_str().is_some_and(|text| text.chars().count() > limit) {
            self.add(path, format!("Must be {limit} or fewer in length."));
        }
    }

    fn count(&mut self, value: &Value, path: &[String], limit: usize) {
        if value.as_array().is_some_and(|list| list.len() > limit) {
            self.add(path, format!("Must be {limit} or fewer in length."));
        }
    }

    fn done(self) -> Result<(), Refused> {
        if self.0.is_null() { Ok(()) } else { Err(Refused::invalid_form(self.0)) }
    }
}

fn path(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|&part| part.to_owned()).collect()
}

fn below(path: &[String], parts: &[&str]) -> Vec<String> {
    path.iter().cloned().chain(parts.iter().map(|&part| part.to_owned())).collect()
}

fn items(value: &Value) -> impl Iterator<Item = (String, &Value)> {
    value.as_array().into_iter().flatten().enumerate().map(|(at, item)| (at.to_string(), item))
}

/// A message's body, new or edited.
pub(crate) fn message(body: &Value) -> Result<(), Refused> {
    let mut problems = Problems::default();
    problems.length(&body["content"], &path(&["content"]), CONTENT);
    embeds(&mut problems, &body["embeds"]);
    components(&mut problems, &body["components"]);
    problems.done()
}

fn embeds(problems: &mut Problems, embeds: &Value) {
    problems.count(embeds, &path(&["embeds"]), 10);
    let mut total = 0;
    for (at, embed) in items(embeds) {
        let here = path(&["embeds", &at]);
        let mut text = |value: &Value, part: &[&str], limit: usize| {
            problems.length(value, &below(&here, part), limit);
            total += value.as_str().map_or(0, |text| text.chars().count());
        };
        text(&embed["title"], &["title"], 256);
        text(&embed["description"], &["description"], 4096);
        text(&embed["footer"]["text"], &["footer", "text"], 2048);
        text(&embed["author"]["name"], &["author", "name"], 256);
        for (number, field) in items(&embed["fields"]) {
            text(&field["name"], &["fields", &number, "name"], 256);
            text(&field["value"], &["fields", &number, "value"], 1024);
        }
        problems.count(&embed["fields"], &below(&here, &["fields"]), 25);
        for (number, field) in items(&embed["fields"]) {
            for part in ["name", "value"] {
                if field[part].as_str().is_none_or(str::is_empty) {
                    problems
                        .add(&below(&here, &["fields", &number, part]), "This field is required".to_owned());
                }
            }
        }
    }
    if total > EMBED_TOTAL {
        problems.add(&path(&["embeds"]), format!("Embed size exceeds maximum size of {EMBED_TOTAL}"));
    }
}

fn components(problems: &mut Problems, rows: &Value) {
    let mut seen = HashSet::new();
    let only_rows = items(rows).all(|(_, row)| row["type"] == 1);
    if only_rows {
        problems.count(rows, &path(&["components"]), ROWS);
    }
    for (at, row) in items(rows).filter(|(_, row)| row["type"] == 1) {
        let here = path(&["components", &at, "components"]);
        let parts = row["components"].as_array().map_or(&[][..], Vec::as_slice);
        problems.count(&row["components"], &here, BUTTONS);
        let selects = parts.iter().filter(|part| matches!(part["type"].as_u64(), Some(3 | 5..=8))).count();
        if selects > 0 && parts.len() > 1 {
            problems.add(&here, "The specified component exceeds the maximum width".to_owned());
        }
        for (number, part) in items(&row["components"]) {
            component(problems, part, &below(&here, &[&number]), &mut seen);
        }
    }
}

fn component(problems: &mut Problems, part: &Value, here: &[String], seen: &mut HashSet<String>) {
    problems.length(&part["custom_id"], &below(here, &["custom_id"]), CUSTOM_ID);
    if let Some(id) = part["custom_id"].as_str()
        && !seen.insert(id.to_owned())
    {
        problems.add(&below(here, &["custom_id"]), "Component custom id cannot be duplicated".to_owned());
    }
    if part["type"] == 2 {
        problems.length(&part["label"], &below(here, &["label"]), LABEL);
        let link = part["style"] == 5;
        if link == part["url"].is_null() || (!link && part["style"] != 6 && part["custom_id"].is_null()) {
            problems.add(here, "A link button has a url, any other button a custom id".to_owned());
        }
        if part["label"].as_str().is_none_or(str::is_empty) && part["emoji"].is_null() {
            problems.add(&below(here, &["label"]), "A button must have a label or an emoji".to_owned());
        }
        return;
    }
    problems.length(&part["placeholder"], &below(here, &["placeholder"]), PLACEHOLDER);
    problems.count(&part["options"], &below(here, &["options"]), SELECT_OPTIONS);
    if part["type"] == 3 {
        if part["options"].as_array().is_none_or(Vec::is_empty) {
            problems.add(&below(here, &["options"]), "Must be between 1 and 25 in length.".to_owned());
        }
        let mut values = HashSet::new();
        for (at, option) in items(&part["options"]) {
            for text in ["label", "value", "description"] {
                problems.length(&option[text], &below(here, &["options", &at, text]), 100);
            }
            if !values.insert(option["value"].as_str()) {
                let here = below(here, &["options", &at, "value"]);
                problems.add(&here, "The specified option value is already used".to_owned());
            }
        }
    }
}

/// A modal.
pub(crate) fn modal(data: &Value) -> Result<(), Refused> {
    let mut problems = Problems::default();
    problems.length(&data["title"], &path(&["title"]), MODAL_TITLE);
    problems.length(&data["custom_id"], &path(&["custom_id"]), CUSTOM_ID);
    problems.count(&data["components"], &path(&["components"]), ROWS);
    let mut seen = HashSet::new();
    for (at, row) in items(&data["components"]) {
        let here = path(&["components", &at]);
        let input = if row["type"] == 18 { &row["component"] } else { &row["components"][0] };
        problems.length(&row["label"], &below(&here, &["label"]), INPUT_LABEL);
        problems.length(&input["label"], &below(&here, &["components", "0", "label"]), INPUT_LABEL);
        problems.length(&input["value"], &below(&here, &["components", "0", "value"]), INPUT_VALUE);
        problems.length(&input["placeholder"], &below(&here, &["components", "0", "placeholder"]), 100);
        let most = input["max_length"].as_u64().unwrap_or(4000);
        let long = input["value"].as_str().is_some_and(|text| text.chars().count() as u64 > most);
        if long || input["min_length"].as_u64().is_some_and(|least| least > most) {
            problems.add(
                &below(&here, &["components", "0"]),
                format!("The value must be {most} or fewer in length."),
            );
        }
        if row["type"] == 1 && input["label"].as_str().is_none_or(str::is_empty) {
            problems.add(&below(&here, &["components", "0", "label"]), "This field is required".to_owned());
        }
        if input["type"] == 4 && !seen.insert(input["custom_id"].as_str().unwrap_or_default().to_owned()) {
            problems.add(&here, "Component custom id cannot be duplicated".to_owned());
        }
    }
    problems.done()
}

/// Choices of an autocomplete.
pub(crate) fn choices(choices: &Value) -> Result<(), Refused> {
    let mut problems = Problems::default();
    problems.count(choices, &path(&["choices"]), CHOICES);
    for (at, choice) in items(choices) {
        problems.length(&choice["name"], &path(&["choices", &at, "name"]), CHOICE);
        problems.length(&choice["value"], &path(&["choices", &at, "value"]), CHOICE);
    }
    problems.done()
}

/// A command.
pub(crate) fn command(body: &Value) -> Result<(), Refused> {
    let mut problems = Problems::default();
    let chat = body["type"].as_u64().unwrap_or(1) == 1;
    let name = body["name"].as_str().unwrap_or_default();
    if name.is_empty() || name.chars().count() > COMMAND_NAME || (chat && !is_word(name)) {
        problems.add(&path(&["name"]), "Command name is invalid".to_owned());
    }
    if chat && body["description"].as_str().is_none_or(str::is_empty) {
        problems.add(&path(&["description"]), "This field is required".to_owned());
    }
    problems.length(&body["description"], &path(&["description"]), COMMAND_DESCRIPTION);
    options(&mut problems, &body["options"], &path(&["options"]));
    if total(body) > COMMAND_TOTAL {
        problems.add(&[], format!("Command exceeds maximum size ({COMMAND_TOTAL})"));
    }
    problems.done()
}

fn options(problems: &mut Problems, list: &Value, here: &[String]) {
    problems.count(list, here, COMMAND_OPTIONS);
    let (mut names, mut optional) = (HashSet::new(), false);
    for (at, option) in items(list) {
        let here = below(here, &[&at]);
        let name = option["name"].as_str().unwrap_or_default();
        if name.chars().count() > COMMAND_NAME || !is_word(name) {
            problems.add(&below(&here, &["name"]), "Option name is invalid".to_owned());
        }
        if !names.insert(name) {
            problems.add(&below(&here, &["name"]), "Option names must be unique".to_owned());
        }
        if option["description"].as_str().is_none_or(str::is_empty) {
            problems.add(&below(&here, &["description"]), "This field is required".to_owned());
        }
        problems.length(&option["description"], &below(&here, &["description"]), COMMAND_DESCRIPTION);
        problems.count(&option["choices"], &below(&here, &["choices"]), CHOICES);
        for (number, choice) in items(&option["choices"]) {
            problems.length(&choice["name"], &below(&here, &["choices", &number, "name"]), CHOICE);
        }
        let required = option["required"] == true;
        if required && optional {
            problems.add(&here, "Required options must be placed before non-required options".to_owned());
        }
        optional |= !required;
        if option["autocomplete"] == true && option["choices"].as_array().is_some_and(|list| !list.is_empty())
        {
            problems.add(&here, "Options with choices cannot use autocomplete".to_owned());
        }
        options(problems, &option["options"], &below(&here, &["options"]));
    }
}

fn is_word(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == '\'';
    !name.is_empty() && name.chars().all(fits) && name.to_lowercase() == name
}

fn total(body: &Value) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let choices =
        items(&body["choices"]).map(|(_, choice)| length(&choice["name"]) + length(&choice["value"]));
    let options = items(&body["options"]).map(|(_, option)| total(option));
    length(&body["name"]) + length(&body["description"]) + choices.sum::<usize>() + options.sum::<usize>()
}
