//! The prompt grammar: free text with weights, permutations and flags, as members type it.
//!
//! [`parse_line`] splits a line into [`Draft`]s without knowing any model; [`Draft::resolve`] reads the flags by a
//! model's schema; [`render`] writes the line that resolves to the same again.

mod defaults;
mod flags;
mod line;
mod permute;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use defaults::Defaults;
pub use flags::{Params, compose, has_flag, render, typed_flag, written};
pub use line::{Command, Draft, parse_line};

/// The longest prompt accepted, in characters. Midjourney's own limit is 6,000; nobody reads more.
pub const MAX_PROMPT_CHARS: usize = 4_000;

/// The most jobs that one line with permutations may make (Midjourney's highest tier has 40).
pub const MAX_PERMUTATIONS: usize = 16;

/// One weighted part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The words; never empty, white space collapsed.
    pub text: String,
    /// Relative weight; 1 where none was written. Negative pushes away.
    pub weight: f64,
}

/// The words of a prompt, without flags.
///
/// For pictures it is read by [`FromStr`]: one or more weighted parts, written `a lighthouse` or
/// `a lighthouse::2 fog::0.5`, kept in a canonical form that parses to the same prompt again. For language models it
/// is [`Prompt::verbatim`]: line breaks and `std::vec` mean what they say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prompt(String);

/// Why text is not a prompt.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadPrompt {
    /// Nothing but white space.
    #[error("The prompt is empty: say what you would like to see, as in “a lighthouse at dusk”.")]
    Empty,
    /// A character that is none, and that PostgreSQL keeps in no text.
    #[error("The prompt has a NUL character in it, which nobody can read. Leave it out.")]
    Nul,
    /// Over [`MAX_PROMPT_CHARS`].
    #[error("The prompt has {chars} characters; at most {MAX_PROMPT_CHARS} are read. Shorten it.")]
    TooLong {
        /// How many there were.
        chars: usize,
    },
    /// `::` followed by something that is no weight.
    #[error("“::{0}” is not a weight: write a number from -10 to 10 right after “::”, as in “fog::0.5”.")]
    Weight(String),
    /// A command that is not there.
    #[error(
        "There is no command “/{0}” here: start with /imagine for pictures, /sound for sound or /ask for text."
    )]
    Command(String),
    /// A flag that the model does not have.
    #[error("There is no flag --{flag} for {model}{nearest} Its flags: {known}.")]
    UnknownFlag {
        /// As typed.
        flag: String,
        /// The model's name.
        model: String,
        /// `: did you mean --seed?`, which other model has it, or a full stop.
        nearest: String,
        /// All flags.
        known: String,
    },
    /// A flag given twice.
    #[error("--{flag} is given twice: leave one of them out.")]
    Twice {
        /// The flag, under its usual name.
        flag: String,
    },
    /// A flag without its value, or with one that it does not take.
    #[error("{given} does not work: --{flag} takes {expected}, as in “--{flag} {example}”.")]
    Value {
        /// The flag as typed.
        flag: String,
        /// The flag with what was given.
        given: String,
        /// The range.
        expected: String,
        /// A value that works.
        example: String,
    },
    /// Words where only flags are taken.
    #[error("“{0}” is no flag: write flags alone, as in “--ar 3:2”.")]
    NotFlags(String),
    /// A `{` without `}` or the other way round.
    #[error("A “{0}” has no partner: write choices as “{{red, blue}} bird”, or “\\{0}” for the sign itself.")]
    Brace(char),
    /// Over [`MAX_PERMUTATIONS`].
    #[error("The choices make {0} or more prompts; at most {MAX_PERMUTATIONS} run at once. Leave some out.")]
    Permutations(usize),
}

impl Prompt {
    /// A prompt taken as it stands, trimmed: for language models.
    pub fn verbatim(text: &str) -> Result<Self, BadPrompt> {
        check_text(text)?;
        match text.trim() {
            "" => Err(BadPrompt::Empty),
            text => Ok(Self(text.to_owned())),
        }
    }

    /// The prompt as it is written and stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The weighted parts, at least one. A prompt that is no weighted one is one part.
    pub fn parts(&self) -> Vec<Part> {
        parse_parts(&self.0).unwrap_or_else(|_| vec![Part { text: self.0.clone(), weight: 1.0 }])
    }

