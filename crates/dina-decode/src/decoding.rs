//! Identification by ridge decoding: responses to image features.
//!
//! A ridge regression predicts the principal components of an image's features from the response; the
//! candidate whose components resemble the predicted ones most is named.

use ndarray::{Array2, ArrayView2, ArrayView3, s};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    baseline::{
        Baseline, Choice, FittedBaseline, Geometry, TrainingSet, ValidationSet, check_pair, mean_log_rank,
    },
    features::{Components, ImageFeatures, select_rows},
    gabor::{GaborConfig, GaborKind},
    identification::{Decoder, Trials},
    ridge::{Ridge, RidgeDesign},
    scoring::{Score, Scorer, column_accuracy},
};

/// Ridge decoding, with the settings that validation chooses among.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RidgeDecoding {
    /// How pixels lie in the visual field.
    pub geometry: Geometry,
    /// Image features to choose among.
    pub features: Vec<ImageFeatures>,
    /// Powers to choose among: before their components are taken, features are divided by (standard
    /// deviation over the training images)^power.
    pub scalings: Vec<f32>,
    /// Whether to regress from single trials or image means, to choose among.
    pub samples: Vec<Trials>,
    /// Penalties to choose among, in units of the mean eigenvalue of the responses.
    pub penalties: Vec<f64>,
    /// Numbers of components to choose among; those above what the training images have are cut to it.
    pub components: Vec<usize>,
    /// A component counts by (its standard deviation)^power: 1 as in the features, 0 all alike.
    pub powers: Vec<f32>,
    /// Powers of the accuracy weights to choose among.
    pub exponents: Vec<f32>,
    /// Shrinkages of the error covariance to choose among; empty to leave whitening out.
    pub shrinkages: Vec<f32>,
}

impl RidgeDecoding {
    /// The default grid: pixels, energy, linear and energy channels; two scalings; single trials and means;
    /// nine penalties; 10 to 320 components.
    pub fn new(geometry: Geometry) -> Self {
        let gabor = |kind| ImageFeatures::Gabor(GaborConfig { kind, ..GaborConfig::default() });
        Self {
            geometry,
            features: vec![
                ImageFeatures::Pixels,
                gabor(GaborKind::Energy),
                gabor(GaborKind::LinearAndEnergy),
            ],
            scalings: vec![0.0, 1.0],
            samples: vec![Trials::Single, Trials::Mean],
            penalties: vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0],
            components: vec![10, 20, 40, 80, 160, 320],
            powers: vec![0.0, 1.0],
            exponents: vec![0.0, 1.0, 2.0],
            shrinkages: vec![0.05, 0.2, 0.5],
        }
    }
}

/// What validation chose for ridge decoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecodingChoice {
    /// The image features.
    pub features: ImageFeatures,
    /// The power of their scaling.
    pub scaling: f32,
    /// What the regression was fitted on.
    pub samples: Trials,
    /// The penalty, in units of the mean eigenvalue of the responses.
    pub penalty: f64,
    /// The number of components.
    pub components: usize,
    /// Power of the standard deviation by which components count.
    pub power: f32,
    /// The comparison of components.
    pub score: Score,
    /// Mean log rank on the validation images at this choice.
    pub validation_log_rank: f64,
}

impl Baseline for RidgeDecoding {
    fn decoder(&self) -> Decoder {
        Decoder::RidgeDecoding
    }

    /// All settings but the whitening are tried together; whitening is tried at the best of each kind
    /// of features.
    fn fit(&self, training: &TrainingSet, validation: &ValidationSet) -> Result<Box<dyn FittedBaseline>> {
        check_pair(training, validation)?;
        for (what, empty) in [
            ("features", self.features.is_empty()),
            ("scalings", self.scalings.is_empty()),
            ("samples", self.samples.is_empty()),
            ("penalties", self.penalties.is_empty()),
            ("components", self.components.is_empty()),
            ("powers", self.powers.is_empty()),
            ("exponents", self.exponents.is_empty()),
        ] {
            if empty {
                return Err(Error::value(what, "at least one to choose among", "empty"));
            }
        }
        let largest = self.components.iter().copied().max().unwrap_or(1);
        let mut spaces = Vec::new();
        for features in &self.features {
            let train = features.compute(training.images(), &self.geometry)?;
            let valid = features.compute(validation.images(), &self.geometry)?;
            for &scaling in &self.scalings {
                spaces.push(Space::new(features, scaling, &train, &valid, largest)?);
            }
        }
        let mut best: Option<FittedDecoding> = None;
        for &samples in &self.samples {
            let data = Regressors::new(samples, training)?;
            for space in &spaces {
                let fitted = self.fit_space(space, &data, validation)?;
                let better = best
                    .as_ref()
                    .is_none_or(|best| fitted.choice.validation_log_rank < best.choice.validation_log_rank);
                if better {
                    best = Some(fitted);
                }
            }
        }
        match best {
            Some(best) => Ok(Box::new(best)),
            None => Err(Error::value("features", "at least one", "empty")),
        }
    }
}

/// The components of one kind of features at one scaling.
struct Space {
    features: ImageFeatures,
    scaling: f32,
    components: Components,
    training: Array2<f32>,
    validation: Array2<f32>,
}

impl Space {
    fn new(
        features: &ImageFeatures,
        scaling: f32,
        training: &Array2<f32>,
        validation: &Array2<f32>,
        largest: usize,
    ) -> Result<Self> {
        let (components, scores) = Components::fit(training.clone(), scaling, largest)?;
        Ok(Self {
            features: features.clone(),
            scaling,
            training: scores,
            validation: components.scores(validation.clone())?,
            components,
        })
    }
}

