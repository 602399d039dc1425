//! The words that mean something definite. Every other word leans somewhere too, but only its hash says where.

/// What a word pushes, and how far. Hues are turns of the OKLab colour circle (0 pink-red, 0.08 red, 0.16 orange, 0.3
/// yellow, 0.4 green, 0.55 cyan, 0.73 blue, 0.85 violet); the others are steps, about −2 to 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Main hue; the second follows, unless it is given too.
    Hue(f32),
    /// Second hue.
    Accent(f32),
    /// Lightness.
    Light(f32),
    /// Distance of dark and light.
    Contrast(f32),
    /// Colourfulness.
    Chroma(f32),
    /// How far hues wander.
    Spread(f32),
    /// Size of shapes: more is smaller.
    Frequency(f32),
    /// How much shapes bend each other.
    Warp(f32),
    /// Left mirrors right.
    Mirror(f32),
    /// Eightfold symmetry.
    Mandala(f32),
    /// Sixfold symmetry.
    Kaleidoscope(f32),
    /// Lines.
    Stripes(f32),
    /// Flat areas with edges.
    Facets(f32),
    /// Fine unrest.
    Grain(f32),
}

use Effect::{
    Accent, Chroma, Contrast, Facets, Frequency, Grain, Hue, Kaleidoscope, Light, Mandala, Mirror, Spread,
    Stripes, Warp,
};

