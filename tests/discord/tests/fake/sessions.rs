//! The gateway as a client lives with it.

use std::time::Duration;

use fake_discord::{Discord, Fault, Refuse};
use serde_json::json;
use serenity::all::GatewayIntents;

use crate::parrot::{Parrot, http};

#[tokio::test]
async fn a_client_resumes_after_a_drop_and_hears_what_it_missed() -> anyhow::Result<()> {
    let (discord, guild, _parrot) = Parrot::nest().await?;
    let (art, alice) = (guild.channel("art"), guild.member("alice"));
    let before = discord.connected(1).await?;
    discord.disconnect_gateway();
    // Sent while nobody is connected: told on resuming.
    assert_eq!(
        alice.slash(&art, "/echo", json!({"text": "still there?"})).await?.text(),
        "text=still there?"
    );
    let after = discord.sessions();
    assert_eq!((after.len(), &after[0].id, after[0].resumes), (1, &before[0].id, 1));

    discord.reconnect_gateway();
    discord.sessions_as("a second resumption", |all| all.iter().any(|session| session.resumes == 2)).await?;
    assert_eq!(alice.slash(&art, "/echo", json!({"text": "and now?"})).await?.text(), "text=and now?");
    assert_eq!(discord.sessions_begun(), 1);
    Ok(())
}

#[tokio::test]
async fn a_client_begins_anew_when_its_session_is_invalid() -> anyhow::Result<()> {
    let (discord, guild, _parrot) = Parrot::nest().await?;
    let (art, alice) = (guild.channel("art"), guild.member("alice"));
    discord.invalidate_session();
    discord.connected(1).await?;
    assert_eq!(alice.slash(&art, "/echo", json!({"text": "again"})).await?.text(), "text=again");
    assert_eq!(discord.sessions_begun(), 2);
    Ok(())
}

#[tokio::test]
async fn message_content_is_for_those_who_may_read_it() -> anyhow::Result<()> {
    let discord = Discord::start().await?;
    discord.refuse_message_content(Refuse::Yes);
    let _refused = Parrot::hatch_with(&discord, GatewayIntents::all()).await?;
    discord.refused(4014).await?;
    let stranger = http(&discord, "somebody.elses.token");
    let _stranger = Parrot::hatch_from(stranger, GatewayIntents::GUILDS).await?;
    discord.refused(4004).await?;
    let _allowed = Parrot::hatch_with(&discord, GatewayIntents::GUILD_MESSAGES).await?;
    let sessions = discord.connected(1).await?;
    assert_eq!(sessions[0].intents, GatewayIntents::GUILD_MESSAGES.bits());
    Ok(())
}

#[tokio::test]
async fn a_late_answer_is_refused_by_the_clock_of_the_test() -> anyhow::Result<()> {
    let (discord, guild, _parrot) = Parrot::nest().await?;
    let (art, alice) = (guild.channel("art"), guild.member("alice"));
    // The answer takes effect but its confirmation is held: the person sees it all the same.
    let held = discord.hold_next("POST", "/callback");
    assert_eq!(alice.slash(&art, "/echo", json!({"text": "a"})).await?.text(), "text=a");
    held.arrived().await?;
    held.release();
    // Another is held before it takes effect, until it is too late.
    let held = discord.delay_next("POST", "/callback");
    let slow = alice.slash(&art, "/echo", json!({"text": "b"}));
    let late = async {
        held.arrived().await?;
        discord.advance(Duration::from_secs(4));
        held.release();
        discord.requested(|request| request.path.contains("/callback") && request.status == 404).await
    };
    let (slow, late) = tokio::join!(slow, late);
    late?;
    assert!(format!("{:#}", slow.unwrap_err()).contains("did not respond within 3s"));
    discord.fail_next("POST", "/callback", Fault::Hang, 1);
    let hung = alice.slash(&art, "/echo", json!({"text": "c"}));
    let late = async {
        discord.faults_spent().await?;
        discord.advance(Duration::from_secs(4));
        anyhow::Ok(())
    };
    let (hung, late) = tokio::join!(hung, late);
    late?;
    assert!(hung.is_err());
    Ok(())
}
