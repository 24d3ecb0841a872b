use dina_core::ContentHash;
use dina_data::simulate::{Progress as Simulated, simulate};
use dina_data::{Categories, Images, Preset, Recording, RecordingFile, load_categories, load_images};
use dina_decode::{SelfRetrieval, self_retrieval};
use dina_stats::reliability;
use serde::{Deserialize, Serialize};

use crate::{Error, Progress, Result, Source};

/// A recording with the images that were shown.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The responses.
    pub recording: Recording,
    /// The images.
    pub images: Images,
    /// Their categories, where known.
    pub categories: Option<Categories>,
    /// Hash of responses, order of presentation and images.
    pub hash: ContentHash,
}

impl Dataset {
    /// Simulates or reads.
    ///
    /// # Errors
    /// When a file is missing, damaged or does not belong to the others; the message names it.
    pub fn load(source: &Source, progress: &dyn Progress) -> Result<Self> {
        let (recording, images, categories) = match source {
            Source::Simulated(config) => {
                let tell = |at: Simulated| {
                    progress.advance(at.done, at.stage.name());
                };
                progress.begin("simulate", 0);
                let made = simulate(config, &tell)?;
                progress.end();
                (made.recording, made.images, Some(made.categories))
            }
            Source::Files { recording, images, classes } => {
                progress.begin("read", 0);
                let images = load_images(images)?;
                let recording = RecordingFile::new(recording).images(images.len()).load()?;
                let categories =
                    classes.as_ref().map(|path| load_categories(path, images.len())).transpose()?;
                progress.end();
                (recording, images, categories)
            }
        };
        let hash = hash(&recording, &images);
        Ok(Self { recording, images, categories, hash })
    }
}

fn hash(recording: &Recording, images: &Images) -> ContentHash {
    let ids: Vec<u8> =
        recording.stimulus().iter().flat_map(|id| id.map_or(u32::MAX, |id| id).to_le_bytes()).collect();
    let responses: Vec<u8> = recording.responses().iter().flat_map(|v| v.to_le_bytes()).collect();
    let pixels: Vec<u8> = images.pixels.iter().copied().collect();
    ContentHash::of([ids.as_slice(), &responses, &pixels])
}

/// What can be said of a recording before anything is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingSummary {
    /// File or population.
    pub name: String,
    /// Neurons recorded.
    pub neurons: usize,
    /// Different images shown.
    pub stimuli: usize,
    /// Presentations, gray screens included.
    pub presentations: usize,
    /// The smallest number of repeats of an image.
    pub repeats: usize,
    /// Gray screens.
    pub gray_screens: usize,
    /// Time points of spontaneous activity.
    pub spontaneous_bins: usize,
    /// The responses that the following are computed on.
    pub measured_on: String,
    /// Stringer's signal variance, mean over neurons; with more than two repeats, of half means.
    pub signal_variance: Option<f64>,
    /// Split-half correlation, median over neurons, of the halves themselves (no Spearman-Brown).
    pub split_half_r: Option<f64>,
    /// Halves finding each other, by correlation of z-scored responses; where these are as recorded, after a signed
    /// logarithm.
    pub self_retrieval: Option<SelfRetrieval>,
    /// Split-half correlation of every neuron that varies in both halves.
    #[serde(skip)]
    pub reliability: Vec<f64>,
}

impl RecordingSummary {
    /// Measures a recording. Where there is enough spontaneous activity, reliability is measured as in the
    /// published notebook of the deposit (preset `stringer-notebook`, fitted on the whole recording);
    /// elsewhere on the responses as recorded. Without repeats, or for a single image, there is no reliability.
    ///
    /// # Errors
    /// When the responses cannot be used at all.
    pub fn new(recording: &Recording) -> Result<Self> {
        let summary = recording.summary();
        let mut result = Self {
            name: recording.origin().to_owned(),
            neurons: summary.neurons,
            stimuli: summary.stimuli,
            presentations: summary.presentations,
            repeats: summary.repeats,
            gray_screens: summary.gray_screens,
            spontaneous_bins: summary.spontaneous_bins,
            measured_on: "responses as recorded".into(),
            signal_variance: None,
            split_half_r: None,
            self_retrieval: None,
            reliability: Vec::new(),
        };
        // A correlation over one image is none.
        if summary.most_repeats < 2 || summary.stimuli < 2 {
            return Ok(result);
        }
        let notebook = Preset::StringerNotebook.fit_as_published(recording).ok();
        let responses = match &notebook {
            Some(fitted) => {
                result.measured_on = Preset::StringerNotebook.to_string();
                fitted.apply(recording)?
            }
            None => recording.responses().clone(),
        };
        let trials = recording.trials();
        let halves = reliability::halves(responses.view(), &trials)?;
        let (first, second) = (halves.first.view(), halves.second.view());
        let signal = reliability::signal_variance(first, second)?;
        result.signal_variance = Some(reliability::ExplainedVariance::mean(&signal)?.get());
        let correlations = reliability::split_half(first, second)?;
        result.split_half_r = Some(reliability::Correlation::median(&correlations)?.get());
        result.reliability = correlations.iter().map(|r| r.get()).collect();
        // A few large transients decide a correlation of raw responses; the notebook's are z-scored already.
        let compressed = notebook.is_none().then(|| responses.mapv(|v| v.signum() * v.abs().ln_1p()));
        let matched = compressed.as_ref().unwrap_or(&responses);
        result.self_retrieval = Some(SelfRetrieval::from(&self_retrieval(matched.view(), &trials)?));
        Ok(result)
    }

    /// Refuses a recording that identification cannot be measured on.
    ///
    /// # Errors
    /// When fewer than two repeats or twelve images were shown.
    pub fn require_repeats(&self) -> Result<()> {
        if self.repeats < 2 {
            return Err(Error::Job(format!(
                "{}: `stim.istim` shows some image {} time(s); decoding and its ceiling need every image at least \
                 twice: leave images shown once out of the file",
                self.name, self.repeats
            )));
        }
        if self.stimuli < 12 {
            return Err(Error::Job(format!(
                "{}: `stim.istim` has {} images; at least 12 are needed to train, tune and test on different ones",
                self.name, self.stimuli
            )));
        }
        Ok(())
    }
}