    /// The words alone, parts joined by a space: for models without weights.
    pub fn text(&self) -> String {
        let texts: Vec<_> = self.parts().into_iter().map(|part| part.text).collect();
        texts.join(" ")
    }
}

/// Words of foreign text, written so that none of them is read as a flag or a choice.
pub fn escape_words(text: &str) -> String {
    permute::escape(&line::escape(text))
}

/// Words of foreign text for a language model, written so that none of them is read as a flag.
pub fn escape_flags(text: &str) -> String {
    line::escape(text)
}

fn check_text(text: &str) -> Result<(), BadPrompt> {
    let chars = text.chars().count();
    if chars > MAX_PROMPT_CHARS {
        return Err(BadPrompt::TooLong { chars });
    }
    if text.contains('\0') {
        return Err(BadPrompt::Nul);
    }
    Ok(())
}

impl FromStr for Prompt {
    type Err = BadPrompt;
    fn from_str(text: &str) -> Result<Self, BadPrompt> {
        check_text(text)?;
        let parts = parse_parts(text)?;
        if let [only] = parts.as_slice() {
            return Ok(Self(only.text.clone()));
        }
        let written: Vec<String> =
            parts.iter().map(|part| format!("{}::{}", part.text, part.weight)).collect();
        Ok(Self(written.join(" ")))
    }
}

fn parse_parts(text: &str) -> Result<Vec<Part>, BadPrompt> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("::") {
        let end = after.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(after.len());
        let (digits, remaining) = after.split_at(end);
        push_part(&mut parts, before, parse_weight(digits)?);
        rest = remaining;
    }
    push_part(&mut parts, rest, 1.0);
    match parts.as_mut_slice() {
        [] => return Err(BadPrompt::Empty),
        [only] => only.weight = 1.0,
        _ => {}
    }
    Ok(parts)
}

fn parse_weight(digits: &str) -> Result<f64, BadPrompt> {
    if digits.is_empty() {
        return Ok(1.0);
    }
    match digits.parse::<f64>() {
        Ok(weight) if (-10.0..=10.0).contains(&weight) => Ok(weight + 0.0),
        _ => Err(BadPrompt::Weight(digits.to_owned())),
    }
}

fn push_part(parts: &mut Vec<Part>, text: &str, weight: f64) {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if !text.is_empty() {
        parts.push(Part { text, weight });
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Prompt {
    type Error = BadPrompt;
    /// Takes a stored prompt as it is: it was made canonical when it was first read.
    fn try_from(text: String) -> Result<Self, BadPrompt> {
        Self::verbatim(&text)
    }
}

impl From<Prompt> for String {
    fn from(prompt: Prompt) -> Self {
        prompt.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn weights_and_white_space_are_read() {
        let prompt: Prompt = "  a   lighthouse::2 fog::0.5 sea ".parse().unwrap();
        assert_eq!(prompt.to_string(), "a lighthouse::2 fog::0.5 sea::1");
        assert_eq!(prompt.text(), "a lighthouse fog sea");
    }

    #[test]
    fn verbatim_prompts_keep_their_lines_and_colons() {
        let prompt = Prompt::verbatim("why does\n  std::vec\nwork?\n").unwrap();
        assert_eq!(prompt.as_str(), "why does\n  std::vec\nwork?");
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert_eq!("  ".parse::<Prompt>(), Err(BadPrompt::Empty));
        let long = "x".repeat(10_000).parse::<Prompt>().unwrap_err();
        assert!(long.to_string().contains("10000 characters; at most 4000"));
        assert_eq!("a::11 b".parse::<Prompt>(), Err(BadPrompt::Weight("11".into())));
    }

    proptest! {
        #[test]
        fn parsing_the_canonical_form_is_identity(text in "[a-z ]{1,20}(::-?[0-9](\\.[0-9])?[a-z ]{0,8}){0,4}") {
            if let Ok(prompt) = text.parse::<Prompt>() {
                prop_assert_eq!(prompt.as_str().parse::<Prompt>(), Ok(prompt));
            }
        }
    }
}
