//! The safety classifier: NudeNet's detector of bodies and their parts (<https://github.com/notAI-tech/NudeNet>), which
//! the hub asks about each result. It owns the network, and never decides what follows from what it sees.

mod onnx;
mod yolo;

use std::path::Path;

use image::RgbImage;
use riff_hub::safety::{Classifier, Finding};

use self::yolo::{Candidate, Yolo};

/// Pixels a side of what the network looks at.
const SIDE: usize = 320;
/// Scores below this are nothing; NudeNet's own.
const LEAST: f32 = 0.25;
/// Of two boxes that share more than this part of what they cover together, the surer one counts; NudeNet's own.
const SAME: f32 = 0.45;
/// The classes, in the order of the network's outputs.
const LABELS: [&str; 18] = [
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
];

/// The detector.
pub struct NudeNet {
    network: Yolo,
}

impl NudeNet {
    /// Reads `320n.onnx` of the Python package `nudenet`, and runs it once to see that it is whole.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn open(path: &Path) -> Result<Self, String> {
        let named = |why: String| format!("the safety classifier {}: {why}", path.display());
        let file = std::fs::read(path).map_err(|error| named(format!("cannot be read: {error}")))?;
        let weights = onnx::weights(&file).map_err(named)?;
        let network = Yolo::new(weights).map_err(|error| named(error.to_string()))?;
        let classifier = Self { network };
        classifier.look(&RgbImage::new(32, 32)).map_err(named)?;
        Ok(classifier)
    }
}

impl Classifier for NudeNet {
    fn look(&self, picture: &RgbImage) -> Result<Vec<Finding>, String> {
        let candidates = self.network.run(pixels(picture), SIDE).map_err(|error| error.to_string())?;
        let scale = picture.width().max(picture.height()) as f32 / SIDE as f32;
        let mut boxes: Vec<Seen> =
            candidates.iter().filter_map(|candidate| Seen::of(candidate, scale, picture)).collect();
        boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut kept: Vec<Seen> = Vec::new();
        for one in boxes {
            if kept.iter().all(|other| one.shared(other) <= SAME) {
                kept.push(one);
            }
        }
        Ok(kept.iter().map(Seen::finding).collect())
    }
}

/// The picture as the network looks at it: in the upper left corner of a black square, made smaller by linear interpolation.
fn pixels(picture: &RgbImage) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let scale = width.max(height) as f32 / SIDE as f32;
    let at = |x: i64, y: i64, channel: usize| match (u32::try_from(x), u32::try_from(y)) {
        (Ok(x), Ok(y)) if x < width && y < height => f32::from(picture.get_pixel(x, y)[channel]),
        _ => 0.0,
    };
    // Before the first pixel there is the first again; behind the last, the square goes on in black.
    let whole = i64::from(width.max(height)) - 1;
    let place = |i: usize| {
        let exact = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (exact.floor() as i64).min(whole);
        (first, (first + 1).min(whole), exact - exact.floor())
    };
    let mut pixels = Vec::with_capacity(3 * SIDE * SIDE);
    for channel in 0..3 {
        for y in 0..SIDE {
            let (top, bottom, down) = place(y);
            for x in 0..SIDE {
                let (left, right, across) = place(x);
                let row = |y| at(left, y, channel) * (1.0 - across) + at(right, y, channel) * across;
                pixels.push((row(top) * (1.0 - down) + row(bottom) * down).round() / 255.0);
            }
        }
    }
    pixels
}

/// What is found, in pixels of the picture.
struct Seen {
    label: &'static str,
    score: f32,
    left: f32,
    top: f32,
    width: f32,
    height: f32,
}

impl Seen {
    /// A candidate's surest class; nothing for one that is not sure enough.
    fn of(candidate: &Candidate, scale: f32, picture: &RgbImage) -> Option<Self> {
        let surest = candidate.scores.iter().copied().zip(LABELS).max_by(|a, b| a.0.total_cmp(&b.0))?;
        let (score, label) = surest;
        let [x, y, width, height] = candidate.place.map(|length| length * scale);
        let (most_x, most_y) = (picture.width() as f32, picture.height() as f32);
        let (left, top) = ((x - width / 2.0).clamp(0.0, most_x), (y - height / 2.0).clamp(0.0, most_y));
        let (width, height) = (width.min(most_x - left), height.min(most_y - top));
        (score > LEAST).then_some(Self { label, score, left, top, width, height })
    }

    /// The part of what both cover that they share, 0 to 1.
    fn shared(&self, other: &Self) -> f32 {
        let overlap = |a: (f32, f32), b: (f32, f32)| ((a.0 + a.1).min(b.0 + b.1) - a.0.max(b.0)).max(0.0);
        let width = overlap((self.left, self.width), (other.left, other.width));
        let height = overlap((self.top, self.height), (other.top, other.height));
        let both = width * height;
        let all = self.width * self.height + other.width * other.height - both;
        if all > 0.0 { both / all } else { 0.0 }
    }

    fn finding(&self) -> Finding {
        let place = [self.left, self.top, self.width, self.height].map(|length| length as u32);
        Finding { label: self.label.to_owned(), score: self.score, place }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;

    /// As far as two ways to add up may be apart: of a score, and pixels of a box.
    const TOLERANCE: (f64, i64) = (0.01, 2);

    fn model() -> PathBuf {
        let ours = || concat!(env!("CARGO_MANIFEST_DIR"), "/../weights").into();
        let weights: PathBuf = std::env::var_os("RIFF_WEIGHTS").map_or_else(ours, PathBuf::from);
        weights.join("nudenet-320n.onnx")
    }

    #[test]
    fn it_sees_what_nudenet_itself_sees() {
        let classifier = NudeNet::open(&model()).unwrap();
        let answers: Value = serde_json::from_str(include_str!("../../tests/safety/answers.json")).unwrap();
        let pictures: [(&str, &[u8]); 2] = [
            ("square", include_bytes!("../../tests/safety/square.png")),
            ("wide", include_bytes!("../../tests/safety/wide.png")),
        ];
        for (name, file) in pictures {
            let found = classifier.look(&image::load_from_memory(file).unwrap().into_rgb8()).unwrap();
            let expected = answers[name].as_array().unwrap();
            assert_eq!(found.len(), expected.len(), "{name}: {found:?}, not {expected:?}");
            assert!(!expected.is_empty());
            for (ours, theirs) in found.iter().zip(expected) {
                assert_eq!(ours.label, theirs["class"]);
                let off = f64::from(ours.score) - theirs["score"].as_f64().unwrap();
                assert!(off.abs() <= TOLERANCE.0, "{name}: {ours:?}, not {theirs}");
                let sides = ours.place.iter().zip(theirs["box"].as_array().unwrap());
                let apart = sides.map(|(a, b)| (i64::from(*a) - b.as_i64().unwrap()).abs()).max().unwrap();
                assert!(apart <= TOLERANCE.1, "{name}: {ours:?}, not {theirs}");
            }
        }
    }

    #[test]
    fn a_plain_picture_has_nothing_to_see_and_a_file_that_is_none_is_named() {
        let classifier = NudeNet::open(&model()).unwrap();
        assert_eq!(
            classifier.look(&RgbImage::from_pixel(64, 48, image::Rgb([90, 110, 140]))),
            Ok(Vec::new())
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(&path, b"not a model").unwrap();
        assert!(NudeNet::open(&path).err().unwrap().contains("model.onnx"));
    }
}
