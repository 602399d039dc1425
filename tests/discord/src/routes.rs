//! The routes that the fake serves: method, template as in Discord's description, who may ask, which rate counts, and
//! what answers.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    limits::Rate, multipart::Payload, refused::Refused, rest_channels as channels, rest_commands as commands,
    rest_guilds as guilds, rest_interactions as interactions, rest_webhooks as webhooks, shared::Shared,
};

/// A request that was understood.
pub(crate) struct Call {
    pub params: HashMap<&'static str, String>,
    pub query: HashMap<String, String>,
    pub payload: Payload,
}

impl Call {
    /// A parameter that is an id; one that is not is nobody's.
    pub(crate) fn id(&self, name: &str) -> u64 {
        self.params.get(name).and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    pub(crate) fn body(&self) -> &Value {
        &self.payload.json
    }

    pub(crate) fn asks(&self, name: &str) -> bool {
        self.query.get(name).is_some_and(|value| value == "true" || value == "1")
    }
}

/// What answers a request; no body is 204.
pub(crate) struct Reply {
    pub status: u16,
    pub body: Option<Value>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Result<Self, Refused> {
        Ok(Self { status: 200, body: Some(body) })
    }

    pub(crate) fn created(body: Value) -> Result<Self, Refused> {
        Ok(Self { status: 201, body: Some(body) })
    }

