//! The prompt grammar: free text with weights, permutations and flags, as members type it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest prompt accepted, in characters. Midjourney's own limit is 6,000; nobody reads more.
pub const MAX_PROMPT_CHARS: usize = 4_000;

/// One weighted part of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The words; never empty, white space collapsed.
    pub text: String,
    /// Relative weight; 1 where none was written. Negative pushes away.
    pub weight: f64,
}

/// The words of a prompt: one or more weighted parts, without flags.
///
/// Written `a lighthouse` or `a lighthouse::2 fog::0.5`; [`fmt::Display`] gives the canonical form and parsing
/// that gives the same prompt again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prompt {
    parts: Vec<Part>,
}

/// Why text is not a prompt.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadPrompt {
    /// Nothing but white space.
    #[error("The prompt is empty: say what you would like to see, as in “a lighthouse at dusk”.")]
    Empty,
    /// Over [`MAX_PROMPT_CHARS`].
    #[error("The prompt has {chars} characters; at most {MAX_PROMPT_CHARS} are read. Shorten it.")]
    TooLong {
        /// How many there were.
        chars: usize,
    },
    /// `::` followed by something that is no weight.
    #[error(
        "“::{0}” is not a weight: write a number from -10 to 10 right after “::”, as in “fog::0.5”."
    )]
    Weight(String),
}

impl Prompt {
    /// The parts, at least one.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The words alone, parts joined by a space: for models without weights.
    pub fn text(&self) -> String {
        let texts: Vec<_> = self.parts.iter().map(|part| part.text.as_str()).collect();
        texts.join(" ")
    }
}

impl FromStr for Prompt {
    type Err = BadPrompt;
    fn from_str(text: &str) -> Result<Self, BadPrompt> {
        let chars = text.chars().count();
        if chars > MAX_PROMPT_CHARS {
            return Err(BadPrompt::TooLong { chars });
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("::") {
            let end = after
                .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'))
                .unwrap_or(after.len());
            let (digits, remaining) = after.split_at(end);
            push_part(&mut parts, before, parse_weight(digits)?);
            rest = remaining;
        }
        push_part(&mut parts, rest, 1.0);
        if parts.is_empty() {
            return Err(BadPrompt::Empty);
        }
        if let [only] = parts.as_mut_slice() {
            only.weight = 1.0;
        }
        Ok(Self { parts })
    }
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
        if let [only] = self.parts.as_slice() {
            return f.write_str(&only.text);
        }
        for (i, part) in self.parts.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            write!(f, "{gap}{}::{}", part.text, part.weight)?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Prompt {
    type Error = BadPrompt;
    fn try_from(text: String) -> Result<Self, BadPrompt> {
        text.parse()
    }
}

impl From<Prompt> for String {
    fn from(prompt: Prompt) -> Self {
        prompt.to_string()
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
    fn refusals_say_what_to_do() {
        assert_eq!("  ".parse::<Prompt>(), Err(BadPrompt::Empty));
        let long = "x".repeat(10_000).parse::<Prompt>().unwrap_err();
        assert!(long.to_string().contains("10000 characters; at most 4000"));
        assert_eq!(
            "a::11 b".parse::<Prompt>(),
            Err(BadPrompt::Weight("11".into()))
        );
    }

    proptest! {
        #[test]
        fn parsing_the_canonical_form_is_identity(text in "[a-z ]{1,20}(::-?[0-9](\\.[0-9])?[a-z ]{0,8}){0,4}") {
            if let Ok(prompt) = text.parse::<Prompt>() {
                prop_assert_eq!(prompt.to_string().parse::<Prompt>(), Ok(prompt));
            }
        }
    }
}
