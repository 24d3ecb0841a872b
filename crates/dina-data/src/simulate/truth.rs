use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

use super::{
    CortexStatistics, ImageTruth, NeuronTruth, SceneStatistics, SimulationConfig, StimulusShares,
    driven::Driven,
};
use crate::Recording;

/// What is known of a simulated recording because it was made.
///
/// The JSON form leaves out [`Truth::rates`], which is as large as the recording, and what else
/// there is per neuron and image: it follows from the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// What was asked for; the same configuration makes the same recording.
    pub config: SimulationConfig,
    /// What is true of the population, in words; absent where other numbers than those of the named
    /// population were asked for.
    pub statement: Option<String>,
    /// What the images were made from.
    pub scene: SceneStatistics,
    /// The numbers that the neurons were drawn from.
    pub cortex: CortexStatistics,
    /// Parameters of each neuron.
    pub neurons: Vec<NeuronTruth>,
    /// What each image was made of.
    pub images: Vec<ImageTruth>,
    /// What the variance that images drive is due to.
    pub shares: StimulusShares,
    /// What came out.
    pub measured: Measured,
    /// Mean response over noise, neurons x images.
    #[serde(skip)]
    pub rates: Array2<f32>,
    /// Mean response to the gray screen, per neuron.
    #[serde(skip)]
    pub gray_rates: Vec<f32>,
    /// For each pair of neurons 2k and 2k + 1 and each image, 1 where the two are driven in the same
    /// presentations and -1 where they are driven in different ones; absent where neurons are
    /// informative by themselves.
    #[serde(skip)]
    pub pair_signs: Option<Array2<f32>>,
}

/// Values measured in the simulated recording.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Mean over neurons of the share of single-trial variance that the image explains, from the
    /// model, before any preprocessing.
    pub expected_signal_variance: f32,
    /// Mean over neurons of the correlation of the first with the second repeat over images,
    /// before any preprocessing; absent with a single repeat.
    pub signal_variance: Option<f32>,
    /// Mean over neurons of the skewness of single responses.
    pub skewness: f32,
    /// Number of neurons that depend on the image, alone or as one of a pair.
    pub informative_neurons: usize,
    /// Gini coefficient, over neurons, of the share of single-trial variance that the image explains,
    /// from the model: 0 if all carry the same, near 1 if few carry all; 0 if none carries any.
    pub concentration: f32,
    /// Standard deviation of the centres of receptive fields of informative neurons, in degrees down
    /// and across; 0 where there are none.
    pub field_spread: [f32; 2],
}

impl Truth {
    pub(super) fn new(
        config: &SimulationConfig,
        neurons: Vec<NeuronTruth>,
        images: Vec<ImageTruth>,
        driven: Driven,
        shares: StimulusShares,
        recording: &Recording,
    ) -> Self {
        let Driven { mut rates, gray, pairs } = driven;
        for (mut row, neuron) in rates.outer_iter_mut().zip(&neurons) {
            row.mapv_inplace(|d| neuron.gain * (neuron.baseline + d));
        }
        let gray_rates = neurons.iter().zip(&gray).map(|(n, d)| n.gain * (n.baseline + d)).collect();
        let measured = Measured {
            expected_signal_variance: mean(neurons.iter().map(|n| n.signal_variance)),
            signal_variance: repeat_correlation(recording),
            skewness: skewness(recording),
            informative_neurons: neurons.iter().filter(|n| n.informative).count(),
            concentration: gini(neurons.iter().map(|n| n.signal_variance).collect()),
            field_spread: [field_spread(&neurons, |n| n.row), field_spread(&neurons, |n| n.column)],
        };
        Self {
            config: config.clone(),
            statement: (config.cortex.is_none() && config.scene.is_none())
                .then(|| config.population.statement()),
            scene: config.scene(),
            cortex: config.cortex(),
            neurons,
            images,
            shares,
            measured,
            rates,
            gray_rates,
            pair_signs: pairs.map(|pairs| pairs.signs),
        }
    }
}

fn mean(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let n = values.len().max(1) as f32;
    values.sum::<f32>() / n
}

/// Gini coefficient: with `x` ascending, `sum (2i - n - 1) x_i / (n sum x)`.
fn gini(mut values: Vec<f32>) -> f32 {
    values.sort_by(f32::total_cmp);
    let n = values.len() as f64;
    let total: f64 = values.iter().map(|&v| f64::from(v)).sum();
    let ranked: f64 =
        values.iter().enumerate().map(|(i, &v)| (2.0 * (i + 1) as f64 - n - 1.0) * f64::from(v)).sum();
    // Rounding of neurons that carry nothing is no concentration.
    if total > 1e-6 * n { (ranked / (n * total)) as f32 } else { 0.0 }
}

fn field_spread(neurons: &[NeuronTruth], of: impl Fn(&NeuronTruth) -> f32) -> f32 {
    let places: Vec<f32> =
        neurons.iter().filter(|n| n.informative && !n.subunits.is_empty()).map(of).collect();
    if places.is_empty() {
        return 0.0;
    }
    let centre = mean(places.iter().copied());
    mean(places.iter().map(|p| (p - centre).powi(2))).sqrt()
}

fn repeat_correlation(recording: &Recording) -> Option<f32> {
    let trials = recording.trials();
    let pairs: Vec<_> = trials.iter().filter(|t| t.len() > 1).collect();
    if pairs.len() < 2 {
        return None;
    }
    let responses = recording.responses();
    let n = pairs.len() as f32;
    let mut sums = [(); 5].map(|()| Array1::<f32>::zeros(recording.neurons()));
    // Centred on the first pair's mean, so that single precision keeps the small differences.
    let origin = responses.mean_axis(Axis(0))?;
    for pair in pairs {
        let a = &responses.row(pair[0]) - &origin;
        let b = &responses.row(pair[1]) - &origin;
        for (sum, term) in sums.iter_mut().zip([&a * &a, &b * &b, &a * &b, a, b]) {
            *sum += &term;
        }
    }
    let [aa, bb, ab, a, b] = sums.map(|s| s / n);
    let correlations = (0..recording.neurons()).map(|i| {
        let spread = (aa[i] - a[i] * a[i]) * (bb[i] - b[i] * b[i]);
        if spread > 0.0 { (ab[i] - a[i] * b[i]) / spread.sqrt() } else { 0.0 }
    });
    Some(mean(correlations))
}

fn skewness(recording: &Recording) -> f32 {
    let responses = recording.responses();
    let centre = responses.mean_axis(Axis(0)).unwrap_or_default();
    let mut squares = Array1::<f32>::zeros(recording.neurons());
    let mut cubes = squares.clone();
    for row in responses.outer_iter() {
        let d = &row - &centre;
        squares += &(&d * &d);
        cubes += &(&d * &d * &d);
    }
    let n = responses.nrows() as f32;
    mean((0..recording.neurons()).map(|i| (cubes[i] / n) / (squares[i] / n).powf(1.5).max(1e-12)))
}
