//! The suite: what a worker and the hub rely on in every engine.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use riff_hub::{
    model::{Media, ModelSpec, input},
    pictures::{self, Format},
    recipe::Recipe,
    schema::{check_spec, fill_defaults, validate},
    sound,
};
use riff_worker::engine::{Artifact, Engine, EngineError, RunContext, Update};
use serde_json::{Map, Value, json};
use tokio::{sync::watch, time::timeout};

use crate::files::Shelf;

/// How long an engine may take to notice that it is cancelled, on a busy machine.
const NOTICES: Duration = Duration::from_secs(5);

/// An engine with a model, and inputs that show what it can do.
pub struct Subject {
    pub engine: Arc<dyn Engine>,
    /// Which of its models.
    pub model: &'static str,
    /// Inputs of a run that is over soon.
    pub quick: Value,
    /// Inputs of a run that takes seconds and has something to show on the way.
    pub long: Value,
    /// Inputs that it has to refuse.
    pub bad: Value,
}

/// A test of each promise, for each engine: `name => subject`, an expression that makes a [`Subject`].
macro_rules! conforms {
    ($($name:ident => $subject:expr,)*) => {
        $(mod $name {
            use super::*;

            $crate::suite::promises! { $subject;
                describes_itself, gives_what_was_asked_for, shows_what_it_has, stops_when_cancelled,
                does_not_begin_when_cancelled, refuses_bad_inputs, gives_the_same_again
            }
        })*
    };
}
macro_rules! promises {
    ($subject:expr; $($promise:ident),*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            suite::$promise($subject.await).await;
        })*
    };
}
pub(crate) use {conforms, promises};

impl Subject {
    pub async fn spec(&self) -> ModelSpec {
        let specs = self.engine.discover().await.unwrap();
        specs.into_iter().find(|spec| spec.name == self.model).expect("the engine serves the model")
    }

    async fn ready(&self) -> ModelSpec {
        let spec = self.spec().await;
        self.engine.load(spec.digest()).await.unwrap();
        spec
    }
}

/// A recipe with a seed, the inputs given, and the defaults of the others.
pub fn recipe(spec: &ModelSpec, prompt: &str, inputs: &Value) -> Recipe {
    let mut params: std::collections::BTreeMap<String, Value> =
        inputs.as_object().unwrap_or(&Map::new()).clone().into_iter().collect();
    fill_defaults(&mut params, spec);
    if spec.takes(input::SEED) {
        params.entry(input::SEED.to_owned()).or_insert(json!(7));
    }
    Recipe {
        riff: Recipe::FORMAT,
        model: spec.digest(),
        prompt: prompt.parse().unwrap(),
        params,
        origin: None,
    }
}

/// A context of a job of its own, and everything that is shown in it.
pub fn watched() -> (RunContext, Arc<Mutex<Vec<Update>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = seen.clone();
    let context = RunContext {
        job: format!("job-{:016x}", rand::random::<u64>()),
        updates: Arc::new(move |update| list.lock().unwrap().push(update)),
        files: Arc::new(Shelf(vec![picture()])),
        ..RunContext::default()
    };
    (context, seen)
}

/// A context that says when the model's own code is at work: a server reports the start of a run before that.
pub fn at_work() -> (RunContext, watch::Receiver<bool>) {
    let (tell, told) = watch::channel(false);
    let updates = Arc::new(move |update: Update| {
        if done(&update) > 0.0 {
            tell.send_replace(true);
        }
    });
    (RunContext { updates, ..watched().0 }, told)
}

