//! How well maps do, image by image.
//!
//! Every score here has one value an image, and its mean is the figure that is reported. Analyses that
//! silence neurons take such a score as a closure: the values of single images give them intervals and nulls.

use dina_core::Error as CoreError;
use dina_stats::linalg::matmul;
use ndarray::{Array2, ArrayView2, ArrayView4, Axis, s};

use crate::Result;

/// Alignment of two sets of maps, image by image: the mean over images is the correlation of the two maps over images
/// and positions, after each position lost its mean over images, averaged over channels.
///
/// - `image`, `neural`: `[images, channels, height, width]`, row i of both for the same image.
///
/// A channel of `neural` that is the same for every image scores 0, since it says nothing about any image:
/// that is what maps are once all their neurons are silenced.
///
/// # Errors
/// When the shapes differ, there are fewer than three images, a channel of `image` never changes, or a value is not
/// finite.
pub fn alignment_scores(image: ArrayView4<'_, f32>, neural: ArrayView4<'_, f32>) -> Result<Vec<f64>> {
    check_pair(image, neural)?;
    let (images, channels, height, width) = image.dim();
    let mut scores = vec![0.; images];
    for channel in 0..channels {
        let a = centred_channel(image, channel);
        let b = centred_channel(neural, channel);
        let Some(a_scale) = root_mean_square(&a, largest(image, channel)) else {
            return Err(constant(channel));
        };
        let Some(b_scale) = root_mean_square(&b, largest(neural, channel)) else { continue };
        let scale = 1. / (a_scale * b_scale * (height * width * channels) as f64);
        for (score, (a, b)) in scores.iter_mut().zip(a.outer_iter().zip(b.outer_iter())) {
            *score += scale * a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        }
    }
    Ok(scores)
}

/// Two-way identification of every image by the cosine of its maps: the share of other candidates that are less
/// similar to the neural maps of image i than the image maps of i are; ties count a half. Chance is 0.5.
///
/// Each position first loses its mean over images. Neural maps without any variation are as similar to one image
/// as to the other.
///
/// # Errors
/// As [`alignment_scores`].
pub fn two_way_scores(image: ArrayView4<'_, f32>, neural: ArrayView4<'_, f32>) -> Result<Vec<f64>> {
    let similarity = cosines(image, neural)?;
    let others = similarity.ncols() as f64 - 1.;
    Ok(ranked(&similarity).map(|(less, ties)| (less + ties / 2.) / others).collect())
}

/// Top-1 identification: 1 where the image maps most like the neural maps of image i are those of i, 1/k where k candidates
/// tie for it, else 0. Chance is 1 over the number of images. The cosine is that of [`two_way_scores`].
///
/// # Errors
/// As [`alignment_scores`].
pub fn top_one_scores(image: ArrayView4<'_, f32>, neural: ArrayView4<'_, f32>) -> Result<Vec<f64>> {
    let similarity = cosines(image, neural)?;
    let others = similarity.ncols() as f64 - 1.;
    Ok(ranked(&similarity)
        .map(|(less, ties)| if less + ties >= others { 1. / (1. + ties) } else { 0. })
        .collect())
}

/// Per query, how many other candidates are less similar than the true one, and how many are as similar.
pub(crate) fn ranked(similarity: &Array2<f32>) -> impl Iterator<Item = (f64, f64)> + '_ {
    similarity.outer_iter().enumerate().map(|(i, row)| {
        let own = row[i];
        let less = row.iter().filter(|&&v| v < own).count() as f64;
        let ties = row.iter().filter(|&&v| v == own).count() as f64 - 1.;
        (less, ties)
    })
}

/// Queries (neural) x candidates (image).
fn cosines(image: ArrayView4<'_, f32>, neural: ArrayView4<'_, f32>) -> Result<Array2<f32>> {
    check_pair(image, neural)?;
    Ok(matmul(unit_rows(neural).view(), unit_rows(image).t())?)
}

pub(crate) fn unit_rows(maps: ArrayView4<'_, f32>) -> Array2<f32> {
    let mut rows = flat(maps);
    centre(&mut rows);
    for mut row in rows.outer_iter_mut() {
        let length = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        if length > 0. {
            row.mapv_inplace(|v| (f64::from(v) / length) as f32);
        }
    }
    rows
}

/// Images x everything else.
pub(crate) fn flat(maps: ArrayView4<'_, f32>) -> Array2<f32> {
    let images = maps.len_of(Axis(0));
    let values = maps.len() / images.max(1);
    let mut rows = Array2::zeros((images, values));
    for (mut to, from) in rows.outer_iter_mut().zip(maps.outer_iter()) {
        to.iter_mut().zip(from.iter()).for_each(|(to, from)| *to = *from);
    }
    rows
}

/// One channel as images x positions, every position without its mean over images.
pub(crate) fn centred_channel(maps: ArrayView4<'_, f32>, channel: usize) -> Array2<f32> {
    let mut rows = flat(maps.slice(s![.., channel..=channel, .., ..]));
    centre(&mut rows);
    rows
}

