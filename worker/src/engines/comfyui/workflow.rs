//! A workflow in API format: which nodes there are, and which of their widgets its titles mark.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::marks::{self, Wish};

/// Largest file, in bytes.
const MAX_FILE: usize = 4 << 20;
/// Most nodes.
const MAX_NODES: usize = 2_000;

/// A workflow.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// The nodes by number, as the server takes them.
    pub nodes: Map<String, Value>,
    /// What the titles mark, in the order of the nodes' numbers.
    pub inputs: Vec<(String, Wish)>,
    /// The nodes that are marked as outputs, likewise.
    pub outputs: Vec<String>,
}

impl Workflow {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it, in words that follow "the workflow FILE ".
    pub fn read(file: &[u8]) -> Result<Self, String> {
        if file.len() > MAX_FILE {
            return Err(format!("has more than {MAX_FILE} bytes"));
        }
        let read: Value = serde_json::from_slice(file).map_err(|error| format!("is no JSON: {error}"))?;
        let nodes = match read {
            Value::Object(nodes) => nodes,
            _ => return Err(not_api_format()),
        };
        if nodes.get("nodes").is_some_and(Value::is_array) {
            return Err(
                "is in the format of the editor: export it as API (menu Workflow → Export (API))".to_owned()
            );
        }
        if nodes.is_empty() || nodes.len() > MAX_NODES {
            return Err(format!("has {} nodes, where 1 to {MAX_NODES} were expected", nodes.len()));
        }
        let mut workflow = Self { nodes, inputs: Vec::new(), outputs: Vec::new() };
        for number in workflow.numbers() {
            workflow.take(&number)?;
        }
        Ok(workflow)
    }

    fn take(&mut self, number: &str) -> Result<(), String> {
        let node = &self.nodes[number];
        if !node.get("inputs").is_some_and(Value::is_object) || self.class(number).is_none() {
            return Err(not_api_format());
        }
        let title = node.pointer("/_meta/title").and_then(Value::as_str).unwrap_or_default();
        let marks = marks::read(number, title)
            .map_err(|wrong| format!("cannot be used: the title of node {number} {wrong}"))?;
        self.inputs.extend(marks.inputs);
        if marks.output {
            self.outputs.push(number.to_owned());
        }
        Ok(())
    }

    /// The nodes' numbers in order: `2` before `10`, and `10:1` (of a subgraph) behind `10`.
    pub fn numbers(&self) -> Vec<String> {
        let mut numbers: Vec<String> = self.nodes.keys().cloned().collect();
        numbers.sort_by_cached_key(|number| {
            number
                .split(':')
                .map(|part| (part.parse::<u64>().unwrap_or(u64::MAX), part.to_owned()))
                .collect::<Vec<_>>()
        });
        numbers
    }

    /// The kind of a node.
    pub fn class(&self, number: &str) -> Option<&str> {
        self.nodes.get(number)?.get("class_type")?.as_str()
    }

    /// Every kind that there is.
    pub fn classes(&self) -> BTreeSet<&str> {
        self.nodes.keys().filter_map(|number| self.class(number)).collect()
    }

    /// What the file has for an input of a node.
    pub fn value(&self, number: &str, input: &str) -> Option<&Value> {
        self.nodes.get(number)?.get("inputs")?.get(input)
    }
}

fn not_api_format() -> String {
    "is not in API format, which has nodes by number, each with class_type and inputs: export it as API (menu Workflow → \
     Export (API))"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(file: &str) -> String {
        Workflow::read(file.as_bytes()).unwrap_err()
    }

    #[test]
    fn what_is_no_workflow_is_told_apart() {
        assert!(wrong("{").contains("no JSON"));
        assert!(wrong("[]").contains("API format"));
        assert!(wrong("{}").contains("0 nodes"));
        assert!(wrong(r#"{"nodes": [], "links": [], "version": 0.4}"#).contains("format of the editor"));
        assert!(wrong(r#"{"1": {"inputs": {}}}"#).contains("class_type"));
        assert!(wrong(r#"{"1": {"class_type": "A"}}"#).contains("inputs"));
        let title = r#"{"7": {"class_type": "A", "inputs": {}, "_meta": {"title": "riff:a max=b"}}}"#;
        assert!(wrong(title).contains("title of node 7 has max=b"));
    }

    #[test]
    fn nodes_are_in_the_order_of_their_numbers() {
        let node = |mark: &str| {
            format!(r#"{{"class_type": "A", "inputs": {{}}, "_meta": {{"title": "riff:{mark}"}}}}"#)
        };
        let file = format!(
            r#"{{"10": {}, "2": {}, "10:3": {}, "9": {}}}"#,
            node("c"),
            node("a"),
            node("d"),
            node("output")
        );
        let workflow = Workflow::read(file.as_bytes()).unwrap();
        let names: Vec<&str> = workflow.inputs.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "c", "d"]);
        assert_eq!(workflow.outputs, ["9"]);
    }
}
