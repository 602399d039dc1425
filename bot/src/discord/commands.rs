//! The commands that Discord is told of. Their options, ranges and choices come from the schemas of the models that are
//! here; nothing else says which settings there are.

use riff_hub::{
    model::{Media, ModelSpec, input},
    schema::{self, Field, Kind},
};
use serde_json::{Map, Value, json};
use serenity::model::application::{CommandInteraction, InteractionContext};

use super::{
    Discord,
    asked::{Outcome, Said},
    incoming::MODERATES,
    locale::{localize, words},
    message::clip,
    reply::Answer,
};

/// Options of a command, choices of an option
/// (<https://discord.com/developers/docs/interactions/application-commands#application-command-object-application-command-structure>).
const MAX_OPTIONS: usize = 25;
const MAX_CHOICES: usize = 25;
/// Longest description.
const MAX_DESCRIPTION: usize = 100;
/// Whole numbers that Discord lets people type (±2⁵³).
const EXACT: i64 = 9_007_199_254_740_992;

/// Types of options
/// (<https://discord.com/developers/docs/interactions/application-commands#application-command-object-application-command-option-type>).
mod kind {
    pub const SUBCOMMAND: u8 = 1;
    pub const STRING: u8 = 3;
    pub const INTEGER: u8 = 4;
    pub const BOOLEAN: u8 = 5;
    pub const USER: u8 = 6;
    pub const CHANNEL: u8 = 7;
    pub const ROLE: u8 = 8;
    pub const NUMBER: u8 = 10;
    pub const ATTACHMENT: u8 = 11;
}

/// Every command, for these models.
pub fn declare(models: &[ModelSpec]) -> Vec<Value> {
    let making = |media: Media| {
        models.iter().filter(|spec| spec.media == media && !spec.is_upscaler()).collect::<Vec<_>>()
    };
    let pictures = making(Media::Image);
    let texts = making(Media::Text);
    let recipe = || option("option.recipe", kind::STRING);
    let image = || option("option.image", kind::ATTACHMENT);
    let mut ask = vec![required(limited(option("option.question", kind::STRING), 4_000)), model_option()];
    ask.push(option("option.private", kind::BOOLEAN));
    let mut commands = vec![
        command(
            "imagine",
            settings(
                vec![required(limited(option("option.prompt", kind::STRING), 4_000)), model_option()],
                &pictures,
            ),
        ),
        command("ask", settings(ask, &texts)),
        command(
            "blend",
            vec![
                required(option("option.first", kind::ATTACHMENT)),
                required(option("option.second", kind::ATTACHMENT)),
            ],
        ),
        command("describe", vec![required(image()), option("option.question", kind::STRING)]),
        command(
            "upscale",
            vec![image(), recipe(), choices(option("option.how", kind::STRING), &["again", "upscaler"])],
        ),
        command("models", vec![suggested(option("option.name", kind::STRING))]),
        command("settings", vec![option("option.defaults", kind::STRING)]),
        command("queue", Vec::new()),
        command("quota", Vec::new()),
        command("show", vec![required(recipe())]),
        command("shorten", vec![required(limited(option("option.prompt", kind::STRING), 1_000))]),
        command("remix", vec![required(choices(option("option.mode", kind::STRING), &["on", "off"]))]),
        moderation(),
    ];
    commands.extend(of_sound(models));
    commands.extend(super::menu::NAMES.iter().map(|(key, _)| menu(key)));
    commands
}

/// The commands of sound, where a model makes or takes some.
fn of_sound(models: &[ModelSpec]) -> Vec<Value> {
    let makers: Vec<&ModelSpec> = models.iter().filter(|spec| spec.media == Media::Audio).collect();
    let listens = |spec: &ModelSpec| spec.media == Media::Text && spec.takes(input::AUDIO);
    let mut commands = Vec::new();
    if !makers.is_empty() {
        let prompt = required(limited(option("option.heard", kind::STRING), 4_000));
        commands.push(command("sound", settings(vec![prompt, model_option()], &makers)));
    }
    if models.iter().any(listens) {
        let file = required(option("option.audio", kind::ATTACHMENT));
        commands.push(command("transcribe", vec![file, option("option.question", kind::STRING)]));
    }
    commands
}

