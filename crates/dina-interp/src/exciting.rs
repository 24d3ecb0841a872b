//! Most exciting inputs: the image that drives a channel most, or the population response that does.
//!
//! Regularised gradient ascent under the constraints of the field (Walker et al. 2019; Bashivan, Kar and DiCarlo
//! 2019): fixed contrast, bounded pixels, smoothed gradients, several starts.

use candle_core::Tensor;
use dina_core::{Error as CoreError, Seed, Tower};
use dina_stats::{Error as StatsError, reliability::Correlation};
use ndarray::ArrayD;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use crate::{
    Result,
    attribution::{Explainer, Items, Target},
};

/// How [`most_exciting`] climbs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExcitingConfig {
    /// Random starts.
    pub starts: usize,
    /// Steps of the ascent.
    pub steps: usize,
    /// First step, as a share of the contrast; it falls linearly to nothing.
    pub rate: f64,
    /// Largest root mean square of the input: the norm over the square root of the number of inputs.
    pub contrast: f64,
    /// Root mean square of the random starts, as a share of the contrast. What the target does not depend on stays at it, so
    /// that a small one leaves the surround of a receptive field gray.
    pub start: f64,
    /// Lowest and highest value of an input.
    pub bounds: Option<(f64, f64)>,
    /// Standard deviation in pixels of the Gaussian by which gradients are smoothed; 0 for none. Images only.
    pub smoothing: f64,
    /// A start has converged when the last tenth of the steps gains no more than this share of its target.
    pub tolerance: f64,
}

impl Default for ExcitingConfig {
    /// Five starts at a tenth of the contrast, 200 steps from 0.3, contrast 1, no bounds, gradients smoothed by one pixel,
    /// converged to 1e-3.
    fn default() -> Self {
        Self {
            starts: 5,
            steps: 200,
            rate: 0.3,
            contrast: 1.,
            start: 0.1,
            bounds: None,
            smoothing: 1.,
            tolerance: 1e-3,
        }
    }
}

/// What [`most_exciting`] found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exciting {
    /// `[starts, ...]` in the shape of the inputs, the most exciting first.
    pub inputs: ArrayD<f32>,
    /// The target of each.
    pub targets: Vec<f64>,
    /// Per start the target after every step, the first being that of the random start.
    pub traces: Vec<Vec<f64>>,
    /// Whether each start converged.
    pub converged: Vec<bool>,
    /// Root mean square of each; below the contrast asked for only where the bounds do not allow it.
    pub contrasts: Vec<f64>,
    /// Correlation of each with the first. Low ones with equal targets say that there is no single most exciting input:
    /// a complex cell has one for every phase.
    pub alike: Vec<f64>,
}

/// The inputs that raise a target most, one a random start.
///
/// Every step goes along the smoothed gradient, scaled to a root mean square of 1, and then back to the constraints: scaled
/// down to the contrast and cut off at the bounds. `like` is any input of the tower and gives
/// shape, type and device; its values are not used. Tower values are only as good as its gradients, see
/// [`Explainer::gradient_error`].
///
/// # Errors
/// When the target is not the tower's or has a map for every item, a configuration makes no sense, or the tower gives
/// no gradient.
pub fn most_exciting(
    tower: &dyn Tower,
    target: Target,
    like: &Tensor,
    config: &ExcitingConfig,
    seed: Seed,
) -> Result<Exciting> {
    check(config)?;
    if !target.is_shared() {
        let expected = "a single map, for there are no items";
        return Err(CoreError::value("maps of the target", expected, "one for every item").into());
    }
    let explainer = Explainer::new(tower, target)?;
    let shape = Items::new(&like.narrow(0, 0, 1).map_err(CoreError::from)?)?;
    let width = shape.width;
    let smoother = Smoother::new(shape.dims(), config.smoothing);
    let mut climbers: Vec<Vec<f64>> = (0..config.starts)
        .map(|start| {
            let mut stream = seed.index(start).stream("exciting");
            let mut values: Vec<f64> = (0..width).map(|_| StandardNormal.sample(&mut stream)).collect();
            smoother.smooth(&mut values);
            let size = rms(&values);
            if size > 0. {
                values.iter_mut().for_each(|v| *v *= config.start * config.contrast / size);
            }
            constrain(&mut values, config);
            values
        })
        .collect();
    let mut traces = vec![Vec::with_capacity(config.steps + 1); config.starts];
    for step in 0..config.steps {
        let rate = config.rate * config.contrast * (1. - step as f64 / config.steps as f64);
        let mut uphill = Vec::with_capacity(config.starts);
        let here = |row: usize, values: &mut [f64]| {
            values.copy_from_slice(&climbers[row]);
            row
        };
        explainer.differentiate(&shape, config.starts, here, |pass| {
            for (row, &target) in (pass.first..).zip(pass.targets) {
                traces[row].push(target);
            }
            uphill.extend(pass.gradients.chunks(width).map(<[f64]>::to_vec));
        })?;
        for (values, mut gradient) in climbers.iter_mut().zip(uphill) {
            smoother.smooth(&mut gradient);
            let size = rms(&gradient);
            // A flat place stays where it is, and its trace shows that.
            if size > 0. {
                values.iter_mut().zip(&gradient).for_each(|(v, g)| *v += rate * g / size);
                constrain(values, config);
            }
        }
    }
    let here = |row: usize, values: &mut [f64]| {
        values.copy_from_slice(&climbers[row]);
        row
    };
    explainer.evaluate(&shape, config.starts, here, |row, target| traces[row].push(target))?;
    sorted(&climbers, &traces, &shape, config)
}

