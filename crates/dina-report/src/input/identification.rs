use serde::{Deserialize, Serialize};

/// What one query of the identification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trials {
    /// One presentation.
    Single,
    /// The mean over all repeats of an image.
    Mean,
}

/// Which side asks and which side is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A response asks for its image.
    NeuralToImage,
    /// An image asks for its response.
    ImageToNeural,
}

/// A measure of identification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Fraction of queries whose true candidate ranks first; chance is 1 / pool.
    Top1,
    /// Fraction of queries whose true candidate is among the first five; chance is 5 / pool.
    Top5,
    /// (N - mean rank) / (N - 1); chance is 0.5.
    TwoWay,
}

/// The rows and the measure that a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The split, as in [`Identification::split`].
    pub split: String,
    /// What one query is.
    pub trials: Trials,
    /// Which side asks.
    pub direction: Direction,
    /// The measure compared.
    pub measure: Measure,
}

/// One decoder in one condition; the field names are those of `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identification {
    /// `dina`, `ridge_encoding`, `ridge_decoding`, `nearest_neighbour`, or a name of one's own.
    pub decoder: String,
    /// The view of the data, such as `test`.
    pub split: String,
    /// What one query is.
    pub trials: Trials,
    /// Which side asks.
    pub direction: Direction,
    /// Number of candidates; the mean over folds where they differ, rounded.
    pub pool: usize,
    /// Number of queries.
    pub n: usize,
    /// Number of folds; 1 for a held-out set.
    pub folds: usize,
    /// Expected `top1` of guessing.
    pub chance_top1: f64,
    /// Fraction of queries whose true candidate ranks first.
    pub top1: f64,
    /// Fraction of queries whose true candidate is among the first five.
    pub top5: f64,
    /// (N - mean rank) / (N - 1).
    pub two_way: f64,
    /// Median rank of the true candidate.
    pub median_rank: f64,
    /// Lower end of the interval of `top1`.
    pub ci_low: f64,
    /// Upper end of the interval of `top1`.
    pub ci_high: f64,
    /// Permutation p of identification above chance.
    pub p: f64,
}

impl Identification {
    /// The value of a measure.
    pub fn value(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Top1 => self.top1,
            Measure::Top5 => self.top5,
            Measure::TwoWay => self.two_way,
        }
    }

    /// What guessing gives in a measure.
    pub fn chance(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Top1 => self.chance_top1,
            Measure::Top5 => (5. * self.chance_top1).min(1.),
            Measure::TwoWay => 0.5,
        }
    }
}

/// `dina` minus one baseline on the same queries, in the primary condition and measure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline's name, as in [`Identification::decoder`].
    pub baseline: String,
    /// The mean paired difference; positive where `dina` is better.
    pub difference: f64,
    /// Lower end of its interval.
    pub ci_low: f64,
    /// Upper end of its interval.
    pub ci_high: f64,
    /// The p value, corrected over the baselines.
    pub p_adjusted: f64,
}

/// Self-retrieval in the same pool as a row of [`Identification`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The split, as in [`Identification::split`].
    pub split: String,
    /// What one query is.
    pub trials: Trials,
    /// Number of candidates.
    pub pool: usize,
    /// Fraction of queries whose own image ranks first.
    pub top1: f64,
    /// Fraction of queries whose own image is among the first five.
    pub top5: f64,
}

/// The ranks of the true candidates under one decoder, in the primary condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranks {
    /// The decoder's name, as in [`Identification::decoder`].
    pub decoder: String,
    /// Number of candidates.
    pub pool: usize,
    /// One rank per query, 1 is best; ties are mid-ranks.
    pub ranks: Vec<f64>,
}

/// Identification in random pools of growing size, in the primary condition's trials and direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolStudy {
    /// A query counts when its true candidate is among the first `k`; chance is k / pool.
    pub k: usize,
    /// Number of queries at each pool size.
    pub n: usize,
    /// How the pools were drawn, a clause for the caption.
    pub drawn: String,
    /// One curve per decoder.
    pub curves: Vec<PoolCurve>,
    /// Self-retrieval in the same pools; empty where there is none.
    pub ceiling: Vec<PoolPoint>,
}

/// One decoder over pool sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolCurve {
    /// The decoder's name, as in [`Identification::decoder`].
    pub decoder: String,
    /// One point per pool size.
    pub points: Vec<PoolPoint>,
}

/// Identification in pools of one size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PoolPoint {
    /// Number of candidates.
    pub pool: usize,
    /// Fraction of queries whose true candidate is among the first k.
    pub top_k: f64,
    /// Lower end of its interval; equal to `top_k` where there is none.
    pub ci_low: f64,
    /// Upper end of its interval; equal to `top_k` where there is none.
    pub ci_high: f64,
}
