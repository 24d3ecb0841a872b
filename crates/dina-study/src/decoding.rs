use dina_core::Seed;
use dina_data::{Averages, Train, View, Views};
use dina_decode::identification::{Decoder, Direction, Evaluation, Identification, Pool, Trials};
use dina_decode::{
    Baseline, Choice, FittedBaseline, Geometry, Part, Queries, RidgeDecoding, RidgeEncoding, TrainingSet,
    ValidationSet, correlate, nearest_neighbour,
};
use dina_stats::bootstrap::Bootstrap;
use ndarray::{Array2, Array3, ArrayView2, Axis};

use crate::fold::as_indices;
use crate::training::Reference;
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
    /// No pool yet.
    pub(crate) fn none(decoder: Decoder) -> Self {
        Self { decoder, single: Vec::new(), mean: Vec::new() }
    }

    /// Takes in the pools of further folds.
    pub(crate) fn extend(&mut self, other: Self) {
        self.single.extend(other.single);
        self.mean.extend(other.mean);
    }

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
    let mut decoded = decoders.map(Decoded::none);
    progress.begin("decode", folds.len() * decoders.len());
    let mut done = 0;
    for (fold, trained) in folds.iter().zip(trained) {
        let views = fold.views(dataset)?;
        let test = Side::new(&views.test, &fold.responses)?;
        let references = References::new(&views.train, &fold.responses)?;
        let fine = fine(fold, views.test.images());
        for decoded in &mut decoded {
            progress.advance(done, name(decoded.decoder));
            match decoded.decoder {
                Decoder::Dina => test.identify_by(trained, fold, &views, &references, decoded)?,
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
                    let fitted = fit(decoder, dataset, fold, trained.averaged())?;
                    choices.push((decoder, fitted.choice()));
                    test.identify(decoded, &references, |q| Ok(fitted.similarity(q, fine.view())?))?;
                }
            }
            done += 1;
            progress.advance(done, name(decoded.decoder));
        }
    }
    progress.end();
    Ok((decoded.into(), choices))
}

/// The test images of a fold identified by trained towers alone, as [`decode`] does it.
pub(crate) fn decode_towers(dataset: &Dataset, fold: &Fold, trained: &Trained) -> Result<Decoded> {
    let views = fold.views(dataset)?;
    let test = Side::new(&views.test, &fold.responses)?;
    let references = References::new(&views.train, &fold.responses)?;
    let mut decoded = Decoded::none(Decoder::Dina);
    test.identify_by(trained, fold, &views, &references, &mut decoded)?;
    Ok(decoded)
}

