//! Dialogs: what they ask for, filled in with what is there already.

use riff_hub::{
    model::ModelSpec,
    prompt,
    recipe::{Parent, Recipe},
};
use serenity::{
    all::{ActionRowComponent, InputTextStyle, ModalInteractionData},
    builder::{CreateActionRow, CreateInputText, CreateModal},
};

use super::id::Action;

/// Longest text of an input (<https://discord.com/developers/docs/components/reference#text-input>).
const MAX_INPUT: u16 = 4_000;

/// Names of the inputs.
pub const PROMPT: &str = "prompt";
/// See [`PROMPT`].
pub const SETTINGS: &str = "settings";

/// A command line as its command, its words and its flags.
pub fn parts(line: &str) -> (&str, &str, &str) {
    let (command, rest) = match line.starts_with('/') {
        true => line.split_once(' ').unwrap_or((line, "")),
        false => ("/imagine", line),
    };
    let is_flag = |at: &usize| rest[at + 3..].starts_with(|c: char| c.is_ascii_alphabetic());
    let at = rest.match_indices(" --").map(|(at, _)| at).find(is_flag);
    match at {
        Some(at) => (command, &rest[..at], rest[at..].trim_start()),
        None => (command, rest, ""),
    }
}

/// Prompt and settings of a recipe, to be changed.
pub fn edit(parent: &Parent, recipe: &Recipe, spec: &ModelSpec) -> CreateModal {
    let line = prompt::render(&recipe.prompt, &recipe.params, spec);
    of_line(Action::Edited(parent.clone()), "Remix", &line)
}

/// Prompt and settings of a line that no recipe here has.
pub fn of_line(action: Action, title: &str, line: &str) -> CreateModal {
    let (_, words, flags) = parts(line);
    CreateModal::new(action.write(), title).components(vec![
        input(PROMPT, "Prompt", InputTextStyle::Paragraph, words, Need::Required),
        input(SETTINGS, "Settings", InputTextStyle::Paragraph, flags, Need::Optional),
    ])
}

/// One text.
pub fn one(action: Action, title: &str, label: &str, value: &str, style: InputTextStyle) -> CreateModal {
    CreateModal::new(action.write(), title).components(vec![input(
        PROMPT,
        label,
        style,
        value,
        Need::Required,
    )])
}

enum Need {
    Required,
    Optional,
}

fn input(id: &str, label: &str, style: InputTextStyle, value: &str, need: Need) -> CreateActionRow {
    let mut input =
        CreateInputText::new(style, label, id).max_length(MAX_INPUT).required(matches!(need, Need::Required));
    // An empty value is refused as too short for what is required.
    if !value.is_empty() {
        input = input.value(value.chars().take(MAX_INPUT as usize).collect::<String>());
    }
    CreateActionRow::InputText(input)
}

/// What was typed into an input of a dialog.
pub fn typed<'a>(data: &'a ModalInteractionData, id: &str) -> &'a str {
    let inputs = data.components.iter().flat_map(|row| &row.components);
    inputs
        .filter_map(|component| match component {
            ActionRowComponent::InputText(input) if input.custom_id == id => input.value.as_deref(),
            _ => None,
        })
        .next()
        .unwrap_or_default()
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_its_first_flag() {
        assert_eq!(parts("/imagine a fox --seed 3 --ar 3:2"), ("/imagine", "a fox", "--seed 3 --ar 3:2"));
        assert_eq!(parts(r"/ask 3 -- 4 \--x"), ("/ask", r"3 -- 4 \--x", ""));
        assert_eq!(parts("a fox"), ("/imagine", "a fox", ""));
    }
}
