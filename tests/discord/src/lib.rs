//! A Discord for tests: REST v10 and the gateway over real HTTP and WebSocket on a loopback port, with state behind them,
//! and people in front of it who do what members do (`alice.slash`, `alice.click`, `alice.say`).
//!
//! It owns the rules that Discord enforces on a bot (limits, permissions, deadlines, the shape of every body) and answers
//! with Discord's own errors. It never knows which bot it serves, and it never sleeps to wait for something: waiting is on
//! notifications, each within [`PATIENCE`].

#![allow(missing_docs, reason = "the verbs say what they do, and the fields are Discord's")]

mod clock;
mod deliver;
mod discord;
mod display;
mod edit;
mod faults;
mod gateway;
mod interactions;
mod invoke;
mod journal;
mod limits;
mod member;
mod message;
mod modal;
mod multipart;
mod objects;
mod observe;
mod openapi;
mod people;
mod press;
mod refused;
mod rest;
mod rest_channels;
mod rest_commands;
mod rest_guilds;
mod rest_interactions;
mod rest_webhooks;
mod routes;
mod session;
mod shared;
mod trouble;
mod validate;
mod world;

pub mod permissions;

use std::time::Duration;

pub use deliver::Delivery;
pub use discord::Discord;
pub use faults::{Fault, Held};
pub use invoke::{Choice, File, attachment};
pub use journal::{Request, Requests, Violation, ViolationKind};
pub use limits::{Limits, Window};
pub use member::Member;
pub use message::{Attachment, Message, Shown};
pub use modal::{Field, Modal};
pub use people::{Channel, Guild, Role};
pub use session::SessionInfo;
pub use trouble::Refuse;

/// Longest wait for anything; a story that needs longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
