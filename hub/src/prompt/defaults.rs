//! A member's own defaults: flags that are added to a line that does not give them.

use std::{collections::HashSet, str::FromStr};

use super::{
    BadPrompt, Command, check_text,
    flags::{RATIO, fit, key},
    line::{self, Draft, Typed},
};
use crate::{
    model::{ModelSpec, input},
    schema,
};

/// Flags alone, such as `--ar 3:2 --model abstract`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Defaults {
    /// The model to use where a line names none.
    pub model: Option<String>,
    flags: Vec<Typed>,
}

impl FromStr for Defaults {
    type Err = BadPrompt;
    /// # Errors
    /// [`BadPrompt::NotFlags`] for words before the flags, and what a line with these flags is refused for.
    fn from_str(text: &str) -> Result<Self, BadPrompt> {
        check_text(text)?;
        let draft = line::draft(Command::Ask, text)?;
        match draft.head.as_str() {
            "" => Ok(Self { model: draft.model, flags: draft.flags }),
            words => Err(BadPrompt::NotFlags(words.to_owned())),
        }
    }
}

impl Defaults {
    /// Whether each flag fits one of the models.
    ///
    /// # Errors
    /// What the model that comes nearest says of the first flag that fits none: one that has the flag, or else the
    /// first.
    pub fn check(&self, models: &[&ModelSpec]) -> Result<(), BadPrompt> {
        for flag in &self.flags {
            let mut refusals = Vec::new();
            for spec in models {
                match fit(&schema::fields(spec), flag, spec) {
                    Ok(()) => {
                        refusals.clear();
                        break;
                    }
                    Err(refusal) => refusals.push(refusal),
                }
            }
            let knows = |refusal: &BadPrompt| !matches!(refusal, BadPrompt::UnknownFlag { .. });
            let nearest = refusals.iter().position(knows).unwrap_or(0);
            if !refusals.is_empty() {
                return Err(refusals.swap_remove(nearest));
            }
        }
        Ok(())
    }
}

impl Draft {
    /// Adds the flags that the line does not give and the model takes; silently leaves out the others.
    pub fn add(&mut self, defaults: &Defaults, spec: &ModelSpec) {
        let fields = schema::fields(spec);
        let given: HashSet<String> = self.flags.iter().map(|flag| key(&fields, &flag.name)).collect();
        // A shape is one wish, however it is said.
        let shape = [input::WIDTH, input::HEIGHT, RATIO];
        let shaped = shape.iter().any(|name| given.contains(*name));
        for flag in &defaults.flags {
            let key = key(&fields, &flag.name);
            if given.contains(&key) || (shaped && shape.contains(&key.as_str())) {
                continue;
            }
            if fit(&fields, flag, spec).is_ok() {
                self.flags.push(flag.clone());
                if self.resolve(spec).is_err() {
                    self.flags.pop();
                }
            }
        }
    }
}
