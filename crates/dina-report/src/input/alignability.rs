use serde::{Deserialize, Serialize};

/// How well each channel of one level aligns on held-out images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alignability {
    /// The level's name.
    pub level: String,
    /// Number of held-out images.
    pub images: usize,
    /// Number of label permutations behind the null.
    pub permutations: usize,
    /// The part of the null between `null_low` and `null_high`, such as 0.95.
    pub null_coverage: f64,
    /// The correction over channels, such as "Westfall-Young step-down maxT".
    pub correction: String,
    /// The level of significance of the corrected p.
    pub alpha: f64,
    /// One entry per channel.
    pub channels: Vec<ChannelAlignability>,
}

/// One channel: correlation, over images and positions, of the two towers' maps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChannelAlignability {
    /// The channel's number.
    pub channel: usize,
    /// The correlation.
    pub r: f64,
    /// Its interval, where it has one.
    #[serde(default)]
    pub interval: Option<[f64; 2]>,
    /// Lower end of the null's central part.
    pub null_low: f64,
    /// Upper end of the null's central part.
    pub null_high: f64,
    /// The corrected p.
    pub p_adjusted: f64,
}
