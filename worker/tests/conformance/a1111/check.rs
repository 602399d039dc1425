//! What the web UI's API checks before it works: the types of its fields, as its models declare them.
//! <https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/master/modules/api/models.py>

use serde_json::{Value, json};

const WORDS: [&str; 12] = [
    "prompt",
    "negative_prompt",
    "sampler_name",
    "sampler_index",
    "scheduler",
    "script_name",
    "force_task_id",
    "infotext",
    "refiner_checkpoint",
    "hr_upscaler",
    "mask",
    "upscaler_1",
];
const WHOLE: [&str; 14] = [
    "seed",
    "subseed",
    "batch_size",
    "n_iter",
    "steps",
    "width",
    "height",
    "resize_mode",
    "mask_blur",
    "inpainting_fill",
    "inpaint_full_res_padding",
    "inpainting_mask_invert",
    "seed_resize_from_h",
    "seed_resize_from_w",
];
const REAL: [&str; 7] = [
    "cfg_scale",
    "denoising_strength",
    "eta",
    "subseed_strength",
    "image_cfg_scale",
    "upscaling_resize",
    "hr_scale",
];
const SWITCHES: [&str; 8] = [
    "send_images",
    "save_images",
    "override_settings_restore_afterwards",
    "restore_faces",
    "tiling",
    "enable_hr",
    "inpaint_full_res",
    "include_init_images",
];
const OBJECTS: [&str; 3] = ["override_settings", "alwayson_scripts", "comments"];
const LISTS: [&str; 3] = ["init_images", "styles", "script_args"];

/// What is wrong with a request: the `detail` of an answer with status 422.
pub fn types(body: &Value) -> Vec<Value> {
    let wrong = |(name, value): (&String, &Value)| {
        let name = name.as_str();
        let (kind, fits) = match name {
            _ if WORDS.contains(&name) => ("string", value.is_string()),
            "image" => ("string", value.is_string()),
            _ if WHOLE.contains(&name) => {
                ("integer", value.as_f64().is_some_and(|number| number.fract() == 0.0))
            }
            _ if REAL.contains(&name) => ("number", value.is_number()),
            _ if SWITCHES.contains(&name) => ("boolean", value.is_boolean()),
            _ if OBJECTS.contains(&name) => ("dictionary", value.is_object()),
            _ if LISTS.contains(&name) => ("list", value.is_array()),
            _ => return None,
        };
        // Every field may be left empty.
        (!fits && !value.is_null()).then(|| {
            json!({"type": format!("{kind}_type"), "loc": ["body", name], "msg": format!("Input should be a valid {kind}"), "input": value})
        })
    };
    body.as_object().into_iter().flatten().filter_map(wrong).collect()
}

/// Fields that the API does not have. It ignores them, so that a mistake would go unnoticed.
pub fn unknown(body: &Value) -> Vec<String> {
    let known = [&WORDS[..], &WHOLE, &REAL, &SWITCHES, &OBJECTS, &LISTS, &["image"]].concat();
    body.as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .filter(|name| !known.contains(&name.as_str()))
        .collect()
}
