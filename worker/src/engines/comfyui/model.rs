//! A workflow as a model of Riff: its schema, and how a recipe becomes a prompt for the server.

use std::collections::{BTreeMap, BTreeSet};

use riff_hub::{
    canonical::Digest,
    model::{Media, ModelSpec, input},
    recipe::Recipe,
};
use serde_json::{Map, Value, json};

use super::{
    marks::{self, Wish},
    settings::Settings,
    widget::{self, Sent, Widget},
    workflow::Workflow,
};
use crate::{
    engine::EngineError,
    engines::inputs::{name_flags, own_name, probe, schema_of},
};

/// Changes whenever the same recipe would be sent differently.
const VERSION: &str = "riff comfyui 1";
/// The input that gets the prompt.
const PROMPT: &str = "prompt";
/// Most pictures of a recipe that takes a run for each.
const MOST_RUNS: u32 = 4;

/// A widget that a recipe sets.
#[derive(Debug, Clone)]
struct Target {
    /// Riff's name for it; [`PROMPT`] for the prompt.
    input: String,
    node: String,
    widget: String,
    sent: Sent,
}

/// A workflow that members can run.
#[derive(Debug, Clone)]
pub struct Model {
    /// As the hub sees it.
    pub spec: ModelSpec,
    /// Whether more than one picture takes a run for each.
    pub repeats: bool,
    /// The marked nodes whose results count; if there are none, those of every node.
    pub outputs: Vec<String>,
    /// How much of a run each node is: as many steps as it makes, or one.
    pub weights: BTreeMap<String, f64>,
    nodes: Map<String, Value>,
    targets: Vec<Target>,
}

/// What the server says of itself.
pub struct Told {
    /// Its version.
    pub version: String,
    /// Its kinds of nodes by name, those of the workflow; kinds that it does not have are left out.
    pub classes: BTreeMap<String, Value>,
}

impl AsRef<ModelSpec> for Model {
    fn as_ref(&self) -> &ModelSpec {
        &self.spec
    }
}

impl Model {
    /// Puts a workflow and its server together.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] saying what of the two does not fit.
    pub fn read(workflow: Workflow, told: &Told, settings: &Settings) -> Result<Self, EngineError> {
        check_nodes(&workflow, told)?;
        let wishes = wishes(&workflow, settings)?;
        let mut model = Self {
            spec: settings.described.spec(settings.own.media),
            repeats: false,
            outputs: workflow.outputs.clone(),
            weights: weights(&workflow),
            nodes: workflow.nodes.clone(),
            targets: Vec::new(),
        };
        let mut properties = Map::new();
        for (name, wish) in &wishes {
            model.mark(name, wish, &workflow, told, &mut properties)?;
        }
        check_files(&workflow, told, &model)?;
        model.count(settings.own.outputs, &mut properties);
        name_flags(&mut properties);
        model.spec.schema = schema_of(properties);
        model.spec.fingerprint = Digest::of_json(&json!({
            "engine": VERSION,
            "workflow": workflow.nodes,
            "server": told.version,
            "version": settings.endpoint.version,
            "outputs": settings.own.outputs,
            "targets": model.targets.iter().map(|target| (&target.input, &target.node, &target.widget)).collect::<Vec<_>>(),
        }));
        Ok(model)
    }

    fn mark(
        &mut self,
        name: &str,
        wish: &Wish,
        workflow: &Workflow,
        told: &Told,
        properties: &mut Map<String, Value>,
    ) -> Result<(), EngineError> {
        let wrong = |what: String| EngineError::Unavailable(format!("the input {name} {what}"));
        let (node, found, class) = place(name, wish, workflow, told).map_err(wrong)?;
        let current = workflow.value(node, found).unwrap_or(&Value::Null);
        if current.is_array() {
            return Err(wrong(format!("is {found} of node {node}, which another node sets: mark that one")));
        }
        let declared = widget::declared(found, class).unwrap_or(&Value::Null);
        let Widget { schema, sent } = widget::read(name, wish, declared, current).map_err(wrong)?;
        let known = if name == PROMPT { PROMPT.to_owned() } else { own_name(name.to_owned(), &schema) };
        self.targets.push(Target {
            input: known.clone(),
            node: node.to_owned(),
            widget: found.to_owned(),
            sent,
        });
        if name != PROMPT && !properties.contains_key(&known) {
            probe(&known, &schema).map_err(|error| wrong(format!("would be refused by the hub: {error}")))?;
            let order = properties.len();
            let schema = properties.entry(known).or_insert_with(|| schema.into());
            schema["x-order"] = order.into();
        }
        Ok(())
    }

    /// How many pictures a recipe has, where no widget says that.
    fn count(&mut self, outputs: u32, properties: &mut Map<String, Value>) {
        if self.spec.media != Media::Image || properties.contains_key(input::COUNT) {
            return;
        }
        let (most, default) = match outputs {
            1 if properties.contains_key(input::SEED) => (MOST_RUNS, 1),
            1 => return,
            outputs => (outputs, outputs),
        };
        self.repeats = outputs == 1;
        let count = json!({"type": "integer", "title": "Pictures", "description": "How many pictures one prompt gives.",
                           "minimum": 1, "maximum": most, "default": default, "x-flags": ["n"]});
        properties.insert(input::COUNT.to_owned(), count);
    }

