use dina_core::Seed;
use dina_data::View;
use dina_decode::identification::{Decoder, Direction, Evaluation, Identification, Pool, Trials};
use dina_decode::{
    Baseline, Choice, FittedBaseline, Geometry, RidgeDecoding, RidgeEncoding, TrainingSet, ValidationSet,
    correlate, nearest_neighbour,
};
use dina_stats::bootstrap::Bootstrap;
use ndarray::{Array2, Array3, Axis};

use crate::fold::as_indices;
use crate::{Dataset, Fold, Progress, Result, Trained};

/// The pools of one decoder over all folds: what every figure is computed from.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// Which decoder.
    pub decoder: Decoder,
    /// Single trials against the test images, one pool a fold.
    pub single: Vec<Pool>,
    /// Repeat means against the test images, one pool a fold.
    pub mean: Vec<Pool>,
}

impl Decoded {
    /// The pools of one way of taking trials.
    pub fn pools(&self, trials: Trials) -> &[Pool] {
        match trials {
            Trials::Single => &self.single,
            Trials::Mean => &self.mean,
        }
    }
}

/// What the baselines chose on the validation images, one entry a fold and baseline.
pub type Choices = Vec<(Decoder, Choice)>;

/// Decodes the test images of every fold with DINA and every baseline.
///
/// Baselines are fitted on the training images and tuned on the validation images of the fold, on the same
/// preprocessed responses and the same window as DINA, at the full resolution of the files.
///
/// # Errors
/// When a decoder cannot be fitted.
pub fn decode(
    dataset: &Dataset,
    folds: &[Fold],
    trained: &[Trained],
    progress: &dyn Progress,
) -> Result<(Vec<Decoded>, Choices)> {
    let mut choices = Vec::new();
    let decoders = [Decoder::Dina, Decoder::RidgeEncoding, Decoder::RidgeDecoding, Decoder::NearestNeighbour];
    let mut decoded = decoders.map(|decoder| Decoded { decoder, single: Vec::new(), mean: Vec::new() });
    progress.begin("decode", folds.len() * decoders.len());
    let mut done = 0;
    for (fold, trained) in folds.iter().zip(trained) {
        let views = fold.views(dataset)?;
        let test = Queries::new(&views.test, &fold.responses)?;
        let images = fold.select(views.test.images());
        let fine = fine(fold, &views.test);
        for decoded in &mut decoded {
            progress.advance(done, name(decoded.decoder));
            match decoded.decoder {
                Decoder::Dina => test.identify(decoded, |r| trained.similarity(r, images.view()))?,
                Decoder::NearestNeighbour => {
                    decoded.single.push(nearest_neighbour(
                        fold.responses.view(),
                        views.test.trials(),
                        &test.images,
                    )?);
                    let (first, second) = views.test.halves(&fold.responses)?;
                    let similarity = correlate(first.view(), second.view())?;
                    decoded.mean.push(test.pool_of_means(similarity)?);
                }
                decoder => {
                    let fitted = fit(decoder, dataset, fold)?;
                    choices.push((decoder, fitted.choice()));
                    test.identify(decoded, |r| Ok(fitted.similarity(r, fine.view())?))?;
                }
            }
            done += 1;
            progress.advance(done, name(decoded.decoder));
        }
    }
    progress.end();
    Ok((decoded.into(), choices))
}

/// Fits one of the ridge baselines on a fold.
fn fit(decoder: Decoder, dataset: &Dataset, fold: &Fold) -> Result<Box<dyn FittedBaseline>> {
    let views = fold.views(dataset)?;
    let geometry = Geometry { degrees_per_pixel: dataset.images.degrees_per_pixel, window: None };
    let baseline: Box<dyn Baseline> = match decoder {
        Decoder::RidgeEncoding => Box::new(RidgeEncoding::new(geometry)),
        _ => Box::new(RidgeDecoding::new(geometry)),
    };
    let (train, valid) =
        (Queries::new(&views.train, &fold.responses)?, Queries::new(&views.validation, &fold.responses)?);
    let (train_images, valid_images) = (fine(fold, &views.train), fine(fold, &views.validation));
    Ok(baseline.fit(
        &TrainingSet::new(train.responses.view(), &train.shown, train_images.view())?,
        &ValidationSet::new(valid.responses.view(), &valid.shown, valid_images.view())?,
    )?)
}

fn fine<R: dina_data::Role>(fold: &Fold, view: &View<'_, R>) -> Array3<f32> {
    fold.fine.select(Axis(0), &as_indices(view.images()))
}

/// All trials of a view, and their means.
struct Queries {
    responses: Array2<f32>,
    shown: Vec<usize>,
    means: Array2<f32>,
    images: Vec<usize>,
}

impl Queries {
    fn new<R: dina_data::Role>(view: &View<'_, R>, responses: &Array2<f32>) -> Result<Self> {
        let mut rows = Vec::new();
        let mut shown = Vec::new();
        for (image, trials) in view.trials().iter().enumerate() {
            rows.extend(trials);
            shown.extend(trials.iter().map(|_| image));
        }
        Ok(Self {
            responses: responses.select(Axis(0), &rows),
            shown,
            means: view.repeat_means(responses)?,
            images: as_indices(view.images()),
        })
    }

    fn identify(
        &self,
        decoded: &mut Decoded,
        similarity: impl Fn(ndarray::ArrayView2<f32>) -> Result<Array2<f32>>,
    ) -> Result<()> {
        let single = similarity(self.responses.view())?;
        decoded.single.push(Pool::new(single, self.shown.clone(), self.images.clone())?);
        decoded.mean.push(self.pool_of_means(similarity(self.means.view())?)?);
        Ok(())
    }

    fn pool_of_means(&self, similarity: Array2<f32>) -> Result<Pool> {
        Ok(Pool::new(similarity, (0..self.images.len()).collect(), self.images.clone())?)
    }
}

/// Figures of every decoder, for single trials and means, in both directions.
///
/// # Errors
/// When a pool is too small to resample.
pub fn identification(decoded: &[Decoded], permutations: usize, seed: Seed) -> Result<Vec<Identification>> {
    let evaluation = Evaluation { permutations, bootstrap: Bootstrap::default() };
    let mut rows = Vec::new();
    for decoded in decoded {
        for trials in [Trials::Single, Trials::Mean] {
            for direction in [Direction::NeuralToImage, Direction::ImageToNeural] {
                let turned;
                let pools = match direction {
                    Direction::NeuralToImage => decoded.pools(trials),
                    Direction::ImageToNeural => {
                        turned = turn(decoded.pools(trials))?;
                        &turned
                    }
                };
                let draws = seed.child(name(decoded.decoder)).child(&format!("{trials:?} {direction:?}"));
                let figures = evaluation.figures(pools, draws)?;
                let (decoder, split) = (decoded.decoder, "test".to_owned());
                rows.push(Identification { decoder, split, trials, direction, figures });
            }
        }
    }
    Ok(rows)
}

fn turn(pools: &[Pool]) -> Result<Vec<Pool>> {
    let mut turned = Vec::new();
    for pool in pools {
        turned.extend(pool.image_to_neural()?);
    }
    Ok(turned)
}

/// The name in results.
pub(crate) fn name(decoder: Decoder) -> &'static str {
    match decoder {
        Decoder::Dina => "dina",
        Decoder::RidgeEncoding => "ridge_encoding",
        Decoder::RidgeDecoding => "ridge_decoding",
        Decoder::NearestNeighbour => "nearest_neighbour",
    }
}
