//! Buttons, select menus and dialogs: what their custom id says is done, however old the message is.

use riff_hub::{
    admission::Refusal,
    hub::{Act, Remix, Twist},
    recipe::Parent,
};
use serenity::all::{
    ComponentInteractionData, ComponentInteractionDataKind, InputTextStyle, Message, ModalInteractionData,
};

use super::{
    Discord,
    asked::{Outcome, Said},
    dialog, generate, guide,
    id::{Action, Quick},
    incoming::{Incoming, Standing, community},
    look,
    reply::Answer,
};

fn unknown() -> Said {
    Said::new(
        "I don't know this button: it is from another version of Riff. Use “Fork settings” in the Apps menu of the post, or \
         /show with its recipe.",
    )
}

/// A button was pressed, or something was picked from a menu.
pub async fn pressed(
    discord: &Discord,
    incoming: &Incoming,
    data: &ComponentInteractionData,
) -> Result<Outcome, Said> {
    match Action::read(&data.custom_id).ok_or_else(unknown)? {
        Action::Riff(quick, parent) => quick_riff(discord, incoming, quick, parent).await,
        Action::Edit(parent) => edit(discord, &parent).await,
        Action::Answer(parent) => {
            let action = Action::Answered(parent);
            Ok(Answer::Dialog(dialog::one(action, "Reply", "Your reply", "", InputTextStyle::Paragraph))
                .into())
        }
        Action::Cancel(job) => cancel(discord, incoming, &job).await,
        Action::Delete(job) => delete(discord, incoming, &job).await,
        Action::PickModel => look::model(discord, &picked(data)?).await,
        Action::Example(model, index) => {
            let line = look::example(discord, model, index).await?;
            generate::submit(discord, incoming, &line).await
        }
        Action::SetChannels => guide::set_channels(discord, incoming, &picks(data)).await,
        Action::PickRole => guide::ask_allowance(&picked(data)?),
        _ => Err(unknown()),
    }
}

/// A dialog was sent.
pub async fn sent(
    discord: &Discord,
    incoming: &Incoming,
    data: &ModalInteractionData,
) -> Result<Outcome, Said> {
    let words = dialog::typed(data, dialog::PROMPT);
    let flags = dialog::typed(data, dialog::SETTINGS);
    match Action::read(&data.custom_id).ok_or_else(unknown)? {
        Action::Edited(parent) => edited(discord, incoming, parent, words, flags).await,
        Action::Answered(parent) => {
            generate::riff(discord, incoming, parent, Twist::Reply(words.to_owned())).await
        }
        Action::WithPicture(image) => {
            generate::submit(discord, incoming, &format!("/imagine {words} {flags} --image {image}")).await
        }
        Action::New => generate::submit(discord, incoming, &format!("/imagine {words} {flags}")).await,
        Action::Report(job) => report(discord, incoming, &job, words).await,
        Action::SetAllowance(role) => guide::set_allowance(discord, incoming, &role, words).await,
        _ => Err(unknown()),
    }
}

fn picks(data: &ComponentInteractionData) -> Vec<String> {
    match &data.kind {
        ComponentInteractionDataKind::StringSelect { values } => values.clone(),
        ComponentInteractionDataKind::RoleSelect { values } => {
            values.iter().map(ToString::to_string).collect()
        }
        ComponentInteractionDataKind::ChannelSelect { values } => {
            values.iter().map(ToString::to_string).collect()
        }
        ComponentInteractionDataKind::UserSelect { values } => {
            values.iter().map(ToString::to_string).collect()
        }
        _ => Vec::new(),
    }
}

fn picked(data: &ComponentInteractionData) -> Result<String, Said> {
    picks(data).into_iter().next().ok_or_else(|| Said::new("Pick one."))
}

async fn quick_riff(
    discord: &Discord,
    incoming: &Incoming,
    quick: Quick,
    parent: Parent,
) -> Result<Outcome, Said> {
    if matches!(quick, Quick::Subtle | Quick::Strong | Quick::Reroll) {
        let who = discord.asker(incoming).await?.who;
        if discord.hub.preferences(&who).await?.remix == Remix::On {
            return edit(discord, &parent).await;
        }
    }
    generate::riff(discord, incoming, parent, quick.twist()).await
}

/// Opens the dialog with a recipe's prompt and settings.
pub async fn edit(discord: &Discord, parent: &Parent) -> Result<Outcome, Said> {
    let (recipe, model) = discord.hub.recipe_and_model(parent).await?;
    Ok(Answer::Dialog(dialog::edit(parent, &recipe, &model.spec)).into())
}

async fn edited(
    discord: &Discord,
    incoming: &Incoming,
    parent: Parent,
    words: &str,
    flags: &str,
) -> Result<Outcome, Said> {
    let (_, model) = discord.hub.recipe_and_model(&parent).await?;
    let line = format!("{} {words} {flags}", model.spec.media.command().as_str());
    generate::riff(discord, incoming, parent, Twist::Edit(line)).await
}

/// Cancels a job: one's own, or as a moderator anybody's in this community. Its own card is changed by whoever watches the job; a list is shown anew.
async fn cancel(discord: &Discord, incoming: &Incoming, job: &str) -> Result<Outcome, Said> {
    let who = incoming.person.member();
    match discord.hub.cancel(&who, job).await {
        Err(Refusal::NotYours { .. }) if incoming.person.standing == Standing::Moderator => {
            let act = Act::TakeDown { job: job.to_owned() };
            discord.hub.moderate(&who, &community(incoming.guild), &act).await?;
        }
        done => drop(done?),
    }
    match incoming.message.as_ref().is_some_and(|message| shows(message, job)) {
        true => Ok(Answer::Done.into()),
        false => Ok(Answer::Update(look::line(discord, incoming).await?).into()),
    }
}

/// Whether a message is about one job alone; a list of jobs is not.
fn shows(message: &Message, job: &str) -> bool {
    let row = message.components.first();
    row.is_some_and(|row| row.components.len() == 1 && message.components.len() == 1)
        && serde_json::to_string(&message.components).is_ok_and(|components| components.contains(job))
}

/// Takes a post down: one's own, or as a moderator anybody's in this community. Whoever watches the job deletes its
/// messages.
async fn delete(discord: &Discord, incoming: &Incoming, job: &str) -> Result<Outcome, Said> {
    let who = incoming.person.member();
    match discord.hub.delete_post(&who, job).await {
        Err(Refusal::NotYours { .. }) if incoming.person.standing == Standing::Moderator => {
            let act = Act::TakeDown { job: job.to_owned() };
            discord.hub.moderate(&who, &community(incoming.guild), &act).await?;
        }
        done => done?,
    }
    Ok(Answer::private("Deleted. Its recipe stays for those who riffed on it.").into())
}

async fn report(discord: &Discord, incoming: &Incoming, job: &str, reason: &str) -> Result<Outcome, Said> {
    let asker = discord.asker(incoming).await?;
    let act = Act::Report { job: job.to_owned(), reason: reason.to_owned() };
    discord.hub.moderate(&asker.who, &community(incoming.guild), &act).await?;
    Ok(Answer::private("Thank you: the moderators see it with /mod audit.").into())
}