fn moderation() -> Value {
    let user = || required(option("option.user", kind::USER));
    let word = || required(limited(option("option.word", kind::STRING), 100));
    let reason = || limited(option("option.reason", kind::STRING), 300);
    let which =
        || vec![suggested(option("option.model", kind::STRING)), option("option.channel", kind::CHANNEL)];
    let subcommands = [
        ("mod.setup", Vec::new()),
        ("mod.rules", Vec::new()),
        ("mod.audit", Vec::new()),
        (
            "mod.allowance",
            vec![
                required(option("option.role", kind::ROLE)),
                required(ranged(option("option.seconds", kind::INTEGER), 0, 86_400)),
            ],
        ),
        ("mod.grant", vec![user(), required(ranged(option("option.more", kind::INTEGER), 1, 86_400))]),
        ("mod.ban", vec![user(), reason()]),
        ("mod.unban", vec![user()]),
        (
            "mod.timeout",
            vec![user(), required(ranged(option("option.minutes", kind::INTEGER), 1, 40_320)), reason()],
        ),
        ("mod.block", vec![word()]),
        ("mod.unblock", vec![word()]),
        ("mod.pause", which()),
        ("mod.resume", which()),
    ];
    let options = subcommands.into_iter().map(|(key, options)| {
        let mut subcommand = option(key, kind::SUBCOMMAND);
        subcommand["options"] = json!(options);
        subcommand
    });
    let mut moderation = command("mod", options.collect());
    moderation["contexts"] = json!([InteractionContext::Guild]);
    moderation["default_member_permissions"] = json!(MODERATES.bits().to_string());
    moderation
}

fn command(key: &str, options: Vec<Value>) -> Value {
    let mut command = named(key);
    command.insert("type".to_owned(), json!(1));
    command.insert("options".to_owned(), json!(options));
    command.insert("contexts".to_owned(), json!([InteractionContext::Guild, InteractionContext::BotDm]));
    command.insert("integration_types".to_owned(), json!([0]));
    Value::Object(command)
}

fn menu(key: &str) -> Value {
    let mut command = named(key);
    command.insert("type".to_owned(), json!(3));
    command.insert("contexts".to_owned(), json!([InteractionContext::Guild, InteractionContext::BotDm]));
    command.insert("integration_types".to_owned(), json!([0]));
    Value::Object(command)
}

/// Name and description of a key, in all languages.
fn named(key: &str) -> Map<String, Value> {
    let mut object = Map::new();
    if let Some(words) = words(key) {
        object.insert("name".to_owned(), json!(words.name));
        if !words.description.is_empty() {
            object.insert("description".to_owned(), json!(words.description));
        }
    }
    localize(&mut object, key);
    object
}

fn option(key: &str, kind: u8) -> Value {
    let mut option = named(key);
    option.insert("type".to_owned(), json!(kind));
    Value::Object(option)
}

fn model_option() -> Value {
    suggested(option("option.model", kind::STRING))
}

fn required(mut option: Value) -> Value {
    option["required"] = json!(true);
    option
}

fn suggested(mut option: Value) -> Value {
    option["autocomplete"] = json!(true);
    option
}

fn limited(mut option: Value, max_length: usize) -> Value {
    option["max_length"] = json!(max_length);
    option
}

fn ranged(mut option: Value, min: i64, max: i64) -> Value {
    option["min_value"] = json!(min);
    option["max_value"] = json!(max);
    option
}

fn choices(mut option: Value, words: &[&str]) -> Value {
    let choices: Vec<Value> = words.iter().map(|word| json!({"name": word, "value": word})).collect();
    option["choices"] = json!(choices);
    option
}

/// The options of a command that makes something: those it has anyway, and the settings of the models.
fn settings(mut options: Vec<Value>, models: &[&ModelSpec]) -> Vec<Value> {
    let fields = union(models);
    let left = MAX_OPTIONS.saturating_sub(options.len());
    options.extend(fields.iter().filter(|field| typeable(&field.name)).take(left).map(setting));
    options
}

/// Whether Discord takes it as the name of an option.
fn typeable(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-')
}

