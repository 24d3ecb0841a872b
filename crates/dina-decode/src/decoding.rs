//! Identification by ridge decoding: responses to image features.
//!
//! A ridge regression predicts the principal components of an image's features from the response; the
//! candidate whose components resemble the predicted ones most is named.

use ndarray::{Array2, ArrayView2, ArrayView3, s};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    baseline::{
        Baseline, Choice, FittedBaseline, Geometry, LogRanks, Part, Queries, TrainingSet, check_parts, least,
        refuse_empty,
    },
    features::{Components, ImageFeatures, RawFeatures, compute_parts, select_rows},
    gabor::{GaborConfig, GaborKind},
    identification::{Decoder, Trials},
    local_scaling::{local_scaling, scale_candidates},
    ridge::{Ridge, RidgeDesign},
    scoring::{ScaledScore, Score, Scorer, column_accuracy, comparisons},
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
    /// Whether similarities are corrected by [`local_scaling`](crate::local_scaling()).
    pub local_scaling: bool,
    /// Mean log rank of the image shown, over the validation trials of all parts, at this choice.
    pub validation_log_rank: f64,
}

impl Baseline for RidgeDecoding {
    fn decoder(&self) -> Decoder {
        Decoder::RidgeDecoding
    }

    /// All settings but whitening and local scaling are tried together; these are tried at the best of each kind
    /// of features, scaling and samples.
    fn fit(&self, parts: &[Part], all: &TrainingSet) -> Result<Box<dyn FittedBaseline>> {
        check_parts(parts, all)?;
        refuse_empty(&[
            ("features", self.features.is_empty()),
            ("scalings", self.scalings.is_empty()),
            ("samples", self.samples.is_empty()),
            ("penalties", self.penalties.is_empty()),
            ("components", self.components.is_empty()),
            ("powers", self.powers.is_empty()),
            ("exponents", self.exponents.is_empty()),
        ])?;
        let regressors = self
            .samples
            .iter()
            .map(|&samples| parts.iter().map(|part| Regressors::new(samples, &part.training)).collect())
            .collect::<Result<Vec<Vec<Regressors>>>>()?;
        let mut best: Option<DecodingChoice> = None;
        for features in &self.features {
            let raw = compute_parts(features, parts, &self.geometry)?;
            for &scaling in &self.scalings {
                let spaces = raw
                    .iter()
                    .map(|raw| Space::new(raw, scaling, self.largest()))
                    .collect::<Result<Vec<_>>>()?;
                for regressors in &regressors {
                    let trials = parts
                        .iter()
                        .zip(&spaces)
                        .zip(regressors)
                        .map(|((part, space), data)| Trial::new(part, space, data))
                        .collect::<Result<Vec<_>>>()?;
                    let choice = self.choose(&trials, features, scaling)?;
                    if best.as_ref().is_none_or(|b| choice.validation_log_rank < b.validation_log_rank) {
                        best = Some(choice);
                    }
                }
            }
        }
        let choice = best.ok_or_else(|| Error::value("features", "at least one", "empty"))?;
        Ok(Box::new(FittedDecoding::new(choice, self, all)?))
    }
}

impl RidgeDecoding {
    /// The largest number of components that is tried.
    fn largest(&self) -> usize {
        self.components.iter().copied().max().unwrap_or(1)
    }

    /// Numbers of components, powers and exponents, all with all.
    fn weightings(&self) -> Vec<(usize, f32, f32)> {
        let mut all = Vec::new();
        for &components in &self.components {
            for &power in &self.powers {
                all.extend(self.exponents.iter().map(|&exponent| (components, power, exponent)));
            }
        }
        all
    }