    pub(crate) fn nothing() -> Result<Self, Refused> {
        Ok(Self { status: 204, body: None })
    }
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Access {
    Anyone,
    Bot,
}

/// What a route's body does to messages, for the look at who could be pinged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Writes {
    Nothing,
    NewMessage,
    Edit,
    /// A message in the `data` of a callback.
    Callback,
}

pub(crate) struct Route {
    pub method: &'static str,
    pub template: &'static str,
    pub access: Access,
    pub rate: Rate,
    pub writes: Writes,
    pub answer: fn(&Shared, &Call) -> Result<Reply, Refused>,
}

const fn bot(
    method: &'static str,
    template: &'static str,
    answer: fn(&Shared, &Call) -> Result<Reply, Refused>,
) -> Route {
    Route { method, template, access: Access::Bot, rate: Rate::Other, writes: Writes::Nothing, answer }
}

const fn token(
    method: &'static str,
    template: &'static str,
    writes: Writes,
    answer: fn(&Shared, &Call) -> Result<Reply, Refused>,
) -> Route {
    Route { method, template, access: Access::Anyone, rate: Rate::Webhook, writes, answer }
}

const ROUTES: [Route; 46] = [
    Route { access: Access::Anyone, ..bot("GET", "/gateway", guilds::gateway) },
    bot("GET", "/gateway/bot", guilds::gateway_bot),
    bot("GET", "/users/@me", guilds::me),
    bot("GET", "/users/{user_id}", guilds::user),
    bot("POST", "/users/@me/channels", guilds::open_dm),
    bot("GET", "/applications/@me", guilds::application),
    bot("GET", "/oauth2/applications/@me", guilds::application),
    bot("GET", "/applications/{application_id}/commands", commands::list),
    bot("PUT", "/applications/{application_id}/commands", commands::replace),
    bot("POST", "/applications/{application_id}/commands", commands::create),
    bot("GET", "/applications/{application_id}/commands/{command_id}", commands::get),
    bot("PATCH", "/applications/{application_id}/commands/{command_id}", commands::patch),
    bot("DELETE", "/applications/{application_id}/commands/{command_id}", commands::delete),
    bot("GET", "/applications/{application_id}/guilds/{guild_id}/commands", commands::list),
    bot("PUT", "/applications/{application_id}/guilds/{guild_id}/commands", commands::replace),
    bot("POST", "/applications/{application_id}/guilds/{guild_id}/commands", commands::create),
    bot("GET", "/applications/{application_id}/guilds/{guild_id}/commands/{command_id}", commands::get),
    bot("PATCH", "/applications/{application_id}/guilds/{guild_id}/commands/{command_id}", commands::patch),
    bot("DELETE", "/applications/{application_id}/guilds/{guild_id}/commands/{command_id}", commands::delete),
    bot("GET", "/guilds/{guild_id}", guilds::guild),
    bot("GET", "/guilds/{guild_id}/roles", guilds::roles),
    bot("GET", "/guilds/{guild_id}/channels", guilds::channels),
    bot("GET", "/guilds/{guild_id}/members/{user_id}", guilds::member),
    bot("GET", "/channels/{channel_id}", channels::get),
    bot("GET", "/channels/{channel_id}/messages", channels::messages),
    bot("GET", "/channels/{channel_id}/messages/{message_id}", channels::message),
    Route {
        rate: Rate::ChannelPost,
        writes: Writes::NewMessage,
        ..bot("POST", "/channels/{channel_id}/messages", channels::post)
    },
    Route {
        rate: Rate::ChannelPatch,
        writes: Writes::Edit,
        ..bot("PATCH", "/channels/{channel_id}/messages/{message_id}", channels::patch)
    },
    bot("DELETE", "/channels/{channel_id}/messages/{message_id}", channels::delete),
    bot("POST", "/channels/{channel_id}/typing", channels::typing),
    bot("POST", "/channels/{channel_id}/messages/{message_id}/threads", channels::thread_of_message),
    bot("POST", "/channels/{channel_id}/threads", channels::thread),
    bot("PUT", "/channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/@me", channels::react),
    bot("DELETE", "/channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/@me", channels::react),
    Route {
        access: Access::Anyone,
        rate: Rate::Free,
        writes: Writes::Callback,
        ..bot("POST", "/interactions/{interaction_id}/{interaction_token}/callback", interactions::callback)
    },
    token("POST", "/webhooks/{webhook_id}/{webhook_token}", Writes::NewMessage, webhooks::follow_up),
    token("GET", ORIGINAL, Writes::Nothing, webhooks::get),
    token("PATCH", ORIGINAL, Writes::Edit, webhooks::patch),
    token("DELETE", ORIGINAL, Writes::Nothing, webhooks::delete),
    token("GET", FOLLOWUP, Writes::Nothing, webhooks::get),
    token("PATCH", FOLLOWUP, Writes::Edit, webhooks::patch),
    token("DELETE", FOLLOWUP, Writes::Nothing, webhooks::delete),
    bot("PATCH", "/channels/{channel_id}", channels::modify),
    bot("GET", "/users/@me/guilds", guilds::my_guilds),
    bot("PUT", "/channels/{channel_id}/thread-members/@me", channels::typing),
    bot("GET", "/applications/{application_id}/emojis", guilds::emojis),
];

const ORIGINAL: &str = "/webhooks/{webhook_id}/{webhook_token}/messages/@original";
const FOLLOWUP: &str = "/webhooks/{webhook_id}/{webhook_token}/messages/{message_id}";

/// The route of a path, with its parameters. Words win over parameters.
pub(crate) fn find(method: &str, path: &str) -> Option<(&'static Route, HashMap<&'static str, String>)> {
    static TABLE: [Route; 46] = ROUTES;
    let matching = TABLE.iter().filter(|route| route.method == method);
    let matching = matching.filter_map(|route| Some((route, fit(route.template, path)?)));
    matching.min_by_key(|(_, params)| params.len())
}

fn fit(template: &'static str, path: &str) -> Option<HashMap<&'static str, String>> {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    let mut params = HashMap::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(params),
            (Some(part), Some(text)) => {
                match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                    Some(name) if !text.is_empty() => {
                        params.insert(name, text.to_owned());
                    }
                    None if part == text => {}
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_one_of_discords() {
        for route in &ROUTES {
            assert!(
                crate::openapi::knows(route.method, route.template),
                "{} {}",
                route.method,
                route.template
            );
        }
    }

    #[test]
    fn words_win_over_parameters() {
        let found = |path| find("GET", path).map(|(route, _)| route.template);
        assert_eq!(found("/users/@me"), Some("/users/@me"));
        assert_eq!(found("/users/5"), Some("/users/{user_id}"));
        assert_eq!(found("/webhooks/1/token/messages/@original"), Some(ORIGINAL));
        assert_eq!(found("/users/5/nothing"), None);
    }
}