fn setting(field: &Field) -> Value {
    let mut option = match &field.kind {
        Kind::Integer { min, max, .. } => {
            let option = json!({"type": kind::INTEGER});
            ranged(option, *min.max(&-EXACT), *max.min(&EXACT))
        }
        Kind::Number { min, max } => {
            json!({"type": kind::NUMBER, "min_value": min.max(-EXACT as f64), "max_value": max.min(EXACT as f64)})
        }
        Kind::Switch => json!({"type": kind::BOOLEAN}),
        Kind::Choice(words) if words.len() <= MAX_CHOICES => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            choices(json!({"type": kind::STRING}), &words)
        }
        Kind::Choice(_) => suggested(json!({"type": kind::STRING})),
        Kind::Text { max_chars } => limited(json!({"type": kind::STRING}), (*max_chars).clamp(1, 4_000)),
        Kind::List => json!({"type": kind::STRING}),
        Kind::File(_) | Kind::Files(_) => json!({"type": kind::ATTACHMENT}),
    };
    if let Some(object) = option.as_object_mut() {
        let help = if field.help.is_empty() { field.kind.expected() } else { field.help.clone() };
        object.insert("name".to_owned(), json!(field.name));
        object.insert("description".to_owned(), json!(clip(&help, MAX_DESCRIPTION)));
        localize(object, &format!("field.{}", field.name));
    }
    option
}

/// The fields of all models by name, in the order of the first model that has them. Where models differ, what either
/// admits can be typed; the model itself says no to what it does not take.
pub fn union(models: &[&ModelSpec]) -> Vec<Field> {
    let mut fields: Vec<Field> = Vec::new();
    for field in models.iter().flat_map(|spec| schema::fields(spec)) {
        match fields.iter_mut().find(|known| known.name == field.name) {
            Some(known) => known.kind = wider(&known.kind, &field.kind),
            None => fields.push(field),
        }
    }
    fields
}

fn wider(a: &Kind, b: &Kind) -> Kind {
    match (a, b) {
        (
            Kind::Integer { min, max, multiple },
            Kind::Integer { min: other_min, max: other_max, multiple: other },
        ) => Kind::Integer {
            min: *min.min(other_min),
            max: *max.max(other_max),
            multiple: if multiple == other { *multiple } else { 1 },
        },
        (Kind::Number { min, max }, Kind::Number { min: other_min, max: other_max }) => {
            Kind::Number { min: min.min(*other_min), max: max.max(*other_max) }
        }
        (Kind::Choice(words), Kind::Choice(others)) => {
            let mut all = words.clone();
            all.extend(others.iter().filter(|word| !words.contains(word)).cloned());
            Kind::Choice(all)
        }
        (a, b) if a == b => a.clone(),
        _ => Kind::Text { max_chars: 4_000 },
    }
}

/// Suggestions for the option that is being typed: models, and words to choose from that are too many for a list.
pub async fn suggest(discord: &Discord, command: &CommandInteraction) -> Result<Outcome, Said> {
    let Some(typed) = command.data.autocomplete() else {
        return Ok(Answer::Choices(Vec::new()).into());
    };
    let media = match command.data.name.as_str() {
        "imagine" => Some(Media::Image),
        "sound" => Some(Media::Audio),
        "ask" => Some(Media::Text),
        _ => None,
    };
    let models: Vec<ModelSpec> = discord.hub.models().await?.iter().map(|known| known.spec.clone()).collect();
    let fits = |spec: &&ModelSpec| media.is_none_or(|media| spec.media == media && !spec.is_upscaler());
    let serving: Vec<&ModelSpec> = models.iter().filter(fits).collect();
    let words: Vec<String> = match typed.name {
        "model" | "name" => serving.iter().map(|spec| spec.name.clone()).collect(),
        other => {
            match union(&serving).into_iter().find(|field| field.name == other).map(|field| field.kind) {
                Some(Kind::Choice(words)) => words,
                _ => Vec::new(),
            }
        }
    };
    let wanted = typed.value.to_lowercase();
    let (mut first, rest): (Vec<_>, Vec<_>) =
        words.into_iter().partition(|word| word.to_lowercase().starts_with(&wanted));
    first.extend(rest.into_iter().filter(|word| word.to_lowercase().contains(&wanted)));
    first.retain(|word| word.chars().count() <= 100);
    first.truncate(MAX_CHOICES);
    Ok(Answer::Choices(first).into())
}
