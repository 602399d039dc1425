//! Every interaction comes in here, whether the gateway or the endpoint brought it, and goes out with an answer.

use std::sync::Arc;

use riff_hub::hub::Privacy;
use serenity::model::application::{CommandDataOptionValue, Interaction};

use super::{
    Discord,
    asked::{self, Outcome, Said},
    commands, generate,
    incoming::Incoming,
    look, menu, moderate, press,
    reply::Reply,
};

/// Handles one interaction in a task of its own, once.
pub fn spawn(discord: &Arc<Discord>, interaction: Interaction) {
    if !discord.seen.first_time(interaction.id().get()) {
        return;
    }
    let discord = discord.clone();
    discord.handlers.clone().spawn(async move { handle(&discord, interaction).await });
}

async fn handle(discord: &Discord, interaction: Interaction) {
    let incoming = match &interaction {
        Interaction::Command(command) | Interaction::Autocomplete(command) => Incoming::of_command(command),
        Interaction::Component(component) => Incoming::of_component(component),
        Interaction::Modal(modal) => Incoming::of_modal(modal),
        _ => return,
    };
    let promise = promised(&incoming, &interaction);
    let reply = Reply::new(&discord.rest, discord.application, (incoming.id, &incoming.token), promise);
    let work = async {
        let outcome = outcome(discord, &incoming, &interaction).await;
        discord.conclude(&incoming, &reply, outcome).await;
    };
    reply.within_time(work).await;
}

/// Who will see the answer, as far as that is known before there is one.
fn promised(incoming: &Incoming, interaction: &Interaction) -> Privacy {
    let asks_in_private = match interaction {
        Interaction::Command(command) => {
            let options = generate::Options::new(&command.data, &command.data.options);
            let private = options.get("private").and_then(CommandDataOptionValue::as_bool);
            command.data.name == "shorten" || private.unwrap_or_default()
        }
        _ => incoming.guild.is_some() && incoming.privacy() == Privacy::Private,
    };
    asked::privacy(asks_in_private)
}

async fn outcome(discord: &Discord, incoming: &Incoming, interaction: &Interaction) -> Result<Outcome, Said> {
    match interaction {
        Interaction::Autocomplete(command) => commands::suggest(discord, command).await,
        Interaction::Component(component) => press::pressed(discord, incoming, &component.data).await,
        Interaction::Modal(modal) => press::sent(discord, incoming, &modal.data).await,
        Interaction::Command(command) => match command.data.name.as_str() {
            "imagine" | "sound" | "ask" | "blend" | "describe" | "transcribe" | "upscale" | "shorten" => {
                generate::run(discord, incoming, &command.data).await
            }
            "mod" => moderate::run(discord, incoming, &command.data).await,
            name if menu::is(name) => menu::run(discord, incoming, &command.data).await,
            _ => look::run(discord, incoming, &command.data).await,
        },
        _ => Err(Said::new("This kind of interaction is new to me.")),
    }
}