    /// The best settings for one kind of features, scaling and samples, over all parts together.
    fn choose(&self, trials: &[Trial], features: &ImageFeatures, scaling: f32) -> Result<DecodingChoice> {
        let nothing = || Error::value("settings of ridge decoding", "a grid", "none fits");
        let samples = trials.first().map(|trial| trial.data.samples).ok_or_else(nothing)?;
        let weightings = self.weightings();
        let mut best: Option<DecodingChoice> = None;
        for &penalty in &self.penalties {
            let tried = trials
                .iter()
                .map(|trial| trial.weightings(penalty, &weightings))
                .collect::<Result<Vec<_>>>()?;
            let Some((index, log_rank)) = least(&tried) else { continue };
            if best.as_ref().is_none_or(|best| log_rank < best.validation_log_rank) {
                let (components, power, exponent) = weightings[index];
                best = Some(DecodingChoice {
                    features: features.clone(),
                    scaling,
                    samples,
                    penalty,
                    components,
                    power,
                    score: Score::Correlation { exponent },
                    local_scaling: false,
                    validation_log_rank: log_rank,
                });
            }
        }
        let mut best = best.ok_or_else(nothing)?;
        let comparisons = comparisons(&self.shrinkages, &self.exponents);
        let tried =
            trials.iter().map(|trial| trial.compare(&best, &comparisons)).collect::<Result<Vec<_>>>()?;
        if let Some((index, log_rank)) = least(&tried)
            && log_rank < best.validation_log_rank
        {
            (best.score, best.local_scaling) = comparisons[index];
            best.validation_log_rank = log_rank;
        }
        Ok(best)
    }
}

/// The components of one kind of features at one scaling, of one part.
struct Space {
    components: Components,
    training: Array2<f32>,
    validation: Array2<f32>,
}