/// Fits one of the ridge baselines on the training view of a fold, on the samples that DINA is trained on. Its
/// settings are chosen on the validation view, or, where there is none, by cross-validation inside the training view.
fn fit(decoder: Decoder, dataset: &Dataset, fold: &Fold, averaged: usize) -> Result<Box<dyn FittedBaseline>> {
    let views = fold.views(dataset)?;
    let geometry = Geometry { degrees_per_pixel: dataset.images.degrees_per_pixel, window: None };
    let baseline: Box<dyn Baseline> = match decoder {
        Decoder::RidgeEncoding => Box::new(RidgeEncoding::new(geometry)),
        _ => Box::new(RidgeDecoding::new(geometry)),
    };
    let train = Samples::new(&views.train, fold, averaged)?;
    let all: Vec<usize> = (0..views.train.len()).collect();
    let whole = train.part(&all);
    // Settings are chosen for what the report leads with: single trials, or means where there are more than two.
    let means = dataset.recording.summary().repeats > 2;
    let sides: Vec<(Owned, Owned)> = if fold.is_small() {
        let tried = Samples::new(&views.train, fold, if means { usize::MAX } else { 1 })?;
        let parts = fold.inner_parts().into_iter();
        parts.map(|(fit, held_out)| (train.part(&fit), tried.part(&held_out))).collect()
    } else {
        let tried = Samples::new(&views.validation, fold, if means { usize::MAX } else { 1 })?;
        let all: Vec<usize> = (0..views.validation.len()).collect();
        vec![(whole.clone(), tried.part(&all))]
    };
    let references = sides.iter().map(|(fitted, _)| fitted.reference(means)).collect::<Vec<Array2<f32>>>();
    let parts = sides
        .iter()
        .zip(&references)
        .map(|((fitted, tried), reference)| {
            Ok(Part {
                training: TrainingSet::new(fitted.responses.view(), &fitted.shown, fitted.images.view())?,
                validation: ValidationSet::new(tried.responses.view(), &tried.shown, tried.images.view())?,
                reference: reference.view(),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let whole = TrainingSet::new(whole.responses.view(), &whole.shown, whole.images.view())?;
    Ok(baseline.fit(&parts, &whole)?)
}

fn fine(fold: &Fold, images: &[u32]) -> Array3<f32> {
    fold.fine.select(Axis(0), &as_indices(images))
}

/// Samples of the images of a view: means of about as many trials as training averages.
struct Samples {
    averages: Averages,
    images: Array3<f32>,
}

/// The same of some of its images.
#[derive(Clone)]
struct Owned {
    responses: Array2<f32>,
    shown: Vec<usize>,
    images: Array3<f32>,
}

impl Samples {
    fn new<R: dina_data::Role>(view: &View<'_, R>, fold: &Fold, averaged: usize) -> Result<Self> {
        Ok(Self { averages: view.averages(&fold.responses, averaged)?, images: fine(fold, view.images()) })
    }

    fn part(&self, images: &[usize]) -> Owned {
        let rows: Vec<usize> = images.iter().flat_map(|&image| self.averages.trials[image].clone()).collect();
        let of_image = |(place, &image): (usize, &usize)| vec![place; self.averages.trials[image].len()];
        Owned {
            responses: self.averages.responses.select(Axis(0), &rows),
            shown: images.iter().enumerate().flat_map(of_image).collect(),
            images: self.images.select(Axis(0), images),
        }
    }
}

impl Owned {
    /// A response to each of at most [`REFERENCES`] images: the first sample, or the mean of all.
    fn reference(&self, means: bool) -> Array2<f32> {
        let count = self.images.len_of(Axis(0));
        let mut rows = vec![Vec::new(); count];
        self.shown.iter().enumerate().for_each(|(row, &image)| rows[image].push(row));
        let kept = (0..count).step_by(count.div_ceil(REFERENCES).max(1));
        let kept: Vec<&[usize]> = kept.map(|i| if means { &rows[i][..] } else { &rows[i][..1] }).collect();
        let mut reference = Array2::zeros((kept.len(), self.responses.ncols()));
        for (mut mean, rows) in reference.rows_mut().into_iter().zip(kept) {
            rows.iter().for_each(|&row| mean += &self.responses.row(row));
            mean /= rows.len() as f32;
        }
        reference
    }
}

/// Training images that similarities are scaled by, at most.
const REFERENCES: usize = 256;

/// Training images and responses to them that similarities are scaled by.
struct References {
    images: Vec<u32>,
    single: Array2<f32>,
    means: Array2<f32>,
}

impl References {
    fn new(train: &View<'_, Train>, responses: &Array2<f32>) -> Result<Self> {
        let step = train.len().div_ceil(REFERENCES).max(1);
        let kept: Vec<usize> = (0..train.len()).step_by(step).collect();
        let first: Vec<usize> = kept.iter().map(|&image| train.trials()[image][0]).collect();
        Ok(Self {
            images: kept.iter().map(|&image| train.images()[image]).collect(),
            single: responses.select(Axis(0), &first),
            means: train.repeat_means(responses)?.select(Axis(0), &kept),
        })
    }
}

/// All trials of a view, and their means.
pub(crate) struct Side {
    responses: Array2<f32>,
    shown: Vec<usize>,
    means: Array2<f32>,
    images: Vec<usize>,
}

impl Side {
    pub(crate) fn new<R: dina_data::Role>(view: &View<'_, R>, responses: &Array2<f32>) -> Result<Self> {
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

    /// One way of taking trials: queries x neurons, and the place of the image of each among those of the view.
    pub(crate) fn queries(&self, trials: Trials) -> (ArrayView2<'_, f32>, Vec<usize>) {
        match trials {
            Trials::Single => (self.responses.view(), self.shown.clone()),
            Trials::Mean => (self.means.view(), (0..self.means.nrows()).collect()),
        }
    }

    fn identify(
        &self,
        decoded: &mut Decoded,
        references: &References,
        similarity: impl Fn(Queries) -> Result<Array2<f32>>,
    ) -> Result<()> {
        let single =
            similarity(Queries { responses: self.responses.view(), reference: references.single.view() })?;
        let means = similarity(Queries { responses: self.means.view(), reference: references.means.view() })?;
        decoded.single.push(Pool::new(single, self.shown.clone(), self.images.clone())?);
        decoded.mean.push(self.pool_of_means(means)?);
        Ok(())
    }

    /// By trained towers: the test images are the candidates, training images scale the similarities.
    fn identify_by(
        &self,
        trained: &Trained,
        fold: &Fold,
        views: &Views,
        references: &References,
        decoded: &mut Decoded,
    ) -> Result<()> {
        let (images, seen) = (fold.select(views.test.images()), fold.select(&references.images));
        self.identify(decoded, references, |q| {
            let reference = Reference { responses: q.reference, images: seen.view() };
            trained.similarity(q.responses, images.view(), reference)
        })
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
