//! The engine `openai` against llama.cpp's own server, and against servers that break off, hang or talk nonsense.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod faults;
mod images;
mod llama;
mod requests;
mod server;
mod support;
mod transcribe;
