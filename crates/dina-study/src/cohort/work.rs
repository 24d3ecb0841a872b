//! What takes long: the read-ins of one mouse, and what they identify.

use candle_core::Device;
use dina_core::{ContentHash, Seed};
use dina_model::{ImageTower, ReadInKind, WarmStart};
use dina_stats::linalg::symmetric_eigen;
use ndarray::{Array2, Array4, Axis};
use serde::{Deserialize, Serialize};

use super::ChosenBy;
use super::gather::{Animal, Gathered};
use crate::comparison::by_image;
use crate::decoding::decode_towers;
use crate::job::test_maps;
use crate::jobs::Work;
use crate::training::Common;
use crate::{Error, Measure, Result, Towers, Trained};

/// Test images that maps are compared on, at most.
const COMPARED: usize = 128;

/// Identification of every test image by one tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Scores {
    pub chosen_by: ChosenBy,
    pub two_way: Vec<f64>,
    pub top1: Vec<f64>,
}

/// What the towers of one mouse came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct MouseResult {
    /// Its name.
    pub mouse: String,
    /// Test images of all folds, ascending.
    pub images: Vec<usize>,
    pub chance_top1: f64,
    pub scores: Vec<Scores>,
    /// Alignability of every channel of the tower of all mice in the first fold, image by image: its mean over images is r.
    pub aligned: Vec<Vec<f64>>,
    /// Neural and image maps of its own tower, and image maps of random channels, in the first fold: principal
    /// coordinates of some test images, whose products are those of the maps.
    pub neural: Vec<Vec<f32>>,
    pub image: Vec<Vec<f32>>,
    pub random: Vec<Vec<f32>>,
}

pub(super) struct MouseWork<'a> {
    pub gathered: &'a Gathered,
    pub mouse: usize,
    pub device: &'a Device,
}

impl MouseWork<'_> {
    fn animal(&self) -> &Animal {
        &self.gathered.animals[self.mouse]
    }

    /// A tower with channels chosen by some mice, and a read-in of this one.
    pub(super) fn towers(&self, chosen: ChosenBy, fold: usize, common: &Common) -> Result<Trained> {
        let config = self.gathered.config(self.mouse, fold)?;
        let ReadInKind::Factorised { rank } = config.neural.read_in else {
            return Err(Error::Job(
                "a shared image tower needs the factorised read-in, which has a closed form".into(),
            ));
        };
        let image = ImageTower::new(config.image.clone(), Seed::new(0), self.device)?;
        let covariance = self.gathered.covariance(chosen, (self.mouse, fold), &image)?;
        let start = WarmStart::fit_shared(&image, rank, common.start_data(), &covariance)?;
        // What is left of random weights after the start is the same for all towers.
        let towers = Towers::started(config, Seed::new(self.gathered.seed), self.device, Some(&start))?;
        Ok(Trained { members: vec![towers], records: Vec::new() })
    }
}

