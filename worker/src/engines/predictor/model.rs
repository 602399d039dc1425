//! A model's OpenAPI document as a model of Riff: its schema, what it makes, and how a recipe becomes its inputs.

use std::collections::BTreeMap;

use riff_hub::{
    canonical::Digest,
    model::{Media, ModelSpec, Overflow, input},
    recipe::Recipe,
};
use serde_json::{Map, Value, json};

use super::{
    input::{self as inputs, Carry, Input, Property, Sent},
    openapi::{Components, Listed, is, is_file},
    output::Join,
};
use crate::{
    engine::EngineError,
    engines::{
        inputs::{name_flags, own_name, probe, schema_of},
        section::Described,
    },
};

/// Changes whenever the same recipe would be sent differently.
const VERSION: &str = "riff cog 1";
/// Names that the prompt's input goes by, the usual one first.
const PROMPTS: [&str; 8] =
    ["prompt", "text", "text_input", "input_text", "query", "question", "instruction", "caption"];
/// Names that the input for the number of pictures goes by.
const COUNTS: [&str; 7] = [
    "num_outputs",
    "num_images",
    "num_images_per_prompt",
    "number_of_images",
    "num_samples",
    "batch_size",
    "count",
];
/// Most pictures of one recipe, and of one that takes a run for each.
const MOST: (u32, u32) = (16, 4);

/// What an operator says of a model, beside what its document says.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// What it is.
    pub described: &'a Described,
    /// The input that gets the prompt; found by its name, if left out.
    pub prompt: Option<&'a str>,
    /// Inputs with a fixed value.
    pub inputs: &'a BTreeMap<String, Value>,
    /// What the files are that it gives; pictures, if left out.
    pub media: Option<Media>,
    /// How many pictures a model gives that returns a list and has no input for their number.
    pub outputs: u32,
    /// Set where it is served as overflow.
    pub overflow: Option<Overflow>,
}

/// Whatever makes the same recipe give other results.
#[derive(Debug, Clone, Copy)]
pub enum Identity<'a> {
    /// A server: the versions of its parts, and what the operator says of the weights.
    Server {
        /// What the server says of its own version.
        parts: &'a Value,
        /// Anything that changes when the weights do.
        version: &'a str,
    },
    /// A container, by its digest, which is also the id of the version at Replicate: it is the same wherever it runs.
    Container(&'a str),
}

/// A model that Cog packed.
#[derive(Debug, Clone)]
pub struct Model {
    /// As the hub sees it.
    pub spec: ModelSpec,
    /// Whether it sends server-sent events.
    pub streams: bool,
    /// How pieces of text belong together.
    pub join: Join,
    /// Whether more than one picture takes a run for each.
    pub repeats: bool,
    /// Whether one run gives a list.
    many: bool,
    prompt: Option<String>,
    fixed: BTreeMap<String, Value>,
    inputs: BTreeMap<String, Input>,
}

impl AsRef<ModelSpec> for Model {
    fn as_ref(&self) -> &ModelSpec {
        &self.spec
    }
}

impl Model {
    /// Reads a document.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] saying what of it cannot be used.
    pub fn read(document: &Value, identity: Identity<'_>, told: &Told<'_>) -> Result<Self, EngineError> {
        let components = Components::of(document)?;
        let output = components.named("Output")?;
        let (media, join) = media(&output, &components, told.media)?;
        let listed = components.inputs()?;
        let mut model = Self {
            spec: ModelSpec { overflow: told.overflow, ..told.described.spec(media) },
            streams: streams(document),
            join,
            repeats: false,
            many: is(&output, "array"),
            prompt: prompt(&listed, told.prompt),
            fixed: told.inputs.clone(),
            inputs: BTreeMap::new(),
        };
        let mut properties = Map::new();
        for listed in &listed {
            if Some(&listed.name) == model.prompt.as_ref() || model.fixed.contains_key(&listed.name) {
                continue;
            }
            if let Some(property) = inputs::read(listed, &components)? {
                model.take(&listed.name, property, &mut properties);
            }
        }
        model.count(told.outputs, &mut properties);
        name_flags(&mut properties);
        model.spec.schema = schema_of(properties);
        model.spec.fingerprint = fingerprint(document, identity, told);
        Ok(model)
    }

    /// The inputs for the model, for the run with a number (from 0) of those that a recipe takes.
    ///
    /// # Errors
    /// [`EngineError::Input`] for files that are needed and not there.
    pub async fn request(&self, recipe: &Recipe, run: u32, files: &dyn Carry) -> Result<Value, EngineError> {
        let mut request: Map<String, Value> = self.fixed.clone().into_iter().collect();
        if let Some(prompt) = &self.prompt {
            let words = match self.spec.media {
                Media::Image => recipe.prompt.text(),
                Media::Audio | Media::Text => recipe.prompt.as_str().to_owned(),
            };
            request.insert(prompt.clone(), words.into());
        }
        for (name, value) in &recipe.params {
            let Some(input) = self.inputs.get(name) else {
                continue;
            };
            if let Some(value) = input.value(value, files).await? {
                request.insert(input.name.clone(), value);
            }
        }
        if let Some(seed) = self.inputs.get(input::SEED).filter(|_| run > 0) {
            request.insert(seed.name.clone(), recipe.seed().wrapping_add(run).into());
        }
        Ok(request.into())
    }

