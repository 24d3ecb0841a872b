use candle_core::{Device, Tensor};
use dina_core::{Error, Result, Stream, Targets};
use ndarray::{Array2, Array3, s};
use rand::RngExt;

/// One training batch.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Input of the image tower.
    pub images: Tensor,
    /// Input of the neural tower.
    pub responses: Tensor,
    /// Which trial belongs to which image.
    pub targets: Targets,
}

/// Where batches come from.
pub trait Batches: Sync {
    /// Number of items that an epoch goes over once, in an order that the trainer draws.
    fn len(&self) -> usize;

    /// Whether there is nothing to train on.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes a batch of these items; whatever else is random comes from `stream`.
    ///
    /// # Errors
    /// When the data cannot be read or do not fit.
    fn batch(&self, items: &[usize], stream: &mut Stream) -> Result<Batch>;
}

/// Images and the responses to them, in memory. An item is an image; its trial is drawn anew each time.
///
/// The targets of a batch hold the identities, the images as the tower sees them (moved by the same shift) as pixels, and
/// the categories where [`PairedData::with_labels`] gave them.
#[derive(Debug, Clone)]
pub struct PairedData {
    images: Array3<f32>,
    responses: Array2<f32>,
    trials: Vec<Vec<usize>>,
    ids: Vec<u32>,
    labels: Option<Vec<Option<u32>>>,
    /// Trials averaged into one training sample, at most; 1 trains on single trials.
    pub averaged: usize,
    /// Images are moved by up to this many pixels in each direction; borders repeat.
    pub shift: usize,
    /// Where the tensors go.
    pub device: Device,
}

impl PairedData {
    /// - `images`: items x height x width, already standardised.
    /// - `responses`: trials x neurons, already preprocessed.
    /// - `trials[item]`: rows of `responses` for that image, at least one.
    /// - `ids[item]`: the image's stimulus identity.
    ///
    /// # Errors
    /// When lengths disagree, an item has no trial, or a row does not exist.
    pub fn new(
        images: Array3<f32>,
        responses: Array2<f32>,
        trials: Vec<Vec<usize>>,
        ids: Vec<u32>,
    ) -> Result<Self> {
        let items = images.dim().0;
        if trials.len() != items || ids.len() != items || items == 0 {
            return Err(Error::shape("images, trials and ids", [items; 3], [items, trials.len(), ids.len()]));
        }
        let rows = responses.nrows();
        if let Some(item) = trials.iter().position(|t| t.is_empty() || t.iter().any(|&row| row >= rows)) {
            return Err(Error::value(
                format!("trials of image {}", ids[item]),
                format!("at least one row below {rows}"),
                format!("{:?}", trials[item]),
            ));
        }
        Ok(Self { images, responses, trials, ids, labels: None, averaged: 1, shift: 0, device: Device::Cpu })
    }

    /// Adds the category of each item, counted from 0, for supervised objectives; `None` where nobody knows it.
    ///
    /// # Errors
    /// When there are not as many as items.
    pub fn with_labels(mut self, labels: Vec<Option<u32>>) -> Result<Self> {
        if labels.len() != self.ids.len() {
            return Err(Error::shape("categories of the training images", self.ids.len(), labels.len()));
        }
        self.labels = Some(labels);
        Ok(self)
    }

    /// Appends an image, moved by `(down, right)` pixels, to a flat buffer.
    fn push_image(&self, item: usize, (down, right): (i64, i64), out: &mut Vec<f32>) {
        let image = self.images.slice(s![item, .., ..]);
        let (height, width) = image.dim();
        let inside = |at: usize, by: i64, end: usize| (at as i64 - by).clamp(0, end as i64 - 1) as usize;
        for row in 0..height {
            let row = image.row(inside(row, down, height));
            out.extend((0..width).map(|column| row[inside(column, right, width)]));
        }
    }

