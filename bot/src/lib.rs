//! The hub process: it reads the settings, opens the hub, and puts the front doors before it (web channel, Discord,
//! JSON API, the workers' endpoint). Everything that decides what runs, when and for whom is in `riff_hub`.

pub mod api;
pub mod cli;
pub mod discord;
pub mod measure;
pub mod operate;
mod otlp;
pub mod poster;
pub mod problem;
pub mod serve;
pub mod settings;
pub mod simulate;
pub mod state;
pub mod web;
pub mod worker_api;
