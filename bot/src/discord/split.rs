//! Splits long answers into messages: at paragraphs, then lines, then words; a code block that is cut is closed and opened
//! again.

use super::message::MAX_CONTENT;

/// Marks the start and the end of a code block.
const FENCE: &str = "```";
/// Room for closing a code block and opening it again with its language.
const RESERVE: usize = 40;

/// The parts of a text, each at most [`MAX_CONTENT`] characters; at least one.
pub fn split(text: &str) -> Vec<String> {
    split_at(text, MAX_CONTENT)
}

fn split_at(text: &str, most: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text.trim().to_owned();
    while rest.chars().count() > most {
        let (head, tail) = cut(&rest, most - RESERVE);
        match open_fence(&head) {
            Some(language) => {
                rest = format!("{FENCE}{language}\n{}", tail.trim_start_matches('\n'));
                parts.push(format!("{head}\n{FENCE}"));
            }
            None => {
                rest = tail.trim_start().to_owned();
                parts.push(head);
            }
        }
    }
    parts.push(rest);
    parts
}

/// The longest head of at most `most` characters that ends well.
fn cut(text: &str, most: usize) -> (String, String) {
    let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    let window = &text[..end];
    // A paragraph is worth a short message, a line or a word less so.
    let breaks = [("\n\n", end / 3), ("\n", end / 2), (" ", end / 2)];
    let at =
        breaks.iter().find_map(|(sign, least)| window.rfind(sign).filter(|at| at > least)).unwrap_or(end);
    (text[..at].trim_end().to_owned(), text[at..].to_owned())
}

/// The language of the code block that a text leaves open; nothing if it leaves none open.
fn open_fence(text: &str) -> Option<String> {
    let mut open = None;
    for line in text.lines() {
        if let Some(rest) = line.trim_start().strip_prefix(FENCE) {
            open = match open {
                None => Some(rest.chars().take_while(char::is_ascii_alphanumeric).take(20).collect()),
                Some(_) => None,
            };
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_answers_stay_whole() {
        assert_eq!(split(" hello "), ["hello"]);
        assert_eq!(split(""), [""]);
    }

    #[test]
    fn paragraphs_stay_together() {
        let paragraph = "words ".repeat(20);
        let text = format!("{paragraph}\n\n{paragraph}\n\n{paragraph}");
        let parts = split_at(&text, 300);
        assert_eq!(parts.len(), 2);
        assert!(parts[0].ends_with("words") && parts[1].starts_with("words"));
    }

    #[test]
    fn code_is_closed_and_opened_again() {
        let code = (0..60).map(|line| format!("let x{line} = {line};\n")).collect::<String>();
        let parts = split_at(&format!("Look:\n```rust\n{code}```\nDone."), 400);
        assert!(parts.len() > 2);
        for part in &parts {
            assert!(part.chars().count() <= 400, "{part}");
            assert_eq!(part.matches(FENCE).count() % 2, 0, "{part}");
        }
        assert!(parts[1].starts_with("```rust\nlet x"));
        let code_again: String = parts
            .iter()
            .flat_map(|part| {
                part.lines().filter(|line| line.starts_with("let")).map(|line| format!("{line}\n"))
            })
            .collect();
        assert_eq!(code_again, code, "nothing is lost");
    }

    #[test]
    fn one_endless_word_is_cut_anyway() {
        let parts = split(&"ä".repeat(5_000));
        assert_eq!(parts.iter().map(|part| part.chars().count()).sum::<usize>(), 5_000);
        assert!(parts.iter().all(|part| part.chars().count() <= MAX_CONTENT));
    }
}
