//! A small bot on serenity: it echoes, thinks, asks, and answers when spoken to.

use anyhow::Context as _;
use fake_discord::{Discord, Guild};
use serenity::all::{
    ActionRowComponent, AutocompleteChoice, ClientBuilder, Command, CommandInteraction, CommandOptionType,
    CommandType, ComponentInteraction, Context, CreateActionRow, CreateAllowedMentions, CreateAttachment,
    CreateAutocompleteResponse, CreateButton, CreateCommand, CreateCommandOption, CreateEmbed,
    CreateInputText, CreateInteractionResponse, CreateInteractionResponseFollowup,
    CreateInteractionResponseMessage, CreateMessage, CreateModal, CreateSelectMenu, CreateSelectMenuKind,
    CreateSelectMenuOption, EditInteractionResponse, EventHandler, GatewayIntents, Http, HttpBuilder,
    InputTextStyle, Interaction, Message, ModalInteraction, Ready, ResolvedOption, ResolvedValue,
    async_trait,
};
use tokio::task::JoinHandle;

pub struct Parrot {
    task: JoinHandle<()>,
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client of the fake's REST side.
pub fn http(discord: &Discord, token: &str) -> Http {
    let http = HttpBuilder::new(token).proxy(discord.url()).ratelimiter_disabled(true);
    http.default_allowed_mentions(CreateAllowedMentions::new())
        .application_id(discord.application_id().into())
        .build()
}

impl Parrot {
    pub async fn hatch(discord: &Discord) -> anyhow::Result<Self> {
        let intents =
            GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::DIRECT_MESSAGES;
        Self::hatch_with(discord, intents).await
    }

    pub async fn hatch_with(discord: &Discord, intents: GatewayIntents) -> anyhow::Result<Self> {
        Self::hatch_from(http(discord, &discord.token()), intents).await
    }

    pub async fn hatch_from(http: Http, intents: GatewayIntents) -> anyhow::Result<Self> {
        let mut client = ClientBuilder::new_with_http(http, intents).event_handler(Voice).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = client.start().await {
                eprintln!("the parrot fell silent: {error}");
            }
        });
        Ok(Self { task })
    }

    /// A guild with a parrot in it that is ready.
    pub async fn nest() -> anyhow::Result<(Discord, Guild, Self)> {
        let discord = Discord::start().await?;
        let guild = discord.guild("Lighthouse").await?;
        let parrot = Self::hatch(&discord).await?;
        discord.registered("Shout").await?;
        Ok((discord, guild, parrot))
    }
}

struct Voice;

#[async_trait]
impl EventHandler for Voice {
    async fn ready(&self, ctx: Context, _: Ready) {
        let prompt =
            CreateCommandOption::new(CommandOptionType::String, "text", "What to say").required(true);
        let times = CreateCommandOption::new(CommandOptionType::Integer, "times", "How often")
            .min_int_value(1)
            .max_int_value(4);
        let tone = CreateCommandOption::new(CommandOptionType::String, "tone", "How")
            .add_string_choice("Softly", "soft")
            .add_string_choice("Loudly", "loud");
        let bird =
            CreateCommandOption::new(CommandOptionType::String, "bird", "Which").set_autocomplete(true);
        let picture = CreateCommandOption::new(CommandOptionType::Attachment, "picture", "A picture");
        let who = CreateCommandOption::new(CommandOptionType::User, "who", "Who").required(true);
        let bite =
            CreateCommandOption::new(CommandOptionType::SubCommand, "bite", "Bite").add_sub_option(who);
        let commands = vec![
            CreateCommand::new("echo")
                .description("Say it again")
                .set_options(vec![prompt, times, tone, bird, picture]),
            CreateCommand::new("think").description("Think first"),
            CreateCommand::new("ask").description("Ask"),
            CreateCommand::new("beak").description("With the beak").add_option(bite),
            CreateCommand::new("Shout").kind(CommandType::Message),
        ];
        Command::set_global_commands(&ctx.http, commands).await.expect("commands are registered");
    }

    async fn message(&self, ctx: Context, message: Message) {
        if message.mentions.iter().any(|user| user.bot) && !message.author.bot {
            let text = message.content.split_once('>').map_or("", |(_, text)| text.trim());
            let answer = CreateMessage::new().content(format!("{text}!")).reference_message(&message);
            message.channel_id.send_message(&ctx.http, answer).await.expect("it answers");
        }
    }

    async fn interaction_create(&self, ctx: Context, interaction: Interaction) {
        let done = match interaction {
            Interaction::Command(command) => self.command(&ctx, command).await,
            Interaction::Component(component) => self.component(&ctx, component).await,
            Interaction::Modal(modal) => self.modal(&ctx, modal).await,
            Interaction::Autocomplete(command) => self.offer(&ctx, command).await,
            _ => Ok(()),
        };
        if let Err(error) = done {
            eprintln!("the parrot chokes: {error:#}");
        }
    }
}

fn says(text: impl Into<String>) -> CreateInteractionResponseMessage {
    CreateInteractionResponseMessage::new().content(text).allowed_mentions(CreateAllowedMentions::new())
}