/// Responses that features are regressed on.
struct Regressors {
    samples: Trials,
    design: RidgeDesign,
    /// Per sample its image.
    shown: Vec<usize>,
}

impl Regressors {
    fn new(samples: Trials, training: &TrainingSet) -> Result<Self> {
        let (design, shown) = match samples {
            Trials::Single => (RidgeDesign::new(training.responses(), None)?, training.shown().to_vec()),
            Trials::Mean => {
                let (means, _) = training.image_means();
                (RidgeDesign::new(means.view(), None)?, (0..means.nrows()).collect())
            }
        };
        Ok(Self { samples, design, shown })
    }
}

impl RidgeDecoding {
    fn fit_space(
        &self,
        space: &Space,
        data: &Regressors,
        validation: &ValidationSet,
    ) -> Result<FittedDecoding> {
        let targets = select_rows(space.training.view(), &data.shown);
        let ridge = data.design.regress(targets.view())?;
        let unit = data.design.mean_eigenvalue();
        let absolute: Vec<f64> = self.penalties.iter().map(|p| p * unit).collect();
        let path = ridge.predict_path(validation.responses(), &absolute)?;
        let mut best: Option<(DecodingChoice, Comparison)> = None;
        for ((&relative, &penalty), predicted) in self.penalties.iter().zip(&absolute).zip(&path) {
            let left_out = ridge.leave_one_out(targets.view(), &[penalty])?;
            let accuracy = column_accuracy(left_out.view(), targets.view());
            for (&components, &power) in pairs(&self.components, &self.powers) {
                let comparison = Comparison::new(space, &accuracy, components, power);
                let predicted = comparison.weigh(predicted);
                let images = comparison.weigh(&space.validation);
                for &exponent in &self.exponents {
                    let score = Score::Correlation { exponent };
                    if exponent != 0.0 && !accuracy[..comparison.kept()].iter().any(|&a| a > 0.0) {
                        continue;
                    }
                    let similarity = comparison.scorer.similarity(predicted.view(), images.view(), score)?;
                    let log_rank = mean_log_rank(similarity.view(), validation.shown())?;
                    if best.as_ref().is_none_or(|(b, _)| log_rank < b.validation_log_rank) {
                        let choice = DecodingChoice {
                            features: space.features.clone(),
                            scaling: space.scaling,
                            samples: data.samples,
                            penalty: relative,
                            components: comparison.kept(),
                            power,
                            score,
                            validation_log_rank: log_rank,
                        };
                        best = Some((choice, comparison.clone()));
                    }
                }
            }
        }
        let (mut choice, mut comparison) =
            best.ok_or_else(|| Error::value("settings of ridge decoding", "a grid", "none fits"))?;
        let penalty = choice.penalty * unit;
        if !self.shrinkages.is_empty() {
            let left_out = ridge.leave_one_out(targets.view(), &[penalty])?;
            let errors = comparison.weigh(&left_out) - comparison.weigh(&targets);
            comparison.scorer.learn_errors(errors.view())?;
            let predicted = ridge.predict(validation.responses(), &[penalty])?;
            let (predicted, images) = (comparison.weigh(&predicted), comparison.weigh(&space.validation));
            for &shrinkage in &self.shrinkages {
                for score in [Score::WhitenedCosine { shrinkage }, Score::Likelihood { shrinkage }] {
                    let similarity = comparison.scorer.similarity(predicted.view(), images.view(), score)?;
                    let log_rank = mean_log_rank(similarity.view(), validation.shown())?;
                    if log_rank < choice.validation_log_rank {
                        choice.validation_log_rank = log_rank;
                        choice.score = score;
                    }
                }
            }
        }
        Ok(FittedDecoding {
            geometry: self.geometry,
            components: space.components.clone(),
            ridge,
            penalty,
            comparison,
            choice,
        })
    }
}

fn pairs<'a, A, B>(a: &'a [A], b: &'a [B]) -> impl Iterator<Item = (&'a A, &'a B)> {
    a.iter().flat_map(move |x| b.iter().map(move |y| (x, y)))
}

/// The first components, each times its weight.
#[derive(Debug, Clone)]
struct Comparison {
    weights: ndarray::Array1<f32>,
    scorer: Scorer,
}

impl Comparison {
    fn new(space: &Space, accuracy: &[f32], components: usize, power: f32) -> Self {
        let kept = components.min(space.components.spread.len());
        let spread = &space.components.spread[..kept];
        Self {
            weights: spread.iter().map(|s| s.powf(power)).collect(),
            scorer: Scorer::new(accuracy[..kept].to_vec()),
        }
    }

    fn kept(&self) -> usize {
        self.weights.len()
    }

    fn weigh(&self, scores: &Array2<f32>) -> Array2<f32> {
        &scores.slice(s![.., ..self.kept()]) * &self.weights
    }
}

struct FittedDecoding {
    geometry: Geometry,
    components: Components,
    ridge: Ridge,
    penalty: f64,
    comparison: Comparison,
    choice: DecodingChoice,
}

impl FittedBaseline for FittedDecoding {
    fn similarity(&self, responses: ArrayView2<f32>, candidates: ArrayView3<f32>) -> Result<Array2<f32>> {
        let predicted = self.ridge.predict(responses, &[self.penalty])?;
        let features = self.choice.features.compute(candidates, &self.geometry)?;
        let images = self.components.scores(features)?;
        self.comparison.scorer.similarity(
            self.comparison.weigh(&predicted).view(),
            self.comparison.weigh(&images).view(),
            self.choice.score,
        )
    }

    fn choice(&self) -> Choice {
        Choice::Decoding(self.choice.clone())
    }
}
