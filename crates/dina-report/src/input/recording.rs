use serde::{Deserialize, Serialize};

/// The recording in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingSummary {
    /// File or population.
    pub name: String,
    /// Number of neurons analysed.
    pub neurons: usize,
    /// Number of different images shown.
    pub stimuli: usize,
    /// Number of presentations, gray screens included.
    pub presentations: usize,
    /// The smallest number of repeats of an image.
    pub repeats: usize,
    /// Number of gray screens.
    pub gray_screens: usize,
    /// Mean signal variance over neurons.
    pub signal_variance: Option<f64>,
    /// Median split-half correlation over neurons.
    pub split_half_r: Option<f64>,
    /// Repeat-to-repeat identification over the whole stimulus set.
    pub self_retrieval: Option<SelfRetrieval>,
    /// The split-half correlation of every neuron, for the histogram; empty leaves it out.
    pub reliability: Vec<f64>,
}

/// Identification of one half of the repeats by the other half: no image is decoded here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfRetrieval {
    /// Number of candidates.
    pub pool: usize,
    /// Fraction of queries whose own image ranks first.
    pub top1: f64,
    /// Fraction of queries whose own image is among the first five.
    pub top5: f64,
}