/// Takes the mean over rows off every column.
pub(crate) fn centre(rows: &mut Array2<f32>) {
    let count = rows.nrows() as f64;
    let mut mean = vec![0.; rows.ncols()];
    for row in rows.outer_iter() {
        mean.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
    }
    for mut row in rows.outer_iter_mut() {
        row.iter_mut().zip(&mean).for_each(|(v, sum)| *v = (f64::from(*v) - sum / count) as f32);
    }
}

/// The size of centred values; `None` where they are nothing but the rounding of values as large as `largest`.
pub(crate) fn root_mean_square(values: &Array2<f32>, largest: f64) -> Option<f64> {
    let mean = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len().max(1) as f64;
    (mean.sqrt() > 1e-6 * largest && mean > 0.).then(|| mean.sqrt())
}

pub(crate) fn largest(maps: ArrayView4<'_, f32>, channel: usize) -> f64 {
    maps.index_axis(Axis(1), channel).iter().fold(0., |largest, &v| f64::from(v.abs()).max(largest))
}

pub(crate) fn constant(channel: usize) -> crate::Error {
    CoreError::value(
        "image maps",
        "varying over images in every channel",
        format!("constant in channel {channel}"),
    )
    .into()
}

/// Refuses maps that do not belong together.
pub(crate) fn check_pair(image: ArrayView4<'_, f32>, neural: ArrayView4<'_, f32>) -> Result<()> {
    if image.dim() != neural.dim() || image.is_empty() {
        let expected = format!("[images, channels, height, width], as the image maps {:?}", image.shape());
        return Err(CoreError::shape("neural maps", expected, neural.shape()).into());
    }
    if image.len_of(Axis(0)) < 3 {
        return Err(CoreError::value("images", "at least 3", image.len_of(Axis(0))).into());
    }
    check_finite("maps", image.iter().chain(neural))
}

/// Refuses NaN and infinity.
pub(crate) fn check_finite<'a>(what: &str, values: impl IntoIterator<Item = &'a f32>) -> Result<()> {
    if values.into_iter().any(|v| !v.is_finite()) {
        return Err(CoreError::value(what, "finite", "NaN or infinity").into());
    }
    Ok(())
}

/// Refuses responses that are not finite, or not one row an image.
pub(crate) fn check_responses(responses: ArrayView2<'_, f32>, images: usize) -> Result<()> {
    if responses.nrows() != images || responses.ncols() == 0 {
        return Err(
            CoreError::shape("responses", format!("[{images} images, neurons]"), responses.shape()).into()
        );
    }
    check_finite("responses", responses)
}

/// The mean, in order.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;
    use crate::testing::noise4;

    #[test]
    fn the_mean_of_the_scores_is_the_correlation() {
        let (a, b) = (noise4("a", [9, 1, 2, 2]), noise4("b", [9, 1, 2, 2]));
        let mixed = &a + &(0.5 * &b);
        let scores = alignment_scores(a.view(), mixed.view()).unwrap();
        let (x, y) = (centred_channel(a.view(), 0), centred_channel(mixed.view(), 0));
        let dot = |x: &Array2<f32>, y: &Array2<f32>| (x * y).iter().map(|&v| f64::from(v)).sum::<f64>();
        let r = dot(&x, &y) / (dot(&x, &x) * dot(&y, &y)).sqrt();
        assert!((mean(&scores) - r).abs() < 1e-6, "{} {r}", mean(&scores));
        assert!((mean(&alignment_scores(a.view(), a.view()).unwrap()) - 1.).abs() < 1e-6);
    }

    #[test]
    fn silent_maps_are_at_chance() {
        let a = noise4("a", [8, 2, 2, 2]);
        let silent = Array4::from_elem(a.dim(), 0.3);
        assert_eq!(mean(&alignment_scores(a.view(), silent.view()).unwrap()), 0.);
        assert_eq!(mean(&two_way_scores(a.view(), silent.view()).unwrap()), 0.5);
        assert_eq!(mean(&top_one_scores(a.view(), silent.view()).unwrap()), 1. / 8.);
        assert_eq!(mean(&top_one_scores(a.view(), a.view()).unwrap()), 1.);
        assert_eq!(mean(&two_way_scores(a.view(), a.view()).unwrap()), 1.);
    }

    #[test]
    fn impossible_maps_are_refused() {
        let a = noise4("a", [8, 2, 2, 2]);
        assert!(alignment_scores(silent(&a).view(), a.view()).is_err());
        assert!(alignment_scores(a.view(), noise4("b", [8, 2, 2, 1]).view()).is_err());
        let mut broken = a.clone();
        broken[[0, 0, 0, 0]] = f32::NAN;
        assert!(two_way_scores(a.view(), broken.view()).is_err());
    }

    fn silent(like: &Array4<f32>) -> Array4<f32> {
        Array4::from_elem(like.dim(), 0.3)
    }
}
