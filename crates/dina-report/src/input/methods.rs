use serde::{Deserialize, Serialize};

/// How it was done: the methods text is written from this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Methods {
    /// How the data came about, one or two sentences.
    pub data: String,
    /// What was done to the images, in order, a clause each ("cropped to 68 x 90").
    pub images: Vec<String>,
    /// What was done to the responses, in order, a clause each ("z-scored on the training view").
    pub responses: Vec<String>,
    /// How images were divided.
    pub split: Split,
    /// How the towers were trained.
    pub optimisation: Optimisation,
    /// The rivals.
    pub baselines: Vec<BaselineMethod>,
    /// How uncertainty was judged.
    pub inference: Inference,
}

/// How images were divided into training, validation and test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// Whether one set was held out or every image once.
    pub scheme: Scheme,
    /// Number of training images (of the first fold).
    pub train: usize,
    /// Number of validation images (of the first fold).
    pub validation: usize,
    /// Number of test images (of the first fold).
    pub test: usize,
    /// What stays on one side, a clause: "all repeats of an image and its near duplicates".
    pub kept_together: String,
}

/// Held-out set or cross-validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// One test set.
    HeldOut,
    /// Every image is in the test set of exactly one fold.
    CrossValidated {
        /// Number of folds.
        folds: usize,
    },
}

/// How the towers were trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimisation {
    /// The optimiser, such as `AdamW`.
    pub optimiser: String,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// The schedule, a clause: "linear warm-up over 50 steps, then cosine".
    pub schedule: String,
    /// Images in a batch.
    pub batch: usize,
    /// Most steps that a run could take.
    pub steps: u64,
    /// Global norm at which gradients are clipped.
    pub clip_norm: Option<f64>,
    /// The rule that stops a run and picks the weights, a clause.
    pub stopping: String,
    /// Whatever else a reader needs to repeat it, a sentence each.
    pub details: Vec<String>,
}

/// One rival and how it was tuned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselineMethod {
    /// The decoder's name, as in [`Identification::decoder`](crate::Identification::decoder).
    pub decoder: String,
    /// What it does and how it was tuned, a sentence.
    pub description: String,
    /// Whether it is given other responses to the test images, and so decodes no unseen ones. The verdict then names it
    /// apart from the others.
    pub given_test_responses: bool,
}

/// How uncertainty was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inference {
    /// The interval, such as "BCa bootstrap over images".
    pub interval: String,
    /// Its coverage, such as 0.95.
    pub coverage: f64,
    /// Number of bootstrap samples.
    pub bootstrap_samples: usize,
    /// The test against chance, such as "permutation of image labels".
    pub null: String,
    /// Number of permutations.
    pub permutations: usize,
    /// The test of `dina` against a baseline, such as "paired sign flip over images".
    pub comparison: String,
    /// The correction over baselines, such as "Holm".
    pub correction: String,
    /// The level of significance.
    pub alpha: f64,
}
