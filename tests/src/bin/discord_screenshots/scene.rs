//! What happens in the pictures: people on the fake Discord use the real bot.

use anyhow::Context;
use fake_discord::{Channel, Discord, Guild, Member, Message};
use riff_tests::Riff;
use serde_json::json;

use crate::html::Page;

/// A server with its people, and the hub that its bot belongs to.
pub struct Stage {
    discord: Discord,
    guild: Guild,
    art: Channel,
    alice: Member,
    bob: Member,
    riff: Riff,
    page: Page,
}

impl Stage {
    /// A running hub with its engines, in a server.
    pub async fn set() -> anyhow::Result<Self> {
        let discord = Discord::start().await?;
        let guild = discord.guild("Lighthouse").await?;
        let art = guild.channel("art");
        let (alice, bob) = (guild.member("alice"), guild.member("bob"));
        let mut page = Page::default();
        for person in [&alice, &bob] {
            page.name(format!("<@{}>", person.id()), format!("@{}", person.name));
        }
        page.name(format!("<@{}>", discord.bot_id()), "@Riff".to_owned());
        page.name(format!("<#{}>", art.id()), "#art".to_owned());
        let here = std::env::current_exe()?;
        let binary = here.with_file_name("riff-under-test");
        let mut riff = Riff::new(binary.to_str().context("the path is text")?)?;
        riff.on_discord(&discord).as_it_comes();
        riff.set("RIFF_PUBLIC_URL", "https://riff.example").start().await?;
        discord.connected(1).await?;
        let offered = |request: &fake_discord::Request| {
            let body = request.body.to_string();
            request.method == "PUT" && body.contains("\"chaos\"") && body.contains("\"max_tokens\"")
        };
        discord.requested(offered).await.context("the models did not come: are the weights there?")?;
        Ok(Self { discord, guild, art, alice, bob, riff, page })
    }

    /// Stops the hub; Discord must have had nothing to complain about.
    pub async fn end(mut self) -> anyhow::Result<()> {
        self.riff.stop().await?;
        let violations = self.discord.violations();
        anyhow::ensure!(violations.is_empty(), "{violations:?}");
        Ok(())
    }

    async fn imagine(&self, prompt: &str) -> anyhow::Result<Message> {
        let shown = self.alice.slash(&self.art, "/imagine", json!({"prompt": prompt})).await?;
        shown.message()?.until(&self.discord, |message| message.buttons().len() > 1).await
    }

    /// A post with its pictures and buttons.
    pub async fn grid(&self) -> anyhow::Result<String> {
        let post = self.imagine("a blue cat next to two trees at night --seed 1").await?;
        Ok(self.page.messages("art", &[post]))
    }

    /// The dialog behind ✏️ Remix.
    pub async fn remix(&self) -> anyhow::Result<String> {
        let post = self.imagine("a pink unicorn --seed 4").await?;
        let form = self.bob.click(&post, "Remix").await?;
        Ok(self.page.messages("art", &[post]) + &self.page.modal(form.modal()?))
    }

    /// A sentence that only who asked sees.
    pub async fn refusal(&self) -> anyhow::Result<String> {
        let options = json!({"prompt": "a lighthouse at dusk --sed 7"});
        let shown = self.alice.slash(&self.art, "/imagine", options).await?;
        Ok(self.page.messages("art", &[shown.message()?.clone()]))
    }

    /// The screen of `/mod setup`, with some rules set.
    pub async fn setup(&mut self) -> anyhow::Result<String> {
        let mia = self.guild.moderator("mia");
        let patrons = self.guild.role("patrons");
        let sketches = self.guild.channel("sketches");
        self.page.name(format!("<@{}>", mia.id()), "@mia".to_owned());
        self.page.name(format!("<@&{}>", patrons.id()), "@patrons".to_owned());
        self.page.name(format!("<#{}>", sketches.id()), "#sketches".to_owned());
        mia.slash(&self.art, "/mod block", json!({"word": "gore"})).await?;
        let options = json!({"role": patrons.id(), "seconds": 1_800});
        mia.slash(&self.art, "/mod allowance", options).await?;
        let screen = mia.slash(&self.art, "/mod setup", json!({})).await?;
        let picked = [self.art.id(), sketches.id()];
        let screen = mia.choose(screen.message()?, "channels", &picked).await?;
        Ok(self.page.messages("art", &[screen.message()?.clone()]))
    }

    /// A question to the bot, and a reply to its answer.
    pub async fn conversation(&self) -> anyhow::Result<String> {
        // Nothing is left to chance, so that the picture is the same whenever it is taken.
        for person in [&self.alice, &self.bob] {
            let defaults = json!({"defaults": "--temperature 0 --seed 1"});
            person.slash(&self.art, "/settings", defaults).await?;
        }
        let question = self.alice.mention(&self.art, "what is an ocean? One sentence.").await?;
        let answer = self.answer_to(&question).await?;
        let further = self.bob.reply(&answer, "and why does it matter? One sentence.").await?;
        let last = self.answer_to(&further).await?;
        Ok(self.page.messages("art", &[question, answer, further, last]))
    }

    async fn answer_to(&self, question: &Message) -> anyhow::Result<Message> {
        let whole =
            |message: &Message| message.reply_to() == Some(question.id()) && message.buttons().len() > 1;
        self.discord.see(whole).await
    }
}
