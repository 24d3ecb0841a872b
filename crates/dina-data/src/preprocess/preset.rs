use std::fmt;
use std::str::FromStr;

use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

use super::{Curve, FittedPreprocessing, Preprocessing, Reference, Step};
use crate::linear::{normalise_rows, product};
use crate::view::{Train, View};
use crate::{Error, Recording, Result};

/// Spontaneous components that the authors of the deposit remove.
const COMPONENTS: usize = 32;

/// Preprocessing with a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Ours. Z-scores by training trials, after the curve (none, signed log or signed square root)
    /// and, where there is enough spontaneous activity (ten time points and twenty neurons a
    /// component), with or without the removal of 32 spontaneous components followed by another
    /// z-score.
    ///
    /// Between these it chooses by what the training trials say: how well the mean of every other
    /// repeat finds its image by the mean of the remaining ones (two-way identification of
    /// [`Candidate::two_way`]). The first of equals wins, in the order in which
    /// [`FittedPreprocessing::candidates`] lists them. Where training images are shown only once
    /// nothing can be measured, and it takes the signed log without removal.
    #[default]
    Standard,
    /// `loadProc2800.m` of Stringer et al. 2019: drop red cells, z-score by spontaneous activity,
    /// remove 32 spontaneous components, centre. Repeats are then matched by correlation.
    StringerMatlab,
    /// `powerlaws.ipynb` of Stringer et al. 2019: the same with red cells kept. Repeats are then
    /// matched by the raw dot product.
    StringerNotebook,
}

/// How the authors of a preset compare two population responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matching {
    /// Pearson correlation over neurons.
    Correlation,
    /// Dot product over neurons.
    DotProduct,
}

/// What [`Preset::Standard`] tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The steps.
    pub preprocessing: Preprocessing,
    /// Two-way identification of training images between halves of their repeats, chance 0.5:
    /// `(n - mean rank) / (n - 1)`. `None` where images are shown only once.
    pub two_way: Option<f64>,
    /// Whether it was taken.
    pub chosen: bool,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Standard, Self::StringerMatlab, Self::StringerNotebook];

    /// How the preset's authors compare two responses.
    pub fn matching(self) -> Matching {
        match self {
            Self::Standard | Self::StringerMatlab => Matching::Correlation,
            Self::StringerNotebook => Matching::DotProduct,
        }
    }

    /// Fits on the training view.
    ///
    /// # Errors
    /// As [`Preprocessing::fit`]. The Stringer presets need spontaneous activity, at least 64
    /// time points of 64 neurons.
    pub fn fit(self, train: &View<'_, Train>) -> Result<FittedPreprocessing> {
        match self.published() {
            Some(published) => published.fit(train),
            None => standard(train),
        }
    }

    /// Fits as the authors did: on every presentation of an image, the test images included. Only
    /// for reproducing a published figure; nothing decoded from the result is held out.
    ///
    /// # Errors
    /// As [`Preset::fit`], and for [`Preset::Standard`], which is not published.
    pub fn fit_as_published(self, recording: &Recording) -> Result<FittedPreprocessing> {
        let Some(published) = self.published() else {
            return Err(Error::variable(
                recording.origin(),
                "preset",
                format!("is `{self}`, which has no published form"),
                "fit it on the training view, or ask for `stringer-matlab` or `stringer-notebook`",
            ));
        };
        let rows: Vec<usize> = recording.trials().concat();
        let mut fitted = published.fit_rows(recording, &rows)?;
        fitted.notes.push("fitted on the whole recording, as published: nothing is held out from it".into());
        Ok(fitted)
    }

    /// The steps, where they do not depend on the data.
    fn published(self) -> Option<Preprocessing> {
        let shared = [
            Step::ZScore(Reference::Spontaneous),
            Step::RemoveSpontaneous { components: COMPONENTS },
            Step::Centre,
        ];
        match self {
            Self::Standard => None,
            Self::StringerNotebook => Some(Preprocessing::new(shared)),
            Self::StringerMatlab => {
                let mut steps = vec![Step::DropRedCells];
                steps.extend(shared);
                Some(Preprocessing::new(steps))
            }
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard",
            Self::StringerMatlab => "stringer-matlab",
            Self::StringerNotebook => "stringer-notebook",
        })
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|p| p.to_string() == name);
        found.ok_or_else(|| {
            let names = Self::ALL.map(|p| p.to_string()).join(", ");
            Error::Core(dina_core::Error::value("preset", format!("one of {names}"), name))
        })
    }
}

/// Images on which candidates are compared: enough to tell them apart by a fraction of a per cent.
const COMPARED: usize = 500;

