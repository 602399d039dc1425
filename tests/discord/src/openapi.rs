//! Checks bodies against Discord's own description of its API, where that file is there.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
};

use jsonschema::{Validator, error::ValidationErrorKind};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

/// Where the description lies, from this crate.
const DESCRIPTION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/discord/openapi.json");

struct Description {
    document: Value,
    /// By method and template.
    validators: Mutex<HashMap<(String, String), Check>>,
}

/// What checks an operation's body; nothing for one without a body.
type Check = Option<Arc<Validator>>;

fn description() -> Option<&'static Description> {
    static DESCRIBED: OnceLock<Option<Description>> = OnceLock::new();
    let read = || {
        let text = std::fs::read_to_string(DESCRIPTION)
            .map_err(|error| eprintln!("bodies are not checked: {DESCRIPTION}: {error}"))
            .ok()?;
        let mut document = serde_json::from_str(&text)
            .map_err(|error| eprintln!("bodies are not checked: {DESCRIPTION}: {error}"))
            .ok()?;
        relax(&mut document);
        document["components"]["schemas"]["MessageAttachmentRequest"]["properties"]["id"] =
            json!({"type": ["string", "integer"]});
        Some(Description { document, validators: Mutex::default() })
    };
    DESCRIBED.get_or_init(read).as_ref()
}

/// Takes out where the description is narrower than Discord:
/// - `oneOf` becomes `anyOf`. The members of its unions overlap (an empty object is every partial update, a null is each
///   nullable member), and Discord takes what fits any of them.
/// - The number of a message's file may be a number: Discord's own libraries write it so.
/// - `default_member_permissions` may be a string: that is how Discord itself writes permissions.
fn relax(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(members) = object.remove("oneOf") {
                object.insert("anyOf".to_owned(), members);
            }
            if let Some(permissions) = object.get_mut("default_member_permissions")
                && permissions.get("type").is_some()
            {
                permissions["type"] = json!(["string", "integer", "null"]);
            }
            object.values_mut().for_each(relax);
        }
        Value::Array(list) => list.iter_mut().for_each(relax),
        _ => {}
    }
}

/// Whether the description is there.
pub(crate) fn is_there() -> bool {
    description().is_some()
}

/// What is wrong with a body, if anything is and the description is there to say so.
pub(crate) fn check(method: &str, template: &str, body: &Value) -> Option<String> {
    let description = description()?;
    let key = (method.to_owned(), template.to_owned());
    let known = description.validators.lock().get(&key).cloned();
    let validator = known.unwrap_or_else(|| {
        let made = compile(&description.document, method, template).map(Arc::new);
        description.validators.lock().insert(key, made.clone());
        made
    })?;
    let errors: Vec<String> = validator.iter_errors(body).map(|error| explain(&error)).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// Whether the description knows the route.
#[cfg(test)]
pub(crate) fn knows(method: &str, template: &str) -> bool {
    description().is_none_or(|description| {
        !description.document["paths"][template][method.to_lowercase().as_str()].is_null()
    })
}

fn compile(document: &Value, method: &str, template: &str) -> Option<Validator> {
    let operation = &document["paths"][template][method.to_lowercase().as_str()];
    let schema = operation["requestBody"]["content"]["application/json"]["schema"].as_object()?;
    let mut schema = schema.clone();
    let mut parts = BTreeMap::new();
    collect(document, &Value::Object(schema.clone()), &mut parts);
    let parts: Map<String, Value> = parts.into_iter().collect();
    schema.insert("components".to_owned(), json!({"schemas": parts}));
    let validator = jsonschema::draft202012::new(&Value::Object(schema));
    validator.map_err(|error| eprintln!("{method} {template} is not checked: {error}")).ok()
}

/// The schemas that a schema refers to: the whole document takes long to compile.
fn collect(document: &Value, value: &Value, parts: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(object) => {
            let name = object.get("$ref").and_then(Value::as_str);
            if let Some(name) = name.and_then(|name| name.strip_prefix("#/components/schemas/"))
                && !parts.contains_key(name)
            {
                let part = document["components"]["schemas"][name].clone();
                parts.insert(name.to_owned(), part.clone());
                collect(document, &part, parts);
            }
            object.values().for_each(|value| collect(document, value, parts));
        }
        Value::Array(list) => list.iter().for_each(|value| collect(document, value, parts)),
        _ => {}
    }
}

/// Says where and what; of a union, what the member says that came furthest.
fn explain(error: &jsonschema::ValidationError<'_>) -> String {
    if let ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } =
        error.kind()
    {
        let depth = |errors: &&Vec<jsonschema::ValidationError<'static>>| {
            let depths = errors.iter().map(|error| error.instance_path().as_str().matches('/').count());
            // A member whose `type` is another one is not what was meant.
            let other = errors.iter().any(|error| error.instance_path().as_str().ends_with("/type"));
            (!other, depths.max().unwrap_or_default())
        };
        if let Some(meant) = context.iter().max_by_key(depth) {
            return meant.iter().map(explain).collect::<Vec<_>>().join("; ");
        }
    }
    let mut text = error.to_string();
    if text.len() > 300 {
        text = text.chars().take(300).chain("…".chars()).collect();
    }
    format!("{}: {text}", error.instance_path().as_str())
}
