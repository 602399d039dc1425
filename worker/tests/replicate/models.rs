//! The models of the service: what they take, how they work, what they give.

use std::{io::Cursor, time::Duration};

use bytes::Bytes;
use riff_hub::canonical::Digest;
use serde_json::{Map, Value, json};

/// Seconds that every run takes of the hardware, and those of one that is cancelled on the way.
pub const TAKES: f64 = 2.0;
pub const CANCELLED_AFTER: f64 = 0.5;

/// A model.
pub struct Model {
    pub name: &'static str,
    pub official: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A picture, by its address.
    Picture,
    /// A list of them.
    Pictures,
    /// An object with one in it.
    Sheet,
    /// Text that comes word by word.
    Words,
    /// Ends as the prompt says.
    Ends,
}

pub static MODELS: [Model; 5] = [
    Model { name: "painter", official: false, kind: Kind::Picture },
    Model { name: "prints", official: true, kind: Kind::Pictures },
    Model { name: "sheet", official: false, kind: Kind::Sheet },
    Model { name: "poet", official: true, kind: Kind::Words },
    Model { name: "fails", official: false, kind: Kind::Ends },
];

pub fn find(owner: &str, name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| owner == "acme" && model.name == name)
}

impl Model {
    pub fn path(&self) -> String {
        format!("acme/{}", self.name)
    }

    /// The id of its only version.
    pub fn id(&self) -> String {
        Digest::of_bytes(self.name.as_bytes()).to_string()
    }

    pub fn version(&self) -> Value {
        json!({"id": self.id(), "created_at": "2026-01-01T00:00:00Z", "cog_version": "0.23.1", "openapi_schema": self.document()})
    }

    pub fn streams(&self) -> bool {
        self.kind == Kind::Words
    }

    fn inputs(&self) -> Value {
        let whole = |order: u32, least: u64, most: u64, default: u64| json!({"type": "integer", "minimum": least, "maximum": most, "default": default, "x-order": order});
        let pause = json!({"type": "number", "minimum": 0, "maximum": 1, "default": 0, "x-order": 3});
        let prompt = json!({"type": "string", "title": "Prompt", "x-order": 0});
        let seed = json!({"type": "integer", "nullable": true, "x-order": 1});
        match self.kind {
            Kind::Picture => {
                json!({"prompt": prompt, "seed": seed, "width": whole(2, 8, 256, 16), "pause": pause,
                "num_inference_steps": whole(4, 1, 100, 2), "image": {"type": "string", "format": "uri", "x-order": 5}})
            }
            Kind::Pictures => {
                json!({"prompt": prompt, "seed": seed, "num_outputs": whole(2, 1, 4, 1), "pause": pause})
            }
            Kind::Words => {
                json!({"prompt": prompt, "seed": seed, "max_tokens": whole(2, 1, 100, 4), "pause": pause})
            }
            Kind::Sheet | Kind::Ends => json!({"prompt": prompt}),
        }
    }

    fn document(&self) -> Value {
        let uri = json!({"type": "string", "format": "uri"});
        let output = match self.kind {
            Kind::Picture => uri,
            Kind::Pictures | Kind::Ends => json!({"type": "array", "items": uri}),
            Kind::Sheet => {
                json!({"type": "object", "properties": {"picture": uri, "score": {"type": "number"}}})
            }
            Kind::Words => {
                json!({"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator",
                                  "x-cog-array-display": "concatenate"})
            }
        };
        let input =
            json!({"type": "object", "title": "Input", "properties": self.inputs(), "required": ["prompt"]});
        json!({"openapi": "3.0.2", "components": {"schemas": {"Input": input, "Output": output}}})
    }

    /// What is said of inputs that the schema does not admit.
    pub fn refusal(&self, input: &Value) -> Option<Value> {
        let inputs = self.inputs();
        let mut invalid = Vec::new();
        for (name, value) in input.as_object().unwrap_or(&Map::new()) {
            let schema = &inputs[name];
            let number = value.as_f64();
            let why = match schema["type"].as_str() {
                Some("integer" | "number") if number.is_none() => "Invalid type.".to_owned(),
                Some("string") if !value.is_string() => "Invalid type. Expected: string".to_owned(),
                _ if schema["maximum"].as_f64().zip(number).is_some_and(|(most, number)| number > most) => {
                    format!("Must be less than or equal to {}", schema["maximum"])
                }
                _ if schema["minimum"].as_f64().zip(number).is_some_and(|(least, number)| number < least) => {
                    format!("Must be greater than or equal to {}", schema["minimum"])
                }
                _ => continue,
            };
            invalid.push(json!({"type": "invalid", "field": format!("input.{name}"), "description": why}));
        }
        let detail = |field: &Value| {
            format!("- {}: {}\n", field["field"].as_str().unwrap(), field["description"].as_str().unwrap())
        };
        let details: String = invalid.iter().map(detail).collect();
        (!invalid.is_empty()).then(|| json!({"title": "Input validation failed", "detail": details, "status": 422, "invalid_fields": invalid}))
    }
}

