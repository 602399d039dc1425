//! What a person's client fills in, seen in what is posted to an endpoint.

use fake_discord::{Discord, Guild};
use serde_json::{Value, json};
use serenity::all::{
    ChannelId, CreateActionRow, CreateAllowedMentions, CreateMessage, CreateSelectMenu, CreateSelectMenuKind,
};

use crate::{parrot::http, signed::endpoint};

async fn menus(discord: &Discord, guild: &Guild) -> anyhow::Result<fake_discord::Message> {
    let menu =
        |name: &str, kind| CreateActionRow::SelectMenu(CreateSelectMenu::new(name, kind).placeholder(name));
    let message = CreateMessage::new()
        .content("settings")
        .allowed_mentions(CreateAllowedMentions::new())
        .components(vec![
            menu("Role", CreateSelectMenuKind::Role { default_roles: None }),
            menu("Channel", CreateSelectMenuKind::Channel { channel_types: None, default_channels: None }),
        ]);
    let channel: ChannelId = guild.system_channel().id.parse()?;
    channel.send_message(&http(discord, &discord.token()), message).await?;
    discord.see(|message| message.text() == "settings").await
}

fn posted(discord: &Discord) -> anyhow::Result<Value> {
    let delivery = discord.last_delivery().unwrap_or_else(|| discord.sign("null", 0));
    Ok(serde_json::from_str(&delivery.body)?)
}

#[tokio::test]
async fn roles_and_channels_are_chosen_by_id() -> anyhow::Result<()> {
    let discord = Discord::start().await?;
    let guild = discord.guild("Lighthouse").await?;
    discord.deliver_by_http(&endpoint(&discord).await?);
    let (patrons, mia) = (guild.role("patrons"), guild.moderator("mia"));
    let message = menus(&discord, &guild).await?;
    mia.choose(&message, "Role", &[patrons.id()]).await?;
    let interaction = posted(&discord)?;
    assert_eq!(interaction["data"]["values"], json!([patrons.id]));
    assert_eq!(interaction["data"]["resolved"]["roles"][patrons.id()]["name"], "patrons");
    let permissions: u64 = interaction["member"]["permissions"].as_str().unwrap_or_default().parse()?;
    assert_ne!(permissions & fake_discord::permissions::MANAGE_GUILD, 0);

    let late = guild.nsfw_channel("after-dark");
    mia.locale("de").choose(&message, "Channel", &[late.id()]).await?;
    let interaction = posted(&discord)?;
    assert_eq!(interaction["data"]["resolved"]["channels"][late.id()]["nsfw"], true);
    assert_eq!(interaction["locale"], "de");
    assert!(mia.choose(&message, "Channel", &[patrons.id()]).await.is_err());

    let thread = guild.thread(&late, "quiet talk", None)?;
    mia.raw_component(&mia.say(&thread, "hm", &[]).await?, "x").await?;
    let interaction = posted(&discord)?;
    assert_eq!(
        (&interaction["channel"]["type"], &interaction["channel"]["parent_id"]),
        (&json!(11), &json!(late.id))
    );
    assert_eq!(discord.violations(), []);
    Ok(())
}
