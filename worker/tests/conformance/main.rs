//! What every engine is held to, one line an engine, each run against what it really runs on; and what is special in
//! engines that stand in front of a server.
//!
//! Servers come from `.venv/`, which `./test` sets up. They are started here, on free ports, and end with the tests.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod a1111;
mod answers;
mod background;
mod bodies;
mod cog;
mod comfyui;
#[path = "../doodle/files.rs"]
mod doodle_files;
mod ends;
mod fake;
mod faults;
mod files;
#[path = "../openai/server.rs"]
mod llama;
mod remembered;
#[path = "../replicate/server.rs"]
mod replicate;
#[path = "../replicate/models.rs"]
mod replicate_models;
mod set;
mod settings;
mod subjects;
mod suite;
mod support;
mod tls;

use serde_json::json;
use suite::conforms;

conforms! {
    abstract_ => subjects::abstract_(),
    gguf => subjects::gguf(),
    upscale => subjects::upscale(),
    cog_pictures => subjects::cog_pictures(),
    cog_list => subjects::cog_list(),
    cog_sound => subjects::cog_sound(),
    cog_text => subjects::cog_text(),
    cog_stream => subjects::cog_stream(),
    cog_background => subjects::cog_background(),
    openai => subjects::openai(),
    comfyui_workflow => subjects::comfyui_workflow(),
    a1111_painter => subjects::a1111_painter(),
    replicate_pictures => subjects::replicate("painter", json!({"width": 16}), json!({"num_inference_steps": 20, "pause": 0.1}), json!({"width": 9_999})),
    replicate_text => subjects::replicate("poet", json!({"max_tokens": 8}), json!({"max_tokens": 40, "pause": 0.05}), json!({"max_tokens": 0})),
    diffusion => subjects::diffusion(),
    diffusion_xl => subjects::diffusion_xl(),
    diffusion_three => subjects::diffusion_three(),
    diffusion_flux => subjects::diffusion_flux(),
    doodle => subjects::doodle(),
}
