//! Identification: which of the candidate images was shown?
//!
//! A [`Pool`] is one set of queries against one set of candidates; cross-validation gives one a fold.
//! [`Evaluation::figures`] turns pools into the numbers that are reported, with an interval that
//! resamples images and a p-value that permutes them, because trials of one image are not
//! independent.

use std::collections::BTreeMap;

use dina_core::Seed;
use dina_stats::{
    bootstrap::{Bootstrap, IntervalMethod, Resampling},
    permutation::{Tail, p_value},
};
use ndarray::{Array2, ArrayView2};
use rand::seq::SliceRandom;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    ranks::{Ranks, check_pool, median, two_way_of_every_candidate},
};

/// Queries against candidates, with what is known about both.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    similarity: Array2<f32>,
    truth: Vec<usize>,
    images: Vec<usize>,
}

impl Pool {
    /// Trials (or repeat means) as queries and images as candidates.
    ///
    /// - `similarity`: trials x candidate images; larger is more similar.
    /// - `truth`: per trial the column of the image that was shown.
    /// - `images`: per column the number of the image in the stimulus set, the same in all pools.
    ///
    /// # Errors
    /// As [`Ranks::new`]; [`Error::Shape`] when `images` has another length than there are columns,
    /// [`Error::Value`] when it names an image twice.
    pub fn new(similarity: Array2<f32>, truth: Vec<usize>, images: Vec<usize>) -> Result<Self> {
        check_pool(similarity.dim(), &truth)?;
        Error::all_finite("similarity", similarity.view())?;
        if images.len() != similarity.ncols() {
            return Err(Error::shape("candidate images", similarity.ncols(), images.len()));
        }
        let mut sorted = images.clone();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|w| w[0] == w[1]) {
            return Err(Error::value(
                "a candidate image",
                "listed once in a pool",
                format!("{} listed twice", twice[0]),
            ));
        }
        Ok(Self { similarity, truth, images })
    }

    /// The similarity, queries x candidates.
    pub fn similarity(&self) -> ArrayView2<'_, f32> {
        self.similarity.view()
    }

    /// Per query the column of its true candidate.
    pub fn truth(&self) -> &[usize] {
        &self.truth
    }

    /// Per candidate its image (of a trial: the image that was shown).
    pub fn images(&self) -> &[usize] {
        &self.images
    }

    /// The ranks of the true candidates.
    ///
    /// # Errors
    /// None for a pool that was built; the type is that of [`Ranks::new`].
    pub fn ranks(&self) -> Result<Ranks> {
        Ranks::new(self.similarity.view(), &self.truth)
    }

    /// The other direction: images as queries, and as candidates one trial of each image. The k-th
    /// trials of all images make the k-th pool, so that each has one right answer and as many
    /// candidates as this one; there are as many pools as the image with the fewest trials has.
    ///
    /// # Errors
    /// [`Error::Value`] when some candidate image has no trial.
    pub fn image_to_neural(&self) -> Result<Vec<Self>> {
        let candidates = self.images.len();
        let mut trials = vec![Vec::new(); candidates];
        for (query, &column) in self.truth.iter().enumerate() {
            trials[column].push(query);
        }
        let repeats = trials.iter().map(Vec::len).min().unwrap_or(0);
        if repeats == 0 {
            return Err(Error::value(
                "trials of a candidate image",
                "at least 1 to identify trials from images",
                0,
            ));
        }
        (0..repeats)
            .map(|k| {
                let similarity = Array2::from_shape_fn((candidates, candidates), |(image, other)| {
                    self.similarity[[trials[other][k], image]]
                });
                Self::new(similarity, (0..candidates).collect(), self.images.clone())
            })
            .collect()
    }
}

/// The decoders that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decoder {
    /// The two aligned towers.
    Dina,
    /// Predicts each candidate's response from Gabor features (Kay et al. 2008).
    RidgeEncoding,
    /// Predicts image features from the response.
    RidgeDecoding,
    /// Compares with another repeat of each candidate; not a decoder of unseen images.
    NearestNeighbour,
}