/// A change of a prediction, and how long the model works after it.
pub struct Step {
    changes: Vec<(&'static str, Value)>,
    pub pause: Duration,
}

impl Step {
    pub fn apply(&self, known: &mut Value) {
        for (pointer, value) in &self.changes {
            match *pointer {
                "logs" => {
                    known["logs"] =
                        format!("{}{}", known["logs"].as_str().unwrap(), value.as_str().unwrap()).into()
                }
                "predict_time" => known["metrics"]["predict_time"] = value.clone(),
                key => known[key] = value.clone(),
            }
        }
    }
}

/// How a model works on an input. Files are at `place`.
pub fn steps(model: &Model, input: &Value, place: &str) -> Vec<Step> {
    let pause = Duration::from_secs_f64(input["pause"].as_f64().unwrap_or_default());
    let seed = input["seed"].as_u64().unwrap_or_default();
    let mixed =
        seed + 1_000_003 * input["prompt"].as_str().unwrap_or_default().bytes().map(u64::from).sum::<u64>();
    let mut steps = vec![Step {
        changes: vec![("status", "processing".into()), ("started_at", "2026-11-25T00:00:01Z".into())],
        pause,
    }];
    let file =
        |index: u64| format!("{place}/{}-{}.png", mixed + index, input["width"].as_u64().unwrap_or(16));
    let output = match model.kind {
        Kind::Picture => {
            let all = input["num_inference_steps"].as_u64().unwrap_or(2);
            steps.extend((1..=all).map(|step| Step {
                changes: vec![("logs", format!("{}%|\n", 100 * step / all).into())],
                pause,
            }));
            file(0).into()
        }
        Kind::Pictures => (0..input["num_outputs"].as_u64().unwrap_or(1)).map(file).collect(),
        Kind::Sheet => json!({"picture": file(0), "score": 0.5}),
        Kind::Words => {
            let said = said(mixed, input["max_tokens"].as_u64().unwrap_or(4));
            steps.extend(
                (1..=said.len()).map(|at| Step { changes: vec![("output", json!(said[..at]))], pause }),
            );
            json!(said)
        }
        Kind::Ends => return ends(input["prompt"].as_str().unwrap_or_default(), steps),
    };
    let changes = vec![("output", output), ("predict_time", TAKES.into()), ("status", "succeeded".into())];
    steps.push(Step { changes, pause: Duration::ZERO });
    steps
}

/// What the poet says.
pub fn said(seed: u64, words: u64) -> Vec<&'static str> {
    let known = ["fox", " hen", " owl\n", " élan", " 🦊"];
    (0..words).map(|at| known[((seed * 31 + at * at) % 5) as usize]).collect()
}

/// An end without a result: `never begins`, or the reason of a failure.
fn ends(prompt: &str, begun: Vec<Step>) -> Vec<Step> {
    let changes = match prompt {
        "never begins" => vec![("status", "aborted".into())],
        "is cancelled" => vec![("predict_time", CANCELLED_AFTER.into()), ("status", "canceled".into())],
        "says nothing of its time" => vec![("output", json!([])), ("status", "succeeded".into())],
        reason => vec![("error", reason.into()), ("predict_time", TAKES.into()), ("status", "failed".into())],
    };
    let mut steps = if prompt == "never begins" { Vec::new() } else { begun };
    steps.push(Step { changes, pause: Duration::ZERO });
    steps
}

pub fn has_ended(known: &Value) -> bool {
    matches!(known["status"].as_str(), Some("succeeded" | "failed" | "canceled" | "aborted"))
}

/// Pieces of output so far.
pub fn count(known: &Value) -> usize {
    known["output"].as_array().map_or(0, Vec::len)
}

/// A server-sent event.
pub fn event(name: &str, data: &str) -> String {
    let lines: String = data.split('\n').map(|line| format!("data: {line}\n")).collect();
    format!("event: {name}\nid: 1\n{lines}\n")
}

/// The picture with a seed and a width, `SEED-WIDTH.png`: noise.
pub fn delivered(file: &str) -> Option<Bytes> {
    let (seed, width) = file.strip_suffix(".png")?.split_once('-')?;
    let (mut noise, width): (u64, u32) = (seed.parse().ok()?, width.parse().ok()?);
    let picture = image::RgbImage::from_fn(width, 16, |_, _| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        image::Rgb([(noise >> 32) as u8, (noise >> 40) as u8, (noise >> 48) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, image::ImageFormat::Png).ok()?;
    Some(bytes.into_inner().into())
}