/// The picture that recipes may name.
pub fn picture() -> Bytes {
    let drawn = image::RgbImage::from_fn(60, 24, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    pictures::encode(&drawn, Format::Png).unwrap().into()
}

fn done(update: &Update) -> f32 {
    match update {
        Update::Progress { done, .. } | Update::Text { done, .. } => *done,
    }
}

fn check_artifact(artifact: &Artifact, media: Media) {
    match media {
        Media::Image => drop(image::load_from_memory(&artifact.bytes).expect("a picture that can be read")),
        Media::Audio => {
            let heard =
                sound::read(&artifact.bytes, sound::Limits { bytes: 1 << 20, seconds: 60.0 }).unwrap();
            assert_eq!(heard.container.media_type(), artifact.media_type);
        }
        Media::Text => {
            assert!(artifact.media_type.starts_with("text/"), "{}", artifact.media_type);
            assert!(!std::str::from_utf8(&artifact.bytes).unwrap().is_empty());
        }
    }
}

/// The hub takes what it says of itself, and it says the same again.
pub async fn describes_itself(subject: Subject) {
    let spec = subject.spec().await;
    check_spec(&spec).unwrap();
    assert_eq!(subject.spec().await.digest(), spec.digest());
    let admitted = recipe(&spec, "a fox", &subject.quick);
    validate(&admitted.params, &spec).unwrap();
    subject.engine.load(spec.digest()).await.unwrap();
    assert!(subject.engine.loaded(spec.digest()));
}

/// A run gives as many results as the recipe says, each of the model's kind.
pub async fn gives_what_was_asked_for(subject: Subject) {
    let spec = subject.ready().await;
    let mut recipes = vec![recipe(&spec, "a fox", &subject.quick)];
    if spec.takes(input::COUNT) {
        let mut two = subject.quick.clone();
        two[input::COUNT] = json!(2);
        recipes.push(recipe(&spec, "a fox", &two));
    }
    for recipe in recipes {
        let artifacts = subject.engine.run(&recipe, &watched().0).await.unwrap();
        assert_eq!(artifacts.len(), recipe.count() as usize);
        artifacts.iter().for_each(|artifact| check_artifact(artifact, spec.media));
    }
}

/// Progress lies between 0 and 1 and grows; text grows too, into what the end gives.
pub async fn shows_what_it_has(subject: Subject) {
    let spec = subject.ready().await;
    let (context, seen) = watched();
    let artifacts = subject.engine.run(&recipe(&spec, "a fox", &subject.long), &context).await.unwrap();
    let seen = seen.lock().unwrap();
    let parts: Vec<f32> = seen.iter().map(done).collect();
    assert!(parts.iter().all(|part| (0.0..=1.0).contains(part)), "{parts:?}");
    assert!(parts.is_sorted(), "{parts:?}");
    assert!(parts.iter().any(|part| *part > 0.0), "{parts:?}");
    let texts = seen.iter().filter_map(|update| match update {
        Update::Text { text, .. } => Some(text.as_str()),
        Update::Progress { .. } => None,
    });
    let texts: Vec<&str> = texts.collect();
    if spec.media == Media::Text {
        let end = std::str::from_utf8(&artifacts[0].bytes).unwrap();
        assert!(texts.len() > 1, "{texts:?}");
        assert!(texts.windows(2).all(|pair| pair[1].starts_with(pair[0])), "{texts:?}");
        assert!(texts.iter().all(|text| end.starts_with(text)), "{texts:?} do not grow into {end:?}");
    }
}

/// A run that is cancelled ends at once, and the engine goes on to the next.
pub async fn stops_when_cancelled(subject: Subject) {
    let spec = subject.ready().await;
    let (mut context, _) = watched();
    let (tell, told) = watch::channel(false);
    context.updates = Arc::new(move |_| {
        tell.send_replace(true);
    });
    let cancel = context.cancel.clone();
    let (engine, long) = (subject.engine.clone(), recipe(&spec, "a fox", &subject.long));
    let run = tokio::spawn(async move { engine.run(&long, &context).await });
    let mut told = told;
    told.wait_for(|shown| *shown).await.unwrap();
    cancel.cancel();
    let ended = timeout(NOTICES, run).await.expect("it notices").unwrap();
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
    let next = subject.engine.run(&recipe(&spec, "a hen", &subject.quick), &watched().0).await;
    assert!(next.is_ok(), "{next:?}");
}

/// A run that nobody wants any more when it begins gives nothing.
pub async fn does_not_begin_when_cancelled(subject: Subject) {
    let spec = subject.ready().await;
    let (context, _) = watched();
    context.cancel.cancel();
    let long = recipe(&spec, "a fox", &subject.long);
    let run = subject.engine.run(&long, &context);
    let ended = timeout(NOTICES, run).await.expect("it notices");
    assert!(matches!(ended, Err(EngineError::Cancelled)), "{ended:?}");
}

/// Inputs that the model does not take are the recipe's fault, and the message says so in words.
pub async fn refuses_bad_inputs(subject: Subject) {
    let spec = subject.ready().await;
    let ended = subject.engine.run(&recipe(&spec, "a fox", &subject.bad), &watched().0).await;
    let Err(error @ EngineError::Input(_)) = ended else { panic!("{ended:?}") };
    assert!(error.to_string().contains(' ') && !error.is_worth_retrying(), "{error}");
}

/// The same seed gives the same bytes, and another gives others. A model without seeds always gives the same.
pub async fn gives_the_same_again(subject: Subject) {
    let spec = subject.ready().await;
    let bytes = async |seed: u32| {
        let mut inputs = subject.quick.clone();
        if spec.takes(input::SEED) {
            inputs[input::SEED] = json!(seed);
        }
        let artifacts = subject.engine.run(&recipe(&spec, "a fox", &inputs), &watched().0).await.unwrap();
        artifacts.into_iter().map(|artifact| artifact.bytes).collect::<Vec<_>>()
    };
    let first = bytes(11).await;
    assert_eq!(first, bytes(11).await);
    assert_eq!(first == bytes(12).await, !spec.takes(input::SEED));
}
