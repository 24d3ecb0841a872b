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
}

impl JobSize {
    /// Of a job whose recording is simulated; that of files is known once they are read.
    pub fn of_config(config: &JobConfig) -> Option<Self> {
        let Source::Simulated(simulation) = &config.source else { return None };
        let shown = simulation.images.saturating_mul(simulation.repeats);
        let gray = shown.checked_div(simulation.gray_every).unwrap_or(0);
        Some(Self {
            neurons: simulation.neurons,
            presentations: shown.saturating_add(gray),
            spontaneous_bins: simulation.spontaneous_bins,
            images: simulation.images,
            pixels: simulation.height.saturating_mul(simulation.width),
            folds: config.folds_for(simulation.images),
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
        }
    }

    /// Bytes that training and decoding take at their peak, estimated from what they hold at a time: responses in
    /// several forms, images and the features that decoders make of them, Gram matrices of ridge regressions, and the
    /// read-in of the towers with its moments. A simulated recording is made before, and takes no more.
    ///
    /// Meant to be more than is taken, and less than twice that; `docs/limits.md` compares with measured runs.
    pub fn memory(&self) -> u64 {
        let wide = |count: usize| count as u64;
        let product = |counts: &[u64]| counts.iter().fold(1_u64, |all, &n| all.saturating_mul(n));
        let (neurons, images) = (wide(self.neurons), wide(self.images));
        let bins = wide(self.presentations).saturating_add(wide(self.spontaneous_bins));
        let forms = wide(self.folds).saturating_mul(3).saturating_add(6);
        let smaller = neurons.min(wide(self.presentations));
        [
            FIXED,
            product(&[4, forms, neurons, bins]),
            product(&[PIXEL, images, wide(self.pixels)]),
            product(&[16, smaller, smaller]),
            product(&[NEURON, neurons]),
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// The same for the study of claims, which keeps further versions of the images, and studies simulated recordings beside
    /// this one, so many at a time: as many as there are threads where memory allows, one at least.
    pub fn memory_of_claims(&self, at_a_time: usize) -> u64 {
        let pixels = (self.images as u64).saturating_mul(self.pixels as u64).saturating_mul(CLAIMS_PIXEL);
        let beside = CALIBRATION.saturating_mul(at_a_time as u64);
        self.memory().saturating_add(pixels).saturating_add(beside)
    }

    /// Refuses a job that would take more memory than is available.
    ///
    /// # Errors
    /// [`Error::Memory`](dina_core::Error::Memory) with what is needed and what there is.
    pub fn require(&self) -> Result<()> {
        self.refuse("this job", self.memory())
    }

    /// Refuses a study of claims that would take more memory than is available beside `taken`.
    pub(crate) fn require_for_claims(&self, taken: u64) -> Result<()> {
        self.refuse("the study of claims", self.memory_of_claims(1).saturating_sub(taken))
    }

    fn refuse(&self, what: &str, needed: u64) -> Result<()> {
        let Self { neurons, presentations, images, folds, .. } = *self;
        let what = format!(
            "{what} ({neurons} neurons, {presentations} presentations, {images} images, {folds} split(s))"
        );
        Ok(require_memory(what, needed, "take fewer neurons, images or folds, or a larger machine")?)
    }
}

/// What a job takes whatever its size: the program, its tables, buffers of every thread.
const FIXED: u64 = 200 << 20;

/// Bytes a pixel of every image: resampled images, their spectra, features of the baselines.
const PIXEL: u64 = 30;

/// Bytes a neuron: the factors of the read-in, their gradient, both moments and the average.
const NEURON: u64 = 40 << 10;

/// Further bytes a pixel of every image in the study of claims: pictures and features of every band.
const CLAIMS_PIXEL: u64 = 48;

/// Bytes of a simulated recording that is studied beside.
const CALIBRATION: u64 = 500 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;

    #[test]
    fn the_estimate_holds_what_was_measured_and_grows_with_every_size() {
        let quick = JobSize::of_config(&JobConfig::simulated(Profile::Quick, 1)).unwrap();
        assert_eq!((quick.neurons, quick.images, quick.presentations), (400, 1600, 3360));
        // Measured: 0.84 GiB, and 2.7 GiB with the claims.
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        assert!((0.84..1.5).contains(&gib(quick.memory())), "{}", gib(quick.memory()));
        assert!((2.7..3.5).contains(&gib(quick.memory_of_claims(2))), "{}", gib(quick.memory_of_claims(2)));
        let smoke = JobSize::of_config(&JobConfig::simulated(Profile::Smoke, 1)).unwrap();
        assert!((1.37..2.).contains(&gib(smoke.memory_of_claims(2))), "{}", gib(smoke.memory_of_claims(2)));
        let most = JobSize { neurons: usize::MAX, ..quick };
        assert_eq!(most.memory(), u64::MAX);
        for larger in [
            JobSize { neurons: 800, ..quick },
            JobSize { presentations: 9000, ..quick },
            JobSize { images: 3200, ..quick },
            JobSize { pixels: 40_000, ..quick },
            JobSize { folds: 6, ..quick },
        ] {
            assert!(larger.memory() > quick.memory());
        }
    }
}
