use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Recording;

/// What a recording holds, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// File or population.
    pub origin: String,
    /// Presentations, gray screens included.
    pub presentations: usize,
    /// Images of the stimulus set that were shown at least once.
    pub stimuli: usize,
    /// Images in the stimulus set.
    pub images: usize,
    /// The smallest number of presentations of an image that was shown.
    pub repeats: usize,
    /// The largest.
    pub most_repeats: usize,
    /// Neurons.
    pub neurons: usize,
    /// Gray screens among the presentations.
    pub gray_screens: usize,
    /// Time points of spontaneous activity.
    pub spontaneous_bins: usize,
    /// Neurons with the red label; `None` where the recording does not say.
    pub red_cells: Option<usize>,
    /// Whether the recording says where its neurons lie.
    pub positions: bool,
}

impl Recording {
    /// What this recording holds, in numbers.
    pub fn summary(&self) -> Summary {
        let shown: Vec<usize> = self.trials().iter().map(Vec::len).filter(|&n| n > 0).collect();
        Summary {
            origin: self.origin().to_owned(),
            presentations: self.presentations(),
            stimuli: shown.len(),
            images: self.images(),
            repeats: shown.iter().copied().min().unwrap_or(0),
            most_repeats: shown.iter().copied().max().unwrap_or(0),
            neurons: self.neurons(),
            gray_screens: self.gray_screens(),
            spontaneous_bins: self.spontaneous().map_or(0, |s| s.nrows()),
            red_cells: self.red_cells().map(|r| r.iter().filter(|&&r| r).count()),
            positions: self.positions().is_some(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} neurons, ", self.origin, self.neurons)?;
        if let Some(red) = self.red_cells {
            write!(f, "{red} of them red, ")?;
        }
        write!(
            f,
            "{} presentations of {} images ({} to {} times) and {} gray screens, {} spontaneous bins",
            self.presentations,
            self.stimuli,
            self.repeats,
            self.most_repeats,
            self.gray_screens,
            self.spontaneous_bins
        )
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::split::tests::shown;

    #[test]
    fn everything_is_counted() {
        let recording = shown(&[2, 0, 3])
            .with_spontaneous(Array2::zeros((7, 3)))
            .and_then(|r| r.with_red_cells(vec![true, false, false]))
            .unwrap();
        let summary = recording.summary();
        assert_eq!(summary.presentations, 7);
        assert_eq!((summary.stimuli, summary.images), (2, 3));
        assert_eq!((summary.repeats, summary.most_repeats), (2, 3));
        assert_eq!((summary.gray_screens, summary.spontaneous_bins), (2, 7));
        assert_eq!((summary.red_cells, summary.positions), (Some(1), false));
        assert!(summary.to_string().contains("1 of them red"));
        let text = serde_json::to_string(&summary).unwrap();
        assert_eq!(serde_json::from_str::<Summary>(&text).unwrap(), summary);
    }
}
