use candle_core::{DType, Device, Tensor};
use dina_core::{Error, FeatureMaps, LossTerms, MapSpec, Objective, Parameter, Result, Seed, Targets};
use serde::{Deserialize, Serialize};

use crate::Pooling;
use crate::batch::{Linear, Pairs, check_ids, check_levels, select};
use crate::numerics::log_softmax;

/// Settings of [`Classification`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassificationConfig {
    /// Number of categories, at least 2.
    pub classes: usize,
    /// What the head sees of a map. The mean over positions by default, as in residual networks (He et al. 2016).
    pub pooling: Pooling,
    /// Share of the target that is spread evenly over all categories (Szegedy et al. 2016); 0 by default.
    pub label_smoothing: f64,
}

impl ClassificationConfig {
    /// The defaults for this many categories.
    pub fn new(classes: usize) -> Self {
        Self { classes, pooling: Pooling::Mean, label_smoothing: 0. }
    }
}

/// Supervised classification of the images' categories from the maps of either tower.
///
/// One linear head, shared by both towers, turns a map into logits `l = W' x + b` with `x` the pooled map. With the
/// target `q = (1 - e) [k = y] + e / K` for category y of K and smoothing e,
/// `L = 1/2 mean_i CE(A_i) + 1/2 mean_t CE(B_t)`, `CE(x) = -sum_k q_k log softmax(l)_k`.
///
/// Nothing compares the map of an image with that of a trial: the two are aligned only as far as carrying the category
/// through the same head aligns them. Images whose category is unknown, and trials whose image is not in the batch, are
/// left out; a side without any labelled row costs nothing.
pub struct Classification {
    config: ClassificationConfig,
    levels: Vec<MapSpec>,
    head: Linear,
}

impl Classification {
    /// An objective with a random head, for towers that return `levels`.
    ///
    /// # Errors
    /// When there are fewer than two categories, no level, or the smoothing is not in `[0, 1)`.
    pub fn new(
        config: ClassificationConfig,
        levels: &[MapSpec],
        seed: Seed,
        device: &Device,
    ) -> Result<Self> {
        Self::with_dtype(config, levels, seed, DType::F32, device)
    }

    fn with_dtype(
        config: ClassificationConfig,
        levels: &[MapSpec],
        seed: Seed,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if config.classes < 2 {
            return Err(Error::value("number of categories", "at least 2", config.classes));
        }
        if !(0. ..1.).contains(&config.label_smoothing) {
            return Err(Error::value("label_smoothing", "in [0, 1)", config.label_smoothing));
        }
        let inputs = config.pooling.width(levels);
        if inputs == 0 {
            return Err(Error::Level("classification needs at least one level that is not empty".into()));
        }
        let head = Linear::new((inputs, config.classes), seed.child("classification"), dtype, device)?;
        Ok(Self { config, levels: levels.to_vec(), head })
    }

    /// Logits of each item, `[batch, classes]`, from the maps of either tower.
    ///
    /// # Errors
    /// When the maps have other levels than the objective was made for.
    pub fn logits(&self, maps: &FeatureMaps) -> Result<Tensor> {
        check_levels(&self.levels, maps, maps)?;
        self.head.forward(&self.config.pooling.rows(maps)?)
    }

    /// Half the mean cross-entropy of some rows with these categories.
    fn side(&self, maps: &FeatureMaps, rows: &[u32], categories: &[u32]) -> Result<Tensor> {
        if rows.is_empty() {
            // Zero, and differentiable.
            return Ok((self.head.bias.sum_all()? * 0.)?);
        }
        let log_p = log_softmax(&select(&self.logits(maps)?, rows)?)?;
        let (classes, smoothing) = (self.config.classes, self.config.label_smoothing);
        let weight = 0.5 / rows.len() as f64;
        let targets: Vec<f32> = categories
            .iter()
            .flat_map(|&category| {
                (0..classes).map(move |class| {
                    let own = f64::from(u8::from(class == category as usize));
                    (weight * ((1. - smoothing) * own + smoothing / classes as f64)) as f32
                })
            })
            .collect();
        let targets = Tensor::from_vec(targets, (rows.len(), classes), log_p.device())?;
        Ok((log_p * targets.to_dtype(self.head.weight.dtype())?)?.sum_all()?.neg()?)
    }
}

impl Objective for Classification {
    fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<LossTerms> {
        check_ids(image, neural, targets)?;
        check_levels(&self.levels, image, neural)?;
        let Some(labels) = &targets.labels else {
            return Err(Error::value("labels of a batch", "the categories of its images", "missing"));
        };
        if labels.len() != image.batch() {
            return Err(Error::shape("labels of a batch", image.batch(), labels.len()));
        }
        if let Some(label) = labels.iter().flatten().find(|&&label| label as usize >= self.config.classes) {
            return Err(Error::value("category", format!("below {}", self.config.classes), label));
        }
        let labelled = |(row, label): (u32, &Option<u32>)| label.map(|label| (row, label));
        let (images, of_images): (Vec<u32>, Vec<u32>) = (0..).zip(labels).filter_map(labelled).unzip();
        let pairs = Pairs::new(targets)?;
        let (trials, of_trials): (Vec<u32>, Vec<u32>) = pairs
            .trials
            .iter()
            .zip(&pairs.images)
            .filter_map(|(&trial, &image)| labels[image as usize].map(|label| (trial, label)))
            .unzip();
        LossTerms::new([
            ("classification_image", self.side(image, &images, &of_images)?),
            ("classification_neural", self.side(neural, &trials, &of_trials)?),
        ])
    }

