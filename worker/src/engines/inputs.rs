//! Inputs of models that were not made for Riff: names and flags that mean to the hub what they mean to the model.

use std::collections::HashSet;

use riff_hub::{
    canonical::Digest,
    model::{Cost, Media, ModelSpec},
    schema::{BadSpec, check_spec},
};
use serde_json::{Map, Value, json};

/// Flags that inputs go by everywhere in Riff, beside their own names.
const FLAGS: [(&str, &str); 8] = [
    ("num_inference_steps", "steps"),
    ("num_steps", "steps"),
    ("guidance_scale", "cfg"),
    ("cfg_scale", "cfg"),
    ("guidance", "cfg"),
    ("negative_prompt", "no"),
    ("aspect_ratio", "ratio"),
    ("prompt_strength", "strength"),
];
/// Flags that are Riff's own.
const RESERVED: [&str; 3] = ["model", "m", "ar"];

/// The name that an input gets: its own, or another where that one means something else to Riff.
pub fn own_name(name: String, schema: &Map<String, Value>) -> String {
    let reserved = RESERVED.contains(&name.replace('_', "-").as_str());
    match reserved || matches!(probe(&name, schema), Err(BadSpec::Meaning { .. })) {
        true => format!("model_{name}"),
        false => name,
    }
}

/// What the hub would say to a model with this one input.
///
/// # Errors
/// [`BadSpec`], as it would say it.
pub fn probe(name: &str, schema: &Map<String, Value>) -> Result<(), BadSpec> {
    let mut probed = ModelSpec {
        name: "probe".to_owned(),
        title: String::new(),
        card: String::new(),
        license: String::new(),
        media: Media::Image,
        schema: Map::new(),
        fingerprint: Digest::of_bytes(b""),
        cost: Cost { fixed: 0.0, per_megapixel: 0.0, per_token: 0.0, load: 0.0 },
        mature: false,
        overflow: None,
        examples: Vec::new(),
    };
    probed.schema.insert("properties".to_owned(), json!({name: schema}));
    check_spec(&probed)
}

/// Gives inputs the flags that they have everywhere in Riff, where no other input has them.
pub fn name_flags(properties: &mut Map<String, Value>) {
    let mut taken: HashSet<String> = RESERVED.map(str::to_owned).into();
    taken.extend(properties.keys().map(|name| name.replace('_', "-")));
    for (name, flag) in FLAGS {
        if let Some(schema) = properties.get_mut(name).and_then(Value::as_object_mut)
            && !schema.contains_key("x-flags")
            && taken.insert(flag.to_owned())
        {
            schema.insert("x-flags".to_owned(), json!([flag]));
        }
    }
}

/// The schema of a model with these inputs.
pub fn schema_of(properties: Map<String, Value>) -> Map<String, Value> {
    let schema = json!({"type": "object", "additionalProperties": false, "properties": properties});
    schema.as_object().cloned().unwrap_or_default()
}
