//! The engine `openai` against llama.cpp's own server, and against servers that break off, hang or talk nonsense.

mod faults;
mod images;
mod llama;
mod requests;
mod support;