/// What a query or candidate on the neural side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trials {
    /// One presentation.
    Single,
    /// The mean over the repeats of an image.
    Mean,
}

/// What is identified from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The image shown, from a response.
    NeuralToImage,
    /// The response evoked, from an image.
    ImageToNeural,
}

/// One reported identification: an entry of `identification` in `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identification {
    /// Who decodes.
    pub decoder: Decoder,
    /// The held-out part, such as `test` or `validation`.
    pub split: String,
    /// Single trials or repeat means.
    pub trials: Trials,
    /// What is identified from what.
    pub direction: Direction,
    /// The numbers.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The numbers of an identification, over all queries of all folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Candidates of a query; the median where folds differ.
    pub pool: usize,
    /// Number of queries.
    pub n: usize,
    /// Number of folds: distinct sets of candidates.
    pub folds: usize,
    /// Mean over queries of 1 / N.
    pub chance_top1: f64,
    /// Mean over queries of 5 / N.
    pub chance_top5: f64,
    /// Fraction of queries of rank 1.
    pub top1: f64,
    /// Fraction of queries of rank 5 or better.
    pub top5: f64,
    /// Mean over queries of (N - rank) / (N - 1).
    pub two_way: f64,
    /// Mean over queries of 1 / rank.
    pub mean_reciprocal_rank: f64,
    /// Median over queries of the rank.
    pub median_rank: f64,
    /// Lower end of the interval of `top1`, images resampled.
    pub ci_low: f64,
    /// Upper end of the interval of `top1`.
    pub ci_high: f64,
    /// How the interval was made.
    pub ci_method: IntervalMethod,
    /// p of `top1` against the permutation of which image each group of trials belongs to; one-sided.
    pub p: f64,
    /// The same for `two_way`.
    pub p_two_way: f64,
}

/// How identification is tested. The default is 1,000 permutations and a BCa interval of 2,000
/// replicates at 0.95.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Label permutations; p is never below 1 / (1 + this).
    pub permutations: usize,
    /// The interval.
    pub bootstrap: Bootstrap,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self { permutations: 1000, bootstrap: Bootstrap::default() }
    }
}

impl Evaluation {
    /// The figures over all queries of some pools.
    ///
    /// The interval resamples images with all their queries, in whatever pool they are. The null
    /// permutes, within each fold, which image the queries of each image belong to; pools with the same
    /// candidates (the trials of [`Pool::image_to_neural`]) are one fold and are permuted together.
    ///
    /// # Errors
    /// [`Error::Value`] without pools or permutations, [`Error::Statistics`] when there are fewer than
    /// two images to resample.
    pub fn figures(&self, pools: &[Pool], seed: Seed) -> Result<Figures> {
        if pools.is_empty() {
            return Err(Error::value("number of pools", "at least 1", 0));
        }
        if self.permutations == 0 {
            return Err(Error::value("number of permutations", "at least 1", 0));
        }
        let queries = Query::all(pools)?;
        let mean =
            |value: &dyn Fn(&Query) -> f64| queries.iter().map(value).sum::<f64>() / queries.len() as f64;
        let interval = self.interval(&queries, seed.child("bootstrap"))?;
        let folds = Fold::all(pools);
        let [p, p_two_way] = self.permute(&folds, seed.child("labels"))?;
        Ok(Figures {
            pool: median(queries.iter().map(|q| q.pool).collect()).round() as usize,
            n: queries.len(),
            folds: folds.len(),
            chance_top1: mean(&|q| 1.0 / q.pool),
            chance_top5: mean(&|q| (5.0 / q.pool).min(1.0)),
            top1: mean(&|q| q.hit(1.0)),
            top5: mean(&|q| q.hit(5.0)),
            two_way: mean(&|q| (q.pool - q.rank) / (q.pool - 1.0)),
            mean_reciprocal_rank: mean(&|q| 1.0 / q.rank),
            median_rank: median(queries.iter().map(|q| q.rank).collect()),
            ci_low: interval.low,
            ci_high: interval.high,
            ci_method: interval.method,
            p,
            p_two_way,
        })
    }