/// Every word with its effects, sorted.
pub const WORDS: &[(&str, &[Effect])] = &[
    ("amber", &[Hue(0.19), Chroma(0.6)]),
    ("aurora", &[Hue(0.45), Accent(0.85), Light(-0.8), Chroma(1.0), Stripes(0.5)]),
    ("autumn", &[Hue(0.12), Accent(0.18), Chroma(0.7)]),
    ("beach", &[Hue(0.24), Accent(0.6), Light(0.8)]),
    ("black", &[Light(-2.0), Chroma(-1.5)]),
    ("blood", &[Hue(0.07), Light(-0.8), Chroma(1.0)]),
    ("blossom", &[Hue(0.0), Accent(0.38), Light(1.0), Frequency(0.5)]),
    ("blue", &[Hue(0.73), Chroma(0.5)]),
    ("bright", &[Light(1.2)]),
    ("bronze", &[Hue(0.18), Light(-0.4), Chroma(-0.2)]),
    ("busy", &[Frequency(1.2), Warp(0.6)]),
    ("calm", &[Frequency(-1.2), Warp(-0.8), Contrast(-0.5)]),
    ("candy", &[Hue(0.97), Accent(0.55), Light(0.8), Chroma(1.0), Stripes(0.8)]),
    ("cathedral", &[Mirror(2.0), Light(-0.6), Facets(0.8)]),
    ("chaos", &[Frequency(1.0), Warp(2.0), Contrast(0.8)]),
    ("cherry", &[Hue(0.05), Chroma(0.8)]),
    ("city", &[Facets(1.2), Frequency(0.9), Chroma(-0.3)]),
    ("cloud", &[Light(1.0), Chroma(-0.9), Frequency(-0.6), Contrast(-0.6)]),
    ("clouds", &[Light(1.0), Chroma(-0.9), Frequency(-0.6), Contrast(-0.6)]),
    ("cold", &[Hue(0.65), Chroma(-0.2)]),
    ("copper", &[Hue(0.13), Accent(0.48)]),
    ("coral", &[Hue(0.08), Accent(0.55), Light(0.5)]),
    ("crystal", &[Facets(1.8), Hue(0.6), Light(0.7), Contrast(0.6)]),
    ("cyan", &[Hue(0.55), Chroma(0.5)]),
    ("dark", &[Light(-1.4)]),
    ("dawn", &[Hue(0.1), Accent(0.75), Light(0.6), Frequency(-0.5)]),
    ("deep", &[Light(-0.9), Warp(0.5)]),
    ("desert", &[Hue(0.2), Light(0.5), Frequency(-0.6), Stripes(0.6)]),
    ("dream", &[Warp(1.0), Contrast(-0.5), Hue(0.85)]),
    ("dusk", &[Hue(0.8), Accent(0.14), Light(-0.7), Frequency(-0.4)]),
    ("earth", &[Hue(0.2), Light(-0.5), Chroma(-0.5)]),
    ("electric", &[Hue(0.7), Chroma(1.4), Contrast(1.0), Frequency(0.6)]),
    ("emerald", &[Hue(0.44), Chroma(0.8), Light(-0.2)]),
    ("explosion", &[Hue(0.14), Accent(0.29), Contrast(1.5), Warp(1.4)]),
    ("fire", &[Hue(0.1), Accent(0.25), Chroma(1.2), Contrast(0.9), Warp(0.8)]),
    ("flower", &[Mandala(1.6), Hue(0.98), Accent(0.38)]),
    ("fog", &[Contrast(-1.6), Chroma(-1.2), Frequency(-0.8), Light(0.4)]),
    ("forest", &[Hue(0.4), Accent(0.3), Light(-0.7), Frequency(0.4)]),
    ("galaxy", &[Hue(0.82), Accent(0.97), Light(-1.3), Contrast(1.0), Warp(0.9)]),
    ("geometric", &[Facets(1.6), Warp(-0.8)]),
    ("ghost", &[Light(0.6), Chroma(-1.4), Contrast(-0.7)]),
    ("glass", &[Facets(1.2), Light(0.4), Hue(0.55)]),
    ("gold", &[Hue(0.23), Accent(0.15), Chroma(0.7), Contrast(0.5)]),
    ("golden", &[Hue(0.23), Accent(0.15), Chroma(0.7), Contrast(0.5)]),
    ("grainy", &[Grain(1.8)]),
    ("grass", &[Hue(0.36), Stripes(0.9), Frequency(0.8)]),
    ("gray", &[Chroma(-2.0)]),
    ("green", &[Hue(0.4), Chroma(0.5)]),
    ("grey", &[Chroma(-2.0)]),
    ("huge", &[Frequency(-1.4)]),
    ("ice", &[Hue(0.6), Light(1.1), Chroma(-0.4), Facets(0.9)]),
    ("indigo", &[Hue(0.78), Light(-0.5)]),
    ("intricate", &[Frequency(1.5), Warp(0.7)]),
    ("ivory", &[Hue(0.26), Light(1.5), Chroma(-1.2)]),
    ("jungle", &[Hue(0.4), Accent(0.15), Chroma(0.8), Frequency(0.9), Warp(0.8)]),
    ("kaleidoscope", &[Kaleidoscope(3.0), Chroma(0.6)]),
    ("lava", &[Hue(0.09), Accent(0.15), Light(-0.6), Chroma(1.3), Contrast(1.4), Warp(1.0)]),
    ("lavender", &[Hue(0.83), Light(0.9), Chroma(-0.2)]),
    ("light", &[Light(1.2)]),
    ("lines", &[Stripes(1.8)]),
    ("liquid", &[Warp(1.6), Contrast(0.4)]),
    ("magenta", &[Hue(0.93), Chroma(0.8)]),
    ("mandala", &[Mandala(3.0)]),
    ("marble", &[Stripes(1.0), Warp(1.5), Chroma(-1.2), Light(0.8)]),
    ("metal", &[Chroma(-1.2), Contrast(1.2), Facets(0.6)]),
    ("midnight", &[Hue(0.75), Light(-1.6)]),
    ("mint", &[Hue(0.46), Light(1.0)]),
    ("mirror", &[Mirror(3.0)]),
    ("mist", &[Contrast(-1.4), Chroma(-1.0), Frequency(-0.8), Light(0.6)]),
    ("monochrome", &[Chroma(-2.5)]),
    ("moon", &[Hue(0.7), Light(-0.8), Chroma(-0.8), Contrast(0.8)]),
    ("moss", &[Hue(0.34), Light(-0.4), Chroma(0.5), Grain(1.0)]),
    ("mountain", &[Facets(1.0), Hue(0.68), Chroma(-0.4)]),
    ("neon", &[Hue(0.92), Accent(0.55), Chroma(1.8), Light(-0.6), Contrast(1.2)]),
    ("night", &[Hue(0.74), Light(-1.5)]),
    ("ocean", &[Hue(0.65), Accent(0.5), Stripes(0.5), Frequency(-0.4)]),
    ("opal", &[Spread(1.6), Light(1.0), Chroma(-0.2)]),
    ("orange", &[Hue(0.16), Chroma(0.7)]),
    ("organic", &[Warp(1.2), Facets(-0.8)]),
    ("paper", &[Light(1.2), Chroma(-1.4), Grain(0.8)]),
    ("pastel", &[Light(1.3), Chroma(-0.6), Contrast(-0.8)]),
    ("pearl", &[Light(1.3), Chroma(-0.8), Spread(0.8)]),
    ("pink", &[Hue(0.0), Light(0.6), Chroma(0.4)]),
    ("purple", &[Hue(0.86), Chroma(0.5)]),
    ("quiet", &[Frequency(-1.0), Warp(-0.6), Contrast(-0.6)]),
    ("rain", &[Stripes(1.2), Hue(0.68), Chroma(-0.6)]),
    ("rainbow", &[Spread(2.5), Chroma(1.0)]),
    ("red", &[Hue(0.07), Chroma(0.7)]),
    ("river", &[Stripes(0.8), Warp(1.0), Hue(0.6)]),
    ("rose", &[Hue(0.01), Mandala(0.8)]),
    ("royal", &[Hue(0.8), Accent(0.23), Chroma(0.6), Mirror(0.8)]),
    ("ruby", &[Hue(0.05), Chroma(1.0), Facets(0.8)]),
    ("rust", &[Hue(0.12), Light(-0.3), Chroma(0.5), Grain(1.2)]),
    ("sand", &[Hue(0.22), Light(0.8), Chroma(-0.5), Grain(0.9)]),
    ("sapphire", &[Hue(0.74), Chroma(0.9), Facets(0.8)]),
    ("sea", &[Hue(0.62), Accent(0.48), Stripes(0.4), Frequency(-0.3)]),
    ("shadow", &[Light(-1.1), Contrast(0.8)]),
    ("silk", &[Warp(0.9), Stripes(0.5), Contrast(-0.2), Grain(-1.0)]),
    ("silver", &[Chroma(-1.6), Light(0.5), Contrast(0.8)]),
    ("sky", &[Hue(0.68), Light(0.8), Frequency(-0.7)]),
    ("smoke", &[Chroma(-1.3), Warp(1.5), Contrast(-0.4)]),
    ("smooth", &[Frequency(-0.8), Grain(-1.2), Facets(-1.0)]),
    ("snow", &[Light(1.7), Chroma(-1.2), Hue(0.68)]),
    ("soft", &[Contrast(-0.9), Facets(-0.8)]),
    ("space", &[Light(-1.5), Contrast(1.0), Hue(0.78)]),
    ("spring", &[Hue(0.36), Accent(0.0), Light(0.9)]),
    ("star", &[Mandala(1.2), Contrast(0.8)]),
    ("stone", &[Chroma(-1.0), Grain(1.1), Facets(0.5)]),
    ("storm", &[Hue(0.7), Light(-0.9), Warp(1.4), Contrast(0.8)]),
    ("stripes", &[Stripes(2.2), Warp(-0.4)]),
    ("summer", &[Hue(0.28), Accent(0.6), Light(0.7), Chroma(0.5)]),
    ("sun", &[Hue(0.25), Light(0.9), Chroma(0.8)]),
    ("sunrise", &[Hue(0.12), Accent(0.7), Light(0.6), Chroma(0.6)]),
    ("sunset", &[Hue(0.11), Accent(0.86), Chroma(1.0), Frequency(-0.4)]),
    ("symmetric", &[Mirror(2.5)]),
    ("symmetry", &[Mirror(2.5)]),
    ("teal", &[Hue(0.52), Light(-0.2)]),
    ("tiny", &[Frequency(1.6)]),
    ("toxic", &[Hue(0.35), Accent(0.88), Chroma(1.5)]),
    ("turquoise", &[Hue(0.53), Light(0.4), Chroma(0.5)]),
    ("twilight", &[Hue(0.8), Accent(0.05), Light(-0.8)]),
    ("velvet", &[Light(-0.6), Chroma(0.4), Contrast(-0.3), Grain(0.6)]),
    ("vibrant", &[Chroma(1.6), Spread(0.8)]),
    ("vintage", &[Hue(0.2), Chroma(-0.8), Contrast(-0.5), Grain(0.8)]),
    ("violet", &[Hue(0.85), Chroma(0.5)]),
    ("warm", &[Hue(0.15), Chroma(0.2)]),
    ("water", &[Hue(0.63), Warp(1.0), Stripes(0.4)]),
    ("waves", &[Stripes(1.5), Frequency(-0.2)]),
    ("white", &[Light(2.0), Chroma(-1.5)]),
    ("wild", &[Warp(1.3), Frequency(0.6), Contrast(0.6)]),
    ("wind", &[Stripes(1.0), Warp(0.8), Chroma(-0.3)]),
    ("winter", &[Hue(0.68), Light(1.0), Chroma(-0.7)]),
    ("wood", &[Hue(0.17), Stripes(1.3), Light(-0.4), Chroma(-0.3)]),
    ("yellow", &[Hue(0.29), Light(0.5), Chroma(0.7)]),
];

/// What a word does, if it is in the table.
pub fn effects(word: &str) -> Option<&'static [Effect]> {
    let at = WORDS.binary_search_by_key(&word, |(known, _)| known).ok()?;
    Some(WORDS[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_documented() {
        assert!(WORDS.is_sorted_by_key(|(word, _)| word));
        let table: String = WORDS
            .iter()
            .map(|(word, effects)| {
                let effects: Vec<String> = effects.iter().map(|effect| format!("{effect:?}")).collect();
                format!("| {word} | {} |\n", effects.join(", "))
            })
            .collect();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/abstract.md");
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains(&table), "docs/abstract.md must hold this table:\n{table}");
    }
}