    fn parameters(&self) -> Vec<Parameter> {
        vec![
            Parameter::new("objective.head.weight", self.head.weight.clone()),
            Parameter::new("objective.head.bias", self.head.bias.clone()).without_decay(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{maps, normal, objective_gradients_agree, total};

    const DIMS: [usize; 4] = [3, 2, 2, 3];

    fn objective(pooling: Pooling, label_smoothing: f64) -> Classification {
        let config = ClassificationConfig { classes: 4, pooling, label_smoothing };
        let levels = maps(&normal("a", &DIMS)).specs();
        Classification::with_dtype(config, &levels, Seed::new(1), DType::F64, &Device::Cpu).unwrap()
    }

    fn targets(labels: &[Option<u32>]) -> Targets {
        Targets {
            trials: vec![3, 1, 1, 8],
            images: vec![1, 2, 3],
            labels: Some(labels.to_vec()),
            ..Default::default()
        }
    }

    #[test]
    fn a_head_without_weights_costs_the_logarithm_of_the_categories() {
        for smoothing in [0., 0.3] {
            let objective = objective(Pooling::Mean, smoothing);
            objective.head.weight.set(&objective.head.weight.zeros_like().unwrap()).unwrap();
            let (a, b) = (normal("a", &DIMS), normal("b", &[4, 2, 2, 3]));
            let loss = total(&objective, &a, &b, &targets(&[Some(0), None, Some(3)]));
            // The targets are f32.
            assert!((loss.to_scalar::<f64>().unwrap() - 4f64.ln()).abs() < 1e-6);
        }
    }

    #[test]
    fn equals_its_formula() {
        let objective = objective(Pooling::Flat, 0.2);
        let (a, b) = (normal("a", &DIMS), normal("b", &[4, 2, 2, 3]));
        let labels = [Some(0), None, Some(3)];
        let entropy = |map: &Tensor, rows: &[(usize, usize)]| {
            let logits = objective.logits(&maps(map)).unwrap().to_vec2::<f64>().unwrap();
            let of_row = |&(row, label): &(usize, usize)| -> f64 {
                let sum: f64 = logits[row].iter().map(|l| l.exp()).sum();
                let target = |k: usize| if k == label { 0.8 + 0.05 } else { 0.05 };
                (0..4).map(|k| -target(k) * (logits[row][k].exp() / sum).ln()).sum()
            };
            rows.iter().map(of_row).sum::<f64>() / rows.len() as f64
        };
        // Trial 0 shows image 3, trials 1 and 2 show image 1, trial 3 an image that is not there.
        let wanted = 0.5 * entropy(&a, &[(0, 0), (2, 3)]) + 0.5 * entropy(&b, &[(0, 3), (1, 0), (2, 0)]);
        let found = total(&objective, &a, &b, &targets(&labels)).to_scalar::<f64>().unwrap();
        assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (a, b) = (normal("a", &DIMS), normal("b", &[4, 2, 2, 3]));
        for (pooling, smoothing) in [(Pooling::Mean, 0.), (Pooling::Flat, 0.1)] {
            let targets = targets(&[Some(2), None, Some(3)]);
            objective_gradients_agree(&objective(pooling, smoothing), &a, &b, &targets);
        }
    }

    #[test]
    fn a_batch_without_a_known_category_costs_nothing() {
        let (a, b) = (normal("a", &DIMS), normal("b", &[4, 2, 2, 3]));
        let loss = total(&objective(Pooling::Mean, 0.), &a, &b, &targets(&[None; 3]));
        assert_eq!(loss.to_scalar::<f64>().unwrap(), 0.);
        assert!(loss.backward().is_ok());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let objective = objective(Pooling::Mean, 0.);
        let (a, b) = (maps(&normal("a", &DIMS)), maps(&normal("b", &[4, 2, 2, 3])));
        let missing = Targets { labels: None, ..targets(&[None; 3]) };
        let error = objective.loss(&a, &b, &missing).unwrap_err().to_string();
        assert!(error.contains("labels") && error.contains("missing"), "{error}");
        assert!(objective.loss(&a, &b, &targets(&[Some(4), None, None])).is_err());
        assert!(objective.loss(&a, &b, &targets(&[Some(1), None])).is_err());
        assert!(objective.loss(&a, &a, &targets(&[None; 3])).is_err());
        let wide = maps(&normal("wide", &[3, 2, 2, 4]));
        assert!(objective.loss(&wide, &wide, &targets(&[None; 3])).is_err());
        let levels = a.specs();
        let made = |config| Classification::new(config, &levels, Seed::new(1), &Device::Cpu);
        assert!(made(ClassificationConfig::new(1)).is_err());
        assert!(made(ClassificationConfig { label_smoothing: 1., ..ClassificationConfig::new(3) }).is_err());
        assert!(Classification::new(ClassificationConfig::new(2), &[], Seed::new(1), &Device::Cpu).is_err());
    }
}
