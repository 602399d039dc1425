//! Arithmetic that gives the same bits on every machine: sums, products, quotients and `floor` only, no fused
//! operations and no functions of the platform. Written for arrays so that it vectorises.

/// Values handled side by side.
pub const LANES: usize = 16;
/// One value a lane.
pub type Lanes = [f32; LANES];

const TAU: f32 = std::f32::consts::TAU;

/// Sine, of an angle in radians; off by less than 2·10⁻³.
#[inline]
pub fn sin(x: f32) -> f32 {
    let turns = x * (1.0 / TAU);
    let folded = turns - (turns + 0.5).floor();
    let y = folded * (8.0 - 16.0 * folded.abs());
    // The parabola through sine's zeros and peaks, corrected by its own square.
    y * (0.775 + 0.225 * y.abs())
}

/// Cosine, like [`sin`].
#[inline]
pub fn cos(x: f32) -> f32 {
    sin(x + TAU / 4.0)
}

/// A sigmoid from −1 to 1, close to the hyperbolic tangent.
#[inline]
pub fn squash(x: f32) -> f32 {
    let x = x.clamp(-3.0, 3.0);
    let xx = x * x;
    x * (27.0 + xx) / (27.0 + 9.0 * xx)
}

/// From 0 to 1 with flat ends, for `x` from 0 to 1.
#[inline]
pub fn smooth(x: f32) -> f32 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sine_is_close_to_sine() {
        for i in -2_000..2_000 {
            let x = i as f32 * 0.01;
            assert!((super::sin(x) - x.sin()).abs() < 2e-3, "{x}");
            assert!((super::cos(x) - x.cos()).abs() < 2e-3, "{x}");
        }
    }
}