fn check(config: &ExcitingConfig) -> Result<()> {
    let ExcitingConfig { starts, steps, rate, contrast, start, bounds, smoothing, tolerance } = *config;
    let positive = |value: f64| value.is_finite() && value > 0.;
    let bounded = bounds.is_none_or(|(low, high)| low.is_finite() && high.is_finite() && low < high);
    let scales =
        positive(rate) && positive(contrast) && positive(tolerance) && positive(start) && start <= 1.;
    if starts == 0 || steps < 10 || !scales || !bounded || !smoothing.is_finite() || smoothing < 0. {
        let expected = "1 start, 10 steps or more, positive rate, contrast and tolerance, ordered bounds, smoothing of 0 or more";
        return Err(CoreError::value("most exciting inputs", expected, format!("{config:?}")).into());
    }
    Ok(())
}

/// Best first.
fn sorted(
    climbers: &[Vec<f64>],
    traces: &[Vec<f64>],
    shape: &Items,
    config: &ExcitingConfig,
) -> Result<Exciting> {
    let reached = |start: usize| traces[start][config.steps];
    let mut order: Vec<usize> = (0..climbers.len()).collect();
    order.sort_by(|&a, &b| reached(b).total_cmp(&reached(a)));
    let converged = |&start: &usize| {
        let gain = reached(start) - traces[start][config.steps - config.steps / 10];
        gain.abs() <= config.tolerance * reached(start).abs()
    };
    let best = &climbers[order[0]];
    let rows: Vec<f64> = order.iter().flat_map(|&start| climbers[start].iter().copied()).collect();
    Ok(Exciting {
        inputs: shape.array_of(&rows, climbers.len())?,
        targets: order.iter().map(|&start| reached(start)).collect(),
        converged: order.iter().map(converged).collect(),
        contrasts: order.iter().map(|&start| rms(&climbers[start])).collect(),
        alike: order.iter().map(|&start| correlation(best, &climbers[start])).collect::<Result<_>>()?,
        traces: order.iter().map(|&start| traces[start].clone()).collect(),
    })
}

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

/// 0 where one of the two is constant, or there is only one value.
fn correlation(a: &[f64], b: &[f64]) -> Result<f64> {
    match Correlation::pearson(a, b) {
        Ok(r) => Ok(r.get()),
        Err(StatsError::Constant { .. } | StatsError::TooFew { .. }) => Ok(0.),
        Err(error) => Err(error.into()),
    }
}

/// Cutting off at bounds around 0 lowers the contrast further, so that both hold afterwards; elsewhere the bounds have
/// the last word.
fn constrain(values: &mut [f64], config: &ExcitingConfig) {
    let size = rms(values);
    if size > config.contrast {
        values.iter_mut().for_each(|v| *v *= config.contrast / size);
    }
    if let Some((low, high)) = config.bounds {
        values.iter_mut().for_each(|v| *v = v.clamp(low, high));
    }
}

/// A Gaussian along rows and columns of an image, renormalised at its borders.
struct Smoother {
    height: usize,
    width: usize,
    /// From the centre outwards; a single tap does nothing.
    taps: Vec<f64>,
}

impl Smoother {
    fn new(dims: &[usize], sigma: f64) -> Self {
        let (height, width) = match *dims {
            [.., height, width] if dims.len() == 4 => (height, width),
            _ => (1, 1),
        };
        let reach = if dims.len() == 4 { (3. * sigma).ceil() as usize } else { 0 };
        let taps = (0..=reach).map(|d| if d == 0 { 1. } else { (-0.5 * (d as f64 / sigma).powi(2)).exp() });
        Self { height, width, taps: taps.collect() }
    }

    fn smooth(&self, values: &mut [f64]) {
        if self.taps.len() == 1 {
            return;
        }
        for image in values.chunks_mut(self.height * self.width) {
            for row in 0..self.height {
                self.along(image, row * self.width, 1, self.width);
            }
            for column in 0..self.width {
                self.along(image, column, self.width, self.height);
            }
        }
    }

