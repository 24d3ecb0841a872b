//! Identification by ridge encoding (Kay et al. 2008).
//!
//! A ridge regression predicts each neuron's response to every candidate from a Gabor pyramid; the
//! candidate whose predicted response resembles the observed one most is named. Neurons are weighted
//! by how well they are predicted, or the prediction errors are whitened.

use ndarray::{Array2, ArrayView2, ArrayView3};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    baseline::{
        Baseline, Choice, FittedBaseline, Geometry, LogRanks, Part, Queries, TrainingSet, check_parts, least,
        refuse_empty,
    },
    features::{FeatureScale, ImageFeatures, RawFeatures, compute_parts, select_rows},
    gabor::{GaborConfig, GaborKind},
    identification::Decoder,
    local_scaling::{local_scaling, scale_candidates},
    ridge::{Ridge, RidgeDesign},
    scoring::{ScaledScore, Score, Scorer, column_accuracy, comparisons},
};

/// How strongly the regression is held back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PenaltyChoice {
    /// One penalty for all neurons, in units of the mean eigenvalue of the predictors.
    Shared(f64),
    /// For each neuron the one of the grid that predicts left-out training images best.
    PerNeuron,
}

/// Ridge encoding, with the settings that validation chooses among.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RidgeEncoding {
    /// How pixels lie in the visual field.
    pub geometry: Geometry,
    /// Image features to choose among.
    pub features: Vec<ImageFeatures>,
    /// Powers to choose among: features are divided by (standard deviation over the training
    /// images)^power. At 1 all weigh the same; at 0 those of high contrast, which are the coarse ones of
    /// natural images, weigh more.
    pub scalings: Vec<f32>,
    /// Penalties to choose among, in units of the mean eigenvalue of the predictors.
    pub penalties: Vec<f64>,
    /// Powers of the accuracy weights to choose among.
    pub exponents: Vec<f32>,
    /// Shrinkages of the error covariance to choose among; empty to leave whitening out.
    pub shrinkages: Vec<f32>,
}

impl RidgeEncoding {
    /// The default grid: linear and energy channels, plain and compressed by a square root; three
    /// scalings; nine penalties; five weightings; five shrinkages.
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            features: [1.0, 0.5]
                .map(|compression| {
                    ImageFeatures::Gabor(GaborConfig {
                        kind: GaborKind::LinearAndEnergy,
                        compression,
                        ..GaborConfig::default()
                    })
                })
                .to_vec(),
            scalings: vec![0.0, 0.5, 1.0],
            penalties: vec![0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0],
            exponents: vec![0.0, 0.5, 1.0, 2.0, 4.0],
            shrinkages: vec![0.05, 0.1, 0.2, 0.4, 0.7],
        }
    }
}

/// What validation chose for ridge encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodingChoice {
    /// The image features.
    pub features: ImageFeatures,
    /// The power of their scaling.
    pub scaling: f32,
    /// The penalty.
    pub penalty: PenaltyChoice,
    /// The comparison of responses.
    pub score: Score,
    /// Whether similarities are corrected by [`local_scaling`](crate::local_scaling()).
    pub local_scaling: bool,
    /// Mean log rank of the image shown, over the validation trials of all parts, at this choice.
    pub validation_log_rank: f64,
    /// Median over neurons of the correlation between the predicted and the mean response to
    /// left-out training images.
    pub median_accuracy: f32,
}

impl Baseline for RidgeEncoding {
    fn decoder(&self) -> Decoder {
        Decoder::RidgeEncoding
    }

    /// Features, scaling and penalty are chosen with accuracy weights first; then, for the best penalty
    /// of each kind of features and scaling, whitened comparisons and local scaling are tried.
    fn fit(&self, parts: &[Part], all: &TrainingSet) -> Result<Box<dyn FittedBaseline>> {
        check_parts(parts, all)?;
        refuse_empty(&[
            ("features", self.features.is_empty()),
            ("scalings", self.scalings.is_empty()),
            ("penalties", self.penalties.is_empty()),
            ("exponents", self.exponents.is_empty()),
        ])?;
        let mut best: Option<EncodingChoice> = None;
        for features in &self.features {
            let raw = compute_parts(features, parts, &self.geometry)?;
            for &scaling in &self.scalings {
                let trials = parts
                    .iter()
                    .zip(&raw)
                    .map(|(part, raw)| Trial::new(part, raw, scaling))
                    .collect::<Result<Vec<_>>>()?;
                let choice = self.choose(&trials, features, scaling)?;
                if best.as_ref().is_none_or(|best| choice.validation_log_rank < best.validation_log_rank) {
                    best = Some(choice);
                }
            }
        }
        let choice = best.ok_or_else(|| Error::value("features", "at least one", "empty"))?;
        Ok(Box::new(FittedEncoding::new(choice, self, all)?))
    }
}

