//! How a prompt ended: what the server's history says of it, and what its checks said where it never began.

use riff_hub::{media::MAX_TEXT_BYTES, model::Media};
use serde_json::Value;

use super::{model::Model, server::File};
use crate::{engine::EngineError, engines::is_out_of_memory, http};

/// Most files that a run may give; what is beyond is nobody's wish.
const MAX_FILES: usize = 64;
/// How many of a server's complaints a message repeats.
const COMPLAINTS: usize = 3;
/// Names that nodes give their lists of pictures, and of sounds.
const PICTURES: [&str; 2] = ["images", "gifs"];
const SOUNDS: [&str; 1] = ["audio"];

/// What a run gave.
#[derive(Debug, PartialEq)]
pub enum Made {
    /// Files, in the order of the nodes' marks or numbers.
    Files(Vec<File>),
    /// Text.
    Text(String),
}

/// What a prompt's entry in the history says.
///
/// # Errors
/// [`EngineError`] for a run that failed, was interrupted, or gave nothing of use.
pub fn read(entry: &Value, model: &Model) -> Result<Made, EngineError> {
    if entry["status"]["status_str"] == "error" {
        return Err(failure(&entry["status"]["messages"]));
    }
    let nodes: Vec<&Value> = match model.outputs.is_empty() {
        false => model.outputs.iter().filter_map(|node| entry["outputs"].get(node)).collect(),
        true => in_order(&entry["outputs"]),
    };
    match model.spec.media {
        Media::Image => files(&nodes, &PICTURES).map(Made::Files),
        Media::Audio => files(&nodes, &SOUNDS).map(Made::Files),
        Media::Text => text(&nodes).map(Made::Text),
    }
}

fn in_order(outputs: &Value) -> Vec<&Value> {
    let mut nodes: Vec<(&String, &Value)> = outputs.as_object().into_iter().flatten().collect();
    nodes.sort_by_key(|(number, _)| (number.parse::<u64>().unwrap_or(u64::MAX), *number));
    nodes.into_iter().map(|(_, output)| output).collect()
}

fn failure(messages: &Value) -> EngineError {
    let of = |name: &str| {
        let named = messages.as_array().into_iter().flatten().find(|message| message[0] == name);
        named.map(|message| &message[1])
    };
    if let Some(error) = of("execution_error") {
        let word = |key: &str| error[key].as_str().unwrap_or_default();
        let said = http::quoted(word("exception_message"));
        let words = format!("node {} ({}) failed: {said}", word("node_id"), word("node_type"));
        return match is_out_of_memory(word("exception_type")) || is_out_of_memory(&said) {
            true => EngineError::OutOfMemory(words),
            false => EngineError::Failed(words),
        };
    }
    match of("execution_interrupted") {
        Some(_) => EngineError::Failed("the prompt was interrupted, and not by this worker".to_owned()),
        None => EngineError::Failed("the server says that the prompt failed, and not why".to_owned()),
    }
}

/// The saved files; where there are none, those that were only shown.
fn files(nodes: &[&Value], lists: &[&str]) -> Result<Vec<File>, EngineError> {
    let mut files = Vec::new();
    for node in nodes {
        for file in lists.iter().filter_map(|list| node[*list].as_array()).flatten() {
            let read = serde_json::from_value::<File>(file.clone());
            files.push(read.map_err(|error| {
                EngineError::Failed(format!(
                    "the server names a result that cannot be read ({error}): {}",
                    http::quoted(&file.to_string())
                ))
            })?);
        }
    }
    if files.iter().any(|file| file.kind != "temp") {
        files.retain(|file| file.kind != "temp");
    }
    match files.len() {
        0..=MAX_FILES => Ok(files),
        many => {
            Err(EngineError::Input(format!("the workflow gave {many} files; at most {MAX_FILES} are taken")))
        }
    }
}

fn text(nodes: &[&Value]) -> Result<String, EngineError> {
    let pieces = nodes.iter().filter_map(|node| node["text"].as_array()).flatten().filter_map(Value::as_str);
    let text = pieces.collect::<Vec<_>>().join("\n");
    match text.len() {
        _ if text.trim().is_empty() => Err(EngineError::Failed("the workflow gave no text".to_owned())),
        0..=MAX_TEXT_BYTES => Ok(text),
        many => Err(EngineError::Failed(format!(
            "the workflow gave {many} bytes of text; at most {MAX_TEXT_BYTES} are kept"
        ))),
    }
}

/// What it means that the server's checks refuse a prompt: the member's doing where a widget is at fault that the member
/// set, else that of workflow and server, which do not fit together any more.
pub fn refusal(answer: &Value, model: &Model) -> EngineError {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for (node, told) in answer["node_errors"].as_object().into_iter().flatten() {
        let class = told["class_type"].as_str().unwrap_or("unknown");
        for error in told["errors"].as_array().into_iter().flatten() {
            let word = |key: &str| error[key].as_str().unwrap_or_default();
            let widget = error["extra_info"]["input_name"].as_str().unwrap_or_default();
            let said = match word("details") {
                details if details == widget => word("message").to_owned(),
                details => format!("{}: {details}", word("message")),
            };
            match model.member_name(node, widget) {
                Some(name) => theirs.push(format!("{name}: {said}")),
                None => ours.push(format!("node {node} ({class}), {widget}: {said}")),
            }
        }
    }
    let some = |mut complaints: Vec<String>| {
        complaints.truncate(COMPLAINTS);
        http::quoted(&complaints.join("; "))
    };
    if !theirs.is_empty() {
        return EngineError::Input(format!("the workflow refuses its inputs: {}", some(theirs)));
    }
    if ours.is_empty() {
        let word = |key: &str| answer["error"][key].as_str().unwrap_or_default();
        ours.push(match (word("message"), word("details")) {
            ("", _) => answer.to_string(),
            (message, "") => message.to_owned(),
            (message, details) => format!("{message}: {details}"),
        });
    }
    EngineError::Unavailable(format!("the server refuses the workflow: {}", some(ours)))
}
