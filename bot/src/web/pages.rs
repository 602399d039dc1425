//! The pages.

use std::collections::HashMap;

use askama::Template;
use axum::{
    extract::{Path, Query, State},
    http::{StatusCode, Uri},
    response::{Html, IntoResponse, Redirect, Response},
};
use riff_hub::{
    admission::Refusal,
    community::WEB,
    hub::Hub,
    model::{Media, ModelSpec},
    prompt,
    recipe::Recipe,
    store::{Channel, KnownModel, Relative},
};

use super::{
    card::{Card, Reader},
    compose::{self, Control},
    identity::Visitor,
};
use crate::{problem::Problem, state::AppState};

/// Posts on a channel's page.
const PAGE: i64 = 30;

/// `GET /`: the first channel.
pub async fn home(State(state): State<AppState>) -> Result<Redirect, Page> {
    let channels = state.hub.store.channels().await.map_err(Refusal::from)?;
    let first = channels.first().ok_or_else(|| Refusal::Missing("channel".to_owned()))?;
    Ok(Redirect::to(&format!("/c/{}", first.id)))
}

#[derive(Template)]
#[template(path = "channel.html")]
struct ChannelPage {
    title: String,
    channels: Vec<Channel>,
    channel: Channel,
    name: String,
    cards: Vec<Card>,
    older: Option<i64>,
    after: i64,
    draft: Draft,
    models: Vec<ModelSpec>,
    quota: Option<String>,
    blend: Option<String>,
}

/// What the prompt box holds.
#[derive(Default)]
struct Draft {
    words: String,
    parent: Option<String>,
    hint: String,
    model: String,
    chosen: bool,
    controls: Vec<Control>,
}

/// `GET /c/{channel}`; with `before` for older posts, `remix`, `fork` or `line` for a filled prompt box, `model` for
/// another model's settings, `blend` for the first of two.
pub async fn channel(
    State(state): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    visitor: Visitor,
) -> Result<Response, Page> {
    let hub = &state.hub;
    let channels = hub.store.channels().await.map_err(Refusal::from)?;
    let channel = channels
        .iter()
        .find(|channel| channel.id == id)
        .cloned()
        .ok_or_else(|| Refusal::Missing(format!("channel “{id}”")))?;
    let reader = Reader { member: visitor.id().to_owned(), blend: query.get("blend").cloned() };
    let before = query.get("before").and_then(|text| text.parse().ok());
    let posts = hub.store.posts(&id, before, PAGE).await.map_err(Refusal::from)?;
    let mut jobs: Vec<String> = posts.iter().rev().map(|post| post.job.clone()).collect();
    if before.is_none() {
        jobs.extend(hub.store.live_in(&id).await.map_err(Refusal::from)?.into_iter().map(|job| job.id));
    }
    let mut cards = Vec::new();
    for job in &jobs {
        cards.push(Card::of(hub, job, &reader).await?);
    }
    let models: Vec<ModelSpec> =
        hub.models().await.map_err(Refusal::from)?.iter().map(|model| model.spec.clone()).collect();
    let quota = match &visitor.member {
        Some(member) => {
            Some(format!("{:.0}", hub.allowance(member, WEB, &[]).await?.left_ms as f64 / 1_000.0))
        }
        None => None,
    };
    render(&ChannelPage {
        title: format!("#{}", channel.title),
        draft: draft(hub, &id, &models, &query).await?,
        name: visitor.member.map_or_else(String::new, |member| member.name),
        older: posts.last().filter(|_| posts.len() as i64 == PAGE).map(|post| post.id),
        after: posts.first().map_or(0, |post| post.id),
        blend: reader.blend,
        channels,
        channel,
        cards,
        models,
        quota,
    })
}

async fn draft(
    hub: &Hub,
    channel: &str,
    models: &[ModelSpec],
    query: &HashMap<String, String>,
) -> Result<Draft, Page> {
    for (key, remix) in [("remix", true), ("fork", false)] {
        let Some(parent) = query.get(key).and_then(|text| text.parse().ok()) else {
            continue;
        };
        let (recipe, model) = hub.recipe_and_model(&parent).await?;
        return Ok(edited(key, remix, &recipe, model, parent.to_string()));
    }
    let named = query.get("model").and_then(|name| models.iter().find(|spec| spec.name == *name));
    let shown = match named {
        Some(spec) => Some(spec.clone()),
        None => hub.default_model(channel, Media::Image).await?,
    };
    let start = named.map(|spec| start(spec.media)).unwrap_or_default();
    Ok(Draft {
        words: query.get("line").cloned().unwrap_or(start),
        model: shown.as_ref().map(|spec| spec.name.clone()).unwrap_or_default(),
        chosen: named.is_some(),
        controls: shown.map(|spec| compose::controls(&spec, None)).unwrap_or_default(),
        ..Draft::default()
    })
}

/// What a line begins with that asks for it: nothing for pictures, which every line without a command asks for.
fn start(media: Media) -> String {
    match media {
        Media::Image => String::new(),
        media => format!("{} ", media.command().as_str()),
    }
}

