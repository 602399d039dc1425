//! What a classifier sees in results, and what follows from it.

use std::{fmt, sync::Arc};

use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Something that was seen in a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What, in the classifier's own words.
    pub label: String,
    /// How sure it is, 0 to 1.
    pub score: f32,
    /// Where: left, top, width and height, in pixels.
    pub place: [u32; 4],
}

/// Looks at pictures.
pub trait Classifier: Send + Sync {
    /// Everything that it sees, the surest first. Takes up to some 100 ms of the processor.
    ///
    /// # Errors
    /// A sentence for the operator.
    fn look(&self, picture: &RgbImage) -> Result<Vec<Finding>, String>;
}

/// A classifier, and which of its findings keep a result out of channels that are not age-restricted.
#[derive(Clone)]
pub struct Watch {
    /// Looks at every result and preview.
    pub classifier: Arc<dyn Classifier>,
    /// Labels that count.
    pub labels: Vec<String>,
    /// From which score on they count, 0 to 1.
    pub threshold: f32,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("labels", &self.labels)
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// Those of the findings that count.
    pub fn flagged<'a>(&self, findings: &'a [Finding]) -> Vec<&'a Finding> {
        let counts =
            |finding: &&Finding| finding.score >= self.threshold && self.labels.contains(&finding.label);
        findings.iter().filter(counts).collect()
    }
}