impl RidgeEncoding {
    /// The best settings for one kind of features at one scaling, over all parts together.
    fn choose(&self, trials: &[Trial], features: &ImageFeatures, scaling: f32) -> Result<EncodingChoice> {
        let shared = self.penalties.iter().map(|&penalty| PenaltyChoice::Shared(penalty));
        let mut best: Option<EncodingChoice> = None;
        for penalty in shared.chain([PenaltyChoice::PerNeuron]) {
            let tried =
                trials.iter().map(|trial| trial.weightings(penalty, self)).collect::<Result<Vec<_>>>()?;
            let Some((index, log_rank)) = least(&tried) else { continue };
            if best.as_ref().is_none_or(|best| log_rank < best.validation_log_rank) {
                best = Some(EncodingChoice {
                    features: features.clone(),
                    scaling,
                    penalty,
                    score: Score::Correlation { exponent: self.exponents[index] },
                    local_scaling: false,
                    validation_log_rank: log_rank,
                    median_accuracy: f32::NAN,
                });
            }
        }
        let mut best = best.ok_or_else(|| {
            Error::value("exponents", "with 0, where no neuron is predicted at all", "without it")
        })?;
        let comparisons = comparisons(&self.shrinkages, &self.exponents);
        let tried = trials
            .iter()
            .map(|trial| trial.compare(best.penalty, &comparisons, self))
            .collect::<Result<Vec<_>>>()?;
        if let Some((index, log_rank)) = least(&tried)
            && log_rank < best.validation_log_rank
        {
            (best.score, best.local_scaling) = comparisons[index];
            best.validation_log_rank = log_rank;
        }
        Ok(best)
    }

    /// Absolute penalties, one or one a neuron.
    fn absolute(&self, penalty: PenaltyChoice, fit: &Fit) -> Result<Vec<f64>> {
        match penalty {
            PenaltyChoice::Shared(relative) => Ok(vec![relative * fit.unit]),
            PenaltyChoice::PerNeuron => {
                let grid: Vec<f64> = self.penalties.iter().map(|p| p * fit.unit).collect();
                per_target(&fit.ridge, &fit.means, &grid)
            }
        }
    }
}

/// A regression of mean responses on scaled features, for any penalty.
struct Fit {
    scale: FeatureScale,
    ridge: Ridge,
    means: Array2<f32>,
    /// The mean eigenvalue of the predictors.
    unit: f64,
}

impl Fit {
    fn new(features: &Array2<f32>, scaling: f32, training: &TrainingSet) -> Result<Self> {
        let scale = FeatureScale::fit(features.view(), scaling);
        let (means, trials) = training.image_means();
        let design = RidgeDesign::new(scale.scaled(features).view(), Some(&trials))?;
        Ok(Self { ridge: design.regress(means.view())?, unit: design.mean_eigenvalue(), scale, means })
    }

    /// Validated accuracy of every neuron: the correlation of mean responses with left-out predictions.
    fn accuracy(&self, penalties: &[f64]) -> Result<Vec<f32>> {
        let left_out = self.ridge.leave_one_out(self.means.view(), penalties)?;
        Ok(column_accuracy(left_out.view(), self.means.view()))
    }

    /// A scorer that knows the errors of single trials of left-out images: model error and noise.
    fn whitener(&self, penalties: &[f64], training: &TrainingSet) -> Result<Scorer> {
        let left_out = self.ridge.leave_one_out(self.means.view(), penalties)?;
        let mut scorer = Scorer::new(column_accuracy(left_out.view(), self.means.view()));
        let errors = &training.responses() - &select_rows(left_out.view(), training.shown());
        scorer.learn_errors(errors.view())?;
        Ok(scorer)
    }
}

/// One part on which settings are tried.
struct Trial<'a, 'p> {
    fit: Fit,
    part: &'a Part<'p>,
    coordinates: Array2<f32>,
    responses: Array2<f32>,
}

impl<'a, 'p> Trial<'a, 'p> {
    fn new(part: &'a Part<'p>, raw: &RawFeatures, scaling: f32) -> Result<Self> {
        let fit = Fit::new(&raw.training, scaling, &part.training)?;
        Ok(Self {
            coordinates: fit.ridge.coordinates(fit.scale.scaled(&raw.validation).view())?,
            responses: &part.validation.responses() - fit.ridge.mean(),
            fit,
            part,
        })
    }

    fn predict(&self, penalties: &[f64]) -> Result<Array2<f32>> {
        let mut predicted = self.fit.ridge.predict_from(self.coordinates.view(), penalties)?;
        predicted -= self.fit.ridge.mean();
        Ok(predicted)
    }

