//! Permutations: `{red, blue} bird` is two prompts. Braces nest; `\{`, `\}`, `\,` and `\\` are the signs themselves.

use super::{BadPrompt, MAX_PERMUTATIONS};

/// Every text that the choices make, in reading order; one for a text without choices.
///
/// # Errors
/// [`BadPrompt::Brace`] and [`BadPrompt::Permutations`].
pub(super) fn expand(text: &str) -> Result<Vec<String>, BadPrompt> {
    let mut chars = text.chars().peekable();
    let made = sequence(&mut chars, Depth::Top)?;
    match chars.next() {
        Some(stray) => Err(BadPrompt::Brace(stray)),
        None => Ok(made),
    }
}

/// Writes text so that [`expand`] gives it back, alone.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '{' | '}' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

#[derive(Clone, Copy, PartialEq)]
enum Depth {
    Top,
    Choice,
}

/// Reads up to the end, or within a choice up to its `,` or `}`, which is left unread.
fn sequence(chars: &mut Chars<'_>, depth: Depth) -> Result<Vec<String>, BadPrompt> {
    let mut made = vec![String::new()];
    while let Some(&c) = chars.peek() {
        match c {
            '}' => break,
            ',' if depth == Depth::Choice => break,
            '{' => made = multiply(&made, &choices(chars)?)?,
            '\\' => {
                chars.next();
                let sign = chars.next_if(|c| matches!(c, '{' | '}' | ',' | '\\'));
                push(&mut made, sign.unwrap_or('\\'));
            }
            _ => {
                chars.next();
                push(&mut made, c);
            }
        }
    }
    Ok(made)
}

/// Reads `{a, b}`.
fn choices(chars: &mut Chars<'_>) -> Result<Vec<String>, BadPrompt> {
    let mut made = Vec::new();
    loop {
        chars.next();
        let texts = sequence(chars, Depth::Choice)?;
        made.extend(texts.iter().map(|text| text.trim().to_owned()));
        match chars.peek() {
            Some(',') => {}
            Some(_) => break,
            None => return Err(BadPrompt::Brace('{')),
        }
    }
    chars.next();
    Ok(made)
}

fn multiply(left: &[String], right: &[String]) -> Result<Vec<String>, BadPrompt> {
    let count = left.len() * right.len();
    if count > MAX_PERMUTATIONS {
        return Err(BadPrompt::Permutations(count));
    }
    let pairs = left.iter().flat_map(|l| right.iter().map(move |r| format!("{l}{r}")));
    Ok(pairs.collect())
}

fn push(made: &mut [String], c: char) {
    for text in made {
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn choices_multiply_and_nest() {
        assert_eq!(
            expand("a {red, {pale, deep} blue} bird").unwrap(),
            ["a red bird", "a pale blue bird", "a deep blue bird"]
        );
        assert_eq!(expand("{a,b}{c,d}").unwrap(), ["ac", "ad", "bc", "bd"]);
        assert_eq!(expand(r"one, \{two\}").unwrap(), ["one, {two}"]);
    }

    #[test]
    fn broken_or_endless_choices_are_refused() {
        assert_eq!(expand("a {red bird"), Err(BadPrompt::Brace('{')));
        assert_eq!(expand("a red} bird"), Err(BadPrompt::Brace('}')));
        assert_eq!(expand(&"{a,b}".repeat(60)), Err(BadPrompt::Permutations(32)));
    }

    proptest! {
        #[test]
        fn escaped_text_comes_back(text in "[a{},\\\\ -]{0,30}") {
            prop_assert_eq!(expand(&escape(&text)), Ok(vec![text]));
        }
    }
}
