//! How users, members, roles, channels and guilds look on the wire.

use serde_json::{Value, json};

use crate::{
    clock::iso,
    permissions,
    world::{ChannelState, GuildState, Kind, MemberState, RoleState, User, World},
};

impl User {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id.to_string(), "username": self.name, "discriminator": "0", "global_name": null,
            "avatar": null, "bot": self.bot, "system": false, "flags": 0, "public_flags": 0,
        })
    }
}

impl RoleState {
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id.to_string(), "name": self.name, "permissions": self.permissions.to_string(),
            "color": 0, "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null},
            "hoist": false, "managed": false, "mentionable": false, "position": self.position, "flags": 0,
        })
    }
}

impl GuildState {
    /// What a member may do before channels are looked at.
    pub(crate) fn permissions_of(&self, user: u64) -> u64 {
        if user == self.owner {
            return permissions::EVERYONE | permissions::MODERATOR;
        }
        let roles = self.members.get(&user).map(|member| member.roles.as_slice()).unwrap_or_default();
        let granted = self.roles.iter().filter(|role| role.id == self.id || roles.contains(&role.id));
        granted.fold(0, |all, role| all | role.permissions)
    }

    /// The guild as `GET /guilds/{id}` shows it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id.to_string(), "name": self.name, "owner_id": self.owner.to_string(),
            "icon": null, "icon_hash": null, "splash": null, "discovery_splash": null, "banner": null,
            "description": null, "afk_channel_id": null, "afk_timeout": 300, "widget_enabled": false,
            "widget_channel_id": null, "verification_level": 0, "default_message_notifications": 0,
            "explicit_content_filter": 0, "roles": self.roles.iter().map(RoleState::json).collect::<Vec<_>>(),
            "emojis": [], "stickers": [], "features": [], "mfa_level": 0, "application_id": null,
            "system_channel_id": self.system_channel.to_string(), "system_channel_flags": 0,
            "rules_channel_id": null, "public_updates_channel_id": null, "safety_alerts_channel_id": null,
            "max_presences": null, "max_members": 500_000, "vanity_url_code": null, "premium_tier": 0,
            "premium_subscription_count": 0, "preferred_locale": self.locale, "nsfw_level": 0,
            "premium_progress_bar_enabled": false, "region": "deprecated",
        })
    }
}

impl World {
    /// The guild as GUILD_CREATE shows it.
    pub(crate) fn guild_create(&self, guild: &GuildState) -> Value {
        let mut json = guild.json();
        let members: Vec<Value> =
            guild.members.keys().filter_map(|&user| self.member_json(guild, user)).collect();
        let of_guild = |channel: &&ChannelState| channel.guild == Some(guild.id);
        let (threads, channels): (Vec<_>, Vec<_>) =
            self.channels.values().filter(of_guild).partition(|channel| channel.kind == Kind::Thread);
        let all = |list: &[&ChannelState]| list.iter().map(|channel| self.channel_json(channel)).collect();
        let (threads, channels): (Vec<Value>, Vec<Value>) = (all(&threads), all(&channels));
        let joined = guild.members.get(&self.bot.id).map_or(0, |member| member.joined_ms);
        let rest = json!({
            "joined_at": iso(joined), "large": false, "unavailable": false,
            "member_count": members.len(), "members": members, "channels": channels, "threads": threads,
            "voice_states": [], "presences": [], "stage_instances": [], "guild_scheduled_events": [],
            "soundboard_sounds": [],
        });
        merge(&mut json, rest);
        json
    }

    /// A member with its user; nothing if the user is not one.
    pub(crate) fn member_json(&self, guild: &GuildState, user: u64) -> Option<Value> {
        let mut json = guild.members.get(&user)?.json();
        json["user"] = self.users.get(&user)?.json();
        Some(json)
    }

    pub(crate) fn channel_json(&self, channel: &ChannelState) -> Value {
        let mut json = json!({
            "id": channel.id.to_string(), "type": channel.kind.number(), "flags": 0,
            "last_message_id": channel.messages.keys().last().map(u64::to_string),
        });
        if channel.kind == Kind::Dm {
            let user = channel.recipient.and_then(|user| self.users.get(&user));
            merge(&mut json, json!({"recipients": user.map(User::json).into_iter().collect::<Vec<_>>()}));
            return json;
        }
        let guild = channel.guild.map(|guild| guild.to_string());
        merge(
            &mut json,
            json!({
                "guild_id": guild, "name": channel.name, "nsfw": channel.nsfw, "position": 0, "topic": null,
                "parent_id": channel.parent.map(|parent| parent.to_string()), "rate_limit_per_user": 0,
                "permission_overwrites": [],
            }),
        );
        if channel.kind == Kind::Thread {
            let thread = json!({
                "owner_id": channel.owner.map(|owner| owner.to_string()),
                "message_count": channel.messages.len(), "member_count": 2,
                "thread_metadata": {
                    "archived": false, "auto_archive_duration": 1440, "locked": false,
                    "archive_timestamp": iso(channel.created_ms), "create_timestamp": iso(channel.created_ms),
                },
            });
            merge(&mut json, thread);
        }
        json
    }
}

impl MemberState {
    /// The member without its user.
    pub(crate) fn json(&self) -> Value {
        json!({
            "nick": null, "avatar": null, "banner": null, "joined_at": iso(self.joined_ms), "premium_since": null,
            "roles": self.roles.iter().map(u64::to_string).collect::<Vec<_>>(), "deaf": false, "mute": false,
            "flags": 0, "pending": false, "communication_disabled_until": null,
        })
    }
}

/// Adds what `more` has to an object.
pub(crate) fn merge(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}

/// The number in a snowflake that may be a string or a number.
pub(crate) fn snowflake(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}