    fn along(&self, image: &mut [f64], first: usize, stride: usize, count: usize) {
        let line: Vec<f64> = (0..count).map(|i| image[first + i * stride]).collect();
        for i in 0..count {
            let near = i.saturating_sub(self.taps.len() - 1)..(i + self.taps.len()).min(count);
            let (mut sum, mut weight) = (0., 0.);
            for j in near {
                let tap = self.taps[i.abs_diff(j)];
                sum += tap * line[j];
                weight += tap;
            }
            image[first + i * stride] = sum / weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::attribution::testing::{Toy, linear, noise};

    fn filter() -> Vec<f32> {
        let gabor = |y: f32, x: f32| (-(y * y + x * x) / 12.).exp() * (1.2 * x + 0.4 * y).cos();
        (0..144).map(|i| gabor((i / 12) as f32 - 5.5, (i % 12) as f32 - 5.5)).collect()
    }

    fn like() -> Tensor {
        Tensor::zeros((1, 1, 12, 12), DType::F32, &Device::Cpu).unwrap()
    }

    /// f = w x under a fixed norm is largest at x = w c / rms(w).
    #[test]
    fn a_linear_tower_gives_its_filter() {
        let weights = filter();
        let tower = linear(&weights);
        let wide: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
        for (smoothing, least) in [(0., 0.9999), (0.7, 0.95)] {
            let config = ExcitingConfig { smoothing, contrast: 2., ..Default::default() };
            let found =
                most_exciting(&tower, Target::channel("v1", 0), &like(), &config, Seed::new(1)).unwrap();
            assert_eq!(found.inputs.shape(), [5, 1, 12, 12]);
            assert!(found.converged.iter().all(|&c| c), "{:?}", found.traces);
            for (input, contrast) in found.inputs.outer_iter().zip(&found.contrasts) {
                let input: Vec<f64> = input.iter().map(|&v| f64::from(v)).collect();
                let r = correlation(&input, &wide).unwrap();
                assert!(r > least, "{smoothing}: {r}");
                assert!((contrast - 2.).abs() < 1e-6);
            }
            assert!(found.alike.iter().all(|&r| r > 0.999), "{:?}", found.alike);
            if smoothing == 0. {
                let most = rms(&wide) * 2. * 144.;
                assert!((found.targets[0] / most - 1.).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn bounds_hold() {
        let tower = linear(&filter());
        let config = ExcitingConfig { bounds: Some((-1., 1.5)), contrast: 0.8, ..Default::default() };
        let found = most_exciting(&tower, Target::channel("v1", 0), &like(), &config, Seed::new(1)).unwrap();
        assert!(found.inputs.iter().all(|v| (-1. ..=1.5).contains(v)));
        assert!(found.contrasts.iter().all(|&c| c <= 0.8 + 1e-9 && c > 0.7), "{:?}", found.contrasts);
    }

    /// An energy unit has no single optimum: the targets agree and the inputs do not.
    #[test]
    fn phases_of_an_energy_unit_differ() {
        let wave = |phase: f32| -> Vec<f32> {
            (0..64).map(|i| ((i % 8) as f32 * std::f32::consts::FRAC_PI_4 + phase).cos()).collect()
        };
        let pair = Tensor::from_vec([wave(0.), wave(1.570_796_4)].concat(), (2, 64), &Device::Cpu)
            .unwrap()
            .t()
            .unwrap();
        let function = move |x: &Tensor| x.matmul(&pair)?.sqr()?.sum_keepdim(1);
        let tower = Toy { channels: 1, parameters: vec![], function };
        let config = ExcitingConfig { smoothing: 0., ..Default::default() };
        let like = noise(&[1, 64], 1);
        let found = most_exciting(&tower, Target::channel("v1", 0), &like, &config, Seed::new(1)).unwrap();
        assert!((found.targets[4] / found.targets[0] - 1.).abs() < 1e-3, "{:?}", found.targets);
        assert!(found.alike.iter().any(|&r| r < 0.8), "{:?}", found.alike);
    }

    #[test]
    fn nonsense_is_refused() {
        let tower = linear(&filter());
        let run = |config: ExcitingConfig| {
            most_exciting(&tower, Target::channel("v1", 0), &like(), &config, Seed::new(1))
        };
        assert!(run(ExcitingConfig { starts: 0, ..Default::default() }).is_err());
        assert!(run(ExcitingConfig { contrast: 0., ..Default::default() }).is_err());
        assert!(run(ExcitingConfig { bounds: Some((1., 0.)), ..Default::default() }).is_err());
        let each = Target::channel_matching("v1", 0, ndarray::Array3::ones((2, 1, 1)));
        assert!(most_exciting(&tower, each, &like(), &ExcitingConfig::default(), Seed::new(1)).is_err());
    }
}
