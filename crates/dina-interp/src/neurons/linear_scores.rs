use dina_core::Error as CoreError;
use dina_stats::linalg::matmul;
use ndarray::{Array2, Array4, ArrayView4, Axis, s};
use rayon::prelude::*;

use super::LinearReadIn;
use crate::{
    Result,
    score::{
        alignment_scores, centre, centred_channel, check_pair, check_responses, constant, largest, ranked,
        root_mean_square, unit_rows,
    },
};

/// Products of pairs of neurons are kept up to this many numbers (256 MB); beyond it maps are made.
const KEPT: usize = 1 << 26;

/// Alignment and identification of subsets of the neurons of a linear read-in, for [`super::subset_curves`] and
/// [`crate::interaction::group_interactions`], which ask for thousands of subsets.
///
/// A silenced neuron is at its mean, so that only its term is missing. Every score is then a sum over neurons, or over pairs of
/// them, of products that are formed once: <A_ic, w_nc> r_in for the numerator of the alignment of image i in channel c, and
/// <r_n, r_m> <w_nc, w_mc> for the size of the neural map. A score of k neurons takes images x k x channels + k^2 x
/// channels operations, and none that grows with positions. The scores are those of [`crate::alignment_scores`] and
/// [`crate::two_way_scores`] of the maps.
///
/// Memory in single precision: channels x neurons x (images + neurons) numbers where these are up to 2^26 (256 MB), and two matrices
/// of images x neurons. Where they would be more, maps of the subset are made for each alignment: slower by the number of
/// positions, and images x channels x positions numbers a thread.
pub struct LinearScores<'a> {
    image: ArrayView4<'a, f32>,
    weights: ArrayView4<'a, f32>,
    /// Images x neurons, every neuron without its mean.
    responses: Array2<f32>,
    /// Images x neurons: what the weights of each neuron read from the image maps of unit length.
    read: Array2<f32>,
    products: Option<Vec<Products>>,
}

/// One channel.
struct Products {
    /// Images x neurons: <A_ic, w_nc> r_in over the size of A and the number of values.
    terms: Array2<f32>,
    /// Neurons x neurons: the mean over images and positions of the product of their terms.
    pairs: Array2<f32>,
}

impl<'a> LinearScores<'a> {
    /// - `image`: `[images, channels, height, width]`; `responses`: images x neurons, averaged over trials.
    ///
    /// # Errors
    /// When shapes do not fit, values are not finite, or a channel of the image maps never changes.
    pub fn new(
        image: ArrayView4<'a, f32>,
        read_in: LinearReadIn<'a>,
        responses: ndarray::ArrayView2<'_, f32>,
    ) -> Result<Self> {
        check_responses(responses, image.len_of(Axis(0)))?;
        let mut centred = responses.to_owned();
        centre(&mut centred);
        // Refuses what does not fit.
        let full = read_in.maps(centred.view())?;
        check_pair(image, full.view())?;
        let (images, channels, ..) = image.dim();
        let neurons = centred.ncols();
        let read = matmul(unit_rows(image).view(), crate::score::flat(read_in.weights).t())?;
        let numbers = channels.saturating_mul(neurons).saturating_mul(images + neurons);
        let products = (numbers <= KEPT)
            .then(|| {
                let shared = matmul(centred.t(), centred.view())?;
                let one = |channel| Products::new(image, read_in, &centred, &shared, channel);
                (0..channels).map(one).collect::<Result<Vec<_>>>()
            })
            .transpose()?;
        Ok(Self { image, weights: read_in.weights, responses: centred, read, products })
    }

    /// Number of neurons.
    pub fn neurons(&self) -> usize {
        self.responses.ncols()
    }

    /// Alignment of every image with these neurons only, as [`crate::alignment_scores`].
    ///
    /// # Errors
    /// For a neuron that does not exist, or a channel of the image maps that never changes.
    pub fn alignment(&self, kept: &[usize]) -> Result<Vec<f64>> {
        self.check(kept)?;
        let images = self.responses.nrows();
        if kept.is_empty() {
            return Ok(vec![0.; images]);
        }
        let Some(products) = &self.products else {
            return alignment_scores(self.image, self.maps(kept)?.view());
        };
        let mut scores = vec![0.; images];
        for Products { terms, pairs } in products {
            let (mut size, mut single) = (0., 0.);
            for &n in kept {
                let row = pairs.row(n);
                size += kept.iter().map(|&m| f64::from(row[m])).sum::<f64>();
                single += f64::from(row[n]);
            }
            // Nothing but the rounding of terms that cancel: a map that never changes says nothing.
            if size <= 1e-6 * single || single <= 0. {
                continue;
            }
            let scale = 1. / (size.sqrt() * products.len() as f64);
            for (score, row) in scores.iter_mut().zip(terms.outer_iter()) {
                *score += scale * kept.iter().map(|&n| f64::from(row[n])).sum::<f64>();
            }
        }
        Ok(scores)
    }

