use std::f64::consts::PI;

use candle_core::Tensor;
use dina_core::{Error as CoreError, Seed};
use rand::{RngExt, seq::SliceRandom};
use serde::{Deserialize, Serialize};

use super::{
    Attribution, Baseline, Completeness, Explainer, Method,
    explainer::Items,
    gradient::{Moments, add},
    result::relative_deviation,
};
use crate::Result;

/// Where on the way from baseline to input the gradient is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// In the middle of equal steps; the choice where the target has kinks.
    Midpoint,
    /// Gauss and Legendre's nodes: exact for polynomials of degree 2 n - 1, the choice for smooth targets.
    GaussLegendre,
}

impl Rule {
    /// Nodes in (0, 1) and their weights, which add up to 1.
    fn nodes(self, count: usize) -> Vec<(f64, f64)> {
        let n = count as f64;
        match self {
            Self::Midpoint => (0..count).map(|k| ((k as f64 + 0.5) / n, 1. / n)).collect(),
            Self::GaussLegendre => (0..count).map(|k| legendre_node(count, k)).collect(),
        }
    }
}

/// A root of the Legendre polynomial of degree n, by Newton's method from the usual cosine, moved to (0, 1).
fn legendre_node(n: usize, k: usize) -> (f64, f64) {
    let mut x = (PI * (k as f64 + 0.75) / (n as f64 + 0.5)).cos();
    let mut slope = 1.;
    for _ in 0..100 {
        let (mut before, mut value) = (1., x);
        for degree in 2..=n {
            let d = degree as f64;
            (before, value) = (value, ((2. * d - 1.) * x * value - (d - 1.) * before) / d);
        }
        slope = n as f64 * (x * value - before) / (x * x - 1.);
        let step = value / slope;
        x -= step;
        if step.abs() < 1e-15 {
            break;
        }
    }
    ((1. - x) / 2., 1. / ((1. - x * x) * slope * slope))
}

/// How [`Explainer::integrated_gradients`] integrates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IntegratedGradients {
    /// Where the way starts.
    pub baseline: Baseline,
    /// The quadrature.
    pub rule: Rule,
    /// Steps at first.
    pub steps: usize,
    /// Items that are not complete get twice the steps, again and again up to this cap.
    pub max_steps: usize,
    /// The relative deviation at which an item is complete.
    pub tolerance: f64,
}

impl Default for IntegratedGradients {
    /// From zero, 16 to 1,024 nodes of Gauss and Legendre, complete to 1e-3.
    fn default() -> Self {
        Self {
            baseline: Baseline::Zero,
            rule: Rule::GaussLegendre,
            steps: 16,
            max_steps: 1024,
            tolerance: 1e-3,
        }
    }
}

/// How [`Explainer::expected_gradients`] samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExpectedGradients {
    /// Samples an item, each with a row of the background and a place on the way.
    pub samples: usize,
    /// The relative deviation at which an item counts as complete. A mean over samples comes within 1e-3 only of
    /// targets that are nearly linear; the deviation reported is of the size of the standard errors.
    pub tolerance: f64,
}

impl Default for ExpectedGradients {
    /// 200 samples, 5 %.
    fn default() -> Self {
        Self { samples: 200, tolerance: 0.05 }
    }
}

impl ExpectedGradients {
    /// Per sample of an item a row of a background of `rows` and a place on the way: what makes a computation elsewhere
    /// comparable sample by sample. Nothing without rows.
    pub fn draws(&self, item: usize, rows: usize, seed: Seed) -> Vec<(usize, f64)> {
        let samples = self.samples;
        let mut stream = seed.index(item).stream("expected_gradients");
        let mut origins: Vec<usize> = Vec::with_capacity(samples + rows);
        while origins.len() < samples && rows > 0 {
            let mut round: Vec<usize> = (0..rows).collect();
            round.shuffle(&mut stream);
            origins.extend(round);
        }
        let mut steps: Vec<usize> = (0..samples).collect();
        steps.shuffle(&mut stream);
        let places = steps.into_iter().map(|step| (step as f64 + stream.random::<f64>()) / samples as f64);
        origins.into_iter().zip(places).collect()
    }
}

