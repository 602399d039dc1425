//! What ComfyUI checks before it queues a prompt, with its own words and kinds of errors (its `validate_prompt` and
//! `validate_inputs`), as recorded from ComfyUI 0.26.0.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What a node's check found: nothing wrong with it, or with what it hangs on, or reasons.
#[derive(Clone)]
struct Verdict {
    sound: bool,
    reasons: Vec<Value>,
}

/// Checks a prompt: the outputs that can be made and the `node_errors` of the others, or the whole refusal.
pub fn prompt(nodes: &Value, info: &Value, inputs: &[String]) -> Result<(Vec<String>, Value), Value> {
    let empty = Map::new();
    let nodes = nodes.as_object().unwrap_or(&empty);
    let outputs = outputs(nodes, info)?;
    let mut checks = Checks { nodes, info, inputs, verdicts: BTreeMap::new() };
    let (mut good, mut details, mut node_errors) = (Vec::new(), Vec::new(), Map::new());
    for output in outputs {
        let verdict = checks.node(&output);
        if verdict.sound {
            good.push(output);
            continue;
        }
        details.extend(verdict.reasons.iter().map(|reason| {
            format!("{}: {}", reason["message"].as_str().unwrap(), reason["details"].as_str().unwrap())
        }));
        for (number, verdict) in checks.verdicts.iter().filter(|(_, verdict)| !verdict.reasons.is_empty()) {
            let entry = node_errors.entry(number.clone()).or_insert_with(|| {
                json!({"errors": verdict.reasons, "dependent_outputs": [], "class_type": nodes[number]["class_type"]})
            });
            entry["dependent_outputs"].as_array_mut().unwrap().push(output.as_str().into());
        }
    }
    match good.is_empty() {
        true => Err(refusal(
            "prompt_outputs_failed_validation",
            "Prompt outputs failed validation",
            &details.join("\n"),
            node_errors.into(),
        )),
        false => Ok((good, node_errors.into())),
    }
}

/// The nodes that give results.
fn outputs(nodes: &Map<String, Value>, info: &Value) -> Result<Vec<String>, Value> {
    let mut outputs = Vec::new();
    for (number, node) in nodes {
        let class = node["class_type"].as_str().unwrap_or_default();
        if !info[class].is_object() {
            let title = node.pointer("/_meta/title").and_then(Value::as_str).unwrap_or(class);
            let message = format!("Node '{title}' not found. The custom node may not be installed.");
            return Err(refusal("missing_node_type", &message, &format!("Node ID '#{number}'"), json!({})));
        }
        if info[class]["output_node"] == true {
            outputs.push(number.clone());
        }
    }
    match outputs.is_empty() {
        true => Err(refusal("prompt_no_outputs", "Prompt has no outputs", "", json!({}))),
        false => Ok(outputs),
    }
}

/// An answer with status 400.
pub fn refusal(kind: &str, message: &str, details: &str, node_errors: Value) -> Value {
    json!({"error": {"type": kind, "message": message, "details": details, "extra_info": {}}, "node_errors": node_errors})
}

struct Checks<'a> {
    nodes: &'a Map<String, Value>,
    info: &'a Value,
    inputs: &'a [String],
    verdicts: BTreeMap<String, Verdict>,
}

impl Checks<'_> {
    fn node(&mut self, number: &str) -> Verdict {
        if let Some(known) = self.verdicts.get(number) {
            return known.clone();
        }
        let node = &self.nodes[number];
        let class = &self.info[node["class_type"].as_str().unwrap()]["input"];
        let mut verdict = Verdict { sound: true, reasons: Vec::new() };
        for (group, required) in [("required", true), ("optional", false)] {
            for (name, declared) in class[group].as_object().into_iter().flatten() {
                match node["inputs"].get(name) {
                    None if required => {
                        verdict.reasons.push(error(
                            "required_input_missing",
                            "Required input is missing",
                            name,
                            name,
                        ));
                    }
                    None => {}
                    Some(Value::Array(link)) => self.link(name, declared, link, &mut verdict),
                    Some(value) => verdict.reasons.extend(self.value(name, declared, value)),
                }
            }
        }
        verdict.sound &= verdict.reasons.is_empty();
        self.verdicts.insert(number.to_owned(), verdict.clone());
        verdict
    }

    fn link(&mut self, name: &str, declared: &Value, link: &[Value], verdict: &mut Verdict) {
        let [from, slot] = link else {
            let message = "Bad linked input, must be a length-2 list of [node_id, slot_index]";
            verdict.reasons.push(error("bad_linked_input", message, name, name));
            return;
        };
        let from = from.as_str().unwrap_or_default();
        let Some(source) = self.nodes.get(from) else {
            let message = "Exception when validating node";
            verdict.reasons.push(error("exception_during_validation", message, &format!("'{from}'"), name));
            return;
        };
        let given = &self.info[source["class_type"].as_str().unwrap()]["output"]
            [slot.as_u64().unwrap_or(99) as usize];
        if declared[0] != "*" && given != &declared[0] {
            let details = format!(
                "{name}, received_type({}) mismatch input_type({})",
                given.as_str().unwrap_or("None"),
                declared[0].as_str().unwrap_or("COMBO")
            );
            let message = "Return type mismatch between linked nodes";
            verdict.reasons.push(error("return_type_mismatch", message, &details, name));
            return;
        }
        verdict.sound &= self.node(from).sound;
    }

    fn value(&self, name: &str, declared: &Value, value: &Value) -> Option<Value> {
        let options = &declared[1];
        if options["image_upload"] == true {
            let there = value.as_str().is_some_and(|file| self.inputs.iter().any(|known| known == file));
            let details = format!("{name} - Invalid image file: {}", value.as_str().unwrap_or_default());
            return (!there).then(|| {
                error("custom_validation_failed", "Custom validation failed for node", &details, name)
            });
        }
        if let Some(choices) = declared[0].as_array() {
            let details = format!("{name}: {value} not in {}", declared[0]);
            return (!choices.contains(value))
                .then(|| error("value_not_in_list", "Value not in list", &details, name));
        }
        let kind = declared[0].as_str().unwrap_or_default();
        let number = match (kind, value) {
            ("INT" | "FLOAT", Value::Number(number)) => number.as_f64().unwrap(),
            ("INT" | "FLOAT", Value::String(text)) if text.parse::<f64>().is_ok() => text.parse().unwrap(),
            ("INT" | "FLOAT", _) => {
                let message = format!("Failed to convert an input value to a {kind} value");
                return Some(error("invalid_input_type", &message, &format!("{name}, {value}"), name));
            }
            ("STRING" | "BOOLEAN", _) => return None,
            // A link was expected, and ComfyUI takes what is there: the node fails when it runs.
            _ => return None,
        };
        if options["min"].as_f64().is_some_and(|min| number < min) {
            let message = format!("Value {value} smaller than min of {}", options["min"]);
            return Some(error("value_smaller_than_min", &message, name, name));
        }
        if options["max"].as_f64().is_some_and(|max| number > max) {
            let message = format!("Value {value} bigger than max of {}", options["max"]);
            return Some(error("value_bigger_than_max", &message, name, name));
        }
        None
    }
}

fn error(kind: &str, message: &str, details: &str, input: &str) -> Value {
    json!({"type": kind, "message": message, "details": details, "extra_info": {"input_name": input}})
}
