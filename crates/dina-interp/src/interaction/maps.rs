use dina_core::{Error as CoreError, Seed};
use dina_stats::{
    linalg::matmul,
    permutation::{Tail, step_down_max_t},
};
use ndarray::{Array2, Array4, ArrayView4, Axis, s};
use rayon::prelude::*;

use super::{
    GroupInteraction, InteractionConfig, Interactions,
    additivity::{check, with_intervals},
    kept,
};
use crate::{
    Result,
    alignability::orders,
    neurons::standardised,
    score::{centre, centred_channel, check_pair, constant, flat, largest, mean, root_mean_square},
};

/// What several groups of neurons add to the alignment of two towers only together.
///
/// - `image`: maps of the image tower, `[images, channels, height, width]`.
/// - `maps`: the maps of the neural tower for the neurons that are kept, ascending, row i for the same image; of repeated
///   presentations the mean.
/// - `groups`, `sets`: as in [`super::group_interactions`].
///
/// The part of the neural maps that a set holds only together is D = (B - B without the set) - sum over its groups of (B - B without the
/// group): 0 for any tower that is additive over these neurons, linear ones among them. The interaction of the set is the mean over channels of
/// cov(A_c, D_c) / (sd A_c sd B_c), every position centred over images and B that of all neurons: what silencing the set takes
/// from the alignment less the sum of what silencing each group takes, with the size of the maps held fixed. Negative is synergy.
///
/// The null permutes which D belongs to which image. What is additive stays out of it, and so does whatever D holds that has nothing to
/// do with the image: noise correlations make the products of a pair large, and the same for all images. The statistic of a set is
/// its interaction over its standard deviation under permutation; p is two-sided and corrected over sets by step-down maxT.
///
/// [`super::group_interactions`] takes any score and flips signs, for which interactions of single images have to be symmetric about 0 where there
/// is none; a score of products whose target is not centred credits noise correlations, and they are not.
///
/// Calls `maps` once for all neurons, once a group and once a set. Memory: the maps of every group, and per thread a matrix
/// of images x images.
///
/// # Errors
/// What `maps` returns; when shapes do not fit, a channel of either tower never changes, groups are impossible, or there are no permutations.
pub fn map_interactions(
    image: ArrayView4<'_, f32>,
    neurons: usize,
    groups: &[Vec<usize>],
    sets: &[Vec<usize>],
    maps: impl Fn(&[usize]) -> Result<Array4<f32>> + Sync,
    config: &InteractionConfig,
    seed: Seed,
) -> Result<Interactions> {
    check(neurons, groups, sets)?;
    if config.permutations == 0 {
        return Err(CoreError::value("permutations", "at least 1", 0).into());
    }
    let without = |silenced: &[usize]| -> Result<Array4<f32>> {
        let found = maps(&kept(neurons, silenced))?;
        check_pair(image, found.view())?;
        Ok(found)
    };
    let full = without(&[])?;
    let scale = scales(image, full.view())?;
    let images = image.len_of(Axis(0));
    // Image maps over the sizes of both, so that an interaction is a plain product.
    let own = weighted(image, &scale);
    let loss = |silenced: &[usize]| -> Result<Array2<f32>> {
        let mut loss = flat((&full - &without(silenced)?).view());
        centre(&mut loss);
        Ok(loss)
    };
    let by_image = |loss: &Array2<f32>| -> Vec<f64> {
        own.outer_iter()
            .zip(loss.outer_iter())
            .map(|(a, d)| a.iter().zip(d).map(|(&a, &d)| f64::from(a) * f64::from(d)).sum())
            .collect()
    };
    let single: Vec<Array2<f32>> = groups.par_iter().map(|group| loss(group)).collect::<Result<_>>()?;
    let orders = orders(images, config.permutations, seed.child("permutation"));
    let rounding = 1e-5 * full.iter().fold(0f32, |m, v| m.max(v.abs()));
    let found: Vec<(Vec<f64>, Vec<f64>)> = sets
        .par_iter()
        .map(|set| {
            let all: Vec<usize> = set.iter().flat_map(|&g| groups[g].iter().copied()).collect();
            let mut beyond = loss(&all)?;
            set.iter().for_each(|&group| beyond -= &single[group]);
            if beyond.iter().all(|v| v.abs() <= rounding) {
                // Rounding of an additive tower is no interaction.
                return Ok((vec![0.; images], vec![0.; orders.len()]));
            }
            let products = matmul(own.view(), beyond.t())?;
            let permuted = |order: &Vec<u32>| {
                order.iter().enumerate().map(|(i, &j)| f64::from(products[[i, j as usize]])).sum::<f64>()
                    / images as f64
            };
            Ok((by_image(&beyond), orders.iter().map(permuted).collect()))
        })
        .collect::<Result<_>>()?;
    let observed: Vec<f64> = found.iter().map(|(values, _)| mean(values)).collect();
    let null = Array2::from_shape_fn((orders.len(), sets.len()), |(b, s)| found[s].1[b]);
    let (standard, standard_null) = standardised(&observed, &null);
    let p = step_down_max_t(&standard, standard_null.view(), Tail::TwoSidedAbsolute)?.adjusted_p;
    let values: Vec<Vec<f64>> = found.into_iter().map(|(values, _)| values).collect();
    let sets = sets
        .iter()
        .zip(with_intervals(&values, p, config, seed)?)
        .map(|(groups, t)| GroupInteraction {
            groups: groups.clone(),
            estimate: t.estimate,
            low: t.low,
            high: t.high,
            p_adjusted: t.p_adjusted,
        })
        .collect();
    let mut whole = flat(full.view());
    centre(&mut whole);
    Ok(Interactions {
        full: mean(&by_image(&whole)),
        single: single.iter().map(|s| mean(&by_image(s))).collect(),
        sets,
        images,
        level: config.level,
    })
}