impl Space {
    fn new(raw: &RawFeatures, scaling: f32, largest: usize) -> Result<Self> {
        let (components, training) = Components::fit(raw.training.clone(), scaling, largest)?;
        Ok(Self { validation: components.scores(raw.validation.clone())?, training, components })
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

/// A regression of components on responses.
struct Fit {
    ridge: Ridge,
    targets: Array2<f32>,
    /// The mean eigenvalue of the responses.
    unit: f64,
}

impl Fit {
    fn new(scores: &Array2<f32>, data: &Regressors) -> Result<Self> {
        let targets = select_rows(scores.view(), &data.shown);
        let (ridge, unit) = (data.design.regress(targets.view())?, data.design.mean_eigenvalue());
        Ok(Self { ridge, targets, unit })
    }

    /// A comparison of the first components that knows how well each is predicted, and how its errors vary with
    /// those of the others.
    fn comparison(&self, choice: &DecodingChoice, spread: &[f32]) -> Result<Comparison> {
        let left_out = self.ridge.leave_one_out(self.targets.view(), &[choice.penalty * self.unit])?;
        let accuracy = column_accuracy(left_out.view(), self.targets.view());
        let mut comparison = Comparison::new(spread, &accuracy, choice.components, choice.power);
        let errors = comparison.weigh(&left_out) - comparison.weigh(&self.targets);
        comparison.scorer.learn_errors(errors.view())?;
        Ok(comparison)
    }
}

/// One part on which settings are tried.
struct Trial<'a, 'p> {
    fit: Fit,
    part: &'a Part<'p>,
    space: &'a Space,
    data: &'a Regressors,
}

impl<'a, 'p> Trial<'a, 'p> {
    fn new(part: &'a Part<'p>, space: &'a Space, data: &'a Regressors) -> Result<Self> {
        Ok(Self { fit: Fit::new(&space.training, data)?, part, space, data })
    }

    /// Log ranks of every number and weighting of components.
    fn weightings(&self, penalty: f64, weightings: &[(usize, f32, f32)]) -> Result<LogRanks> {
        let penalty = penalty * self.fit.unit;
        let predicted = self.fit.ridge.predict(self.part.validation.responses(), &[penalty])?;
        let left_out = self.fit.ridge.leave_one_out(self.fit.targets.view(), &[penalty])?;
        let accuracy = column_accuracy(left_out.view(), self.fit.targets.view());
        LogRanks::of(&self.part.validation, weightings, |&(components, power, exponent)| {
            let comparison = Comparison::new(&self.space.components.spread, &accuracy, components, power);
            let score = comparison.scorer.possible(Score::Correlation { exponent });
            comparison.similarity(&predicted, &self.space.validation, score)
        })
    }

    /// Log ranks of comparisons at a choice of everything else.
    fn compare(&self, choice: &DecodingChoice, comparisons: &[ScaledScore]) -> Result<LogRanks> {
        let penalty = choice.penalty * self.fit.unit;
        let comparison = self.fit.comparison(choice, &self.space.components.spread)?;
        let predicted = self.fit.ridge.predict(self.part.validation.responses(), &[penalty])?;
        let reference = self.fit.ridge.predict(self.part.reference, &[penalty])?;
        LogRanks::of(&self.part.validation, comparisons, |&(score, local_scaling)| {
            let score = comparison.scorer.possible(score);
            let mut similarity = comparison.similarity(&predicted, &self.space.validation, score)?;
            if local_scaling {
                let reference = comparison.similarity(&reference, &self.space.validation, score)?;
                scale_candidates(&mut similarity, reference.view())?;
            }
            Ok(similarity)
        })
    }
}

/// The first components, each times its weight.
#[derive(Debug, Clone)]
struct Comparison {
    weights: ndarray::Array1<f32>,
    scorer: Scorer,
}

impl Comparison {
    /// `spread`: standard deviations of the components there are, of which at most `components` are kept.
    fn new(spread: &[f32], accuracy: &[f32], components: usize, power: f32) -> Self {
        let kept = components.min(spread.len());
        Self {
            weights: spread[..kept].iter().map(|s| s.powf(power)).collect(),
            scorer: Scorer::new(accuracy[..kept].to_vec()),
        }
    }

    fn weigh(&self, scores: &Array2<f32>) -> Array2<f32> {
        &scores.slice(s![.., ..self.weights.len()]) * &self.weights
    }

    fn similarity(&self, predicted: &Array2<f32>, images: &Array2<f32>, score: Score) -> Result<Array2<f32>> {
        self.scorer.similarity(self.weigh(predicted).view(), self.weigh(images).view(), score)
    }
}

struct FittedDecoding {
    geometry: Geometry,
    components: Components,
    /// Components of the training images.
    training: Array2<f32>,
    ridge: Ridge,
    penalty: f64,
    comparison: Comparison,
    choice: DecodingChoice,
}

impl FittedDecoding {
    /// The last fit, with the settings chosen.
    fn new(mut choice: DecodingChoice, grid: &RidgeDecoding, all: &TrainingSet) -> Result<Self> {
        let features = choice.features.compute(all.images(), &grid.geometry)?;
        let (components, training) = Components::fit(features, choice.scaling, grid.largest())?;
        let fit = Fit::new(&training, &Regressors::new(choice.samples, all)?)?;
        let comparison = fit.comparison(&choice, &components.spread)?;
        choice.components = comparison.weights.len();
        choice.score = comparison.scorer.possible(choice.score);
        let penalty = choice.penalty * fit.unit;
        let (geometry, ridge) = (grid.geometry, fit.ridge);
        Ok(Self { geometry, components, training, ridge, penalty, comparison, choice })
    }
}

impl FittedBaseline for FittedDecoding {
    fn similarity(&self, queries: Queries, candidates: ArrayView3<f32>) -> Result<Array2<f32>> {
        queries.check(self.ridge.predictors())?;
        let features = self.choice.features.compute(candidates, &self.geometry)?;
        let images = self.components.scores(features)?;
        let predict = |responses: ArrayView2<f32>| self.ridge.predict(responses, &[self.penalty]);
        let predicted = predict(queries.responses)?;
        let mut similarity = self.comparison.similarity(&predicted, &images, self.choice.score)?;
        if self.choice.local_scaling {
            let reference = predict(queries.reference)?;
            let reference = self.comparison.similarity(&reference, &images, self.choice.score)?;
            let own = self.comparison.similarity(&predicted, &self.training, self.choice.score)?;
            local_scaling(&mut similarity, reference.view(), own.view())?;
        }
        Ok(similarity)
    }

    fn choice(&self) -> Choice {
        Choice::Decoding(self.choice.clone())
    }
}
