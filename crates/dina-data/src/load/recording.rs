use std::path::PathBuf;

use ndarray::Array2;

use super::choice::Choice;
use super::{matrix, wrong};
use crate::npz::{NpyArray, NpzFile};
#[cfg(feature = "hdf5")]
use crate::nwb::{NwbChoice, NwbFile};
use crate::sensorium::SensoriumFolder;
use crate::source::Picks;
use crate::table::ResponseTable;
use crate::{Format, Recording, Result};

/// A recording in a file or folder, and what that does not say by itself.
///
/// The format is recognised by content. What each has to hold:
///
/// - MATLAB (v4 to v7, and v7.3 with the cargo feature `hdf5`), as in the deposit of Stringer et al.:
///   struct `stim` with `resp` (presentations x neurons, in the order shown), `istim` (stimulus id per
///   presentation, from 1) and optionally `spont` (timepoints x neurons); optionally `med` (neurons x 3)
///   and struct array `stat` with `redcell`, or with `redprob`, of which more than one half counts
///   as red.
/// - numpy `.npz`: `responses` (presentations x neurons), `stimulus_ids` (from 0, -1 is the gray
///   screen) and optionally `images` (whose number is that of the stimulus set).
/// - NWB 2 (feature `hdf5`): see the module `nwb`.
/// - A text table: see [`table`](crate::table).
/// - A Sensorium folder: see [`sensorium`](crate::sensorium).
///
/// In MATLAB files the gray screen has the id after the last image: 2801 in the deposit. The file
/// does not say how many images there are, so without [`RecordingFile::images`] **the largest id
/// is taken for the gray screen**, which is right for the deposit and wrong for a file without
/// gray screens.
///
/// [`RecordingFile::neurons`] and [`RecordingFile::presentations`] choose a part. Where the container
/// allows it the rest is not read: rows and columns of uncompressed MATLAB and numpy files, chunks of
/// HDF5, trials of Sensorium. Compressed streams have to be inflated as a whole, and are not kept.
///
/// ```no_run
/// use dina_data::RecordingFile;
///
/// let recording = RecordingFile::new("natimg2800_M170714_MP032_2017-09-14.mat")
///     .images(2800)
///     .neurons(0..1000)
///     .load()?;
/// println!("{} neurons", recording.neurons());
/// # Ok::<(), dina_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingFile {
    pub(super) path: PathBuf,
    pub(super) images: Option<usize>,
    neurons: Option<Vec<usize>>,
    presentations: Option<Vec<usize>>,
    tiers: Option<Vec<String>>,
    #[cfg(feature = "hdf5")]
    nwb: NwbChoice,
}

/// Reads a recording of which nothing else is known; see [`RecordingFile`].
///
/// # Errors
/// As [`RecordingFile::load`].
pub fn load_recording(path: impl AsRef<std::path::Path>) -> Result<Recording> {
    RecordingFile::new(path.as_ref()).load()
}

/// What was read, the picked neurons and presentations in ascending order.
pub(super) struct Parts {
    pub responses: Array2<f32>,
    /// Of all presentations in the file.
    pub stimulus: Vec<Option<u32>>,
    pub images: usize,
    pub spontaneous: Option<Array2<f32>>,
    pub positions: Option<Array2<f32>>,
    pub red_cells: Option<Vec<bool>>,
}

