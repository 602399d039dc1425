//! Marks: what the author of a workflow writes into the titles of nodes, in ComfyUI's own editor, to say which of their
//! widgets members set. `KSampler riff:seed riff:steps max=50` marks two of them.

use serde::Deserialize;
use serde_json::Value;

/// What a mark begins with.
const SIGN: &str = "riff:";
/// The mark of nodes whose results are the model's.
const OUTPUT: &str = "output";

/// A widget that members set, and what is to be different from what the server says of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wish {
    /// Number of the node.
    pub node: Option<String>,
    /// The node's name for it, where it is not the obvious one.
    pub widget: Option<String>,
    /// Least number.
    pub min: Option<f64>,
    /// Largest number.
    pub max: Option<f64>,
    /// Instead of what the workflow has.
    pub default: Option<Value>,
    /// Those of the server's choices that members have.
    pub choices: Option<Vec<String>>,
    /// Name in forms.
    pub title: Option<String>,
    /// Help in forms.
    pub description: Option<String>,
    /// Of a picture: whether the workflow's own is used where none is given.
    pub optional: Option<bool>,
}

impl Wish {
    /// What another says goes before what this one says.
    pub fn amend(&mut self, other: &Self) {
        fn take<T: Clone>(here: &mut Option<T>, there: &Option<T>) {
            if there.is_some() {
                here.clone_from(there);
            }
        }
        take(&mut self.node, &other.node);
        take(&mut self.widget, &other.widget);
        take(&mut self.min, &other.min);
        take(&mut self.max, &other.max);
        take(&mut self.default, &other.default);
        take(&mut self.choices, &other.choices);
        take(&mut self.title, &other.title);
        take(&mut self.description, &other.description);
        take(&mut self.optional, &other.optional);
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || {
            value
                .parse()
                .ok()
                .filter(|number: &f64| number.is_finite())
                .map(Some)
                .ok_or_else(|| format!("has {key}={value}, where a number was expected, as in {key}=1"))
        };
        match key {
            "min" => self.min = number()?,
            "max" => self.max = number()?,
            "default" => {
                let read = serde_json::from_str(value).ok().filter(|read: &Value| !read.is_null());
                self.default = Some(read.unwrap_or_else(|| value.into()));
            }
            "choices" => self.choices = Some(value.split('|').map(str::to_owned).collect()),
            _ => return Err(format!("has {key:?}; marks take min, max, default, choices and optional")),
        }
        Ok(())
    }
}

/// What the title of one node says.
#[derive(Debug, Default, PartialEq)]
pub struct Marks {
    /// Inputs by name, in order.
    pub inputs: Vec<(String, Wish)>,
    /// Whether the node's results are the model's.
    pub output: bool,
}

/// Reads a title. Words that are no marks, and belong to none, are for people.
///
/// # Errors
/// What is wrong with it, in words that follow "the title of node 3 ".
pub fn read(node: &str, title: &str) -> Result<Marks, String> {
    let mut marks = Marks::default();
    for word in title.split_whitespace() {
        if let Some(mark) = word.strip_prefix(SIGN) {
            let (name, widget) =
                mark.split_once('=').map_or((mark, None), |(name, widget)| (name, Some(widget)));
            check_name(name)?;
            if name == OUTPUT {
                marks.output = true;
                continue;
            }
            let widget = widget.map(str::to_owned);
            let wish = Wish { node: Some(node.to_owned()), widget, ..Wish::default() };
            marks.inputs.push((name.to_owned(), wish));
        } else if let Some((_, wish)) = marks.inputs.last_mut() {
            match word.split_once('=') {
                Some((key, value)) => wish.set(key, value)?,
                None if word == "optional" => wish.optional = Some(true),
                None => {}
            }
        }
    }
    Ok(marks)
}

/// Whether a name of an input is one.
///
/// # Errors
/// That it is none, and what is.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits) && name.len() <= 32 {
        true => Ok(()),
        false => Err(format!(
            "names the input {name:?}: names have a-z, 0-9 and '_', start with a letter, and have at most 32 of them"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn titles_hold_marks_among_words() {
        let marks =
            read("3", "The sampler riff:seed=noise_seed min=1 riff:steps max=50 default=9 of mine").unwrap();
        let names: Vec<&str> = marks.inputs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["seed", "steps"]);
        assert_eq!(marks.inputs[0].1.widget.as_deref(), Some("noise_seed"));
        assert_eq!((marks.inputs[0].1.min, marks.inputs[1].1.max), (Some(1.0), Some(50.0)));
        assert_eq!(marks.inputs[1].1.default, Some(json!(9)));
        assert!(!marks.output);
        assert!(read("9", "Save riff:output").unwrap().output);
        assert_eq!(read("1", "Load Checkpoint a=b").unwrap(), Marks::default());
        let optional = read("1", "riff:image optional").unwrap();
        assert_eq!(optional.inputs[0].1.optional, Some(true));
        let choices = read("1", "riff:sampler choices=euler|ddim default=ddim").unwrap();
        assert_eq!(choices.inputs[0].1.choices, Some(vec!["euler".to_owned(), "ddim".to_owned()]));
    }

    #[test]
    fn mistakes_in_titles_are_named() {
        assert!(read("3", "riff:").unwrap_err().contains("\"\""));
        assert!(read("3", "riff:Seed").unwrap_err().contains("\"Seed\""));
        assert!(read("3", "riff:seed most=3").unwrap_err().contains("\"most\""));
        assert!(read("3", "riff:seed max=many").unwrap_err().contains("max=many"));
        assert!(read("3", "riff:seed max=inf").unwrap_err().contains("max=inf"));
    }
}
