use serde::{Deserialize, Serialize};

use super::{Look, config::within};
use crate::Result;

/// What the neurons of a population are like. The sources of the numbers are in
/// `docs/simulator.md`.
///
/// "Spread" is the standard deviation of the natural logarithm unless another unit is named.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CortexStatistics {
    /// What of an image the neurons look at.
    pub look: Look,
    /// Share of the variance of the driven rate that is due to the category of the image alone.
    pub category_share: f32,
    /// Whether the neurons are driven in pairs, so that only the product of the two depends on the
    /// image.
    pub paired: bool,
    /// Share of neurons that depend on the image at all.
    pub informative: f32,
    /// Share of neurons that carry the red (interneuron) label; these are tuned more broadly.
    pub red: f32,
    /// Centre of the receptive fields on the screen, as a share of its height and width.
    pub centre: [f32; 2],
    /// Height and width, in degrees, of the visual field that the recorded millimetre covers.
    pub span: [f32; 2],
    /// Regions down and across the screen among which the recorded millimetre is divided, each of
    /// the height and width of `span`; `centre` is the middle of all.
    pub regions: [usize; 2],
    /// Scatter of a receptive field about its retinotopic place, in degrees.
    pub scatter: f32,
    /// Median preferred spatial frequency, in cycles per degree.
    pub frequency: f32,
    /// Spread of the preferred frequency, in octaves.
    pub frequency_spread: f32,
    /// Lowest and highest preferred frequency, in cycles per degree.
    pub frequency_range: [f32; 2],
    /// Median standard deviation, in degrees, of the Gaussian window at 0.04 cycles per degree.
    pub size: f32,
    /// The window's standard deviation falls with this power of frequency.
    pub size_exponent: f32,
    /// Spread of the window's size at a given frequency.
    pub size_spread: f32,
    /// Share of complex cells.
    pub complex: f32,
    /// Fewest and most excitatory subunits of a neuron.
    pub subunits: [usize; 2],
    /// Scatter of subunits about the neuron's centre, in standard deviations of the window.
    pub subunit_scatter: f32,
    /// Spread of the orientation of subunits, in radians.
    pub subunit_turn: f32,
    /// Mean over neurons of how much subunits have to be active together (0 sum, 1 product).
    pub conjunction: f32,
    /// Mean weight of suppressive subunits relative to excitatory ones.
    pub suppression: f32,
    /// Semi-saturation of divisive normalisation, relative to the mean local contrast energy.
    pub semi_saturation: f32,
    /// Mean strength of divisive surround suppression at the mean surround energy.
    pub surround: f32,
    /// Mean threshold, in standard deviations of the drive by natural images.
    pub threshold: f32,
    /// Exponent of the output nonlinearity.
    pub exponent: f32,
    /// Median standard deviation, over natural images, of the driven rate. The unit of rates is the
    /// mean spontaneous rate.
    pub amplitude: f32,
    /// Spread of it.
    pub amplitude_spread: f32,
    /// Whether the unit of `amplitude` is instead the standard deviation of the neuron's own
    /// spontaneous rate, private noise included, so that all are equally reliable.
    pub amplitude_of_noise: bool,
    /// Spread of the gain from rate to fluorescence.
    pub gain_spread: f32,
    /// Spread of the spontaneous rate.
    pub baseline_spread: f32,
    /// Variance of private noise over mean rate.
    pub fano: f32,
    /// Dimensions of shared activity; mode `n` carries variance in proportion to `1/n`.
    pub shared_modes: usize,
    /// Mean variance of the logarithm of the rate that is shared.
    pub shared_variance: f32,
    /// Mean standard deviation of the logarithm of the gain on stimulus drive that follows the
    /// first shared mode.
    pub state_gain: f32,
}

impl Default for CortexStatistics {
    fn default() -> Self {
        Self {
            look: Look::Whole,
            category_share: 0.0,
            paired: false,
            informative: 0.9,
            red: 0.06,
            centre: [0.5, 0.42],
            span: [36.0, 54.0],
            regions: [1, 1],
            scatter: 5.0,
            frequency: 0.036,
            frequency_spread: 0.85,
            frequency_range: [0.01, 0.25],
            size: 6.5,
            size_exponent: 0.4,
            size_spread: 0.25,
            complex: 0.35,
            subunits: [1, 3],
            subunit_scatter: 0.6,
            subunit_turn: 0.6,
            conjunction: 0.25,
            suppression: 0.3,
            semi_saturation: 0.8,
            surround: 0.5,
            threshold: 0.0,
            exponent: 1.3,
            amplitude: 0.83,
            amplitude_spread: 0.7,
            amplitude_of_noise: false,
            gain_spread: 0.8,
            baseline_spread: 0.4,
            fano: 1.0,
            shared_modes: 256,
            shared_variance: 0.56,
            state_gain: 0.35,
        }
    }
}

impl CortexStatistics {
    pub(super) fn check(&self) -> Result<()> {
        self.look.check()?;
        let [lowest, highest] = self.frequency_range;
        let [fewest, most] = self.subunits.map(|n| n as f32);
        for (name, value, low, high) in [
            ("category_share", self.category_share, 0.0, 1.0),
            ("informative", self.informative, 0.0, 1.0),
            ("red", self.red, 0.0, 1.0),
            ("centre[0]", self.centre[0], 0.0, 1.0),
            ("centre[1]", self.centre[1], 0.0, 1.0),
            ("span[0]", self.span[0], 0.0, 1e3),
            ("span[1]", self.span[1], 0.0, 1e3),
            ("regions[0]", self.regions[0] as f32, 1.0, 16.0),
            ("regions[1]", self.regions[1] as f32, 1.0, 16.0),
            ("scatter", self.scatter, 0.0, 100.0),
            ("frequency_range[0]", lowest, 1e-3, 0.4),
            ("frequency_range[1]", highest, lowest, 0.4),
            ("frequency", self.frequency, lowest, highest),
            ("frequency_spread", self.frequency_spread, 0.0, 5.0),
            ("size", self.size, 1.0, 50.0),
            ("size_exponent", self.size_exponent, 0.0, 2.0),
            ("size_spread", self.size_spread, 0.0, 1.0),
            ("complex", self.complex, 0.0, 1.0),
            ("subunits[0]", fewest, 1.0, 16.0),
            ("subunits[1]", most, fewest, 16.0),
            ("subunit_scatter", self.subunit_scatter, 0.0, 3.0),
            ("subunit_turn", self.subunit_turn, 0.0, 10.0),
            ("conjunction", self.conjunction, 0.0, 1.0),
            ("suppression", self.suppression, 0.0, 10.0),
            ("semi_saturation", self.semi_saturation, 1e-3, 100.0),
            ("surround", self.surround, 0.0, 10.0),
            ("threshold", self.threshold, -10.0, 5.0),
            ("exponent", self.exponent, 0.5, 4.0),
            ("amplitude", self.amplitude, 0.0, 100.0),
            ("amplitude_spread", self.amplitude_spread, 0.0, 3.0),
            ("gain_spread", self.gain_spread, 0.0, 3.0),
            ("baseline_spread", self.baseline_spread, 0.0, 3.0),
            ("fano", self.fano, 1e-3, 100.0),
            ("shared_modes", self.shared_modes as f32, 1.0, 4096.0),
            ("shared_variance", self.shared_variance, 0.0, 4.0),
            ("state_gain", self.state_gain, 0.0, 2.0),
        ] {
            within(&format!("cortex.{name}"), value, low, high)?;
        }
        Ok(())
    }
}