    /// The pictures that a recipe names: those that have to be uploaded.
    ///
    /// # Errors
    /// [`EngineError::Input`] if one is needed and none is named.
    pub fn pictures<'a>(&self, recipe: &'a Recipe) -> Result<BTreeSet<&'a str>, EngineError> {
        let mut names = BTreeSet::new();
        for target in &self.targets {
            let Sent::Picture { optional } = target.sent else { continue };
            match recipe.text(&target.input).unwrap_or_default() {
                "" if optional => {}
                "" => {
                    return Err(EngineError::Input(format!(
                        "the model needs a picture: give one with --{}",
                        target.input.replace('_', "-")
                    )));
                }
                name => drop(names.insert(name)),
            }
        }
        Ok(names)
    }

    /// The prompt for the run with a number (from 0) of those that a recipe takes. `uploaded` has what the server calls the
    /// pictures that [`Self::pictures`] named.
    pub fn prompt(&self, recipe: &Recipe, run: u32, uploaded: &BTreeMap<&str, String>) -> Value {
        let mut nodes = self.nodes.clone();
        for target in &self.targets {
            let value = match (target.input.as_str(), target.sent) {
                (PROMPT, _) => Some(match self.spec.media {
                    Media::Image => recipe.prompt.text().into(),
                    Media::Audio | Media::Text => recipe.prompt.as_str().into(),
                }),
                (name, Sent::Picture { .. }) => {
                    recipe.text(name).and_then(|name| uploaded.get(name)).map(|name| name.as_str().into())
                }
                (input::SEED, Sent::Plain) => Some(recipe.seed().wrapping_add(run).into()),
                (name, Sent::Plain) => recipe.params.get(name).cloned(),
            };
            if let Some(value) = value {
                nodes[&target.node]["inputs"][&target.widget] = value;
            }
        }
        nodes.into()
    }

    /// What the member calls a widget, if a member sets it.
    pub fn member_name(&self, node: &str, widget: &str) -> Option<String> {
        let target = self.targets.iter().find(|target| target.node == node && target.widget == widget)?;
        Some(if target.input == PROMPT {
            PROMPT.to_owned()
        } else {
            format!("--{}", target.input.replace('_', "-"))
        })
    }
}

/// The node and the widget that an input means, and what the server says of the node.
fn place<'a>(
    name: &str,
    wish: &'a Wish,
    workflow: &'a Workflow,
    told: &'a Told,
) -> Result<(&'a str, &'a str, &'a Value), String> {
    let node = wish.node.as_deref();
    let node = node.ok_or("is in `inputs` and not in the workflow: add `node`, or a title with a mark")?;
    let kind = workflow.class(node).unwrap_or_default();
    let class = told.classes.get(kind);
    let class = class.ok_or_else(|| format!("is marked on node {node}, which the workflow does not have"))?;
    let found = widget::find(name, wish, class);
    let found = found
        .ok_or_else(|| format!("has no widget on node {node} ({kind}): name it, as in riff:{name}=WIDGET"))?;
    Ok((node, found, class))
}

/// The marks of the titles, amended by the settings, and those that only the settings have.
fn wishes(workflow: &Workflow, settings: &Settings) -> Result<Vec<(String, Wish)>, EngineError> {
    let mut wishes = workflow.inputs.clone();
    for (name, wish) in &settings.own.inputs {
        marks::check_name(name).map_err(|wrong| EngineError::Unavailable(format!("`inputs` {wrong}")))?;
        let marked: Vec<&mut Wish> =
            wishes.iter_mut().filter(|(known, _)| known == name).map(|(_, wish)| wish).collect();
        match marked.is_empty() {
            true => wishes.push((name.clone(), wish.clone())),
            false => marked.into_iter().for_each(|marked| marked.amend(wish)),
        }
    }
    Ok(wishes)
}

fn check_nodes(workflow: &Workflow, told: &Told) -> Result<(), EngineError> {
    for number in workflow.numbers() {
        let class = workflow.class(&number).unwrap_or_default();
        if !told.classes.contains_key(class) {
            return Err(EngineError::Unavailable(format!(
                "the server has no node {class:?}, which node {number} of the workflow is: install what brings it"
            )));
        }
    }
    Ok(())
}

/// Files that the workflow names and the server lacks would fail every run. By their convention, widgets that name files
/// end in `_name`.
fn check_files(workflow: &Workflow, told: &Told, model: &Model) -> Result<(), EngineError> {
    for number in workflow.numbers() {
        let class = told.classes.get(workflow.class(&number).unwrap_or_default()).unwrap_or(&Value::Null);
        let inputs = workflow.nodes[&number]["inputs"].as_object().into_iter().flatten();
        for (name, value) in inputs.filter(|(name, value)| name.ends_with("_name") && value.is_string()) {
            let choices = widget::declared(name, class).and_then(widget::choices);
            if choices.is_some_and(|choices| !choices.contains(value))
                && model.member_name(&number, name).is_none()
            {
                return Err(EngineError::Unavailable(format!(
                    "the server does not have {name} {value}, which node {number} of the workflow needs: put it into its \
                     folder of models"
                )));
            }
        }
    }
    Ok(())
}

fn weights(workflow: &Workflow) -> BTreeMap<String, f64> {
    let weight = |number: &String| {
        workflow.value(number, "steps").and_then(Value::as_f64).unwrap_or(1.0).clamp(1.0, 1_000.0)
    };
    workflow.nodes.keys().map(|number| (number.clone(), weight(number))).collect()
}
