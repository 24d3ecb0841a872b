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
        Baseline, Choice, FittedBaseline, Geometry, TrainingSet, ValidationSet, check_pair, mean_log_rank,
    },
    features::{FeatureScale, ImageFeatures, select_rows},
    gabor::{GaborConfig, GaborKind},
    identification::Decoder,
    ridge::{Ridge, RidgeDesign},
    scoring::{Score, Scorer, column_accuracy},
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
    /// Mean log rank on the validation images at this choice.
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
    /// of each kind of features and scaling, whitened comparisons are tried.
    fn fit(&self, training: &TrainingSet, validation: &ValidationSet) -> Result<Box<dyn FittedBaseline>> {
        check_pair(training, validation)?;
        for (what, empty) in [
            ("features", self.features.is_empty()),
            ("scalings", self.scalings.is_empty()),
            ("penalties", self.penalties.is_empty()),
            ("exponents", self.exponents.is_empty()),
        ] {
            if empty {
                return Err(Error::value(what, "at least one to choose among", "empty"));
            }
        }
        let (means, trials) = training.image_means();
        let mut best: Option<FittedEncoding> = None;
        for features in &self.features {
            let raw = RawFeatures {
                training: features.compute(training.images(), &self.geometry)?,
                validation: features.compute(validation.images(), &self.geometry)?,
                features,
            };
            for &scaling in &self.scalings {
                let fitted = self.fit_scaled(&raw, scaling, training, &means, &trials, validation)?;
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

/// Features before they are scaled.
struct RawFeatures<'a> {
    features: &'a ImageFeatures,
    training: Array2<f32>,
    validation: Array2<f32>,
}

/// A penalty under trial.
struct Candidate {
    choice: PenaltyChoice,
    /// Absolute penalties: one, or one a neuron.
    penalties: Vec<f64>,
    scorer: Scorer,
    score: Score,
    log_rank: f64,
    median_accuracy: f32,
}

impl RidgeEncoding {
    fn fit_scaled(
        &self,
        raw: &RawFeatures,
        scaling: f32,
        training: &TrainingSet,
        means: &Array2<f32>,
        trials: &[f32],
        validation: &ValidationSet,
    ) -> Result<FittedEncoding> {
        let scale = FeatureScale::fit(raw.training.view(), scaling);
        let scaled = |raw: &Array2<f32>| {
            let mut features = raw.clone();
            scale.apply(&mut features);
            features
        };
        let design = RidgeDesign::new(scaled(&raw.training).view(), Some(trials))?;
        let ridge = design.regress(means.view())?;
        let trial = Trial {
            ridge: &ridge,
            means,
            coordinates: ridge.coordinates(scaled(&raw.validation).view())?,
            responses: &validation.responses() - ridge.mean(),
            shown: validation.shown(),
        };

        let unit = design.mean_eigenvalue();
        let absolute: Vec<f64> = self.penalties.iter().map(|p| p * unit).collect();
        let mut grid: Vec<(PenaltyChoice, Vec<f64>)> = self
            .penalties
            .iter()
            .zip(&absolute)
            .map(|(&relative, &penalty)| (PenaltyChoice::Shared(relative), vec![penalty]))
            .collect();
        grid.push((PenaltyChoice::PerNeuron, per_target(&ridge, means, &absolute)?));
        let mut best: Option<Candidate> = None;
        for (choice, penalties) in grid {
            let candidate = trial.weightings(choice, penalties, &self.exponents)?;
            if best.as_ref().is_none_or(|b| candidate.log_rank < b.log_rank) {
                best = Some(candidate);
            }
        }
        let mut best = best.ok_or_else(|| Error::value("penalties", "at least one", "empty"))?;
        if !self.shrinkages.is_empty() {
            trial.whitenings(&mut best, training, &self.shrinkages)?;
        }
        Ok(FittedEncoding {
            geometry: self.geometry,
            scale,
            penalties: best.penalties,
            scorer: best.scorer,
            choice: EncodingChoice {
                features: raw.features.clone(),
                scaling,
                penalty: best.choice,
                score: best.score,
                validation_log_rank: best.log_rank,
                median_accuracy: best.median_accuracy,
            },
            ridge,
        })
    }
}

/// What is needed to try settings on the validation set.
struct Trial<'a> {
    ridge: &'a Ridge,
    means: &'a Array2<f32>,
    coordinates: Array2<f32>,
    responses: Array2<f32>,
    shown: &'a [usize],
}

impl Trial<'_> {
    fn predict(&self, penalties: &[f64]) -> Result<Array2<f32>> {
        let mut predicted = self.ridge.predict_from(self.coordinates.view(), penalties)?;
        predicted -= self.ridge.mean();
        Ok(predicted)
    }

    /// The best power of the accuracy weights for a penalty.
    fn weightings(&self, choice: PenaltyChoice, penalties: Vec<f64>, exponents: &[f32]) -> Result<Candidate> {
        let left_out = self.ridge.leave_one_out(self.means.view(), &penalties)?;
        let accuracy = column_accuracy(left_out.view(), self.means.view());
        let median_accuracy = crate::ranks::median(accuracy.iter().map(|&a| f64::from(a)).collect()) as f32;
        let any = accuracy.iter().any(|&a| a > 0.0);
        let scorer = Scorer::new(accuracy);
        let predicted = self.predict(&penalties)?;
        let mut best = (f64::INFINITY, Score::Correlation { exponent: 0.0 });
        // Where no neuron is predicted at all there is nothing to weight by.
        for &exponent in exponents.iter().filter(|&&e| any || e == 0.0) {
            let score = Score::Correlation { exponent };
            let similarity = scorer.similarity(self.responses.view(), predicted.view(), score)?;
            let log_rank = mean_log_rank(similarity.view(), self.shown)?;
            if log_rank < best.0 {
                best = (log_rank, score);
            }
        }
        Ok(Candidate { choice, penalties, scorer, score: best.1, log_rank: best.0, median_accuracy })
    }

    /// Takes a whitened comparison where it does better on the validation set.
    fn whitenings(&self, best: &mut Candidate, training: &TrainingSet, shrinkages: &[f32]) -> Result<()> {
        let left_out = self.ridge.leave_one_out(self.means.view(), &best.penalties)?;
        // Errors of single trials of left-out images: model error and noise.
        let errors = &training.responses() - &select_rows(left_out.view(), training.shown());
        best.scorer.learn_errors(errors.view())?;
        drop(errors);
        let predicted = self.predict(&best.penalties)?;
        for &shrinkage in shrinkages {
            for score in [Score::WhitenedCosine { shrinkage }, Score::Likelihood { shrinkage }] {
                let similarity = best.scorer.similarity(self.responses.view(), predicted.view(), score)?;
                let log_rank = mean_log_rank(similarity.view(), self.shown)?;
                if log_rank < best.log_rank {
                    best.log_rank = log_rank;
                    best.score = score;
                }
            }
        }
        Ok(())
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
}

impl FittedBaseline for FittedEncoding {
    fn similarity(&self, responses: ArrayView2<f32>, candidates: ArrayView3<f32>) -> Result<Array2<f32>> {
        if responses.ncols() != self.ridge.targets() {
            return Err(Error::shape("neurons", self.ridge.targets(), responses.ncols()));
        }
        Error::all_finite("responses", responses)?;
        let mut features = self.choice.features.compute(candidates, &self.geometry)?;
        self.scale.apply(&mut features);
        let predicted = self.ridge.predict(features.view(), &self.penalties)? - self.ridge.mean();
        let observed = &responses - self.ridge.mean();
        self.scorer.similarity(observed.view(), predicted.view(), self.choice.score)
    }

    fn choice(&self) -> Choice {
        Choice::Encoding(self.choice.clone())
    }
}
