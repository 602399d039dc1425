//! What members do: each a form post. A browser gets a redirect to the channel or a page with the sentence; the page's
//! script asks for JSON and gets 204 or a problem.

use std::collections::HashMap;

use axum::{
    Form, Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use form_urlencoded::Serializer;
use riff_hub::{
    admission::Refusal,
    hub::{Ask, Opened, RiffRequest, Twist},
    model::ModelSpec,
    recipe::Parent,
    riff::{Enlarging, Pan, Strength},
    store::Member,
};
use serde_json::json;

use super::{compose, form, identity::Visitor, pages};
use crate::{problem::Problem, state::AppState};

type Fields = HashMap<String, String>;

/// Whether the page's script asks.
fn scripted(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"))
}

fn done(headers: &HeaderMap, channel: &str) -> Response {
    match scripted(headers) {
        true => StatusCode::NO_CONTENT.into_response(),
        false => Redirect::to(&format!("/c/{channel}")).into_response(),
    }
}

fn refused(headers: &HeaderMap, refusal: Refusal) -> Response {
    let problem = Problem::from(refusal);
    match scripted(headers) {
        true => problem.into_response(),
        false => pages::sentence(problem.status, &problem.detail),
    }
}

fn field<'a>(form: &'a Fields, name: &str) -> &'a str {
    form.get(name).map_or("", String::as_str)
}

/// `POST /c/{channel}/prompt`: `prompt`, perhaps `parent` (an edit), `model`, settings and files.
pub async fn prompt(
    State(state): State<AppState>,
    Path(channel): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
    form: form::Form,
) -> Response {
    let (member, jar) = match visitor.join(&state, field(&form.fields, "name")).await {
        Ok(joined) => joined,
        Err(refusal) => return refused(&headers, refusal),
    };
    let answer = match submit(&state, &member, &channel, form).await {
        Ok(()) => done(&headers, &channel),
        Err(refusal) => refused(&headers, refusal),
    };
    (jar, answer).into_response()
}

async fn submit(
    state: &AppState,
    member: &Member,
    channel: &str,
    mut form: form::Form,
) -> Result<(), Refusal> {
    state.web_channel(channel).await?;
    let spec = form_model(state, field(&form.fields, "form")).await?;
    compose::take_files(&state.hub, spec.as_ref(), &mut form).await?;
    let form = &form.fields;
    let line = compose::line(field(form, "prompt"), spec.as_ref(), form);
    let ask = Ask::public(member, channel);
    match field(form, "parent").parse() {
        Ok(parent) => {
            let request = RiffRequest { parent, twist: Twist::Edit(line) };
            state.hub.riff(&ask, &request).await?;
        }
        Err(_) => {
            state.hub.submit(&ask, &line).await?;
        }
    }
    Ok(())
}

/// The model whose settings the form shows.
async fn form_model(state: &AppState, name: &str) -> Result<Option<ModelSpec>, Refusal> {
    let models = state.hub.models().await?;
    Ok(models.iter().map(|model| &model.spec).find(|spec| spec.name == name).cloned())
}

/// `POST /c/{channel}/riff`: `recipe` and `do`, such as `vary:1`, and perhaps `text`, or `how` to upscale.
pub async fn riff(
    State(state): State<AppState>,
    Path(channel): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    let (member, jar) = match visitor.join(&state, field(&form, "name")).await {
        Ok(joined) => joined,
        Err(refusal) => return refused(&headers, refusal),
    };
    let answer = async {
        state.web_channel(&channel).await?;
        state.hub.riff(&Ask::public(&member, &channel), &riff_request(&form)?).await.map(drop)
    };
    let answer = answer.await;
    let answer = match answer {
        Ok(()) => done(&headers, &channel),
        Err(refusal) => refused(&headers, refusal),
    };
    (jar, answer).into_response()
}

fn riff_request(form: &Fields) -> Result<RiffRequest, Refusal> {
    let asked = field(form, "do");
    let unknown = || Refusal::Missing(format!("button “{asked}”"));
    let mut words = asked.split(':');
    let twist = words.next().unwrap_or_default();
    let index: u32 = words.next().unwrap_or("0").parse().map_err(|_| unknown())?;
    let recipe = field(form, "recipe").parse().map_err(|_| unknown())?;
    let twist = match twist {
        "vary" => Twist::Vary(Strength::Subtle),
        "vary-strong" => Twist::Vary(Strength::Strong),
        "reroll" => Twist::Reroll,
        "upscale" => Twist::Upscale(enlarging(field(form, "how")).ok_or_else(unknown)?),
        "zoom" => Twist::Zoom,
        "left" => Twist::Pan(Pan::Left),
        "right" => Twist::Pan(Pan::Right),
        "up" => Twist::Pan(Pan::Up),
        "down" => Twist::Pan(Pan::Down),
        "reply" => Twist::Reply(field(form, "text").to_owned()),
        "blend" => {
            let first = words.next().and_then(|text| text.parse().ok()).ok_or_else(unknown)?;
            let second = Parent { recipe, index };
            return Ok(RiffRequest { parent: first, twist: Twist::Blend(second) });
        }
        _ => return Err(unknown()),
    };
    Ok(RiffRequest { parent: Parent { recipe, index }, twist })
}

/// How a picture gets larger, as the choice beside the buttons says it.
fn enlarging(word: &str) -> Option<Enlarging> {
    match word {
        "" => Some(Enlarging::Best),
        "again" => Some(Enlarging::Anew),
        "upscaler" => Some(Enlarging::Upscaler),
        _ => None,
    }
}

/// `POST /c/{channel}/drop`: the bytes of a PNG; answers where its recipe opens as a fork.
pub async fn dropped(
    State(state): State<AppState>,
    Path(channel): Path<String>,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let query = match state.hub.open_picture(&bytes).await? {
        Opened::Result(parent) => format!("fork={parent}"),
        Opened::Line(line) => Serializer::new(String::new()).append_pair("line", &line).finish(),
    };
    Ok(Json(json!({"open": format!("/c/{channel}?{query}")})).into_response())
}

/// `POST /jobs/{job}/cancel`.
pub async fn cancel(
    State(state): State<AppState>,
    Path(job): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Response {
    let member = visitor.member.unwrap_or_else(nobody);
    match state.hub.cancel(&member, &job).await {
        Ok(job) => done(&headers, &job.channel),
        Err(refusal) => refused(&headers, refusal),
    }
}

/// `POST /posts/{job}/delete`.
pub async fn delete(
    State(state): State<AppState>,
    Path(job): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
) -> Response {
    let member = visitor.member.unwrap_or_else(nobody);
    match state.hub.delete_post(&member, &job).await {
        Ok(()) => match state.hub.store.job(&job).await {
            Ok(Some(job)) => done(&headers, &job.channel),
            _ => Redirect::to("/").into_response(),
        },
        Err(refusal) => refused(&headers, refusal),
    }
}

/// `POST /name`: `name`.
pub async fn rename(
    State(state): State<AppState>,
    visitor: Visitor,
    headers: HeaderMap,
    Form(form): Form<Fields>,
) -> Response {
    let name = field(&form, "name");
    let renamed = match &visitor.member {
        Some(member) => state.hub.rename(member, name).await,
        None => Err(Refusal::BadName),
    };
    match renamed {
        Ok(_) => Redirect::to("/").into_response(),
        Err(refusal) => refused(&headers, refusal),
    }
}

/// A visitor without a name owns nothing.
fn nobody() -> Member {
    Member { id: String::new(), name: String::new() }
}
