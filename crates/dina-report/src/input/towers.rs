use serde::{Deserialize, Serialize};

/// The two towers and where they meet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Towers {
    /// The tower that sees images.
    pub image: TowerDescription,
    /// The tower that sees responses.
    pub neural: TowerDescription,
    /// The aligned levels.
    pub levels: Vec<Level>,
    /// The similarity of two sets of maps, such as "mean over channels of the cosine".
    pub similarity: String,
    /// The objective, such as "symmetric InfoNCE with several positives".
    pub objective: String,
}

/// One tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TowerDescription {
    /// The input and its shape, such as `image 1 x 34 x 45`.
    pub input: String,
    /// One line per layer, from the input on.
    pub layers: Vec<String>,
    /// Number of trained values.
    pub parameters: usize,
}

/// The shape of one aligned level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The level's name.
    pub name: String,
    /// Number of channels.
    pub channels: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}
