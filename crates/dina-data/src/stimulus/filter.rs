use std::f64::consts::PI;

use dina_core::Seed;
use serde::{Deserialize, Serialize};

use super::fourier::{Border, Spectral};
use super::stack::{positive, refused};
use super::{Stack, StackTransform};
use crate::Result;

/// Which spatial frequencies, in cycles per degree, a [`Filter`] lets through.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Those below the cut-off.
    Low {
        /// Where the gain is one half, in cycles per degree.
        cutoff: f32,
    },
    /// Those above the cut-off.
    High {
        /// Where the gain is one half, in cycles per degree.
        cutoff: f32,
    },
    /// Those between two cut-offs.
    Band {
        /// The lower cut-off, in cycles per degree.
        low: f32,
        /// The upper cut-off, in cycles per degree.
        high: f32,
    },
}

/// A filter without phase shift and without preferred orientation.
///
/// Around a cut-off `c` the gain of a low-pass falls as a raised cosine of the logarithm of the
/// frequency `f`, over `r = roll_off` octaves:
///
/// ```text
/// t(f) = log2(f / c) / r + 1/2, bounded to 0 to 1
/// low(f)  = (1 + cos(pi t)) / 2      1 below c 2^(-r/2), 1/2 at c, 0 above c 2^(r/2)
/// high(f) = 1 - low(f)
/// band(f) = high(f; low) low(f; high)
/// ```
///
/// So a low-pass and a high-pass image of one cut-off add up to the image, and so do neighbouring
/// bands whose transitions do not overlap. Nothing rings as it does behind a sharp cut-off. A
/// raised cosine in log frequency is what the steerable pyramid uses (Simoncelli & Freeman 1995).
///
/// ```
/// use dina_core::Seed;
/// use dina_data::stimulus::{Border, Filter, Pass, Stack, StackTransform, band_energy};
/// use ndarray::Array3;
///
/// let noise = Array3::from_shape_fn((1, 32, 48), |(_, y, x)| ((y * 7919 + x * 104_729) % 251) as f32);
/// let stack = Stack::new(noise, 0.5)?; // half a degree a pixel
/// let coarse = Filter::new(Pass::Low { cutoff: 0.1 }).apply(&stack, Seed::new(0))?;
/// let energy = band_energy(&coarse, &[0.02, 0.2, 0.8], Border::Mirror)?;
/// assert!(energy.energy[0][0] > 0.0 && energy.energy[0][1] < 1e-6);
/// # Ok::<(), dina_data::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// What goes through.
    pub pass: Pass,
    /// Width of a transition, in octaves.
    pub roll_off: f32,
    /// What lies beyond the border.
    #[serde(default)]
    pub border: Border,
    /// Whether each image keeps its mean grey, which a high-pass or band-pass would remove.
    pub keep_mean: bool,
}

impl Filter {
    /// Transitions of half an octave, the image in the mirror beyond its border, mean grey kept.
    pub fn new(pass: Pass) -> Self {
        Self { pass, roll_off: 0.5, border: Border::Mirror, keep_mean: true }
    }

    /// The factor by which the amplitude of a frequency, in cycles per degree, is multiplied. That
    /// of the mean (0) is what [`Filter::keep_mean`] says.
    pub fn gain(&self, frequency: f64) -> f64 {
        if frequency <= 0.0 {
            return f64::from(u8::from(self.keep_mean || matches!(self.pass, Pass::Low { .. })));
        }
        let low = |cutoff: f32| {
            let octaves = (frequency / f64::from(cutoff)).log2();
            let t = (octaves / f64::from(self.roll_off) + 0.5).clamp(0.0, 1.0);
            0.5 * (1.0 + (PI * t).cos())
        };
        match self.pass {
            Pass::Low { cutoff } => low(cutoff),
            Pass::High { cutoff } => 1.0 - low(cutoff),
            Pass::Band { low: from, high: to } => (1.0 - low(from)) * low(to),
        }
    }

    fn check(&self, stack: &Stack) -> Result<()> {
        positive("roll-off in octaves", self.roll_off)?;
        let cutoffs = match self.pass {
            Pass::Low { cutoff } | Pass::High { cutoff } => vec![cutoff],
            Pass::Band { low, high } => {
                if low >= high {
                    return Err(refused("band", "a low below a high cut-off", format!("{low} to {high}")));
                }
                vec![low, high]
            }
        };
        for cutoff in cutoffs {
            if !(cutoff > 0.0 && cutoff < stack.nyquist()) {
                let range =
                    format!("above 0 and below {} cycles per degree, what the pixels show", stack.nyquist());
                return Err(refused("cut-off", range, cutoff));
            }
        }
        Ok(())
    }
}

impl StackTransform for Filter {
    fn name(&self) -> &'static str {
        match self.pass {
            Pass::Low { .. } => "low-pass",
            Pass::High { .. } => "high-pass",
            Pass::Band { .. } => "band-pass",
        }
    }

    fn apply(&self, stack: &Stack, _: Seed) -> Result<Stack> {
        self.check(stack)?;
        let spectral = Spectral::new(stack.size(), self.border);
        let gains: Vec<f64> =
            spectral.frequencies(stack.degrees_per_pixel()).into_iter().map(|f| self.gain(f)).collect();
        Ok(stack.each(|_, image, out| spectral.scaled(image, &gains, out)))
    }
}
