//! Files that members attach or point at: fetched from Discord's own hosts, and pictures read for the recipe in them.

use riff_hub::{canonical::Digest, hub::Opened, media, model::Media, recipe::Parent};
use serenity::model::channel::{Attachment, Message};

use super::{Discord, asked::Said, incoming::result_on};

impl Discord {
    /// The bytes of an attachment.
    pub async fn fetch(&self, attachment: &Attachment) -> Result<Vec<u8>, Said> {
        if attachment.size as usize > media::MAX_BYTES {
            return Err(Said(format!(
                "{} is too large: at most {} MiB are read.",
                attachment.filename,
                media::MAX_BYTES >> 20
            )));
        }
        if !self.rest.hosts(&attachment.url) {
            return Err(Said(format!("{} is not on Discord: attach it as a file.", attachment.filename)));
        }
        let fetched = self.rest.download(&attachment.url, media::MAX_BYTES).await;
        fetched.map_err(|error| {
            tracing::warn!(%error, "an attachment could not be fetched");
            Said(format!("{} could not be fetched from Discord: try again in a moment.", attachment.filename))
        })
    }

    /// An attached file as an input of a model.
    pub async fn input(&self, attachment: &Attachment, media: Media) -> Result<Digest, Said> {
        Ok(self.hub.take(media, self.fetch(attachment).await?.into()).await?)
    }

    /// What a picture was made from.
    pub async fn opened(&self, attachment: &Attachment) -> Result<Opened, Said> {
        Ok(self.hub.open_picture(&self.fetch(attachment).await?).await?)
    }

    /// The result that an attached picture is.
    pub async fn result_in(&self, attachment: &Attachment) -> Result<Parent, Said> {
        match self.opened(attachment).await? {
            Opened::Result(parent) => Ok(parent),
            Opened::Line(_) => Err(Said(format!(
                "{} was not made here: this works with pictures made here, as PNG files. Use “Fork settings” to make it here \
                 first.",
                attachment.filename
            ))),
        }
    }

    /// The result that a message shows: of its buttons, else of the recipe in its first picture.
    pub async fn result_of(&self, message: &Message) -> Result<Parent, Said> {
        if message.author.id == self.bot
            && let Some(parent) = result_on(message)
        {
            return Ok(parent);
        }
        self.result_in(first_picture(message)?).await
    }
}

/// The first picture of a message.
pub fn first_picture(message: &Message) -> Result<&Attachment, Said> {
    let picture = message.attachments.iter().find(|attachment| is_picture(attachment));
    picture.ok_or_else(|| Said::new("There is no picture in this message: use this on one with a picture."))
}

/// Whether an attachment is a picture.
pub fn is_picture(attachment: &Attachment) -> bool {
    let named = attachment.content_type.as_deref().is_some_and(|kind| kind.starts_with("image/"));
    named || attachment.width.is_some()
}
