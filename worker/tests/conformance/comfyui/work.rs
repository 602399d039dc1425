//! How the server works through its queue: ComfyUI's order of messages, its cache, its history.

use std::{io::Cursor, time::Duration};

use axum::{body::Bytes, extract::ws::Message};
use serde_json::{Map, Value, json};

use super::server::{Fake, Item};
use crate::files::noise;

/// How a node ended that gave nothing.
enum Stop {
    Interrupted,
    Error { kind: &'static str, message: String },
}

/// One prompt after the other.
pub async fn forever(fake: Fake) {
    loop {
        let next = fake.with(|memory| {
            memory.running = memory.pending.pop_front();
            memory.interrupted = false;
            memory.running.clone()
        });
        match next {
            Some(item) => run(&fake, &item).await,
            None => fake.work.notified().await,
        }
    }
}

/// What a prompt has told and made so far.
struct Run<'a> {
    fake: &'a Fake,
    item: &'a Item,
    messages: Vec<Value>,
    outputs: Map<String, Value>,
}

impl Run<'_> {
    fn tell(&self, kind: &str, mut data: Value) {
        data["prompt_id"] = self.item.0[1].clone();
        self.fake.tell(self.item.client(), kind, data);
    }

    /// Tells something that the history keeps.
    fn note(&mut self, kind: &str, mut data: Value) {
        data["prompt_id"] = self.item.0[1].clone();
        self.messages.push(json!([kind, data.clone()]));
        self.tell(kind, data);
    }
}

async fn run(fake: &Fake, item: &Item) {
    let mut run = Run { fake, item, messages: Vec::new(), outputs: Map::new() };
    let nodes = item.0[2].clone();
    let cached: Vec<String> = {
        let made = |(_, node): &(&String, &Value)| {
            fake.with(|memory| memory.cache.contains_key(&origin(&nodes, node)))
        };
        nodes.as_object().unwrap().iter().filter(made).map(|(number, _)| number.clone()).collect()
    };
    run.note("execution_start", json!({}));
    run.note("execution_cached", json!({"nodes": cached}));
    let mut failed = None;
    for output in item.0[4].as_array().unwrap() {
        if let Err((number, stop)) = make(&mut run, &nodes, output.as_str().unwrap()).await {
            failed = Some((number, stop));
            break;
        }
    }
    let status = if failed.is_some() { "error" } else { "success" };
    match failed {
        None => run.note("execution_success", json!({})),
        Some((number, stop)) => {
            let node = json!({"node_id": number, "node_type": nodes[&number]["class_type"], "executed": []});
            tell_stop(&mut run, node, stop);
        }
    }
    keep(&run, status);
}

/// Puts what became of a prompt into the history, unless the server was started anew meanwhile.
fn keep(run: &Run<'_>, status: &str) {
    let item = run.item;
    let entry = json!({
        "prompt": item.0, "outputs": run.outputs, "meta": {},
        "status": {"status_str": status, "completed": status == "success", "messages": run.messages},
    });
    let kept = run.fake.with(|memory| {
        let ours = memory.running.as_ref().is_some_and(|running| running.id() == item.id());
        if ours {
            memory.history.insert(item.id().to_owned(), entry);
            memory.running = None;
        }
        ours
    });
    if kept {
        run.tell("executing", json!({"node": null}));
    }
}

fn tell_stop(run: &mut Run<'_>, mut node: Value, stop: Stop) {
    match stop {
        Stop::Interrupted => run.note("execution_interrupted", node),
        Stop::Error { kind, message } => {
            node["exception_message"] = format!("{message}\n").into();
            node["exception_type"] = kind.into();
            node["traceback"] = json!(["  File \"painter.py\", line 1\n"]);
            run.note("execution_error", node);
        }
    }
}

/// All that a node's result depends on.
fn origin(nodes: &Value, node: &Value) -> String {
    let mut inputs = node["inputs"].clone();
    for value in inputs.as_object_mut().unwrap().values_mut() {
        if let Some(source) = value.get(0).and_then(Value::as_str) {
            *value = origin(nodes, &nodes[source]).into();
        }
    }
    json!([node["class_type"], inputs]).to_string()
}