fn edited(key: &str, remix: bool, recipe: &Recipe, model: KnownModel, parent: String) -> Draft {
    let spec = &model.spec;
    let (words, controls) = match remix {
        true => {
            let words = match spec.media {
                Media::Image => prompt::escape_words(recipe.prompt.as_str()),
                media => format!("{}{}", start(media), recipe.prompt),
            };
            (words, compose::controls(spec, Some(recipe)))
        }
        false => (prompt::render(&recipe.prompt, &recipe.params, spec), compose::controls(spec, None)),
    };
    Draft {
        words,
        parent: Some(parent),
        hint: key.to_owned(),
        model: spec.name.clone(),
        chosen: remix,
        controls,
    }
}

#[derive(Template)]
#[template(path = "recipe.html")]
struct RecipePage {
    title: String,
    id: String,
    card: Option<Card>,
    /// Where all its pictures are in one, for who shows a link to this page.
    preview: Option<String>,
    command: String,
    model: ModelSpec,
    json: String,
    settings: Vec<(String, String)>,
    parents: Vec<Kin>,
    children: Vec<Kin>,
}

/// A neighbour in the graph, as shown.
struct Kin {
    link: String,
    made_by: String,
    prompt: String,
    thumbnail: Option<String>,
}

/// `GET /r/{recipe}`.
pub async fn recipe(
    State(state): State<AppState>,
    Path(id): Path<String>,
    visitor: Visitor,
) -> Result<Response, Page> {
    let hub = &state.hub;
    let missing = || Refusal::Missing(format!("recipe “{id}”"));
    let digest = id.parse().map_err(|_| missing())?;
    let recipe = hub.store.recipe(digest).await.map_err(Refusal::from)?.ok_or_else(missing)?;
    let model = hub.model(recipe.model).await.map_err(Refusal::from)?.ok_or_else(missing)?.spec;
    let reader = Reader { member: visitor.id().to_owned(), blend: None };
    let card = match hub.shown(digest).await {
        Ok(view) if view.job.private => None,
        Ok(view) => Some(Card::new(view, &reader)),
        Err(Refusal::Missing(_)) => None,
        Err(refusal) => return Err(refusal.into()),
    };
    let preview = card
        .as_ref()
        .filter(|card| !card.pictures.is_empty())
        .map(|card| format!("{}/jobs/{}/sheet", state.public_url, card.id));
    let parents = hub.store.parents(digest).await.map_err(Refusal::from)?;
    let children = hub.store.children(digest).await.map_err(Refusal::from)?;
    render(&RecipePage {
        title: recipe.prompt.to_string(),
        command: prompt::render(&recipe.prompt, &recipe.params, &model),
        json: serde_json::to_string_pretty(&recipe).unwrap_or_default(),
        settings: recipe.params.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        parents: kin(hub, parents).await?,
        children: kin(hub, children).await?,
        id: digest.to_string(),
        preview,
        card,
        model,
    })
}

async fn kin(hub: &Hub, relatives: Vec<Relative>) -> Result<Vec<Kin>, Refusal> {
    let mut kin = Vec::new();
    for relative in relatives {
        let thumbnail = match &relative.job {
            Some(job) => hub.view(job).await?.pictures().next().map(|shown| shown.output.blob),
            None => None,
        };
        kin.push(Kin {
            link: format!("/r/{}", relative.recipe),
            made_by: relative.made_by,
            prompt: relative.prompt,
            thumbnail: thumbnail.map(|blob| format!("/pictures/{blob}?side=256")),
        });
    }
    Ok(kin)
}

#[derive(Template)]
#[template(path = "model.html")]
struct ModelPage {
    title: String,
    digest: String,
    spec: ModelSpec,
    command: &'static str,
    controls: Vec<Control>,
}

/// `GET /m/{model}`: the newest version of that name.
pub async fn model(State(state): State<AppState>, Path(name): Path<String>) -> Result<Response, Page> {
    let models = state.hub.models().await.map_err(Refusal::from)?;
    let found = models.iter().find(|model| model.spec.name == name);
    let spec = &found.ok_or_else(|| Refusal::Missing(format!("model “{name}”")))?.spec;
    render(&ModelPage {
        title: spec.title.clone(),
        digest: spec.digest().to_string(),
        command: spec.media.command().as_str(),
        controls: compose::controls(spec, None),
        spec: spec.clone(),
    })
}

/// Any other address.
pub async fn nothing_there(uri: Uri) -> Page {
    Page(Refusal::Missing(format!("page “{}”", uri.path())))
}

/// A refusal on its way to a person.
pub struct Page(Refusal);

impl From<Refusal> for Page {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let problem = Problem::from(self.0);
        sentence(problem.status, &problem.detail)
    }
}

#[derive(Template)]
#[template(path = "sentence.html")]
struct SentencePage<'a> {
    title: &'a str,
    sentence: &'a str,
}

/// A page that says one thing.
pub fn sentence(status: StatusCode, sentence: &str) -> Response {
    let page = SentencePage { title: "Riff", sentence };
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => (status, sentence.to_owned()).into_response(),
    }
}

fn render(page: &impl Template) -> Result<Response, Page> {
    let html = page.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        Refusal::Unavailable("a page cannot be rendered; the operator finds why in the log".to_owned())
    })?;
    Ok(Html(html).into_response())
}