impl Work for MouseWork<'_> {
    type Output = MouseResult;

    fn key(&self) -> ContentHash {
        let mut parts = vec![
            "shared image tower 1".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
            self.gathered.hash.to_string(),
            format!("{} {:?} {}", self.gathered.profile, self.gathered.trials, self.gathered.seed),
            self.mouse.to_string(),
        ];
        parts.extend(self.gathered.animals.iter().map(|animal| animal.dataset.hash.to_string()));
        parts.extend(self.animal().folds.iter().map(|fold| format!("{:?}", fold.window.window)));
        parts.extend(self.animal().folds.iter().map(|fold| format!("{:?}", fold.neurons)));
        ContentHash::of(parts.iter().map(String::as_bytes))
    }

    fn name(&self) -> String {
        format!("{}, shared tower", self.animal().name)
    }

    /// Features of the training images, twice while they are scaled, and the kernels of a read-in.
    fn memory(&self) -> u64 {
        let fold = &self.animal().folds[0];
        let (_, height, width) = fold.images.dim();
        let images = fold.split.train().len() as u64;
        let features = images * 120 * (height.div_ceil(2) * width.div_ceil(2)) as u64 * 4;
        3 * features + 64 * images * images * 4 + (1 << 28)
    }

    fn run(&self) -> Result<MouseResult> {
        let Animal { dataset, folds, .. } = self.animal();
        let mut found = MouseResult {
            mouse: self.animal().name.clone(),
            images: Vec::new(),
            chance_top1: 0.,
            scores: Vec::new(),
            aligned: Vec::new(),
            neural: Vec::new(),
            image: Vec::new(),
            random: Vec::new(),
        };
        let mut decoded: Vec<Vec<_>> = ChosenBy::ALL.map(|_| Vec::new()).into();
        for (index, fold) in folds.iter().enumerate() {
            let common = Common::new(dataset, fold, &self.gathered.config(self.mouse, index)?, self.device)?;
            for (chosen, pools) in ChosenBy::ALL.into_iter().zip(&mut decoded) {
                let trained = self.towers(chosen, index, &common)?;
                let of_fold = decode_towers(dataset, fold, &trained)?;
                pools.extend(of_fold.pools(self.gathered.trials).to_vec());
                if index > 0 || chosen == ChosenBy::Others {
                    continue;
                }
                let (image, neural) = test_maps(dataset, fold, &trained)?;
                match chosen {
                    ChosenBy::All => found.aligned = aligned(&image, &neural),
                    ChosenBy::Random => found.random = coordinates(&image)?,
                    _ => (found.image, found.neural) = (coordinates(&image)?, coordinates(&neural)?),
                }
            }
        }
        for (chosen_by, pools) in ChosenBy::ALL.into_iter().zip(&decoded) {
            let two_way = by_image(pools, Measure::TwoWay)?;
            found.images = two_way.keys().copied().collect();
            let top1 = by_image(pools, Measure::Top1)?.into_values().collect();
            found.scores.push(Scores { chosen_by, two_way: two_way.into_values().collect(), top1 });
        }
        let pools = &decoded[0];
        let chances = pools.iter().map(|pool| pool.truth().len() as f64 / pool.images().len() as f64);
        let queries: usize = pools.iter().map(|pool| pool.truth().len()).sum();
        found.chance_top1 = chances.sum::<f64>() / queries.max(1) as f64;
        Ok(found)
    }
}

/// What every image adds to the correlation of either map of a channel, images x channels.
fn aligned(image: &Array4<f32>, neural: &Array4<f32>) -> Vec<Vec<f64>> {
    let (images, channels, height, width) = image.dim();
    let mut values = vec![vec![0.; channels]; images];
    for channel in 0..channels {
        let moments = |maps: &Array4<f32>| {
            let part = maps.index_axis(Axis(1), channel);
            let n = part.len() as f64;
            let mean = part.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let variance = part.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
            (mean, variance.sqrt().max(f64::from(f32::MIN_POSITIVE)))
        };
        let ((mean_a, sd_a), (mean_b, sd_b)) = (moments(image), moments(neural));
        for (i, row) in values.iter_mut().enumerate() {
            let a = image.index_axis(Axis(0), i);
            let b = neural.index_axis(Axis(0), i);
            let pairs = a
                .index_axis(Axis(0), channel)
                .iter()
                .zip(b.index_axis(Axis(0), channel).iter())
                .map(|(&a, &b)| (f64::from(a) - mean_a) * (f64::from(b) - mean_b))
                .sum::<f64>();
            row[channel] = pairs / (sd_a * sd_b * (height * width) as f64);
        }
    }
    values
}

/// Principal coordinates of the maps of evenly chosen images: `V sqrt(L)` of their centred Gram matrix `V L V'`.
fn coordinates(maps: &Array4<f32>) -> Result<Vec<Vec<f32>>> {
    let images = maps.len_of(Axis(0));
    let kept: Vec<usize> = (0..images).step_by(images.div_ceil(COMPARED).max(1)).collect();
    let kept = maps.select(Axis(0), &kept);
    let (count, size) = (kept.len_of(Axis(0)), kept.len() / kept.len_of(Axis(0)).max(1));
    let flat = kept.into_shape_with_order((count, size));
    let flat: Array2<f32> = flat.map_err(|_| Error::Job("maps are not in row order".into()))?;
    let mean = flat.mean_axis(Axis(0)).unwrap_or_default();
    let flat = (flat - &mean).mapv(f64::from);
    let gram = dina_stats::linalg::matmul(flat.view(), flat.t())?;
    let found = symmetric_eigen(gram.view())?;
    let mut coordinates = found.vectors.mapv(|v| v as f32);
    for (mut column, value) in coordinates.columns_mut().into_iter().zip(&found.values) {
        column *= value.max(0.).sqrt() as f32;
    }
    Ok(coordinates.rows().into_iter().map(|row| row.to_vec()).collect())
}
