//! A job as a message: waiting, running, or done with its pictures and buttons. The one place that renders it.

use riff_hub::{
    canonical::Digest,
    hub::{JobView, Privacy},
    job::{Job, State},
    model::Media,
    prompt,
    recipe::{Move, Parent},
    riff::Pan,
};
use serenity::{
    all::ReactionType,
    builder::{CreateActionRow, CreateButton},
    model::{application::ButtonStyle, id::UserId},
};

use super::{
    attach::Files,
    dialog,
    id::{Action, Quick},
    message::{Outgoing, clip, plain},
    note::Note,
    split::split,
};

/// Characters of a prompt that a post shows; the whole is in the recipe.
const SHOWN_PROMPT: usize = 900;
/// Characters of the settings that a post shows.
const SHOWN_SETTINGS: usize = 350;
/// Components in a row, and rows (<https://discord.com/developers/docs/components/reference#action-row>).
const ROW: usize = 5;

/// Renders jobs, with links to pages where the hub has an address that members can reach.
#[derive(Debug, Clone)]
pub struct Cards {
    /// Where people find this hub, without a slash at the end; empty if only this machine does.
    pub public_url: String,
}

impl Cards {
    /// A job that has not ended.
    pub fn waiting(&self, view: &JobView, user: UserId) -> Outgoing {
        let cancel =
            button(Action::Cancel(view.job.id.clone()), "Cancel", Some("❌"), ButtonStyle::Secondary);
        let text = view.text().filter(|_| view.model.media == Media::Text).unwrap_or_default();
        let shown = match text.is_empty() {
            true => String::new(),
            false => format!("\n{}", clip(text, 600)),
        };
        let content = format!("{}\n-# {}{shown}", self.headline(view, user), view.status());
        Outgoing { privacy: privacy(&view.job), ..Outgoing::public(content) }
            .row(CreateActionRow::Buttons(vec![cancel]))
    }

    /// A job that was cancelled.
    pub fn cancelled(&self, view: &JobView, user: UserId) -> Outgoing {
        let prompt = plain(&clip(view.recipe.prompt.as_str(), 200));
        let content = format!("~~{prompt}~~ — <@{user}>\n-# {}", view.status());
        Outgoing { privacy: privacy(&view.job), ..Outgoing::public(content) }
    }

    /// A job that has ended, with its pictures. Text of several messages' length gives several messages; the buttons are
    /// on the last.
    pub fn finished(&self, view: &JobView, user: UserId, files: Files) -> Vec<Outgoing> {
        let privacy = privacy(&view.job);
        let mut content = format!("{}\n{}", self.headline(view, user), self.small_print(view));
        if view.job.state != State::Succeeded {
            let reason = view.job.reason.as_deref().unwrap_or("no reason was given");
            content.push_str(&format!("\n⚠️ {}: {}", view.status(), plain(&clip(reason, 300))));
            let message = Outgoing { privacy, ..Outgoing::public(content) };
            return vec![
                message.row(CreateActionRow::Buttons(vec![edit(&first(view), "Edit and try again")])),
            ];
        }
        for blob in &files.left_out {
            content.push_str(&match self.public_url.is_empty() {
                true => "\n⚠️ A result is too large for Discord; it is on the hub's own page.".to_owned(),
                false => format!("\nToo large for Discord: {}/blobs/{blob}", self.public_url),
            });
        }
        let mut messages = vec![Outgoing { privacy, files: files.files, ..Outgoing::public(content) }];
        if let Some(text) = view.text().filter(|_| view.model.media == Media::Text) {
            messages =
                said(&format!("{}\n{text}\n{}", self.headline(view, user), self.small_print(view)), view);
        }
        if let Some(last) = messages.last_mut() {
            last.rows = rows(view);
        }
        messages
    }

    /// An answer in a conversation: the text alone.
    pub fn talk(&self, view: &JobView) -> Vec<Outgoing> {
        if view.job.state != State::Succeeded {
            let reason = view.job.reason.as_deref().unwrap_or("no reason was given");
            return vec![Outgoing::public(format!("⚠️ {}: {}", view.status(), plain(&clip(reason, 300))))];
        }
        let mut messages = said(view.text().unwrap_or_default(), view);
        if let Some(last) = messages.last_mut() {
            last.rows = rows(view);
        }
        messages
    }

    /// An answer that is still being written.
    pub fn talking(&self, view: &JobView) -> Outgoing {
        let content = match view.text().filter(|text| !text.trim().is_empty()) {
            Some(text) => {
                let mut parts = split(text);
                // What does not fit into one message appears when it is whole.
                format!("{} ▌", clip(&parts.swap_remove(0), 1_900))
            }
            None => format!("-# {}", view.status()),
        };
        let cancel =
            button(Action::Cancel(view.job.id.clone()), "Cancel", Some("❌"), ButtonStyle::Secondary);
        Outgoing::public(content).row(CreateActionRow::Buttons(vec![cancel]))
    }

    fn headline(&self, view: &JobView, user: UserId) -> String {
        format!("**{}** — <@{user}>", plain(&clip(view.recipe.prompt.as_str(), SHOWN_PROMPT)))
    }

    /// Model, origin, settings and recipe, in small letters.
    fn small_print(&self, view: &JobView) -> String {
        let mut parts = vec![plain(&view.model.name)];
        if let Some(origin) = &view.recipe.origin
            && let Some(parent) = origin.parents.first()
        {
            parts.push(format!("{} of {}", origin.made_by.as_str(), self.recipe_link(parent)));
        }
        let flags = flags(view);
        if !flags.is_empty() {
            parts.push(format!("`{}`", clip(&flags, SHOWN_SETTINGS).replace('`', "'")));
        }
        parts.push(format!("recipe {}", self.recipe_link(&first(view))));
        format!("-# {}", parts.join(" · "))
    }