impl Explainer<'_> {
    /// Integrated gradients (Sundararajan, Taly and Yan 2017): `(x_i - b_i)` times the mean of `df/dx_i` on the
    /// straight way from the baseline b to x. They add up to f(x) - f(b); an item whose sum deviates by more than the
    /// tolerance is integrated again with twice the steps, up to the cap. Whether that sufficed is in the result.
    ///
    /// # Errors
    /// As [`Explainer::gradient_input`]; for a baseline of another size, no steps, or a tolerance that is not positive.
    pub fn integrated_gradients(&self, inputs: &Tensor, config: &IntegratedGradients) -> Result<Attribution> {
        if config.steps == 0
            || config.max_steps < config.steps
            || config.tolerance.is_nan()
            || config.tolerance <= 0.
        {
            let expected = "steps of 1 or more, a cap no lower, and a positive tolerance";
            return Err(CoreError::value("integrated gradients", expected, format!("{config:?}")).into());
        }
        let items = Items::new(inputs)?;
        let baseline = config.baseline.values(items.width)?;
        let ends = self.ends(&items, &baseline)?;
        let mut values = vec![0.; items.values.len()];
        let mut steps = vec![config.steps; items.count];
        let mut open: Vec<usize> = (0..items.count).collect();
        let mut count = config.steps;
        while !open.is_empty() {
            self.integrate(&items, &open, &baseline, &config.rule.nodes(count), &mut values)?;
            open.iter().for_each(|&item| steps[item] = count);
            open.retain(|&item| {
                let row = &values[item * items.width..][..items.width];
                relative_deviation(row, items.epsilon(), ends[item]) > config.tolerance
            });
            if count == config.max_steps {
                break;
            }
            count = (2 * count).min(config.max_steps);
        }
        Ok(Attribution {
            values: items.array(&values)?,
            method: Method::IntegratedGradients,
            targets: ends.iter().map(|ends| ends[1]).collect(),
            completeness: Some(Completeness::of(&values, items.epsilon(), &ends, steps, config.tolerance)),
            standard_error: None,
            groups: None,
            checks: None,
        })
    }

    /// Integrates the items of `open` anew.
    fn integrate(
        &self,
        items: &Items,
        open: &[usize],
        baseline: &[f64],
        nodes: &[(f64, f64)],
        values: &mut [f64],
    ) -> Result<()> {
        let on_the_way = |row: usize, values: &mut [f64]| {
            let item = open[row / nodes.len()];
            let (place, _) = nodes[row % nodes.len()];
            for ((value, x), b) in values.iter_mut().zip(items.row(item)).zip(baseline) {
                *value = b + place * (x - b);
            }
            item
        };
        open.iter().for_each(|&item| values[item * items.width..][..items.width].fill(0.));
        self.differentiate(items, open.len() * nodes.len(), on_the_way, |pass| {
            pass.accumulate(
                values,
                nodes.len(),
                |place| open[place],
                |part, row, begin, gradient| {
                    let weight = nodes[row % nodes.len()].1;
                    let way = items.row(open[row / nodes.len()]).iter().zip(baseline).skip(begin);
                    for ((value, (x, b)), g) in part.iter_mut().zip(way).zip(gradient) {
                        *value += weight * g * (x - b);
                    }
                },
            );
        })
    }

    /// Expected gradients (Erion et al. 2021): integrated gradients averaged over baselines drawn from
    /// `background` (same shape as `inputs`, any number of rows), by one random place on the way a sample.
    ///
    /// Every row of the background is used equally often, to one, and the places are one in each of `samples` equal
    /// steps, in random order. That lowers the variance, so that the standard errors, which take samples for
    /// independent, are rather too large. The attributions add up to f(x) minus the background's mean, within error.
    ///
    /// # Errors
    /// As [`Explainer::gradient_input`]; for a background of another shape, or fewer than two samples.
    pub fn expected_gradients(
        &self,
        inputs: &Tensor,
        background: &Tensor,
        config: &ExpectedGradients,
        seed: Seed,
    ) -> Result<Attribution> {
        let samples = config.samples;
        if samples < 2 || config.tolerance.is_nan() || config.tolerance <= 0. {
            let expected = "2 samples or more and a positive tolerance";
            return Err(CoreError::value("expected gradients", expected, format!("{config:?}")).into());
        }
        let (items, background) = (Items::new(inputs)?, Items::new(background)?);
        if background.dims()[1..] != items.dims()[1..] {
            let expected = format!("[rows, ...] of inputs {:?}", &items.dims()[1..]);
            return Err(CoreError::shape("background", expected, background.dims()).into());
        }
        let plans: Vec<Vec<(usize, f64)>> =
            (0..items.count).map(|item| config.draws(item, background.count, seed)).collect();
        let drawn = |row: usize, values: &mut [f64]| {
            let item = row / samples;
            let (origin, place) = plans[item][row % samples];
            for ((value, x), b) in values.iter_mut().zip(items.row(item)).zip(background.row(origin)) {
                *value = b + place * (x - b);
            }
            item
        };
        let mut moments = Moments::new(items.values.len());
        self.differentiate(&items, items.count * samples, drawn, |pass| {
            pass.accumulate(
                &mut moments.0,
                samples,
                |item| item,
                |part, row, begin, gradient| {
                    let (item, sample) = (row / samples, row % samples);
                    let way = items.row(item).iter().zip(background.row(plans[item][sample].0)).skip(begin);
                    add(part, sample, way.zip(gradient).map(|((x, b), g)| g * (x - b)));
                },
            );
        })?;
        let (values, errors) = moments.finish(samples);
        let targets = self.targets_of(&items)?;
        let ends = self.against_background(&items, &background, &targets)?;
        Ok(Attribution {
            values: items.array(&values)?,
            method: Method::ExpectedGradients,
            targets,
            completeness: Some(Completeness::of(
                &values,
                items.epsilon(),
                &ends,
                vec![samples; items.count],
                config.tolerance,
            )),
            standard_error: Some(items.array(&errors)?),
            groups: None,
            checks: None,
        })
    }

    /// Per item the mean target of the background, read as that item's, and the item's own.
    fn against_background(
        &self,
        items: &Items,
        background: &Items,
        targets: &[f64],
    ) -> Result<Vec<[f64; 2]>> {
        let rows = background.count;
        let mut ends: Vec<[f64; 2]> = targets.iter().map(|&target| [0., target]).collect();
        let make = |row: usize, values: &mut [f64]| {
            values.copy_from_slice(background.row(row % rows));
            row / rows
        };
        let take = |row: usize, target: f64| ends[row / rows][0] += target / rows as f64;
        self.evaluate(items, items.count * rows, make, take)?;
        Ok(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// n nodes integrate every power up to 2 n - 1.
    #[test]
    fn gauss_legendre_is_exact_for_polynomials() {
        for n in [1, 2, 5, 16, 64] {
            let nodes = Rule::GaussLegendre.nodes(n);
            for power in 0..(2 * n).min(40) {
                let found: f64 = nodes.iter().map(|(x, w)| w * x.powi(power as i32)).sum();
                assert!((found - 1. / (power + 1) as f64).abs() < 1e-12, "{n} nodes, power {power}: {found}");
            }
        }
        let midpoint: f64 = Rule::Midpoint.nodes(10).iter().map(|(x, w)| w * x).sum();
        assert!((midpoint - 0.5).abs() < 1e-12);
    }
}
