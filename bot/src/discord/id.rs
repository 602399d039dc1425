//! Custom ids: what a button, a select menu or a dialog does, written into the message itself. Nothing about a message is
//! kept in memory, so that what is pressed years later still works.
//!
//! `1v.KEY.2` is version 1 of *vary subtly the third result of recipe KEY*; a recipe is 43 letters of base64, so two of
//! them fit into Discord's 100 characters.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use riff_hub::{
    canonical::Digest,
    hub::Twist,
    recipe::Parent,
    riff::{Enlarging, Pan, Strength},
};

/// Longest custom id (<https://discord.com/developers/docs/components/reference#anatomy-of-a-component>).
pub const MAX_CHARS: usize = 100;
/// The version that is written.
const VERSION: char = '1';

/// What is done when a component is used or a dialog sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A riff on a result, at once (or by way of a dialog where the member has remix on).
    Riff(Quick, Parent),
    /// Opens the dialog that edits prompt and settings.
    Edit(Parent),
    /// That dialog, sent.
    Edited(Parent),
    /// Opens the dialog for the next turn of a conversation.
    Answer(Parent),
    /// That dialog, sent.
    Answered(Parent),
    /// Cancels a job.
    Cancel(String),
    /// Takes a post down.
    Delete(String),
    /// Sends a prompt with a picture.
    WithPicture(Digest),
    /// Sends a prompt of one's own.
    New,
    /// Reports a post, with a reason.
    Report(String),
    /// Shows the model that was picked.
    PickModel,
    /// Runs an example of a model.
    Example(Digest, u32),
    /// Sets which channels take prompts.
    SetChannels,
    /// Opens the dialog with the allowance of the role that was picked.
    PickRole,
    /// That dialog, sent.
    SetAllowance(String),
}

/// A riff that needs no words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quick {
    /// A nearby result.
    Subtle,
    /// One further away.
    Strong,
    /// A new seed.
    Reroll,
    /// More pixels.
    Upscale,
    /// From further away.
    Zoom,
    /// Looking elsewhere.
    Pan(Pan),
    /// In words.
    Describe,
}

impl Quick {
    const ALL: [(&'static str, Self); 10] = [
        ("v", Self::Subtle),
        ("V", Self::Strong),
        ("r", Self::Reroll),
        ("u", Self::Upscale),
        ("z", Self::Zoom),
        ("pl", Self::Pan(Pan::Left)),
        ("pr", Self::Pan(Pan::Right)),
        ("pu", Self::Pan(Pan::Up)),
        ("pd", Self::Pan(Pan::Down)),
        ("d", Self::Describe),
    ];

    /// The riff itself.
    pub fn twist(self) -> Twist {
        match self {
            Self::Subtle => Twist::Vary(Strength::Subtle),
            Self::Strong => Twist::Vary(Strength::Strong),
            Self::Reroll => Twist::Reroll,
            Self::Upscale => Twist::Upscale(Enlarging::Best),
            Self::Zoom => Twist::Zoom,
            Self::Pan(pan) => Twist::Pan(pan),
            Self::Describe => Twist::Describe,
        }
    }

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(_, quick)| *quick == self).map_or("", |(word, _)| word)
    }

    fn of_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == word).map(|(_, quick)| *quick)
    }
}

impl Action {
    /// As a custom id.
    pub fn write(&self) -> String {
        let (verb, subject) = match self {
            Self::Riff(quick, parent) => (quick.word().to_owned(), result(parent)),
            Self::Edit(parent) => ("e".to_owned(), result(parent)),
            Self::Edited(parent) => ("E".to_owned(), result(parent)),
            Self::Answer(parent) => ("a".to_owned(), result(parent)),
            Self::Answered(parent) => ("A".to_owned(), result(parent)),
            Self::Cancel(job) => ("c".to_owned(), job.clone()),
            Self::Delete(job) => ("k".to_owned(), job.clone()),
            Self::Report(job) => ("R".to_owned(), job.clone()),
            Self::WithPicture(blob) => ("w".to_owned(), key(*blob)),
            Self::New => ("n".to_owned(), String::new()),
            Self::PickModel => ("m".to_owned(), String::new()),
            Self::Example(model, index) => ("t".to_owned(), format!("{}.{index}", key(*model))),
            Self::SetChannels => ("sc".to_owned(), String::new()),
            Self::PickRole => ("sr".to_owned(), String::new()),
            Self::SetAllowance(role) => ("sa".to_owned(), role.clone()),
        };
        let id = format!("{VERSION}{verb}.{subject}");
        debug_assert!(id.len() <= MAX_CHARS, "{id}");
        id
    }