    fn recipe_link(&self, parent: &Parent) -> String {
        match self.public_url.is_empty() {
            true => format!("`{}`", parent.recipe.short()),
            false => format!("[`{}`](<{}/r/{}>)", parent.recipe.short(), self.public_url, parent.recipe),
        }
    }
}

/// Who sees a job's answer. With the bot alone nothing has to be hidden.
pub fn privacy(job: &Job) -> Privacy {
    let direct = Note::of(job).is_some_and(|note| note.direct);
    match job.private && !direct {
        true => Privacy::Private,
        false => Privacy::Public,
    }
}

/// The first result of a job.
pub fn first(view: &JobView) -> Parent {
    Parent { recipe: view.job.recipe, index: 0 }
}

/// The flags of a job's command, without its words and its model.
fn flags(view: &JobView) -> String {
    let line = prompt::render(&view.recipe.prompt, &view.recipe.params, &view.model);
    let (_, _, flags) = dialog::parts(&line);
    let flags = flags.trim_end_matches(&format!("--model {}", view.model.name));
    // Pictures go by a digest of 64 digits, of which nobody reads more than the first.
    let short = |word: &str| match word.parse::<Digest>() {
        Ok(digest) => digest.short(),
        Err(_) => word.to_owned(),
    };
    flags.split_whitespace().map(short).collect::<Vec<_>>().join(" ")
}

fn said(text: &str, view: &JobView) -> Vec<Outgoing> {
    let text = if text.trim().is_empty() { "-# (The model said nothing.)" } else { text };
    let part = |content| Outgoing { privacy: privacy(&view.job), ..Outgoing::public(content) };
    split(text).into_iter().map(part).collect()
}

/// The buttons of a finished job: what its model offers for its results.
pub fn rows(view: &JobView) -> Vec<CreateActionRow> {
    let offers = |made_by: Move| view.moves.contains(&made_by);
    let count = view.outputs.len() as u32;
    let at = |index| Parent { recipe: view.job.recipe, index };
    let mut rows: Vec<Vec<CreateButton>> = Vec::new();
    if count > 1 {
        let numbered = |sign: &str, quick: Quick| -> Vec<CreateButton> {
            let one = |index| {
                button(
                    Action::Riff(quick, at(index)),
                    &format!("{sign}{}", index + 1),
                    None,
                    ButtonStyle::Secondary,
                )
            };
            (0..count.min(ROW as u32)).map(one).collect()
        };
        if offers(Move::Upscale) {
            rows.push(numbered("U", Quick::Upscale));
        }
        if offers(Move::Vary) {
            rows.push(numbered("V", Quick::Subtle));
        }
    } else {
        rows.push(single(&at(0), &view.moves));
        if offers(Move::Pan) {
            let pans = [(Pan::Left, "⬅️"), (Pan::Right, "➡️"), (Pan::Up, "⬆️"), (Pan::Down, "⬇️")];
            let pan = |(pan, sign)| {
                button(Action::Riff(Quick::Pan(pan), at(0)), "", Some(sign), ButtonStyle::Secondary)
            };
            rows.push(pans.into_iter().map(pan).collect());
        }
    }
    let mut last = Vec::new();
    if offers(Move::Reply) {
        last.push(button(Action::Answer(at(0)), "Reply", Some("💬"), ButtonStyle::Primary));
    }
    if offers(Move::Reroll) {
        last.push(button(Action::Riff(Quick::Reroll, at(0)), "", Some("🎲"), ButtonStyle::Secondary));
    }
    last.push(edit(&at(0), "Remix"));
    // Discord itself lets people dismiss what only they see.
    if !view.job.private {
        last.push(button(Action::Delete(view.job.id.clone()), "", Some("🗑️"), ButtonStyle::Secondary));
    }
    rows.push(last);
    rows.retain(|row| !row.is_empty());
    rows.truncate(ROW);
    rows.into_iter().map(CreateActionRow::Buttons).collect()
}

fn single(result: &Parent, moves: &[Move]) -> Vec<CreateButton> {
    let all = [
        (Move::Upscale, Quick::Upscale, "Upscale"),
        (Move::Vary, Quick::Subtle, "Vary (subtle)"),
        (Move::Vary, Quick::Strong, "Vary (strong)"),
        (Move::Zoom, Quick::Zoom, "Zoom out"),
    ];
    all.into_iter()
        .filter(|(made_by, ..)| moves.contains(made_by))
        .map(|(_, quick, label)| {
            button(Action::Riff(quick, result.clone()), label, None, ButtonStyle::Secondary)
        })
        .collect()
}

fn edit(result: &Parent, label: &str) -> CreateButton {
    button(Action::Edit(result.clone()), label, Some("✏️"), ButtonStyle::Secondary)
}

/// A button; an empty label leaves the sign alone.
pub fn button(action: Action, label: &str, sign: Option<&str>, style: ButtonStyle) -> CreateButton {
    let mut button = CreateButton::new(action.write()).style(style);
    if !label.is_empty() {
        button = button.label(clip(label, 80));
    }
    match sign {
        Some(sign) => button.emoji(ReactionType::Unicode(sign.to_owned())),
        None => button,
    }
}
