//! A bot on serenity, and people who use everything it has.

use fake_discord::{Shown, attachment};
use insta::assert_snapshot;
use serde_json::json;

use crate::parrot::{Parrot, png};

#[tokio::test]
async fn a_command_is_answered_with_a_message_that_can_be_used() -> anyhow::Result<()> {
    let (discord, guild, _parrot) = Parrot::nest().await?;
    let art = guild.channel("art");
    let alice = guild.member("alice");
    let picture = attachment(png(4, 5), "a b.png", "image/png");
    let options = json!({"text": "hello", "times": 2, "tone": "Softly", "picture": picture});
    let shown = alice.slash(&art, "/echo", options).await?;
    assert!(matches!(shown, Shown::Message(_)));
    assert_snapshot!(shown, @r"
    Riff:
    text=hello times=2 tone=soft picture=a_b.png Some(4)
    [🔁 Again] [Off off] [Read ->]
    <Colour: Red* | Green>
    ");
    assert!(!shown.is_private());
    let message = discord.see(|message| message.text().contains("hello")).await?;

    let updated = alice.click(&message, "Again").await?;
    assert!(matches!(&updated, Shown::Updated(now) if now.id == message.id), "{updated}");
    assert_eq!(message.latest(&discord)?.text().matches("hello").count(), 2);
    let chosen = alice.choose(&message, "Colour", &["Green"]).await?;
    assert!(chosen.is_private() && chosen.text().contains("\"g\""), "{chosen}");
    assert_snapshot!(alice.click(&message, "Off").await.unwrap_err(), @r#""Off" is disabled"#);
    assert_snapshot!(
        alice.click(&message, "U1").await.unwrap_err(),
        @r#"no button "U1" among: 🔁 Again | Off | Read"#
    );
    let stale = alice.raw_component(&message, "from-long-ago").await?;
    assert_snapshot!(stale.text(), @"That is gone.");
    assert_eq!(discord.violations(), []);
    Ok(())
}

#[tokio::test]
async fn what_a_client_would_not_send_is_not_sent() -> anyhow::Result<()> {
    let (discord, guild, _parrot) = Parrot::nest().await?;
    let (art, alice) = (guild.channel("art"), guild.member("alice"));
    let sent = async |command: &str, options| {
        alice.slash(&art, command, options).await.map(|_| ()).map_err(|error| format!("{error:#}"))
    };
    let mut refused = Vec::new();
    refused.extend(sent("/sing", json!({})).await.err());
    refused.extend(sent("/echo", json!({})).await.err());
    refused.extend(sent("/echo", json!({"text": "a", "times": 9})).await.err());
    refused.extend(sent("/echo", json!({"text": "a", "tone": "shrill"})).await.err());
    refused.extend(sent("/echo", json!({"text": "a", "colour": "red"})).await.err());
    refused.extend(sent("/beak", json!({})).await.err());
    refused.extend(sent("/beak bite", json!({"who": "12"})).await.err());
    assert_snapshot!(refused.join("\n"), @r#"
    no command "sing" among: echo, think, ask, beak
    "text" is required
    option "times": 9 is above Some(4.0)
    option "tone": "shrill" is none of "Softly", "Loudly"
    no option "colour" among: text, times, tone, bird, picture
    /beak needs one of: bite
    option "who": "12" is nothing of kind 6
    "#);
    assert_eq!(discord.requests().count("POST", "/interactions"), 0);
    Ok(())
}

#[tokio::test]
async fn thinking_ends_in_the_same_message_and_followups_are_their_own() -> anyhow::Result<()> {
    let (discord, guild, _parrot) = Parrot::nest().await?;
    let (art, alice) = (guild.channel("art"), guild.member("alice"));
    let shown = alice.slash(&art, "/think", json!({})).await?;
    assert!(matches!(shown, Shown::Deferred { private: true, .. }));
    let thought = shown.settled(&discord).await?;
    assert_snapshot!(thought, @r"
    Riff: (only alice sees this)
    done
    | # A thought
    | depth: 3
    | image: thought.png 3×2
    ");
    let more = discord.see(|message| message.text() == "and more").await?;
    assert_eq!(&more.attachments[0].bytes().await?[..], b"words");
    assert_eq!(discord.private(&alice, |message| message.text().contains("done")).await?.id, thought.id);
    assert_eq!(discord.violations(), []);
    Ok(())
}

#[tokio::test]
async fn forms_menus_choices_and_direct_messages() -> anyhow::Result<()> {
    let (discord, guild, _parrot) = Parrot::nest().await?;
    let (art, alice, bob) = (guild.channel("art"), guild.member("alice"), guild.moderator("bob"));
    let asked = alice.slash(&art, "/ask", json!({})).await?;
    assert_snapshot!(asked, @r"
    == Who are you? ==
    Name*: Polly
    Why:
    ");
    let answer = alice.submit(asked.modal()?, json!({"Why": "because"})).await?;
    assert_snapshot!(answer, @r"
    Riff: (only alice sees this)
    Polly/because
    ");
    assert!(alice.submit(asked.modal()?, json!({"Name": "far too long a name"})).await.is_err());

    let offered = alice.autocomplete(&art, "/echo", "bird", "k").await?;
    assert_eq!(offered.iter().map(|choice| choice.name.as_str()).collect::<Vec<_>>(), ["Kakapo", "Kea"]);
    let bitten = alice.slash(&art, "/beak bite", json!({"who": bob.id()})).await?;
    assert_eq!(bitten.text(), "bites bob");
    let said = bob.say(&art, "quietly", &[]).await?;
    assert_eq!(alice.menu("Shout", &said).await?.text(), "QUIETLY");
    let alone = alice.dm_slash("/echo", json!({"text": "psst"})).await?;
    assert_eq!(alone.text(), "text=psst");
    assert_eq!(discord.messages(&alice.dm()).len(), 1);

    alice.mention(&art, "pieces of eight").await?;
    let answer = discord.see(|message| message.text() == "pieces of eight!").await?;
    assert_snapshot!(answer, @r"
    Riff:
    in reply to alice: @Riff pieces of eight
    pieces of eight!
    ");
    assert_eq!(discord.violations(), []);
    Ok(())
}
