//! Who a visitor is: a member whose id a signed cookie holds. There is nothing else to log in to.

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::Response,
};
use axum_extra::extract::{
    SignedCookieJar,
    cookie::{Cookie, Key, SameSite},
};
use riff_hub::{admission::Refusal, store::Member};

use crate::{problem::Problem, state::AppState};

const COOKIE: &str = "riff";

/// A visitor, perhaps already a member.
pub struct Visitor {
    /// Who it is, once a name was picked.
    pub member: Option<Member>,
    jar: SignedCookieJar<Key>,
}

impl FromRequestParts<AppState> for Visitor {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        let jar = SignedCookieJar::from_headers(&parts.headers, state.cookie_key.clone());
        let member = match jar.get(COOKIE) {
            Some(cookie) => state.hub.store.member(cookie.value()).await.unwrap_or_else(|error| {
                tracing::error!(%error, "a visitor cannot be looked up");
                None
            }),
            None => None,
        };
        Ok(Self { member, jar })
    }
}

impl Visitor {
    /// The id, or nothing that equals no id.
    pub fn id(&self) -> &str {
        self.member.as_ref().map_or("", |member| member.id.as_str())
    }

    /// The member, who joins under `name` if they are none yet; with the cookie to send back.
    pub async fn join(self, state: &AppState, name: &str) -> Result<(Member, SignedCookieJar<Key>), Refusal> {
        if let Some(member) = self.member {
            return Ok((member, self.jar));
        }
        let member = state.hub.join(name).await?;
        let cookie = Cookie::build((COOKIE, member.id.clone()))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(state.public_url.starts_with("https://"))
            .permanent()
            .build();
        let jar = self.jar.add(cookie);
        Ok((member, jar))
    }
}

/// Refuses posts that another site's page sent: a browser names the page's origin, and it must be the host it sends to.
pub async fn same_origin(request: Request, next: Next) -> Result<Response, Problem> {
    if request.method() == Method::POST && !from_here(request.headers()) {
        let detail = "This form was sent from another site: open the channel itself and try again.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "other-origin", detail));
    }
    Ok(next.run(request).await)
}

fn from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            origin.split_once("://").is_some_and(|(_, authority)| authority == host)
        }
        (Some(_), None) => false,
    }
}
