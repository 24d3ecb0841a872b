use serde::{Deserialize, Serialize};

use super::{Maps, Picture};

/// Retrieved images for a few queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrievals {
    /// The rule by which the queries were chosen, a sentence for the caption.
    pub rule: String,
    /// Number of candidates in the search.
    pub pool: usize,
    /// The queries; those with rank 1 are shown apart from the others.
    pub queries: Vec<Retrieval>,
}

/// One query and what it retrieved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retrieval {
    /// The query's name, such as `image 17, trial 2`.
    pub label: String,
    /// The response that asked, one value per neuron in any order, drawn as a bar code; empty
    /// leaves the bar code out.
    pub response: Vec<f32>,
    /// The image that was shown: the right answer.
    pub shown: Picture,
    /// The right answer's similarity to the query.
    pub similarity: f64,
    /// The right answer's rank, 1 is best.
    pub rank: f64,
    /// The best candidates in order, usually five.
    pub retrieved: Vec<Candidate>,
}

/// One retrieved candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The candidate's image.
    pub image: Picture,
    /// Its similarity to the query.
    pub similarity: f64,
    /// Whether it is the right answer.
    pub correct: bool,
}

/// The aligned maps of a few images at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapExamples {
    /// The level's name.
    pub level: String,
    /// The rule by which the images were chosen, a sentence for the caption.
    pub rule: String,
    /// The images.
    pub images: Vec<MapExample>,
}

/// What the two towers make of one image and of the response to it. All channels are given; the
/// figure chooses which to draw, by alignability where that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MapExample {
    /// The image's name.
    pub label: String,
    /// The image.
    pub image: Picture,
    /// The image tower's maps.
    pub image_tower: Maps,
    /// The neural tower's maps, of the same shape.
    pub neural_tower: Maps,
}