    fn interval(&self, queries: &[Query], seed: Seed) -> Result<dina_stats::bootstrap::Interval> {
        // Hits and queries of each image: all that resampling whole images needs.
        let mut images: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for query in queries {
            let (hits, count) = images.entry(query.image).or_default();
            *hits += query.hit(1.0);
            *count += 1.0;
        }
        let images: Vec<(f64, f64)> = images.into_values().collect();
        let top1 = |drawn: &[usize]| {
            let (mut hits, mut count) = (0.0, 0.0);
            for &image in drawn {
                hits += images[image].0;
                count += images[image].1;
            }
            hits / count
        };
        let resampling = Resampling::items(images.len());
        Ok(self.bootstrap.interval(&resampling, top1, seed)?)
    }

    /// p of top-1 and of two-way.
    fn permute(&self, folds: &[Fold], seed: Seed) -> Result<[f64; 2]> {
        let score = |maps: &[Vec<usize>]| {
            let (mut hits, mut two_way) = (0.0, 0.0);
            for (fold, map) in folds.iter().zip(maps) {
                let (h, t) = fold.score(map);
                hits += h;
                two_way += t;
            }
            (hits, two_way)
        };
        let as_is: Vec<Vec<usize>> = folds.iter().map(Fold::identity).collect();
        let observed = score(&as_is);
        let null: Vec<(f64, f64)> = (0..self.permutations)
            .into_par_iter()
            .map(|b| {
                let mut rng = seed.index(b).stream("labels");
                let maps: Vec<Vec<usize>> = folds.iter().map(|f| f.shuffled(&mut rng)).collect();
                score(&maps)
            })
            .collect();
        let (hits, two_way): (Vec<f64>, Vec<f64>) = null.into_iter().unzip();
        Ok([
            p_value(observed.0, &hits, Tail::Greater, false)?,
            p_value(observed.1, &two_way, Tail::Greater, false)?,
        ])
    }
}

/// What the figures need of a query.
struct Query {
    rank: f64,
    pool: f64,
    image: usize,
}

impl Query {
    fn all(pools: &[Pool]) -> Result<Vec<Self>> {
        let mut queries = Vec::new();
        for pool in pools {
            let ranks = pool.ranks()?;
            queries.extend(ranks.values().zip(&pool.truth).map(|(rank, &column)| Self {
                rank,
                pool: pool.images.len() as f64,
                image: pool.images[column],
            }));
        }
        Ok(queries)
    }

    fn hit(&self, k: f64) -> f64 {
        f64::from(u8::from(self.rank <= k))
    }
}

/// All pools with the same candidates, ready for many relabellings.
struct Fold {
    pools: Vec<Scored>,
    candidates: usize,
    /// Columns that are the truth of some query: these are exchanged.
    shown: Vec<usize>,
}

/// What each candidate would score, were it the true one.
struct Scored {
    truth: Vec<usize>,
    /// Per query the candidate of rank 1, if no other ties with it.
    best: Vec<Option<usize>>,
    two_way: Array2<f32>,
}

impl Fold {
    fn all(pools: &[Pool]) -> Vec<Self> {
        let mut same: BTreeMap<&[usize], Vec<&Pool>> = BTreeMap::new();
        for pool in pools {
            same.entry(&pool.images).or_default().push(pool);
        }
        same.into_iter()
            .map(|(images, pools)| {
                let mut shown: Vec<usize> = pools.iter().flat_map(|p| &p.truth).copied().collect();
                shown.sort_unstable();
                shown.dedup();
                Self { pools: pools.into_iter().map(Scored::new).collect(), candidates: images.len(), shown }
            })
            .collect()
    }

    fn identity(&self) -> Vec<usize> {
        (0..self.candidates).collect()
    }