/// 1 / (sd A_c sd B_c x channels x positions) of every channel.
fn scales(image: ArrayView4<'_, f32>, neural: ArrayView4<'_, f32>) -> Result<Vec<f64>> {
    let (_, channels, height, width) = image.dim();
    (0..channels)
        .map(|c| {
            let a =
                root_mean_square(&centred_channel(image, c), largest(image, c)).ok_or_else(|| constant(c))?;
            let b = root_mean_square(&centred_channel(neural, c), largest(neural, c)).ok_or_else(|| {
                let found = format!("constant in channel {c}");
                CoreError::value("neural maps", "varying over images in every channel", found)
            })?;
            Ok(1. / (a * b * (channels * height * width) as f64))
        })
        .collect()
}

/// Centred maps, images x everything else, each channel times its scale.
fn weighted(image: ArrayView4<'_, f32>, scale: &[f64]) -> Array2<f32> {
    let mut scaled = image.to_owned();
    for (c, &scale) in scale.iter().enumerate() {
        scaled.slice_mut(s![.., c, .., ..]).mapv_inplace(|v| (f64::from(v) * scale) as f32);
    }
    let mut rows = flat(scaled.view());
    centre(&mut rows);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{noise2, on_one_and_two_threads};

    /// A tower of products: its first channel reads neurons 0 and 1 together and 2 on its own, its second 4 and 5 together. 6 and 7 share
    /// noise that has nothing to do with the image, and the tower reads their product into both channels.
    fn tower(responses: &Array2<f32>) -> impl Fn(&[usize]) -> Result<Array4<f32>> + Sync + '_ {
        move |kept| {
            let on = |n: usize, i: usize| if kept.contains(&n) { responses[[i, n]] } else { 0. };
            Ok(Array4::from_shape_fn((120, 2, 1, 1), |(i, c, ..)| {
                let common = on(6, i) * on(7, i);
                let own = if c == 0 { on(0, i) * on(1, i) + on(2, i) } else { on(4, i) * on(5, i) };
                own + common
            }))
        }
    }

    #[test]
    fn pairs_that_carry_the_image_are_found_and_shared_noise_is_not() {
        let mut responses = noise2("responses", [120, 8]);
        for mut row in responses.outer_iter_mut() {
            row[7] = row[6];
        }
        let noise = noise2("noise", [120, 2]);
        let image = Array4::from_shape_fn((120, 2, 1, 1), |(i, c, ..)| {
            let r = |n: usize| responses[[i, n]];
            let signal = if c == 0 { r(0) * r(1) + r(2) } else { r(4) * r(5) };
            // The mean of an image map says nothing about any image.
            5. + signal + noise[[i, c]]
        });
        let groups: Vec<Vec<usize>> = (0..8).map(|n| vec![n]).collect();
        let sets: Vec<Vec<usize>> = (0..8).flat_map(|j| (0..j).map(move |i| vec![i, j])).collect();
        let config = InteractionConfig { permutations: 500, replicates: 200, ..Default::default() };
        let [one, two] = on_one_and_two_threads(|| {
            map_interactions(image.view(), 8, &groups, &sets, tower(&responses), &config, Seed::new(1))
                .unwrap()
        });
        assert_eq!(one, two);
        for (i, set) in one.sets.iter().enumerate() {
            let carries = [[0, 1], [4, 5]].iter().any(|pair| set.groups == pair);
            assert_eq!(one.significant(0.05).contains(&i), carries, "{set:?}");
            assert!(!carries || (set.estimate < 0. && set.high < 0.), "{set:?}");
            let none = !carries && set.groups != [6, 7];
            assert!(!none || (set.estimate == 0. && set.p_adjusted == 1.), "{set:?}");
        }
        // Neuron 2 works alone: it takes something, and interacts with nobody.
        assert!(one.single[2] > 0.1 && one.single[3].abs() < 1e-6, "{:?}", one.single);
        let alignment = mean(
            &crate::alignment_scores(
                image.view(),
                tower(&responses)(&[0, 1, 2, 3, 4, 5, 6, 7]).unwrap().view(),
            )
            .unwrap(),
        );
        assert!((one.full - alignment).abs() < 1e-5, "{} {alignment}", one.full);
    }

    #[test]
    fn nonsense_is_refused() {
        let responses = noise2("responses", [120, 8]);
        let image = tower(&responses)(&[0, 1, 4, 5]).unwrap();
        let run = |image: ArrayView4<'_, f32>, sets: &[Vec<usize>], permutations: usize| {
            let config = InteractionConfig { permutations, replicates: 20, ..Default::default() };
            let groups: Vec<Vec<usize>> = (0..8).map(|n| vec![n]).collect();
            map_interactions(image, 8, &groups, sets, tower(&responses), &config, Seed::new(1)).is_err()
        };
        assert!(!run(image.view(), &[vec![0, 1]], 20));
        assert!(run(image.view(), &[vec![0]], 20) && run(image.view(), &[vec![0, 1]], 0));
        assert!(run(image.slice(s![..100, .., .., ..]), &[vec![0, 1]], 20));
        assert!(run(Array4::zeros(image.dim()).view(), &[vec![0, 1]], 20));
    }
}