    /// Appends the mean of up to `averaged` different trials of an image.
    fn push_response(&self, item: usize, stream: &mut Stream, out: &mut Vec<f32>) {
        let mut trials = self.trials[item].clone();
        let count = self.averaged.clamp(1, trials.len());
        for place in 0..count {
            let other = stream.random_range(place..trials.len());
            trials.swap(place, other);
        }
        let start = out.len();
        out.resize(start + self.responses.ncols(), 0.);
        for &row in &trials[..count] {
            for (sum, value) in out[start..].iter_mut().zip(self.responses.row(row)) {
                *sum += value / count as f32;
            }
        }
    }
}

impl Batches for PairedData {
    fn len(&self) -> usize {
        self.ids.len()
    }

    fn batch(&self, items: &[usize], stream: &mut Stream) -> Result<Batch> {
        let (_, height, width) = self.images.dim();
        let neurons = self.responses.ncols();
        let mut images = Vec::with_capacity(items.len() * height * width);
        let mut responses = Vec::with_capacity(items.len() * neurons);
        for &item in items {
            let by = self.shift as i64;
            let moved = (stream.random_range(-by..=by), stream.random_range(-by..=by));
            self.push_image(item, moved, &mut images);
            self.push_response(item, stream, &mut responses);
        }
        let ids: Vec<u32> = items.iter().map(|&item| self.ids[item]).collect();
        let images = Tensor::from_vec(images, (items.len(), 1, height, width), &self.device)?;
        let labels = self.labels.as_ref().map(|labels| items.iter().map(|&item| labels[item]).collect());
        // A tensor is a handle: the pixels are not copied.
        let targets = Targets { trials: ids.clone(), images: ids, labels, pixels: Some(images.clone()) };
        let responses = Tensor::from_vec(responses, (items.len(), neurons), &self.device)?;
        Ok(Batch { images, responses, targets })
    }
}

#[cfg(test)]
mod tests {
    use dina_core::Seed;
    use ndarray::array;

    use super::*;

    fn data() -> PairedData {
        let images = Array3::from_shape_fn((2, 2, 3), |(i, y, x)| (100 * i + 10 * y + x) as f32);
        let responses = array![[1., 10.], [3., 30.], [5., 50.]];
        PairedData::new(images, responses, vec![vec![0, 2], vec![1]], vec![7, 9]).unwrap()
    }

    #[test]
    fn averaging_all_trials_gives_their_mean() {
        let mut data = data();
        data.averaged = 8;
        let batch = data.batch(&[1, 0], &mut Seed::new(0).stream("batch")).unwrap();
        assert_eq!(batch.responses.to_vec2::<f32>().unwrap(), [[3., 30.], [3., 30.]]);
        assert_eq!(batch.targets.trials, [9, 7]);
        assert_eq!(batch.images.dims(), [2, 1, 2, 3]);
    }

    #[test]
    fn targets_hold_categories_and_the_images_as_they_were_moved() {
        let mut data = data();
        data.shift = 1;
        let batch = |data: &PairedData| data.batch(&[1, 0], &mut Seed::new(0).stream("batch")).unwrap();
        let plain = batch(&data);
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(plain.targets.pixels.as_ref().unwrap()), values(&plain.images));
        assert_eq!(plain.targets.labels, None);
        let labelled = batch(&data.clone().with_labels(vec![Some(4), None]).unwrap());
        assert_eq!(labelled.targets.labels, Some(vec![None, Some(4)]));
        assert_eq!(values(&labelled.images), values(&plain.images));
        assert!(data.with_labels(vec![None]).is_err());
    }

    #[test]
    fn a_moved_image_repeats_its_border() {
        let mut out = Vec::new();
        data().push_image(0, (1, -1), &mut out);
        assert_eq!(out, [1., 2., 2., 1., 2., 2.]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let images = Array3::zeros((2, 2, 3));
        let responses = Array2::zeros((3, 2));
        assert!(
            PairedData::new(images.clone(), responses.clone(), vec![vec![0], vec![]], vec![0, 1]).is_err()
        );
        assert!(
            PairedData::new(images.clone(), responses.clone(), vec![vec![0], vec![3]], vec![0, 1]).is_err()
        );
        assert!(PairedData::new(images, responses, vec![vec![0]], vec![0]).is_err());
    }
}
