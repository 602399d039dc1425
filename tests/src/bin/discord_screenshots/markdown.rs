//! Discord's markdown as HTML, as far as Riff writes it.

/// Names by how they are written: `<@1>` is `@alice`.
type Names = [(String, String)];

/// A text of several lines.
pub fn text(text: &str, names: &Names) -> String {
    let mut html = String::new();
    let mut parts = text.split("```");
    html.push_str(&lines(parts.next().unwrap_or_default(), names));
    while let Some(code) = parts.next() {
        // The first line names the language.
        let code = code.split_once('\n').map_or(code, |(_, code)| code);
        html.push_str(&format!("<discord-pre>{}</discord-pre>", escape(code.trim_end())));
        html.push_str(&lines(parts.next().unwrap_or_default(), names));
    }
    html
}

fn lines(text: &str, names: &Names) -> String {
    let line = |line: &str| match line.strip_prefix("-# ") {
        Some(small) => format!("<discord-subscript>{}</discord-subscript>", inline(small, names)),
        None => format!("<div>{}</div>", inline(line, names)),
    };
    text.trim_matches('\n').lines().map(line).collect()
}

/// The text of one line.
pub fn inline(text: &str, names: &Names) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        match special(rest, names) {
            Some((special, length)) => {
                html.push_str(&special);
                rest = &rest[length..];
            }
            None => {
                html.push_str(&escape(next.encode_utf8(&mut [0; 4])));
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    html
}

/// What a text begins with, if that is more than a character: its HTML, and how long it is.
fn special(text: &str, names: &Names) -> Option<(String, usize)> {
    if let Some(escaped) = text.strip_prefix('\\') {
        let next = escaped.chars().next().filter(char::is_ascii_punctuation)?;
        return Some((escape(next.encode_utf8(&mut [0; 4])), 1 + next.len_utf8()));
    }
    for (mark, element) in [("**", "discord-bold"), ("~~", "s"), ("*", "discord-italic")] {
        if let Some((inside, length)) = between(text, mark, mark) {
            return Some((format!("<{element}>{}</{element}>", inline(inside, names)), length));
        }
    }
    if let Some((code, length)) = between(text, "`", "`") {
        return Some((format!("<discord-code>{}</discord-code>", escape(code)), length));
    }
    if let Some((label, before)) = between(text, "[", "](<")
        && let Some(end) = text[before..].find(">)")
    {
        let html = format!("<discord-link>{}</discord-link>", inline(label, names));
        return Some((html, before + end + ">)".len()));
    }
    if let Some((written, name)) = names.iter().find(|(written, _)| text.starts_with(written.as_str())) {
        let kind = match written.as_bytes().get(1..3) {
            Some(b"@&") => "role",
            Some([b'#', _]) => "channel",
            _ => "user",
        };
        let name = escape(&name[1..]);
        return Some((format!("<discord-mention type={kind}>{name}</discord-mention>"), written.len()));
    }
    let length = text.find(|c| !is_emoji(c)).unwrap_or(text.len());
    (length > 0).then(|| (format!("<span class=emoji>{}</span>", &text[..length]), length))
}

/// What is between two marks that a text begins with, and the length of all three.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<(&'a str, usize)> {
    let inside = text.strip_prefix(begin)?;
    let at = inside.find(end).filter(|at| *at > 0)?;
    Some((&inside[..at], begin.len() + at + end.len()))
}

fn is_emoji(c: char) -> bool {
    matches!(u32::from(c), 0x1F000..=0x1FAFF | 0x2600..=0x27BF | 0x2B00..=0x2BFF | 0xFE0F)
}

/// A text within HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
