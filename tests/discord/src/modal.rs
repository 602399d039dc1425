//! Forms: what they ask, and what a person hands in.

use std::fmt::{self, Display};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::{Member, Shown, interactions::MODAL, invoke::COMMAND_ANSWER, member::Started, message::Source};

/// A form that is open before somebody.
#[derive(Debug, Clone)]
pub struct Modal {
    pub title: String,
    pub custom_id: String,
    pub fields: Vec<Field>,
    pub raw: Value,
    pub(crate) source: Source,
}

/// A field of a form.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    pub label: String,
    pub custom_id: String,
    /// What is in it already.
    pub value: String,
    pub placeholder: String,
    pub required: bool,
    pub min_length: u64,
    pub max_length: u64,
    /// 4 for a text, 3 for a select menu.
    pub kind: u64,
    /// More than one line.
    pub paragraph: bool,
}

impl Modal {
    pub(crate) fn of(data: &Value, source: Source) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = data["components"].as_array().into_iter().flatten();
        let fields = rows.filter(|row| row["type"] != 10).map(|row| {
            let input = if row["type"] == 18 { &row["component"] } else { &row["components"][0] };
            let label = if row["type"] == 18 { &row["label"] } else { &input["label"] };
            Field {
                label: text(label),
                custom_id: text(&input["custom_id"]),
                value: text(&input["value"]),
                placeholder: text(&input["placeholder"]),
                required: input["required"] != false,
                min_length: input["min_length"].as_u64().unwrap_or(0),
                max_length: input["max_length"].as_u64().unwrap_or(4000),
                kind: input["type"].as_u64().unwrap_or(4),
                paragraph: input["style"] == 2,
            }
        });
        let (title, custom_id, fields) = (text(&data["title"]), text(&data["custom_id"]), fields.collect());
        Self { title, custom_id, fields, raw: data.clone(), source }
    }

    /// The field with that label.
    pub fn field(&self, label: &str) -> anyhow::Result<&Field> {
        let found = self.fields.iter().find(|field| field.label == label);
        let known = || self.fields.iter().map(|field| field.label.as_str()).collect::<Vec<_>>().join(" | ");
        found.with_context(|| format!("no field {label:?} among: {}", known()))
    }

    /// What is handed in: the rows as they came, each with its value.
    fn filled(&self, values: &Value) -> anyhow::Result<Value> {
        let values = values.as_object().context("values are an object by label")?;
        for label in values.keys() {
            self.field(label)?;
        }
        let mut rows = Vec::new();
        let mut fields = self.fields.iter();
        for row in self.raw["components"].as_array().into_iter().flatten().filter(|row| row["type"] != 10) {
            let field = fields.next().context("a row for each field")?;
            let given = values.get(&field.label);
            let mut input = json!({"type": field.kind, "custom_id": field.custom_id});
            if field.kind == 4 {
                let value = given.map_or(Some(field.value.as_str()), Value::as_str).context("a text")?;
                let length = value.chars().count() as u64;
                let (label, least, most) = (&field.label, field.min_length, field.max_length);
                ensure!(length > 0 || !field.required, "{label:?} is required");
                ensure!(length == 0 || length >= least, "{label:?} takes at least {least} characters");
                ensure!(length <= most, "{label:?} takes at most {most} characters");
                input["value"] = value.into();
            } else {
                let listed = given.map(|given| if given.is_array() { given.clone() } else { json!([given]) });
                input["values"] = listed.unwrap_or_else(|| json!([]));
            }
            rows.push(if row["type"] == 18 {
                json!({"type": 18, "component": input})
            } else {
                json!({"type": 1, "components": [input]})
            });
        }
        Ok(rows.into())
    }
}

/// As the person sees it, for snapshots.
impl Display for Modal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "== {} ==", self.title)?;
        for field in &self.fields {
            let star = if field.required { "*" } else { "" };
            write!(f, "\n{}{star}: {}", field.label, field.value)?;
            if field.value.is_empty() && !field.placeholder.is_empty() {
                write!(f, "({})", field.placeholder)?;
            }
        }
        Ok(())
    }
}

impl Member {
    /// Hands in a form, with values by label. A field that is not named keeps what is in it.
    pub async fn submit(&self, modal: &Modal, values: Value) -> anyhow::Result<Shown> {
        let components = modal.filled(&values)?;
        let source = &modal.source;
        let answer_type = if source.message.is_some() { crate::edit::REPLY } else { COMMAND_ANSWER };
        self.start(Started {
            kind: MODAL,
            channel: source.channel,
            data: json!({"custom_id": modal.custom_id, "components": components}),
            source: source.message,
            answer_type,
            metadata: json!({"triggering_interaction_metadata": source.metadata}),
        })
        .await
    }
}