impl RecordingFile {
    /// A recording in this file or folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            images: None,
            neurons: None,
            presentations: None,
            tiers: None,
            #[cfg(feature = "hdf5")]
            nwb: NwbChoice::default(),
        }
    }

    /// Sets the number of images in the stimulus set, such as [`Images::len`](crate::Images::len).
    #[must_use]
    pub fn images(mut self, images: usize) -> Self {
        self.images = Some(images);
        self
    }

    /// Reads these neurons only, counted from 0, in this order.
    #[must_use]
    pub fn neurons(mut self, neurons: impl IntoIterator<Item = usize>) -> Self {
        self.neurons = Some(neurons.into_iter().collect());
        self
    }

    /// Reads these presentations only, counted from 0 in the order shown, in this order.
    #[must_use]
    pub fn presentations(mut self, presentations: impl IntoIterator<Item = usize>) -> Self {
        self.presentations = Some(presentations.into_iter().collect());
        self
    }

    /// Of a Sensorium folder, reads the trials of these tiers only, such as `train`.
    #[must_use]
    pub fn tiers<T: Into<String>>(mut self, tiers: impl IntoIterator<Item = T>) -> Self {
        self.tiers = Some(tiers.into_iter().map(Into::into).collect());
        self
    }

    /// Of an NWB file, says which table and responses to use.
    #[cfg(feature = "hdf5")]
    #[must_use]
    pub fn nwb(mut self, choice: NwbChoice) -> Self {
        self.nwb = choice;
        self
    }

    /// Reads the recording; responses become `f32` on the way in, in row-major order.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Unsupported`](crate::Error::Unsupported) for
    /// another format; [`Error::Malformed`](crate::Error::Malformed) for a damaged file;
    /// [`Error::Variable`](crate::Error::Variable) where a variable is missing, has the wrong class
    /// or shape, holds ids that no image has, what was chosen is not there, or neurons that
    /// [`Recording::new`] refuses.
    pub fn load(&self) -> Result<Recording> {
        let format = Format::of_content(&self.path)?;
        let neurons = self.chosen("neurons", self.neurons.as_deref())?;
        let mut presentations = self.presentations.clone();
        if let Some(tiers) = &self.tiers {
            presentations = Some(self.in_tiers(format, tiers, presentations)?);
        }
        let presentations = self.chosen("presentations", presentations.as_deref())?;
        let sorted = |choice: &Option<Choice>| choice.as_ref().map(|choice| choice.sorted.clone());
        let picks = Picks { rows: sorted(&presentations), columns: sorted(&neurons) };
        let parts = match format {
            format if format.is_mat() => self.load_mat(&picks)?,
            Format::Npz => self.load_npz(&picks)?,
            #[cfg(feature = "hdf5")]
            Format::Hdf5 | Format::Nwb => self.load_nwb(&picks)?,
            Format::Csv => self.load_table(&picks)?,
            Format::Sensorium => self.load_sensorium(&picks)?,
            other => return Err(other.unsupported(&self.path)),
        };
        self.arrange(parts, neurons.as_ref(), presentations.as_ref())
    }

    fn chosen(&self, what: &str, asked: Option<&[usize]>) -> Result<Option<Choice>> {
        if asked.is_some_and(<[usize]>::is_empty) {
            return Err(wrong(&self.path, what, "are to be read, and none is chosen", "choose at least one"));
        }
        Ok(asked.map(Choice::of))
    }

    /// The presentations that are in one of the tiers.
    fn in_tiers(&self, format: Format, tiers: &[String], asked: Option<Vec<usize>>) -> Result<Vec<usize>> {
        let of = match format {
            Format::Sensorium => SensoriumFolder::open(&self.path)?.tiers()?,
            _ => None,
        };
        let of = of.ok_or_else(|| {
            wrong(
                &self.path,
                "tiers",
                "are not known of this recording",
                "give a Sensorium folder with tiers",
            )
        })?;
        if let Some(tier) = tiers.iter().find(|tier| !of.contains(tier)) {
            let mut known = of.clone();
            known.sort_unstable();
            known.dedup();
            let remedy = format!("choose among {}", known.join(", "));
            return Err(wrong(&self.path, "tiers", format!("do not include `{tier}`"), remedy));
        }
        let mut asked = asked.unwrap_or_else(|| (0..of.len()).collect());
        asked.retain(|&trial| of.get(trial).is_none_or(|tier| tiers.contains(tier)));
        Ok(asked)
    }

    /// Brings what was read into the order that was asked for.
    fn arrange(
        &self,
        parts: Parts,
        neurons: Option<&Choice>,
        presentations: Option<&Choice>,
    ) -> Result<Recording> {
        let columns = |values: Array2<f32>| match neurons {
            Some(choice) => choice.arrange(values, 1),
            None => values,
        };
        let mut responses = columns(parts.responses);
        let mut stimulus = parts.stimulus;
        if let Some(choice) = presentations {
            responses = choice.arrange(responses, 0);
            let count = stimulus.len();
            stimulus = choice.take(&stimulus).ok_or_else(|| {
                let problem = format!("are given for {count} presentations, and later ones were asked for");
                wrong(&self.path, "stimulus ids", problem, "give one stimulus id per presentation")
            })?;
        }
        let mut recording = Recording::new(self.origin(), responses, stimulus, parts.images)?;
        if let Some(spontaneous) = parts.spontaneous {
            recording = recording.with_spontaneous(columns(spontaneous))?;
        }
        if let Some(positions) = parts.positions {
            recording = recording.with_positions(match neurons {
                Some(choice) => choice.arrange(positions, 0),
                None => positions,
            })?;
        }
        if let Some(red_cells) = parts.red_cells {
            recording = recording.with_red_cells(match neurons {
                Some(choice) => choice.arrange_list(red_cells),
                None => red_cells,
            })?;
        }
        Ok(recording)
    }

    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn load_npz(&self, picks: &Picks) -> Result<Parts> {
        let file = NpzFile::open(&self.path)?;
        let responses = file.read_picked("responses", picks)?;
        let responses: Array2<f32> = matrix(&self.path, "responses", responses, "presentations x neurons")?;
        let ids = match file.read("stimulus_ids")? {
            NpyArray::Numeric(ids) => ids.to_f64(),
            other => {
                let problem = format!("has type {}, expected numbers", other.dtype());
                let remedy = "give one stimulus id per presentation";
                return Err(wrong(&self.path, "stimulus_ids", problem, remedy));
            }
        };
        let images = match self.images {
            None if file.contains("images") => file.read("images")?.shape().first().copied(),
            known => known,
        };
        let (stimulus, images) = self.counted_from_zero("stimulus_ids", &ids, images)?;
        Ok(Parts { responses, stimulus, images, spontaneous: None, positions: None, red_cells: None })
    }

    #[cfg(feature = "hdf5")]
    fn load_nwb(&self, picks: &Picks) -> Result<Parts> {
        let file = NwbFile::open(&self.path)?;
        let presentations = file.presentations(&self.nwb)?;
        let images = match self.images {
            None => file.template_count(&self.nwb)?,
            known => known,
        };
        let (stimulus, images) =
            self.counted_from_zero(&presentations.origin, &presentations.stimulus, images)?;
        let responses = file.responses(&self.nwb, &presentations, picks)?;
        Ok(Parts { responses, stimulus, images, spontaneous: None, positions: None, red_cells: None })
    }

    fn load_table(&self, picks: &Picks) -> Result<Parts> {
        let read = ResponseTable::open(&self.path)?.read(picks)?;
        let images = self.images.or(read.images);
        let (stimulus, images) = self.counted_from_zero("stimulus", &read.stimulus, images)?;
        Ok(Parts {
            responses: read.responses,
            stimulus,
            images,
            spontaneous: read.spontaneous,
            positions: read.positions,
            red_cells: read.red_cells,
        })
    }

    fn load_sensorium(&self, picks: &Picks) -> Result<Parts> {
        let read = SensoriumFolder::open(&self.path)?.read(picks)?;
        let ids: Vec<f64> = read.stimulus.iter().map(|&id| f64::from(id)).collect();
        let images = self.images.or(Some(read.images));
        let (stimulus, images) = self.counted_from_zero("frame_image_id", &ids, images)?;
        let (responses, positions) = (read.responses, read.positions);
        Ok(Parts { responses, stimulus, images, spontaneous: None, positions, red_cells: None })
    }

    /// Ids that count from 0, the gray screen being -1.
    fn counted_from_zero(
        &self,
        variable: &str,
        ids: &[f64],
        images: Option<usize>,
    ) -> Result<(Vec<Option<u32>>, usize)> {
        let remedy = "ids are whole numbers from 0 on, -1 is the gray screen";
        let usable = |id: &f64| id.fract() == 0.0 && (-1.0..MOST_IDS).contains(id);
        if let Some(id) = ids.iter().find(|id| !usable(id)) {
            return Err(wrong(&self.path, variable, format!("holds the id {id}"), remedy));
        }
        let shown = ids.iter().fold(-1.0, |a: f64, &b| a.max(b)) + 1.0;
        let images = images.unwrap_or(shown as usize);
        if shown as usize > images {
            return Err(wrong(
                &self.path,
                variable,
                format!("holds the id {}, but there are {images} images", shown - 1.0),
                "give the images that were shown in this recording, and ids from 0 on",
            ));
        }
        if images == 0 {
            return Err(wrong(&self.path, variable, "shows no image, only the gray screen", remedy));
        }
        let stimulus = ids.iter().map(|&id| (id >= 0.0).then_some(id as u32));
        Ok((stimulus.collect(), images))
    }
}

/// More images than any stimulus set has. A list of trials is kept for each, so that a wild id
/// would cost memory.
pub(super) const MOST_IDS: f64 = 1e6;