impl Voice {
    async fn command(&self, ctx: &Context, command: CommandInteraction) -> anyhow::Result<()> {
        match command.data.name.as_str() {
            "echo" => self.echo(ctx, &command).await,
            "think" => {
                command.defer_ephemeral(&ctx.http).await?;
                let picture = CreateAttachment::bytes(png(3, 2), "thought.png");
                let embed =
                    CreateEmbed::new().title("A thought").attachment("thought.png").field("depth", "3", true);
                let edit = EditInteractionResponse::new()
                    .content("done")
                    .allowed_mentions(CreateAllowedMentions::new())
                    .embed(embed)
                    .new_attachment(picture);
                command.edit_response(&ctx.http, edit).await?;
                let more = CreateInteractionResponseFollowup::new()
                    .content("and more")
                    .allowed_mentions(CreateAllowedMentions::new())
                    .add_file(CreateAttachment::bytes("words", "words.txt"));
                command.create_followup(&ctx.http, more).await?;
                Ok(())
            }
            "ask" => {
                let name =
                    CreateInputText::new(InputTextStyle::Short, "Name", "name").value("Polly").max_length(10);
                let why = CreateInputText::new(InputTextStyle::Paragraph, "Why", "why").required(false);
                let rows = vec![CreateActionRow::InputText(name), CreateActionRow::InputText(why)];
                let modal = CreateModal::new("asked", "Who are you?").components(rows);
                Ok(command.create_response(&ctx.http, CreateInteractionResponse::Modal(modal)).await?)
            }
            "beak" => {
                let options = command.data.options();
                let Some(ResolvedOption { value: ResolvedValue::SubCommand(inner), .. }) = options.first()
                else {
                    anyhow::bail!("no subcommand");
                };
                let Some(ResolvedOption { value: ResolvedValue::User(user, Some(_)), .. }) = inner.first()
                else {
                    anyhow::bail!("nobody");
                };
                let answer = says(format!("bites {}", user.name));
                Ok(command.create_response(&ctx.http, CreateInteractionResponse::Message(answer)).await?)
            }
            _ => {
                let target = command.data.resolved.messages.values().next().context("a target")?;
                let answer = says(target.content.to_uppercase());
                Ok(command.create_response(&ctx.http, CreateInteractionResponse::Message(answer)).await?)
            }
        }
    }

    async fn echo(&self, ctx: &Context, command: &CommandInteraction) -> anyhow::Result<()> {
        let mut text = String::new();
        for option in command.data.options() {
            let value = match option.value {
                ResolvedValue::String(value) => value.to_owned(),
                ResolvedValue::Integer(value) => value.to_string(),
                ResolvedValue::Attachment(file) => format!("{} {:?}", file.filename, file.width),
                other => format!("{other:?}"),
            };
            text += &format!("{}={value} ", option.name);
        }
        let menu = CreateSelectMenuKind::String {
            options: vec![
                CreateSelectMenuOption::new("Red", "r").default_selection(true),
                CreateSelectMenuOption::new("Green", "g"),
            ],
        };
        let rows = vec![
            CreateActionRow::Buttons(vec![
                CreateButton::new("again").label("Again").emoji('🔁'),
                CreateButton::new("off").label("Off").disabled(true),
                CreateButton::new_link("https://example.org").label("Read"),
            ]),
            CreateActionRow::SelectMenu(CreateSelectMenu::new("colour", menu).placeholder("Colour")),
        ];
        let answer = says(text.trim()).components(rows);
        Ok(command.create_response(&ctx.http, CreateInteractionResponse::Message(answer)).await?)
    }

    async fn component(&self, ctx: &Context, component: ComponentInteraction) -> anyhow::Result<()> {
        let answer = match component.data.custom_id.as_str() {
            "again" => {
                let again = format!("{} {}", component.message.content, component.message.content);
                CreateInteractionResponse::UpdateMessage(says(again))
            }
            "colour" => {
                CreateInteractionResponse::Message(says(format!("{:?}", component.data.kind)).ephemeral(true))
            }
            _ => CreateInteractionResponse::Message(says("That is gone.").ephemeral(true)),
        };
        Ok(component.create_response(&ctx.http, answer).await?)
    }

    async fn modal(&self, ctx: &Context, modal: ModalInteraction) -> anyhow::Result<()> {
        let inputs = modal.data.components.iter().flat_map(|row| &row.components);
        let values = inputs.filter_map(|input| match input {
            ActionRowComponent::InputText(text) => text.value.clone(),
            _ => None,
        });
        let answer = says(values.collect::<Vec<_>>().join("/")).ephemeral(true);
        Ok(modal.create_response(&ctx.http, CreateInteractionResponse::Message(answer)).await?)
    }

    async fn offer(&self, ctx: &Context, command: CommandInteraction) -> anyhow::Result<()> {
        let typed = command.data.autocomplete().context("something is typed")?.value.to_owned();
        let birds =
            ["Macaw", "Kakapo", "Kea"].into_iter().filter(|bird| bird.to_lowercase().contains(&typed));
        let choices = birds.map(|bird| AutocompleteChoice::new(bird, bird)).collect();
        let answer = CreateAutocompleteResponse::new().set_choices(choices);
        Ok(command.create_response(&ctx.http, CreateInteractionResponse::Autocomplete(answer)).await?)
    }
}

/// A picture of that size.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(width, height).write_to(&mut bytes, image::ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}
