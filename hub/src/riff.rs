//! Riffs: how a recipe follows from others. Which moves a model's results offer is read from its schema alone.

use serde_json::{Map, Value, json};

use crate::{
    canonical::Digest,
    model::{ModelSpec, input},
    prompt::{Params, Prompt},
    recipe::{Move, Origin, Parent, Recipe},
    schema::{self, BadInput, Kind},
};

/// How far a variation goes from its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// Details differ.
    Subtle,
    /// The mood stays.
    Strong,
}

impl Strength {
    /// Part of the way towards another seed's latent, 0 to 1.
    fn amount(self) -> f64 {
        match self {
            Self::Subtle => 0.2,
            Self::Strong => 0.45,
        }
    }
}

/// How a result gets more pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Enlarging {
    /// By its own model where that can sample it finer, which is exact, and else by an upscaler.
    #[default]
    Best,
    /// By its own model alone.
    Anew,
    /// By an upscaler, which draws in what looks likely.
    Upscaler,
}

/// Where to look next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pan {
    /// West.
    Left,
    /// East.
    Right,
    /// North.
    Up,
    /// South.
    Down,
}

impl Pan {
    /// Direction along an axis and the axis.
    fn step(self) -> (&'static str, f64) {
        match self {
            Self::Left => (input::VIEW_X, -1.0),
            Self::Right => (input::VIEW_X, 1.0),
            Self::Up => (input::VIEW_Y, -1.0),
            Self::Down => (input::VIEW_Y, 1.0),
        }
    }
}

/// Why a riff is not possible.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadRiff {
    /// The model's schema has nothing to do it with.
    #[error("The model {model} can't {} its results; it offers: {offers}.", .wanted.as_str())]
    NotOffered {
        /// The model's name.
        model: String,
        /// The move asked for.
        wanted: Move,
        /// The moves it has.
        offers: String,
    },
    /// An upscale or zoom past the model's limit.
    #[error("This is already as far as the model {model} goes ({limit}).")]
    Limit {
        /// The model's name.
        model: String,
        /// The limit, in words.
        limit: String,
    },
    /// Parents of different models.
    #[error(
        "Only results of the same model version can be blended: fork one of them with the other's model first."
    )]
    Mixed,
    /// The inputs that follow are not admitted.
    #[error(transparent)]
    Input(#[from] BadInput),
}

/// How much of a picture is painted anew when its own model enlarges it: details, and nothing that they are of.
const REDRAWN: f64 = 0.3;

/// The moves that a model's results offer, in the order of their buttons.
pub fn moves_of(spec: &ModelSpec) -> Vec<Move> {
    let takes = |names: &[&str]| names.iter().all(|name| spec.takes(name));
    let offers = [
        // A picture with a view can be sampled finer, which is what an exact upscale is.
        (Move::Upscale, takes(&[input::WIDTH, input::HEIGHT, input::VIEW_SCALE]) && draws_larger(spec)),
        (Move::Vary, takes(&[input::SEED, input::VARIATIONS])),
        (Move::Reroll, takes(&[input::SEED])),
        (Move::Zoom, takes(&[input::VIEW_SCALE])),
        (Move::Pan, takes(&[input::VIEW_X, input::VIEW_Y, input::VIEW_SCALE])),
        (Move::Blend, takes(&[input::BLEND])),
        (Move::Reply, takes(&[input::HISTORY])),
        (Move::Remix, true),
        (Move::Fork, true),
    ];
    offers.into_iter().filter_map(|(made_by, offered)| offered.then_some(made_by)).collect()
}

/// Whether a model draws twice as many pixels a side as it usually does.
fn draws_larger(spec: &ModelSpec) -> bool {
    let most =
        |side: &Map<String, Value>| Some((side.get("maximum")?.as_f64()?, side.get("default")?.as_f64()?));
    let sides = [input::WIDTH, input::HEIGHT].map(|name| spec.property(name).and_then(most));
    sides.into_iter().flatten().all(|(most, usual)| most >= 2.0 * usual)
}

/// A grid of results near one result.
pub fn vary(
    parent: &Recipe,
    spec: &ModelSpec,
    index: u32,
    strength: Strength,
    seed: u32,
) -> Result<Recipe, BadRiff> {
    offered(spec, Move::Vary)?;
    let mut params = pinned(parent, index);
    push(&mut params, input::VARIATIONS, json!([seed, strength.amount()]));
    child(parent, spec, Move::Vary, index, params)
}

/// The same settings with a new seed; of a variation, new variations of the same result.
pub fn reroll(parent: &Recipe, spec: &ModelSpec, index: u32, seed: u32) -> Result<Recipe, BadRiff> {
    offered(spec, Move::Reroll)?;
    let mut params = parent.params.clone();
    match last_variation(&mut params) {
        Some(step) => *step = seed.into(),
        None => {
            params.insert(input::SEED.to_owned(), seed.into());
        }
    }
    child(parent, spec, Move::Reroll, index, params)
}