    /// Two-way identification of every image with these neurons only, as [`crate::two_way_scores`].
    ///
    /// # Errors
    /// For a neuron that does not exist.
    pub fn two_way(&self, kept: &[usize]) -> Result<Vec<f64>> {
        self.check(kept)?;
        let (responses, read) = (self.responses.select(Axis(1), kept), self.read.select(Axis(1), kept));
        // The length of the neural maps is the same for all candidates, and does not change their order.
        let similarity = matmul(responses.view(), read.t())?;
        let others = similarity.ncols() as f64 - 1.;
        Ok(ranked(&similarity).map(|(less, ties)| (less + ties / 2.) / others).collect())
    }

    fn maps(&self, kept: &[usize]) -> Result<Array4<f32>> {
        let weights = self.weights.select(Axis(0), kept);
        LinearReadIn { weights: weights.view() }.maps(self.responses.select(Axis(1), kept).view())
    }

    fn check(&self, kept: &[usize]) -> Result<()> {
        match kept.iter().find(|&&n| n >= self.neurons()) {
            Some(n) => Err(CoreError::value("neuron", format!("below {}", self.neurons()), n).into()),
            None => Ok(()),
        }
    }
}

impl Products {
    fn new(
        image: ArrayView4<'_, f32>,
        read_in: LinearReadIn<'_>,
        responses: &Array2<f32>,
        shared: &Array2<f32>,
        channel: usize,
    ) -> Result<Self> {
        let own = centred_channel(image, channel);
        let size = root_mean_square(&own, largest(image, channel)).ok_or_else(|| constant(channel))?;
        let weights = crate::score::flat(read_in.weights.slice(s![.., channel..=channel, .., ..]));
        let values = own.ncols() as f64;
        let mut terms = matmul(own.view(), weights.t())?;
        let scale = (1. / (size * values)) as f32;
        terms.zip_mut_with(responses, |term, r| *term *= r * scale);
        let mut pairs = matmul(weights.view(), weights.t())?;
        let scale = (1. / (values * responses.nrows() as f64)) as f32;
        pairs.axis_iter_mut(Axis(0)).into_par_iter().zip(shared.axis_iter(Axis(0))).for_each(
            |(mut own, shared)| {
                own.zip_mut_with(&shared, |pair, s| *pair *= s * scale);
            },
        );
        Ok(Self { terms, pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        testing::{noise2, noise4},
        two_way_scores,
    };

    #[test]
    fn scores_are_those_of_the_maps() {
        let (image, weights) = (noise4("image", [15, 3, 2, 4]), noise4("weights", [12, 3, 2, 4]));
        // Far from 0: what a silenced neuron is set to must not matter.
        let responses = noise2("responses", [15, 12]) + 3.;
        let read_in = LinearReadIn { weights: weights.view() };
        let mut scores = LinearScores::new(image.view(), read_in, responses.view()).unwrap();
        for kept in [vec![3], vec![0, 5, 11], (0..12).collect()] {
            let maps = scores.maps(&kept).unwrap();
            let close = |found: Vec<f64>| {
                let expected = alignment_scores(image.view(), maps.view()).unwrap();
                assert!(
                    found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5),
                    "{found:?} {expected:?}"
                );
            };
            close(scores.alignment(&kept).unwrap());
            assert_eq!(scores.two_way(&kept).unwrap(), two_way_scores(image.view(), maps.view()).unwrap());
            let products = scores.products.take();
            close(scores.alignment(&kept).unwrap());
            scores.products = products;
        }
        assert_eq!(scores.alignment(&[]).unwrap(), [0.; 15]);
        assert_eq!(scores.two_way(&[]).unwrap(), [0.5; 15]);
        assert!(scores.alignment(&[12]).is_err() && scores.two_way(&[12]).is_err());
    }

    /// Two neurons whose terms cancel make a map that never changes.
    #[test]
    fn terms_that_cancel_score_nothing() {
        let image = noise4("image", [9, 1, 2, 2]);
        let mut weights = noise4("weights", [2, 1, 2, 2]);
        let opposite = weights.index_axis(Axis(0), 0).mapv(|v| -v);
        weights.index_axis_mut(Axis(0), 1).assign(&opposite);
        let mut responses = noise2("responses", [9, 2]);
        let first = responses.column(0).to_owned();
        responses.column_mut(1).assign(&first);
        let scores =
            LinearScores::new(image.view(), LinearReadIn { weights: weights.view() }, responses.view());
        assert_eq!(scores.unwrap().alignment(&[0, 1]).unwrap(), [0.; 9]);
    }
}
