//! Maps and responses that the analyses work on.

use dina_core::{ArrayLike, Error as CoreError, FeatureMaps, MapSpec};
use dina_data::{Role, View};
use dina_interp::neurons::{Baseline, LinearReadIn, LinearScores, Silenced};
use dina_interp::{alignment_scores, two_way_scores};
use ndarray::{Array2, Array3, Array4, ArrayView2, Ix4};

use crate::towers::level_array;
use crate::{Dataset, Error, Fold, Result, Towers};

/// The images of one side of the split, what was shown and what both towers make of it.
pub(super) struct Side {
    /// Their numbers in the stimulus set.
    pub images: Vec<u32>,
    /// Standardised, for the image tower.
    pub pixels: Array3<f32>,
    /// Mean responses to them, images x kept neurons.
    pub responses: Array2<f32>,
    /// Per level `[images, channels, height, width]`.
    pub image: Vec<Array4<f32>>,
    /// The same of the neural tower, from the mean responses.
    pub neural: Vec<Array4<f32>>,
}

/// Everything that is analysed of one model.
pub(super) struct Material<'a> {
    pub dataset: &'a Dataset,
    pub fold: &'a Fold,
    pub towers: &'a Towers,
    pub levels: Vec<MapSpec>,
    /// Images on which channels, positions and neurons are chosen.
    pub choice: Side,
    /// What `choice` is: "validation images", or "training images" where there are none.
    pub chosen_on: &'static str,
    /// Images on which figures are measured.
    pub test: Side,
    /// Weights of the first level, `[neurons, channels, height, width]`; `None` where the neural tower is not linear.
    pub weights: Option<Array4<f32>>,
}

/// The fewest test images with which an interval, a null or a correction means anything.
const FEWEST: usize = 6;

impl<'a> Material<'a> {
    pub fn new(dataset: &'a Dataset, fold: &'a Fold, towers: &'a Towers) -> Result<Self> {
        let views = fold.views(dataset)?;
        let levels = towers.image().levels();
        let test = Side::new(&views.test, fold, towers, &levels)?;
        let (choice, chosen_on) = if fold.is_small() {
            (Side::new(&views.train, fold, towers, &levels)?, "training images")
        } else {
            (Side::new(&views.validation, fold, towers, &levels)?, "validation images")
        };
        for (side, name) in [(&test, "test images"), (&choice, chosen_on)] {
            if side.images.len() < FEWEST {
                return Err(Error::Job(format!(
                    "{}: {} {name}; at least {FEWEST} are needed: record more images, or choose fewer --folds",
                    dataset.recording.origin(),
                    side.images.len()
                )));
            }
        }
        let weights = read_in_weights(towers, &test, &levels)?;
        Ok(Self { dataset, fold, towers, levels, choice, chosen_on, test, weights })
    }

    /// Height and width of a position of a level, in degrees.
    pub fn degrees(&self, level: usize) -> [f64; 2] {
        let (_, rows, columns) = self.levels[level].dims();
        let [_, _, height, width] = self.fold.window.window.degrees().map(f64::from);
        [height / rows as f64, width / columns as f64]
    }
}

impl Side {
    fn new<R: Role>(view: &View<'_, R>, fold: &Fold, towers: &Towers, levels: &[MapSpec]) -> Result<Self> {
        let pixels = fold.select(view.images());
        let responses = view.repeat_means(&fold.responses)?;
        Ok(Self {
            images: view.images().to_vec(),
            image: arrays(&towers.image_maps(pixels.view())?, levels)?,
            neural: arrays(&towers.neural_maps(responses.view())?, levels)?,
            pixels,
            responses,
        })
    }
}

/// Every level as an array, `[items, channels, height, width]`.
pub(super) fn arrays(maps: &FeatureMaps, levels: &[MapSpec]) -> Result<Vec<Array4<f32>>> {
    levels
        .iter()
        .map(|level| {
            let found = maps.get(&level.name)?.with_view(|view| view.to_owned())?;
            let shape = found.shape().to_vec();
            found.into_dimensionality::<Ix4>().map_err(|_| {
                CoreError::shape("feature maps", "[items, channels, height, width]", shape).into()
            })
        })
        .collect()
}

/// The weights of the neural tower, where it is linear.
fn read_in_weights(towers: &Towers, test: &Side, levels: &[MapSpec]) -> Result<Option<Array4<f32>>> {
    if levels.is_empty() {
        return Err(Error::Job("the towers have no level to analyse".into()));
    }
    let offset = level_array(&towers.neural_maps(Array2::zeros((1, test.responses.ncols())).view())?)?;
    let weights = towers.read_in_weights()?;
    // Whether these are all there is to it: the maps of the test images.
    let difference =
        LinearReadIn { weights: weights.view() }.maps(test.responses.view())? + &offset - &test.neural[0];
    let size = |maps: &Array4<f32>| maps.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    Ok((size(&difference) <= 1e-3 * size(&test.neural[0])).then_some(weights))
}

/// Scores of one side at the first level with neurons left out, all others being at their means.
pub(super) enum Scored<'a> {
    /// For a linear read-in, without making maps.
    Linear(Box<LinearScores<'a>>),
    /// For any other, by silencing.
    Silenced { side: &'a Side, towers: &'a Towers },
}

impl<'a> Scored<'a> {
    pub fn new(material: &'a Material<'a>, side: &'a Side) -> Result<Self> {
        Ok(match &material.weights {
            Some(weights) => {
                let read_in = LinearReadIn { weights: weights.view() };
                let scores = LinearScores::new(side.image[0].view(), read_in, side.responses.view())?;
                Self::Linear(Box::new(scores))
            }
            None => Self::Silenced { side, towers: material.towers },
        })
    }

    /// Alignment of every image with these neurons only.
    pub fn alignment(&self, kept: &[usize]) -> dina_interp::Result<Vec<f64>> {
        match self {
            Self::Linear(scores) => scores.alignment(kept),
            Self::Silenced { side, towers } => {
                alignment_scores(side.image[0].view(), silenced(side, towers, kept)?.view())
            }
        }
    }

    /// Two-way identification of every image with these neurons only.
    pub fn two_way(&self, kept: &[usize]) -> dina_interp::Result<Vec<f64>> {
        match self {
            Self::Linear(scores) => scores.two_way(kept),
            Self::Silenced { side, towers } => {
                two_way_scores(side.image[0].view(), silenced(side, towers, kept)?.view())
            }
        }
    }
}

fn silenced(side: &Side, towers: &Towers, kept: &[usize]) -> dina_interp::Result<Array4<f32>> {
    let forward = |responses: ArrayView2<'_, f32>| {
        towers.neural_maps(responses).and_then(|maps| level_array(&maps)).map_err(|error| match error {
            Error::Core(error) => error.into(),
            other => CoreError::value("neural maps", "a forward pass", other.to_string()).into(),
        })
    };
    Silenced::new(forward, side.responses.view(), Baseline::Mean)?.maps(kept)
}