    /// Takes an input in, under a name that means to the hub what it means to the model.
    fn take(&mut self, name: &str, property: Property, properties: &mut Map<String, Value>) {
        let Property { mut schema, sent } = property;
        let mut known = name.to_owned();
        let counts = self.spec.media == Media::Image && self.many && COUNTS.contains(&name);
        if counts && !properties.contains_key(input::COUNT) && as_count(&mut schema) {
            known = input::COUNT.to_owned();
            let plain = name.replace('_', "-");
            let flags: Vec<&str> = if name == "count" { vec!["n"] } else { vec!["n", &plain] };
            schema.insert("x-flags".to_owned(), json!(flags));
        }
        known = own_name(known, &schema);
        if let Err(error) = probe(&known, &schema) {
            tracing::warn!(model = self.spec.name, input = name, %error, "left out: its default will be used");
            return;
        }
        properties.insert(known.clone(), schema.into());
        self.inputs.insert(known, Input { name: name.to_owned(), sent });
    }

    /// How many pictures a recipe has, where the model has no input for that.
    fn count(&mut self, outputs: u32, properties: &mut Map<String, Value>) {
        if self.spec.media != Media::Image || properties.contains_key(input::COUNT) {
            return;
        }
        let (most, default) = match self.many {
            true => (outputs, outputs),
            false if properties.contains_key(input::SEED) => (MOST.1, 1),
            false => return,
        };
        if most == 1 {
            return;
        }
        self.repeats = !self.many;
        let count = json!({"type": "integer", "title": "Pictures", "description": "How many pictures one prompt gives.",
                           "minimum": 1, "maximum": most, "default": default, "x-flags": ["n"]});
        properties.insert(input::COUNT.to_owned(), count);
        let nowhere = Input { name: input::COUNT.to_owned(), sent: Sent::Never };
        self.inputs.insert(input::COUNT.to_owned(), nowhere);
    }
}

/// What a model makes, by the type of its output: files are pictures unless the operator says that they are sound, everything
/// else is shown as text.
fn media(
    output: &Map<String, Value>,
    components: &Components<'_>,
    told: Option<Media>,
) -> Result<(Media, Join), EngineError> {
    let has_file = |schema: &Map<String, Value>| -> Result<bool, EngineError> {
        Ok(is_file(schema) || is_file(&components.items(schema)?))
    };
    let mut files = has_file(output)?;
    for field in output.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values) {
        files |= has_file(&components.resolve(field, 8)?)?;
    }
    let seamless = ["x-cog-array-type", "x-cog-array-display"].iter().any(|key| output.contains_key(*key));
    let join = if seamless { Join::Seamless } else { Join::Lines };
    let media = match (files, told) {
        (true, None) => Media::Image,
        (true, Some(media @ (Media::Image | Media::Audio))) => media,
        (false, None | Some(Media::Text)) => Media::Text,
        (_, Some(media)) => {
            let given = if files { "files" } else { "text" };
            return Err(EngineError::Unavailable(format!(
                "the model gives {given}, and `media` says that it makes {}: correct it, or leave it out",
                media.words()
            )));
        }
    };
    Ok((media, join))
}

fn streams(document: &Value) -> bool {
    let mark = document.pointer("/paths/~1predictions/post/x-cog-streaming");
    mark.and_then(Value::as_bool) == Some(true)
}

/// The input that gets the prompt.
fn prompt(listed: &[Listed], told: Option<&str>) -> Option<String> {
    let takes_words = |name: &str| {
        listed.iter().any(|Listed { name: known, schema, .. }| {
            known == name && is(schema, "string") && !is_file(schema) && !schema.contains_key("enum")
        })
    };
    let named = told.into_iter().chain(PROMPTS);
    named.into_iter().find(|name| takes_words(name)).map(str::to_owned)
}

/// Makes a schema that of the number of results, if it can be.
fn as_count(schema: &mut Map<String, Value>) -> bool {
    let limit = |schema: &Map<String, Value>, key: &str| schema.get(key).and_then(Value::as_i64);
    if schema.get("type") != Some(&json!("integer"))
        || limit(schema, "minimum").is_some_and(|least| least > 1)
    {
        return false;
    }
    let most = limit(schema, "maximum").unwrap_or(i64::from(MOST.1)).clamp(1, i64::from(MOST.0));
    let default = limit(schema, "default").unwrap_or(1).clamp(1, most);
    for (key, value) in [("minimum", 1), ("maximum", most), ("default", default)] {
        schema.insert(key.to_owned(), value.into());
    }
    true
}

fn fingerprint(document: &Value, identity: Identity<'_>, told: &Told<'_>) -> Digest {
    let (inputs, prompt) = (told.inputs, told.prompt);
    match identity {
        Identity::Server { parts, version } => {
            let server = ["coglet", "cog", "python_sdk", "python"].map(|part| parts.get(part));
            Digest::of_json(&json!({
                "engine": VERSION,
                "schemas": document.pointer("/components/schemas"),
                "server": server,
                "version": version,
                "inputs": inputs,
                "prompt": prompt,
            }))
        }
        Identity::Container(digest) => Digest::of_json(
            &json!({"engine": VERSION, "container": digest, "inputs": inputs, "prompt": prompt}),
        ),
    }
}