    fn shuffled(&self, rng: &mut dina_core::Stream) -> Vec<usize> {
        let mut labels = self.shown.clone();
        labels.shuffle(rng);
        let mut map = self.identity();
        for (&column, &label) in self.shown.iter().zip(&labels) {
            map[column] = label;
        }
        map
    }

    /// Hits and sum of two-way scores when the truth of each query is read through `map`.
    fn score(&self, map: &[usize]) -> (f64, f64) {
        let (mut hits, mut two_way) = (0.0, 0.0);
        for pool in &self.pools {
            for (query, &column) in pool.truth.iter().enumerate() {
                let label = map[column];
                hits += f64::from(u8::from(pool.best[query] == Some(label)));
                two_way += f64::from(pool.two_way[[query, label]]);
            }
        }
        (hits, two_way)
    }
}

impl Scored {
    fn new(pool: &Pool) -> Self {
        let two_way = two_way_of_every_candidate(pool.similarity());
        // Only a candidate that beats all others scores exactly 1.
        let best = two_way.rows().into_iter().map(|row| row.iter().position(|&score| score == 1.0)).collect();
        Self { truth: pool.truth.clone(), best, two_way }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use ndarray::{Array, array};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    /// `repeats` trials of each image, whose similarity to the true candidate is `signal` larger.
    fn pool(images: usize, repeats: usize, signal: f32, first: usize, seed: Seed) -> Pool {
        let mut rng = seed.stream("pool");
        let truth: Vec<usize> = (0..images * repeats).map(|t| t % images).collect();
        let similarity = Array::from_shape_fn((truth.len(), images), |(t, i)| {
            let noise: f32 = StandardNormal.sample(&mut rng);
            noise + if truth[t] == i { signal } else { 0.0 }
        });
        Pool::new(similarity, truth, (first..first + images).collect()).unwrap()
    }

    fn quick() -> Evaluation {
        Evaluation { permutations: 199, bootstrap: Bootstrap { replicates: 200, ..Bootstrap::default() } }
    }

    #[test]
    fn folds_are_averaged_over_queries() {
        let first = Pool::new(array![[0.9, 0.1], [0.8, 0.2]], vec![0, 1], vec![4, 5]).unwrap();
        let second =
            Pool::new(array![[0.9, 0.1, 0.3, 0.5], [0.1, 0.9, 0.2, 0.3]], vec![2, 1], vec![0, 1, 2, 3])
                .unwrap();
        let found = quick().figures(&[first, second], Seed::new(0)).unwrap();
        assert_eq!((found.n, found.folds, found.pool), (4, 2, 3));
        assert_relative_eq!(found.chance_top1, (0.5 + 0.5 + 0.25 + 0.25) / 4.0);
        assert_relative_eq!(found.top1, 0.5);
        assert_relative_eq!(found.top5, 1.0);
        // Ranks 1 of 2, 2 of 2, 3 of 4, 1 of 4.
        assert_relative_eq!(found.two_way, (1.0 + 0.0 + 1.0 / 3.0 + 1.0) / 4.0);
        assert_relative_eq!(found.median_rank, 1.5);
    }

    #[test]
    fn signal_is_found_and_noise_is_not() {
        let signal = quick().figures(&[pool(60, 2, 2.5, 0, Seed::new(1))], Seed::new(2)).unwrap();
        assert!(signal.top1 > 0.3 && signal.two_way > 0.9);
        assert!(signal.ci_low < signal.top1 && signal.top1 < signal.ci_high);
        assert_relative_eq!(signal.p, 1.0 / 200.0);
        assert_relative_eq!(signal.p_two_way, 1.0 / 200.0);
        let noise = quick().figures(&[pool(60, 2, 0.0, 0, Seed::new(3))], Seed::new(2)).unwrap();
        assert!(noise.ci_low <= noise.chance_top1 && noise.chance_top1 <= noise.ci_high);
        assert!((noise.two_way - 0.5).abs() < 0.12);
    }

    /// Trials of one image share their errors here; were they permuted one by one, p would be far
    /// too small far too often.
    #[test]
    fn p_is_uniform_under_the_null_of_dependent_trials() {
        let evaluation =
            Evaluation { permutations: 39, bootstrap: Bootstrap { replicates: 1, level: 0.95, bca: false } };
        let runs = 400;
        let mut at = [0; 3];
        for run in 0..runs {
            let seed = Seed::new(7).index(run);
            let one = pool(10, 1, 0.0, 0, seed);
            let similarity =
                ndarray::concatenate![ndarray::Axis(0), one.similarity, one.similarity, one.similarity];
            let truth = one.truth.repeat(3);
            let copies = Pool::new(similarity, truth, one.images).unwrap();
            let p = evaluation.figures(&[copies], seed).unwrap().p_two_way;
            for (count, bound) in at.iter_mut().zip([0.05, 0.25, 0.5]) {
                *count += usize::from(p <= bound + 1e-9);
            }
        }
        for (count, bound) in at.iter().zip([0.05, 0.25, 0.5]) {
            let mean = f64::from(runs as u32) * bound;
            let sd = (mean * (1.0 - bound)).sqrt();
            assert!((f64::from(*count as u32) - mean).abs() < 4.0 * sd, "{count} at {bound}");
        }
    }

    #[test]
    fn other_direction_by_hand() {
        // Two images, two trials each, in the order a b b a.
        let similarity = array![[4.0, 1.0], [0.0, 2.0], [7.0, 5.0], [6.0, 3.0]];
        let pool = Pool::new(similarity, vec![0, 1, 1, 0], vec![8, 9]).unwrap();
        let pools = pool.image_to_neural().unwrap();
        assert_eq!(pools.len(), 2);
        assert_eq!(pools[0].similarity, array![[4.0, 0.0], [1.0, 2.0]]);
        assert_eq!(pools[1].similarity, array![[6.0, 7.0], [3.0, 5.0]]);
        let found = quick().figures(&pools, Seed::new(0)).unwrap();
        assert_eq!((found.n, found.folds), (4, 1));
        assert_relative_eq!(found.top1, 0.75);
    }

    #[test]
    fn any_number_of_threads_gives_the_same_figures() {
        let pools = [pool(30, 2, 1.0, 0, Seed::new(1)), pool(31, 2, 1.0, 30, Seed::new(2))];
        let run = |threads| {
            let workers = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            workers.install(|| quick().figures(&pools, Seed::new(3)).unwrap())
        };
        assert_eq!(run(1), run(4));
    }

    #[test]
    fn json_has_the_agreed_fields() {
        let entry = Identification {
            decoder: Decoder::RidgeEncoding,
            split: "test".into(),
            trials: Trials::Single,
            direction: Direction::NeuralToImage,
            figures: quick().figures(&[pool(5, 1, 1.0, 0, Seed::new(1))], Seed::new(0)).unwrap(),
        };
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!(json["decoder"], "ridge_encoding");
        assert_eq!(json["trials"], "single");
        assert_eq!(json["direction"], "neural_to_image");
        for field in [
            "split",
            "pool",
            "n",
            "folds",
            "chance_top1",
            "top1",
            "top5",
            "two_way",
            "median_rank",
            "ci_low",
            "ci_high",
            "p",
        ] {
            assert!(!json[field].is_null(), "{field}");
        }
        assert_eq!(serde_json::from_value::<Identification>(json).unwrap(), entry);
    }

    #[test]
    fn refuses_nonsense() {
        let similarity = array![[0.1, 0.2]];
        assert!(Pool::new(similarity.clone(), vec![0], vec![3]).is_err());
        assert!(Pool::new(similarity.clone(), vec![0], vec![3, 3]).is_err());
        let lonely = Pool::new(similarity, vec![0], vec![3, 4]).unwrap();
        assert!(lonely.image_to_neural().is_err());
        assert!(quick().figures(&[], Seed::new(0)).is_err());
        assert!(quick().figures(&[lonely], Seed::new(0)).is_err());
    }
}