fn standard(train: &View<'_, Train>) -> Result<FittedPreprocessing> {
    let z = Step::ZScore(Reference::Training);
    let log = Preprocessing::new([Step::Compress(Curve::SignedLog), z]);
    if train.repeats() < 2 {
        let mut fitted = log.fit(train)?;
        fitted
            .notes
            .push("training images are shown only once: no choice between curves could be made".into());
        fitted.candidates = vec![Candidate { preprocessing: log, two_way: None, chosen: true }];
        return Ok(fitted);
    }
    let compared = Compared::of(train);
    let curves = [log, Preprocessing::new([Step::Compress(Curve::SignedSqrt), z]), Preprocessing::new([z])];
    let mut tried = curves
        .into_iter()
        .map(|preprocessing| compared.judge(train, preprocessing))
        .collect::<Result<Vec<_>>>()?;
    if spontaneous_suffices(train.recording()) {
        let mut steps = tried[best(&tried)].0.preprocessing.steps.clone();
        steps.extend([Step::RemoveSpontaneous { components: COMPONENTS }, z]);
        tried.push(compared.judge(train, Preprocessing::new(steps))?);
    }
    let best = best(&tried);
    tried[best].0.chosen = true;
    let (candidates, mut fitted): (Vec<_>, Vec<_>) = tried.into_iter().unzip();
    let mut fitted = fitted.swap_remove(best);
    fitted.candidates = candidates;
    Ok(fitted)
}

/// The first of the best.
fn best(tried: &[(Candidate, FittedPreprocessing)]) -> usize {
    let score = |i: usize| tried[i].0.two_way.unwrap_or(0.0);
    (1..tried.len()).fold(0, |best, i| if score(i) > score(best) { i } else { best })
}

/// Whether components of spontaneous activity are known well enough and are few enough of the
/// dimensions to be removed blindly.
fn spontaneous_suffices(recording: &Recording) -> bool {
    recording.spontaneous().is_some_and(|s| s.nrows() >= 10 * COMPONENTS && s.ncols() >= 20 * COMPONENTS)
}

/// The training images, or enough of them, that candidates are compared on.
struct Compared {
    rows: Vec<usize>,
    /// Per image the places of its two halves in `rows`.
    halves: Vec<[Vec<usize>; 2]>,
}

impl Compared {
    fn of(train: &View<'_, Train>) -> Self {
        let images = train.len().min(COMPARED);
        let mut rows = Vec::new();
        let mut halves = Vec::new();
        // Evenly over the ids: neighbours are often taken from one collection.
        for i in 0..images {
            let mut image = [Vec::new(), Vec::new()];
            for (repeat, &row) in train.trials()[i * train.len() / images].iter().enumerate() {
                image[repeat % 2].push(rows.len());
                rows.push(row);
            }
            halves.push(image);
        }
        Self { rows, halves }
    }

    fn judge(
        &self,
        train: &View<'_, Train>,
        preprocessing: Preprocessing,
    ) -> Result<(Candidate, FittedPreprocessing)> {
        let fitted = preprocessing.fit(train)?;
        let trials = train.recording().responses().select(Axis(0), &self.rows);
        let responses = fitted.transform(trials.view())?;
        let [first, second] = [0, 1].map(|half| self.half(&responses, half));
        let candidate = Candidate {
            preprocessing,
            two_way: Some(two_way(&product(first.view(), second.t()))),
            chosen: false,
        };
        Ok((candidate, fitted))
    }

    fn half(&self, responses: &Array2<f32>, half: usize) -> Array2<f32> {
        let mut means = Array2::zeros((self.halves.len(), responses.ncols()));
        for (mut mean, halves) in means.rows_mut().into_iter().zip(&self.halves) {
            for &row in &halves[half] {
                mean += &responses.row(row);
            }
        }
        // Correlation does not ask how many were summed.
        normalise_rows(&mut means);
        means
    }
}

/// `(n - mean rank) / (n - 1)` of the diagonal in its row, ties counted half.
fn two_way(similarity: &Array2<f32>) -> f64 {
    let n = similarity.nrows();
    if n < 2 {
        return 0.5;
    }
    let beaten: f64 = similarity
        .rows()
        .into_iter()
        .enumerate()
        .map(|(i, row)| {
            let own = row[i];
            let below = row.iter().filter(|&&v| v < own).count() as f64;
            let equal = row.iter().filter(|&&v| v == own).count() as f64 - 1.0;
            below + equal / 2.0
        })
        .sum();
    beaten / (n * (n - 1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_way_of_known_rankings() {
        let similarity = ndarray::arr2(&[[3., 1., 2.], [5., 4., 3.], [1., 1., 1.]]);
        // beaten: 2, 1, and two ties counted half
        assert_eq!(two_way(&similarity), (2. + 1. + 1.) / 6.);
    }

    #[test]
    fn names_round_trip() {
        for preset in Preset::ALL {
            assert_eq!(preset.to_string().parse::<Preset>().unwrap(), preset);
            let json = serde_json::to_string(&preset).unwrap();
            assert_eq!(json, format!("\"{preset}\""));
        }
        let error = "stringer".parse::<Preset>().unwrap_err().to_string();
        assert!(error.contains("stringer-matlab"), "{error}");
    }
}