/// One result with twice as many pixels a side.
pub fn upscale(parent: &Recipe, spec: &ModelSpec, index: u32) -> Result<Recipe, BadRiff> {
    offered(spec, Move::Upscale)?;
    let mut params = single(parent, index, spec);
    for name in [input::WIDTH, input::HEIGHT] {
        let doubled = parent.integer(name).unwrap_or_default() * 2;
        if let Some(Kind::Integer { max, .. }) = kind(spec, name)
            && doubled as i64 > max
        {
            return Err(limit(spec, format!("{max} pixels a side")));
        }
        params.insert(name.to_owned(), doubled.into());
    }
    child(parent, spec, Move::Upscale, index, params)
}

/// Whether views of a model are of a picture that it begins with, and not of a plane that it knows: moves of the view need the
/// result itself.
pub fn views_pictures(spec: &ModelSpec) -> bool {
    spec.takes(input::IMAGE) && spec.takes(input::VIEW_SCALE)
}

/// A move of the view (upscale, zoom or pan) on the picture that a result is. `image` is the result's blob; `twist` is the
/// move, on a recipe that begins with the whole of it.
pub fn on_picture(
    parent: &Recipe,
    spec: &ModelSpec,
    (index, image): (u32, Digest),
    twist: impl FnOnce(&Recipe) -> Result<Recipe, BadRiff>,
) -> Result<Recipe, BadRiff> {
    let mut params = parent.params.clone();
    let pictures = spec.properties().into_iter().flatten();
    for (name, property) in pictures.filter(|(_, property)| property.get("x-media").is_some()) {
        let nothing = property.get("default").cloned().unwrap_or(Value::Null);
        params.insert(name.clone(), nothing);
    }
    params.insert(input::IMAGE.to_owned(), image.to_string().into());
    for name in [input::VIEW_X, input::VIEW_Y, input::VIEW_SCALE].into_iter().filter(|name| spec.takes(name))
    {
        put(&mut params, name, whole_view(name));
    }
    if spec.takes(input::STRENGTH) {
        put(&mut params, input::STRENGTH, REDRAWN);
    }
    let mut recipe = twist(&Recipe { params, ..parent.clone() })?;
    if let Some(origin) = &mut recipe.origin {
        origin.parents = vec![parent_of(parent, index)];
    }
    Ok(recipe)
}

/// One result enlarged by another model: an upscaler. `image` is the result's blob.
pub fn enlarge(
    parent: &Recipe,
    index: u32,
    image: Digest,
    (upscaler, spec): (Digest, &ModelSpec),
) -> Result<Recipe, BadRiff> {
    let mut params = Params::from([(input::IMAGE.to_owned(), Value::from(image.to_string()))]);
    schema::fill_defaults(&mut params, spec);
    let recipe = child(parent, spec, Move::Upscale, index, params)?;
    Ok(Recipe { model: upscaler, ..recipe })
}

/// One result from twice as far away.
pub fn zoom(parent: &Recipe, spec: &ModelSpec, index: u32) -> Result<Recipe, BadRiff> {
    offered(spec, Move::Zoom)?;
    let mut params = single(parent, index, spec);
    let scale = view(parent, input::VIEW_SCALE) * 2.0;
    let max = spec.property(input::VIEW_SCALE).and_then(|property| property.get("maximum")?.as_f64());
    if max.is_some_and(|max| scale > max) {
        return Err(limit(spec, format!("{} times the first view", scale / 2.0)));
    }
    put(&mut params, input::VIEW_SCALE, scale);
    child(parent, spec, Move::Zoom, index, params)
}

/// One result, looking half a view further.
pub fn pan(parent: &Recipe, spec: &ModelSpec, index: u32, pan: Pan) -> Result<Recipe, BadRiff> {
    offered(spec, Move::Pan)?;
    let mut params = single(parent, index, spec);
    let (axis, direction) = pan.step();
    let moved = view(parent, axis) + direction * 0.5 * view(parent, input::VIEW_SCALE);
    put(&mut params, axis, moved);
    child(parent, spec, Move::Pan, index, params)
}

