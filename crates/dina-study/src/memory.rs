use dina_core::require_memory;
use serde::{Deserialize, Serialize};

use crate::{Dataset, JobConfig, Result, Source};

/// How large a job is: what its memory can be estimated from before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobSize {
    /// Neurons recorded.
    pub neurons: usize,
    /// Presentations, gray screens included.
    pub presentations: usize,
    /// Time points of spontaneous activity.
    pub spontaneous_bins: usize,
    /// Images.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Splits of the images.
    pub folds: usize,
    /// Whether the recording is made, which takes memory of its own.
    pub simulated: bool,
}

impl JobSize {
    /// Of a job whose recording is simulated; that of files is known once they are read.
    pub fn of_config(config: &JobConfig) -> Option<Self> {
        let Source::Simulated(simulation) = &config.source else { return None };
        let shown = simulation.images.saturating_mul(simulation.repeats);
        let gray = if simulation.gray_every == 0 { 0 } else { shown / simulation.gray_every };
        Some(Self {
            neurons: simulation.neurons,
            presentations: shown.saturating_add(gray),
            spontaneous_bins: simulation.spontaneous_bins,
            images: simulation.images,
            pixels: simulation.height.saturating_mul(simulation.width),
            folds: config.folds_for(simulation.images),
            simulated: true,
        })
    }

    /// Of a job on what was read.
    pub fn of(dataset: &Dataset, config: &JobConfig) -> Self {
        let summary = dataset.recording.summary();
        let (images, height, width) = dataset.images.pixels.dim();
        Self {
            neurons: summary.neurons,
            presentations: summary.presentations,
            spontaneous_bins: summary.spontaneous_bins,
            images,
            pixels: height * width,
            folds: config.folds_for(summary.stimuli),
            simulated: false,
        }
    }

    /// Bytes that the job takes at its peak, estimated.
    pub fn memory(&self) -> u64 {
        0
    }

    /// Refuses a job that would take more memory than is available.
    ///
    /// # Errors
    /// [`Error::Memory`](dina_core::Error::Memory) with what is needed and what there is.
    pub fn require(&self) -> Result<()> {
        let Self { neurons, presentations, images, folds, .. } = *self;
        let what = format!(
            "this job ({neurons} neurons, {presentations} presentations, {images} images, {folds} split(s))"
        );
        Ok(require_memory(what, self.memory(), "take fewer neurons, images or folds, or a larger machine")?)
    }
}