/// Makes a node and what it hangs on; gives its result.
async fn make(run: &mut Run<'_>, nodes: &Value, number: &str) -> Result<Value, (String, Stop)> {
    let node = &nodes[number];
    let origin = origin(nodes, node);
    let saved = node["class_type"] == "SaveImage"
        || node["class_type"] == "PreviewImage"
        || node["class_type"] == "PreviewAny";
    if let Some(known) = run.fake.with(|memory| memory.cache.get(&origin).cloned()) {
        if saved {
            run.tell("executed", json!({"node": number, "output": known}));
            run.outputs.insert(number.to_owned(), known.clone());
        }
        return Ok(known);
    }
    let mut sources = Map::new();
    for (name, value) in node["inputs"].as_object().unwrap() {
        if let Some(source) = value.get(0).and_then(Value::as_str) {
            sources.insert(name.clone(), Box::pin(make(run, nodes, source)).await?);
        }
    }
    run.tell("executing", json!({"node": number, "display_node": number}));
    let result = execute(run, number, node, &sources).await.map_err(|stop| (number.to_owned(), stop))?;
    if saved {
        run.tell("executed", json!({"node": number, "display_node": number, "output": result}));
        run.outputs.insert(number.to_owned(), result.clone());
    }
    run.fake.with(|memory| memory.cache.insert(origin, result.clone()));
    Ok(result)
}

async fn execute(
    run: &Run<'_>,
    number: &str,
    node: &Value,
    sources: &Map<String, Value>,
) -> Result<Value, Stop> {
    if let Some(given) = run.fake.with(|memory| memory.gives.get(number).cloned()) {
        return Ok(given);
    }
    let inputs = &node["inputs"];
    match node["class_type"].as_str().unwrap() {
        "RiffPainter" => paint(run, number, inputs, sources).await,
        "LoadImage" | "LoadImageMask" => Ok(json!([{"input": inputs["image"]}])),
        "SaveImage" => {
            Ok(save(run.fake, &sources["images"], inputs["filename_prefix"].as_str().unwrap(), "output"))
        }
        "PreviewImage" => Ok(save(run.fake, &sources["images"], "ComfyUI_temp", "temp")),
        "PrimitiveStringMultiline" => Ok(inputs["value"].clone()),
        "PreviewAny" => Ok(json!({"text": [sources["source"]]})),
        other => {
            Err(Stop::Error { kind: "NotImplementedError", message: format!("{other} is not played here") })
        }
    }
}

async fn paint(
    run: &Run<'_>,
    number: &str,
    inputs: &Value,
    sources: &Map<String, Value>,
) -> Result<Value, Stop> {
    let steps = inputs["steps"].as_u64().unwrap();
    let pause = Duration::from_secs_f64(inputs["pause"].as_f64().unwrap());
    for step in 0..steps {
        if run.fake.with(|memory| memory.interrupted) {
            return Err(Stop::Interrupted);
        }
        tokio::time::sleep(pause).await;
        let node = json!({"value": step + 1, "max": steps, "state": "running", "node_id": number});
        run.tell("progress_state", json!({"nodes": {number: node}}));
        run.tell("progress", json!({"value": step + 1, "max": steps, "node": number}));
        run.fake.send(run.item.client(), Message::binary(preview(step as u8)));
    }
    let prompt = inputs["prompt"].as_str().unwrap();
    if prompt.contains("out of memory") {
        let message = "CUDA out of memory. Tried to allocate 2.00 GiB".to_owned();
        return Err(Stop::Error { kind: "torch.OutOfMemoryError", message });
    }
    if prompt.contains("fail") {
        return Err(Stop::Error { kind: "ValueError", message: "the painter fell asleep".to_owned() });
    }
    if let Some(image) = sources.get("image") {
        return Ok(image.clone());
    }
    let picture = |index: u64| json!({"seed": inputs["seed"].as_u64().unwrap() + 1_000 * index, "width": inputs["width"], "height": inputs["height"]});
    Ok((0..inputs["batch_size"].as_u64().unwrap()).map(picture).collect())
}

/// The bytes of a preview, as ComfyUI sends them: kind of message, kind of picture, JPEG.
fn preview(shade: u8) -> Bytes {
    let mut jpeg = Cursor::new(Vec::new());
    image::RgbImage::from_pixel(96, 96, image::Rgb([shade, 9, 9]))
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .unwrap();
    [&[0, 0, 0, 1, 0, 0, 0, 1], jpeg.into_inner().as_slice()].concat().into()
}

/// Puts pictures among the outputs.
fn save(fake: &Fake, pictures: &Value, prefix: &str, kind: &str) -> Value {
    let files: Vec<Value> = pictures
        .as_array()
        .unwrap()
        .iter()
        .map(|picture| {
            fake.with(|memory| {
                let bytes = match picture["input"].as_str() {
                    Some(name) => memory.inputs[name].clone(),
                    None => {
                        let side = |key: &str| picture[key].as_u64().unwrap() as u32;
                        noise(picture["seed"].as_u64().unwrap(), side("width"), side("height"))
                    }
                };
                let name = format!("{prefix}_{:05}_.png", memory.outputs.len() + 1);
                memory.outputs.insert(name.clone(), bytes);
                json!({"filename": name, "subfolder": "", "type": kind})
            })
        })
        .collect();
    json!({"images": files})
}