    /// Log ranks of every power of the accuracy weights.
    fn weightings(&self, penalty: PenaltyChoice, grid: &RidgeEncoding) -> Result<LogRanks> {
        let penalties = grid.absolute(penalty, &self.fit)?;
        let scorer = Scorer::new(self.fit.accuracy(&penalties)?);
        let predicted = self.predict(&penalties)?;
        LogRanks::of(&self.part.validation, &grid.exponents, |&exponent| {
            let score = scorer.possible(Score::Correlation { exponent });
            scorer.similarity(self.responses.view(), predicted.view(), score)
        })
    }

    /// Log ranks of comparisons.
    fn compare(
        &self,
        penalty: PenaltyChoice,
        comparisons: &[ScaledScore],
        grid: &RidgeEncoding,
    ) -> Result<LogRanks> {
        let penalties = grid.absolute(penalty, &self.fit)?;
        let scorer = self.fit.whitener(&penalties, &self.part.training)?;
        let predicted = self.predict(&penalties)?;
        let reference = &self.part.reference - self.fit.ridge.mean();
        LogRanks::of(&self.part.validation, comparisons, |&(score, local_scaling)| {
            let score = scorer.possible(score);
            let mut similarity = scorer.similarity(self.responses.view(), predicted.view(), score)?;
            if local_scaling {
                let reference = scorer.similarity(reference.view(), predicted.view(), score)?;
                scale_candidates(&mut similarity, reference.view())?;
            }
            Ok(similarity)
        })
    }
}

/// For each target the penalty of least squared error on left-out samples.
fn per_target(ridge: &Ridge, y: &Array2<f32>, penalties: &[f64]) -> Result<Vec<f64>> {
    let mut best = vec![(f64::INFINITY, penalties[0]); ridge.targets()];
    for &penalty in penalties {
        let errors = ridge.leave_one_out(y.view(), &[penalty])? - y;
        let squares = errors.rows().into_iter().fold(vec![0.0_f64; best.len()], |mut sums, row| {
            for (sum, &e) in sums.iter_mut().zip(row) {
                *sum += f64::from(e) * f64::from(e);
            }
            sums
        });
        for (best, square) in best.iter_mut().zip(squares) {
            if square < best.0 {
                *best = (square, penalty);
            }
        }
    }
    Ok(best.into_iter().map(|(_, penalty)| penalty).collect())
}

struct FittedEncoding {
    geometry: Geometry,
    scale: FeatureScale,
    ridge: Ridge,
    penalties: Vec<f64>,
    scorer: Scorer,
    choice: EncodingChoice,
    /// Predicted responses to the training images, each left out of the fit, centred.
    left_out: Array2<f32>,
}

impl FittedEncoding {
    /// The last fit, with the settings chosen.
    fn new(mut choice: EncodingChoice, grid: &RidgeEncoding, all: &TrainingSet) -> Result<Self> {
        let features = choice.features.compute(all.images(), &grid.geometry)?;
        let fit = Fit::new(&features, choice.scaling, all)?;
        let penalties = grid.absolute(choice.penalty, &fit)?;
        let left_out = fit.ridge.leave_one_out(fit.means.view(), &penalties)?;
        let scorer = fit.whitener(&penalties, all)?;
        let accuracy = scorer.accuracy().iter().map(|&a| f64::from(a)).collect();
        choice.median_accuracy = crate::ranks::median(accuracy) as f32;
        choice.score = scorer.possible(choice.score);
        let Fit { scale, ridge, .. } = fit;
        let left_out = left_out - ridge.mean();
        Ok(Self { geometry: grid.geometry, scale, ridge, penalties, scorer, choice, left_out })
    }
}

impl FittedBaseline for FittedEncoding {
    fn similarity(&self, queries: Queries, candidates: ArrayView3<f32>) -> Result<Array2<f32>> {
        queries.check(self.ridge.targets())?;
        let mut features = self.choice.features.compute(candidates, &self.geometry)?;
        self.scale.apply(&mut features);
        let predicted = self.ridge.predict(features.view(), &self.penalties)? - self.ridge.mean();
        let compare = |responses: ArrayView2<f32>, predicted: &Array2<f32>| {
            let observed = &responses - self.ridge.mean();
            self.scorer.similarity(observed.view(), predicted.view(), self.choice.score)
        };
        let mut similarity = compare(queries.responses, &predicted)?;
        if self.choice.local_scaling {
            let reference = compare(queries.reference, &predicted)?;
            let own = compare(queries.responses, &self.left_out)?;
            local_scaling(&mut similarity, reference.view(), own.view())?;
        }
        Ok(similarity)
    }

    fn choice(&self) -> Choice {
        Choice::Encoding(self.choice.clone())
    }
}
