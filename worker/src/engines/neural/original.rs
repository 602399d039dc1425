//! A picture to begin with: the inputs that name it, and its pixels.

use riff_hub::{canonical::Digest, model::input, recipe::Recipe};
use serde_json::{Map, Value, json};

use super::{pixels::Pixels, view::View};
use crate::{
    engine::{EngineError, RunContext},
    engines::{blocking, moves::bad, picture},
};

/// How far the centre of a view may lie from a picture's, and how much of it a view may cover; some of the picture is in it.
const VIEW_CENTRES: (f64, f64) = (-1.0, 2.0);
/// See [`VIEW_CENTRES`].
const VIEW_SCALES: (f64, f64) = (0.25, 4.0);
/// The input with a mask: white is painted anew.
const MASK: &str = "mask";

/// A picture to begin with, by the names of its blobs.
#[derive(Debug, Clone, PartialEq)]
pub struct Original {
    /// The picture.
    pub image: Digest,
    /// Where it is painted anew.
    pub mask: Option<Digest>,
    /// Part of the steps that is taken, 0 to 1.
    pub strength: f64,
    /// What of the picture is seen.
    pub view: View,
}

/// The inputs that say which picture to begin with, in forms from the place `order` on.
pub fn inputs(order: u32) -> Map<String, Value> {
    let picture = |title: &str, text: &str, order: u32| json!({"type": "string", "title": title, "description": text, "x-media": "image", "default": "", "x-order": order});
    let view = |default: f64, (from, to): (f64, f64)| json!({"type": "number", "minimum": from, "maximum": to, "default": default, "x-hidden": true});
    let inputs = json!({
        "image": picture("Picture", "A picture to begin with.", order),
        "strength": {"type": "number", "title": "Strength", "description": "How much of that picture is painted anew.", "minimum": 0, "maximum": 1,
                     "default": 0.75, "x-order": order + 1},
        "mask": picture("Mask", "Where that picture is painted anew: white there, black elsewhere.", order + 2),
        "view_x": view(0.5, VIEW_CENTRES),
        "view_y": view(0.5, VIEW_CENTRES),
        "view_scale": view(1.0, VIEW_SCALES),
    });
    inputs.as_object().cloned().unwrap_or_default()
}

impl Original {
    /// What a recipe begins with.
    ///
    /// # Errors
    /// [`EngineError::Input`] naming the input that cannot be read.
    pub fn read(recipe: &Recipe) -> Result<Option<Self>, EngineError> {
        let named = |name: &str| match recipe.text(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse::<Digest>().map(Some).map_err(|error| bad(name, &error.to_string())),
        };
        match (named(input::IMAGE)?, named(MASK)?) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(EngineError::Input(
                "a mask was given without a picture: add --image, the picture that it belongs to".to_owned(),
            )),
            (Some(image), mask) => {
                let number = |name| recipe.number(name).ok_or_else(|| bad(name, "a number"));
                let view = View {
                    x: number(input::VIEW_X)?,
                    y: number(input::VIEW_Y)?,
                    scale: number(input::VIEW_SCALE)?,
                };
                // Of what lies beyond a picture nothing can be kept.
                let strength = if view.is_within() { number(input::STRENGTH)? } else { 1.0 };
                Ok(Some(Self { image, mask, strength, view }))
            }
        }
    }

    /// What is seen of it, with what is painted anew, in the size of the results.
    ///
    /// # Errors
    /// [`EngineError::Input`] if a file is not there or no picture.
    pub async fn pixels(&self, size: (u32, u32), context: &RunContext) -> Result<Pixels, EngineError> {
        let named = async |blob: Digest| picture::named(&blob.to_string(), &*context.files).await;
        let image = named(self.image).await?;
        let mask = match self.mask {
            Some(mask) => Some(named(mask).await?),
            None => None,
        };
        let view = self.view;
        blocking(move || Ok(view.of(Pixels::read(&image, mask.as_ref(), size)?))).await
    }
}
