//! Whether mice agree on what aligns.

use dina_core::Seed;
use dina_stats::bootstrap::interval;
use dina_stats::comparison::Association;
use dina_stats::multiplicity::holm;
use dina_stats::permutation::{Permutation, Scheme, Tail};
use dina_stats::reliability::Correlation;
use dina_stats::similarity::cka::{cka_test, debiased_cka};
use ndarray::{Array2, Axis};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::work::MouseResult;
use crate::claims::Settings;
use crate::{Error, Result};

/// Agreement of two mice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Their places among the mice.
    pub mice: [usize; 2],
    /// How far they agree.
    pub value: f64,
    /// One-sided p against none, Holm-adjusted over pairs.
    pub p_adjusted: f64,
}

/// Agreement of all pairs of mice.
///
/// The interval is hierarchical: mice are drawn with replacement (at least two different ones; a pair counts as often as
/// it is drawn), and half of the images without, the same for all mice, because they saw the same. Half of the images
/// without replacement vary as much as all of them with it, and none comes twice, which would look like agreement. They are
/// noisier than all, so replicates are shifted to have the estimate as their mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairAgreement {
    /// One entry a pair.
    pub pairs: Vec<Pair>,
    /// Mean over pairs.
    pub mean: f64,
    /// Lower end of its 95 % interval (percentile). With two mice it is over images alone.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Agreement over mice, on test images of the first fold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Test images that alignability is measured on.
    pub images: usize,
    /// Test images that maps are compared on.
    pub compared: usize,
    /// Permutations of every test.
    pub permutations: usize,
    /// Alignability of every channel of the tower of all mice, mice x channels.
    pub channels: Vec<Vec<f64>>,
    /// Pearson correlation over channels of the alignability in two mice; p permutes channels. `None` below four channels.
    pub alignability: Option<PairAgreement>,
    /// Debiased linear CKA of the *neural* maps of two mice, each from its own tower: what two brains say of the same images.
    /// p permutes images.
    pub neural: PairAgreement,
    /// The same of the image maps of their own towers. Any two functions of one image resemble each other: read it against
    /// `image_random`.
    pub image: PairAgreement,
    /// Mean CKA of the image maps of own towers with those of random channels.
    pub image_random: f64,
}

pub(super) fn agreement(found: &[MouseResult], settings: Settings, seed: Seed) -> Result<Agreement> {
    let images = found.iter().map(|mouse| mouse.aligned.len()).min().unwrap_or(0);
    let all: Vec<usize> = (0..images).collect();
    let channels: Vec<Vec<f64>> = found.iter().map(|mouse| alignability(&mouse.aligned, &all)).collect();
    let test = Permutation { count: settings.permutations, tail: Tail::Greater, ..Permutation::default() };
    let count = channels.first().map_or(0, Vec::len);
    let aligned = if count < 4 {
        None
    } else {
        let association = Association { permutation: test, ..Association::default() };
        let scheme = Scheme::free(count)?;
        let value = |[a, b]: [usize; 2], rows: &[usize]| -> Result<f64> {
            let of = |mouse: usize| alignability(&found[mouse].aligned, rows);
            Ok(Correlation::pearson(&of(a), &of(b))?.get())
        };
        let p = |[a, b]: [usize; 2], seed: Seed| -> Result<f64> {
            Ok(association.test(&channels[a], &channels[b], &scheme, seed)?.permutation.p)
        };
        Some(agree((found.len(), images), settings, seed.child("alignability"), &value, &p)?)
    };
    let maps = |of: fn(&MouseResult) -> &Vec<Vec<f32>>| {
        found.iter().map(|m| matrix(of(m))).collect::<Result<Vec<_>>>()
    };
    let (neural, image, random) = (maps(|m| &m.neural)?, maps(|m| &m.image)?, maps(|m| &m.random)?);
    let compared = image[0].nrows();
    let scheme = Scheme::free(compared)?;
    let of_maps = |maps: &[Array2<f64>], seed: Seed| {
        let value = |[a, b]: [usize; 2], rows: &[usize]| -> Result<f64> {
            let part = |mouse: usize| maps[mouse].select(Axis(0), rows);
            Ok(debiased_cka(part(a).view(), part(b).view())?)
        };
        let p = |[a, b]: [usize; 2], seed: Seed| -> Result<f64> {
            Ok(cka_test(&test, maps[a].view(), maps[b].view(), &scheme, seed)?.permutation.p)
        };
        agree((found.len(), compared), settings, seed, &value, &p)
    };
    let with_random = image.iter().zip(&random).map(|(own, random)| debiased_cka(own.view(), random.view()));
    let with_random = with_random.collect::<dina_stats::Result<Vec<f64>>>()?;
    Ok(Agreement {
        images,
        compared,
        permutations: settings.permutations,
        alignability: aligned,
        neural: of_maps(&neural, seed.child("neural"))?,
        image: of_maps(&image, seed.child("image"))?,
        image_random: with_random.iter().sum::<f64>() / with_random.len() as f64,
        channels,
    })
}

