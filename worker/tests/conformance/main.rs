//! What every engine is held to, one line an engine, each run against what it really runs on; and what is special in
//! engines that stand in front of a server.
//!
//! Servers come from `.venv/`, which `./test` sets up. They are started here, on free ports, and end with the tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod cog;
mod fake;
mod faults;
mod files;
#[path = "../openai/server.rs"]
mod llama;
mod set;
mod settings;
mod subjects;
mod suite;
mod support;

use suite::conforms;

conforms! {
    abstract_ => subjects::abstract_(),
    gguf => subjects::gguf(),
    cog_pictures => subjects::cog_pictures(),
    cog_list => subjects::cog_list(),
    cog_text => subjects::cog_text(),
    cog_stream => subjects::cog_stream(),
    openai => subjects::openai(),
    diffusion => subjects::diffusion(),
    diffusion_xl => subjects::diffusion_xl(),
}