/// A grid of mixtures: the first result's latent with those of the others mixed in, and a little variation to choose from.
pub fn blend(parents: &[(&Recipe, u32)], spec: &ModelSpec, seed: u32) -> Result<Recipe, BadRiff> {
    offered(spec, Move::Blend)?;
    let [(first, index), others @ ..] = parents else {
        return Err(BadRiff::Mixed);
    };
    if others.iter().any(|(other, _)| other.model != first.model) {
        return Err(BadRiff::Mixed);
    }
    let mut params = pinned(first, *index);
    for (other, index) in others {
        let other_params = pinned(other, *index);
        let get = |name: &str| other_params.get(name).cloned().unwrap_or(Value::Null);
        let source = json!({
            "prompt": other.prompt,
            "seed": get(input::SEED),
            "variations": get(input::VARIATIONS),
            "weight": 1,
        });
        push(&mut params, input::BLEND, source);
    }
    if spec.takes(input::VARIATIONS) {
        push(&mut params, input::VARIATIONS, json!([seed, Strength::Subtle.amount()]));
    }
    let mut recipe = child(first, spec, Move::Blend, *index, params)?;
    if let Some(origin) = &mut recipe.origin {
        origin.parents = parents.iter().map(|(parent, index)| parent_of(parent, *index)).collect();
    }
    Ok(recipe)
}

/// The next turn of a conversation: what was said so far becomes history.
pub fn reply(
    parent: &Recipe,
    spec: &ModelSpec,
    prompt: Prompt,
    answer: &str,
    seed: u32,
) -> Result<Recipe, BadRiff> {
    offered(spec, Move::Reply)?;
    let mut params = parent.params.clone();
    push(&mut params, input::HISTORY, json!({"role": "user", "content": parent.prompt}));
    push(&mut params, input::HISTORY, json!({"role": "assistant", "content": answer}));
    if spec.takes(input::SEED) {
        params.insert(input::SEED.to_owned(), seed.into());
    }
    let recipe = child(parent, spec, Move::Reply, 0, params)?;
    Ok(Recipe { prompt, ..recipe })
}

/// The inputs that a member cannot type (where the view is, what was blended in, what was said) and that therefore
/// come along when a recipe is edited.
pub fn keep_hidden(params: &mut Params, parent: &Recipe, spec: &ModelSpec) {
    for (name, property) in spec.properties().into_iter().flatten() {
        if property.get("x-hidden") == Some(&Value::Bool(true))
            && let Some(value) = parent.params.get(name)
        {
            params.insert(name.clone(), value.clone());
        }
    }
}

fn offered(spec: &ModelSpec, wanted: Move) -> Result<(), BadRiff> {
    let moves = moves_of(spec);
    if moves.contains(&wanted) {
        return Ok(());
    }
    Err(BadRiff::NotOffered {
        model: spec.name.clone(),
        wanted,
        offers: moves.iter().map(|made_by| made_by.as_str()).collect::<Vec<_>>().join(", "),
    })
}

fn limit(spec: &ModelSpec, limit: String) -> BadRiff {
    BadRiff::Limit { model: spec.name.clone(), limit }
}

fn kind(spec: &ModelSpec, name: &str) -> Option<Kind> {
    schema::fields(spec).into_iter().find(|field| field.name == name).map(|field| field.kind)
}

fn parent_of(recipe: &Recipe, index: u32) -> Parent {
    Parent { recipe: recipe.id(), index }
}

fn child(
    parent: &Recipe,
    spec: &ModelSpec,
    made_by: Move,
    index: u32,
    params: Params,
) -> Result<Recipe, BadRiff> {
    schema::validate(&params, spec)?;
    Ok(Recipe {
        riff: Recipe::FORMAT,
        model: parent.model,
        prompt: parent.prompt.clone(),
        params,
        origin: Some(Origin { made_by, parents: vec![parent_of(parent, index)] }),
    })
}

/// The parent's inputs with result `index` as the first one: a grid counts up its last variation's seed, or else its seed.
fn pinned(parent: &Recipe, index: u32) -> Params {
    let mut params = parent.params.clone();
    let counted = match last_variation(&mut params) {
        Some(step) => Some(step),
        None => params.get_mut(input::SEED),
    };
    if let Some(seed) = counted {
        *seed = (seed.as_u64().unwrap_or_default() as u32).wrapping_add(index).into();
    }
    params
}

/// The same, as a recipe of one result.
fn single(parent: &Recipe, index: u32, spec: &ModelSpec) -> Params {
    let mut params = pinned(parent, index);
    if spec.takes(input::COUNT) {
        params.insert(input::COUNT.to_owned(), 1.into());
    }
    params
}

/// The seed of the last variation step.
fn last_variation(params: &mut Params) -> Option<&mut Value> {
    params.get_mut(input::VARIATIONS)?.as_array_mut()?.last_mut()?.get_mut(0)
}

fn view(recipe: &Recipe, name: &str) -> f64 {
    recipe.number(name).unwrap_or(whole_view(name))
}

/// The view of a whole picture.
fn whole_view(name: &str) -> f64 {
    match name {
        input::VIEW_SCALE => 1.0,
        _ => 0.5,
    }
}

fn put(params: &mut Params, name: &str, number: f64) {
    params.insert(name.to_owned(), schema::normal(number.into()));
}

fn push(params: &mut Params, name: &str, item: Value) {
    let list = params.entry(name.to_owned()).or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(items) = list {
        items.push(item);
    }
}