/// r of every channel over some images.
fn alignability(of_images: &[Vec<f64>], rows: &[usize]) -> Vec<f64> {
    let channels = of_images.first().map_or(0, Vec::len);
    let mean =
        |channel: usize| rows.iter().map(|&i| of_images[i][channel]).sum::<f64>() / rows.len().max(1) as f64;
    (0..channels).map(mean).collect()
}

fn matrix(rows: &[Vec<f32>]) -> Result<Array2<f64>> {
    let columns = rows.first().map_or(0, Vec::len);
    let values: Vec<f64> = rows.iter().flatten().map(|&v| f64::from(v)).collect();
    Array2::from_shape_vec((rows.len(), columns), values)
        .map_err(|_| Error::Job("a result of a mouse is damaged; remove `cells/` and run it again".into()))
}

type Value<'a> = &'a dyn Fn([usize; 2], &[usize]) -> Result<f64>;
type Test<'a> = &'a dyn Fn([usize; 2], Seed) -> Result<f64>;

fn agree(
    (mice, images): (usize, usize),
    settings: Settings,
    seed: Seed,
    value: Value<'_>,
    test: Test<'_>,
) -> Result<PairAgreement> {
    let pairs: Vec<[usize; 2]> = (0..mice).flat_map(|a| (a + 1..mice).map(move |b| [a, b])).collect();
    let all: Vec<usize> = (0..images).collect();
    let values = pairs.iter().map(|&pair| value(pair, &all)).collect::<Result<Vec<f64>>>()?;
    let p = pairs.iter().enumerate().map(|(index, &pair)| test(pair, seed.child("test").index(index)));
    let p = holm(&p.collect::<Result<Vec<f64>>>()?)?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let mut stream = seed.stream("resamples");
    let mut order = all;
    let mut replicates = Vec::with_capacity(settings.replicates);
    while replicates.len() < settings.replicates {
        let mut drawn = vec![0f64; mice];
        (0..mice).for_each(|_| drawn[stream.random_range(0..mice)] += 1.);
        order.shuffle(&mut stream);
        let rows = &order[..images.div_ceil(2)];
        let (mut sum, mut weight) = (0., 0.);
        for &[a, b] in &pairs {
            let times = drawn[a] * drawn[b];
            if times > 0. {
                sum += times * value([a, b], rows)?;
                weight += times;
            }
        }
        if weight > 0. {
            replicates.push(sum / weight);
        }
    }
    // Half of the images are noisier than all, which lowers agreement in every replicate alike.
    let shift = mean - replicates.iter().sum::<f64>() / replicates.len().max(1) as f64;
    replicates.iter_mut().for_each(|replicate| *replicate = (*replicate + shift).min(1.));
    let found = interval(mean, &replicates, None, 0.95)?;
    let pairs = pairs.into_iter().zip(values).zip(p);
    let pairs = pairs.map(|((mice, value), p_adjusted)| Pair { mice, value, p_adjusted }).collect();
    Ok(PairAgreement { pairs, mean, low: found.low, high: found.high })
}