    /// What a custom id means; `None` for one of another version or of somebody else's.
    pub fn read(id: &str) -> Option<Self> {
        let (verb, subject) = id.strip_prefix(VERSION)?.split_once('.')?;
        if let Some(quick) = Quick::of_word(verb) {
            return Some(Self::Riff(quick, parent(subject)?));
        }
        Some(match verb {
            "e" => Self::Edit(parent(subject)?),
            "E" => Self::Edited(parent(subject)?),
            "a" => Self::Answer(parent(subject)?),
            "A" => Self::Answered(parent(subject)?),
            "c" => Self::Cancel(job(subject)?),
            "k" => Self::Delete(job(subject)?),
            "R" => Self::Report(job(subject)?),
            "w" => Self::WithPicture(digest(subject)?),
            "n" => Self::New,
            "m" => Self::PickModel,
            "t" => {
                let Parent { recipe, index } = parent(subject)?;
                Self::Example(recipe, index)
            }
            "sc" => Self::SetChannels,
            "sr" => Self::PickRole,
            "sa" => Self::SetAllowance(subject.parse::<u64>().ok()?.to_string()),
            _ => return None,
        })
    }
}

fn key(digest: Digest) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest.bytes())
}

fn digest(key: &str) -> Option<Digest> {
    let bytes: [u8; 32] = BASE64_URL_SAFE_NO_PAD.decode(key).ok()?.try_into().ok()?;
    Some(Digest::from_bytes(bytes))
}

fn result(parent: &Parent) -> String {
    format!("{}.{}", key(parent.recipe), parent.index)
}

fn parent(text: &str) -> Option<Parent> {
    let (recipe, index) = text.split_once('.')?;
    Some(Parent { recipe: digest(recipe)?, index: index.parse().ok()? })
}

/// Ids of jobs are ULIDs.
fn job(text: &str) -> Option<String> {
    let fits =
        text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every() -> Vec<Action> {
        let parent = |index| Parent { recipe: Digest::of_bytes(b"a recipe"), index };
        let id = || "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned();
        let mut actions = vec![
            Action::Edit(parent(0)),
            Action::Edited(parent(u32::MAX)),
            Action::Answer(parent(1)),
            Action::Answered(parent(2)),
            Action::Cancel(id()),
            Action::Delete(id()),
            Action::Report(id()),
            Action::WithPicture(Digest::of_bytes(b"a picture")),
            Action::New,
            Action::PickModel,
            Action::Example(Digest::of_bytes(b"a model"), 2),
            Action::SetChannels,
            Action::PickRole,
            Action::SetAllowance(u64::MAX.to_string()),
        ];
        for (_, quick) in Quick::ALL {
            actions.push(Action::Riff(quick, parent(3)));
        }
        actions
    }

    #[test]
    fn every_action_is_read_as_it_was_written_and_fits() {
        let mut ids = Vec::new();
        for action in every() {
            let id = action.write();
            assert!(id.len() <= MAX_CHARS, "{id}");
            assert_eq!(Action::read(&id), Some(action));
            ids.push(id);
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), every().len(), "no two actions share an id");
    }

    #[test]
    fn what_is_not_ours_is_nothing() {
        let whole = Action::Riff(Quick::Subtle, Parent { recipe: Digest::of_bytes(b"x"), index: 0 }).write();
        for id in
            ["", "1", "1v", "1v.", "2v.x", "hello", "1?.x", "1c.short", "1sa.-3", &whole[..whole.len() - 9]]
        {
            assert_eq!(Action::read(id), None, "{id:?}");
        }
        assert_eq!(Action::read(&whole.replacen('1', "2", 1)), None, "another version");
    }
}
