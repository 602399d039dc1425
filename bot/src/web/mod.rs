//! The web channel: server-rendered pages, one form post for everything a member does, and one event stream a page.
//! It works without its script; the script only saves reloads.

mod actions;
mod card;
mod compose;
pub(crate) mod files;
mod form;
mod identity;
mod live;
mod pages;
mod pictures;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    response::Redirect,
    routing::{get, post},
};
use riff_hub::media;

use crate::state::AppState;

/// Largest form with files, in bytes: one that is as large as may be, and the words.
const MAX_FORM: usize = media::MAX_BYTES + 1_024 * 1_024;

/// The routes of pages, actions, events and files.
pub fn routes() -> Router<AppState> {
    let actions = Router::new()
        .route("/c/{channel}/prompt", post(actions::prompt).layer(DefaultBodyLimit::max(MAX_FORM)))
        .route("/c/{channel}/riff", post(actions::riff))
        .route("/c/{channel}/drop", post(actions::dropped).layer(DefaultBodyLimit::max(media::MAX_BYTES)))
        .route("/jobs/{job}/cancel", post(actions::cancel))
        .route("/posts/{job}/delete", post(actions::delete))
        .route("/name", post(actions::rename))
        .layer(axum::middleware::from_fn(identity::same_origin));
    Router::new()
        .route("/", get(pages::home))
        .route("/c/{channel}", get(pages::channel))
        .route("/c/{channel}/events", get(live::events))
        .route("/r/{recipe}", get(pages::recipe))
        .route("/m/{model}", get(pages::model))
        .route("/jobs/{job}/preview", get(files::preview))
        .route("/blobs/{digest}", get(files::blob))
        .route("/pictures/{digest}", get(pictures::picture))
        .route("/jobs/{job}/sheet", get(pictures::sheet))
        .route("/assets/{name}", get(files::asset))
        .route("/favicon.ico", get(async || Redirect::permanent("/assets/icon.svg")))
        .merge(actions)
        .fallback(pages::nothing_there)
}
