use std::path::{Path, PathBuf};

use ndarray::Array2;

use super::{Workspace, matrix, shown, value_matrix, wrong};
use crate::mat::{Selection, Struct, Value};
use crate::npz::{NpyArray, NpzFile};
use crate::{Format, Recording, Result};

/// A recording in a file, and what the file itself does not say.
///
/// Two layouts are read:
///
/// - MATLAB (v4 to v7), as in the deposit of Stringer et al.: struct `stim` with `resp`
///   (presentations x neurons, in the order shown), `istim` (stimulus id per presentation, from 1)
///   and optionally `spont` (timepoints x neurons); optionally `med` (neurons x 3) and struct array
///   `stat` with `redcell`, or with `redprob`, of which more than one half counts as red.
/// - numpy `.npz`: `responses` (presentations x neurons), `stimulus_ids` (from 0, -1 is the gray
///   screen) and optionally `images` (whose number is that of the stimulus set).
///
/// In MATLAB files the gray screen has the id after the last image: 2801 in the deposit. The file
/// does not say how many images there are, so without [`RecordingFile::images`] **the largest id
/// is taken for the gray screen**, which is right for the deposit and wrong for a file without
/// gray screens.
///
/// ```no_run
/// use dina_data::RecordingFile;
///
/// let recording = RecordingFile::new("natimg2800_M170714_MP032_2017-09-14.mat")
///     .images(2800)
///     .load()?;
/// println!("{} neurons", recording.neurons());
/// # Ok::<(), dina_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingFile {
    path: PathBuf,
    images: Option<usize>,
}

/// Reads a recording of which nothing else is known; see [`RecordingFile`].
///
/// # Errors
/// As [`RecordingFile::load`].
pub fn load_recording(path: impl AsRef<Path>) -> Result<Recording> {
    RecordingFile::new(path.as_ref()).load()
}

impl RecordingFile {
    /// A recording in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), images: None }
    }

    /// Sets the number of images in the stimulus set, such as [`Images::len`](crate::Images::len).
    #[must_use]
    pub fn images(mut self, images: usize) -> Self {
        self.images = Some(images);
        self
    }

    /// Reads the recording; responses become `f32` on the way in, in row-major order.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io); [`Error::Unsupported`](crate::Error::Unsupported) for
    /// another format; [`Error::Malformed`](crate::Error::Malformed) for a damaged file;
    /// [`Error::Variable`](crate::Error::Variable) where a variable is missing, has the wrong class
    /// or shape, holds ids that no image has, or neurons that [`Recording::new`] refuses.
    pub fn load(&self) -> Result<Recording> {
        match Format::detect(&self.path)? {
            Format::MatV4 | Format::MatV5 => self.load_mat(),
            Format::Npz => self.load_npz(),
            other => Err(other.unsupported(&self.path)),
        }
    }

    fn origin(&self) -> String {
        self.path.display().to_string()
    }

    fn load_mat(&self) -> Result<Recording> {
        let path = &self.path;
        let parts = ["stim.resp", "stim.istim", "stim.spont", "med", "stat.redcell", "stat.redprob"];
        let selection = Selection::only(parts).single(["stim.resp", "stim.spont", "med"]);
        let mut workspace = Workspace::read(path, &selection)?;
        let mut stim = match workspace.expect("stim")? {
            Value::Struct(stim) if stim.shape() == [1, 1] => stim,
            other => {
                let found = format!("is a {} {}", shown(other.shape()), other.class().name());
                return Err(wrong(
                    path,
                    "stim",
                    format!("{found}, expected a struct with `resp` and `istim`"),
                    "give a recording in the layout of the deposit",
                ));
            }
        };
        let layout = "presentations x neurons";
        let responses = value_matrix(path, "stim.resp", self.field(&mut stim, "resp")?, layout)?;
        let ids = self.field(&mut stim, "istim")?.to_f64().ok_or_else(|| {
            wrong(path, "stim.istim", "holds no numbers", "give one stimulus id per presentation")
        })?;
        let (stimulus, images) = self.counted_from_one("stim.istim", &ids)?;
        let mut recording = Recording::new(self.origin(), responses, stimulus, images)?;
        if let Some(spontaneous) = filled(stim.take("spont")) {
            let layout = "timepoints x neurons";
            let spontaneous = value_matrix(path, "stim.spont", spontaneous, layout)?;
            recording = recording.with_spontaneous(spontaneous)?;
        }
        if let Some(positions) = filled(workspace.take("med")) {
            let positions = value_matrix(path, "med", positions, "neurons x 3")?;
            recording = recording.with_positions(positions)?;
        }
        if let Some(Value::Struct(stat)) = workspace.take("stat")
            && let Some(red_cells) = self.red_cells(&stat)?
        {
            recording = recording.with_red_cells(red_cells)?;
        }
        Ok(recording)
    }

    fn field(&self, stim: &mut Struct, name: &str) -> Result<Value> {
        stim.take(name).ok_or_else(|| {
            wrong(
                &self.path,
                &format!("stim.{name}"),
                "is not in this file",
                "give a recording in the layout of the deposit, with `stim.resp` and `stim.istim`",
            )
        })
    }

    /// Ids that count from 1, the gray screen after the last image.
    fn counted_from_one(&self, variable: &str, ids: &[f64]) -> Result<(Vec<Option<u32>>, usize)> {
        let remedy = "ids are whole numbers from 1 on, the gray screen comes after the last image";
        if let Some(id) = ids.iter().find(|id| id.fract() != 0.0 || !(1.0..=MOST_IDS).contains(*id)) {
            return Err(wrong(&self.path, variable, format!("holds the id {id}"), remedy));
        }
        let largest = ids.iter().fold(0.0, |a: f64, &b| a.max(b)) as usize;
        let images = self.images.unwrap_or(largest.saturating_sub(1));
        if largest > images + 1 {
            return Err(wrong(
                &self.path,
                variable,
                format!(
                    "holds the id {largest}, but there are {images} images and id {} is the gray screen",
                    images + 1
                ),
                "give the images that were shown in this recording",
            ));
        }
        if images == 0 {
            return Err(wrong(&self.path, variable, "shows no image, only the gray screen", remedy));
        }
        let stimulus = ids.iter().map(|&id| {
            let id = id as usize - 1;
            (id < images).then_some(id as u32)
        });
        Ok((stimulus.collect(), images))
    }

    /// Which neurons are red: `None` where the file does not say.
    fn red_cells(&self, stat: &Struct) -> Result<Option<Vec<bool>>> {
        for (field, above) in [("redcell", 0.0), ("redprob", 0.5)] {
            let Some(values) = stat.field(field) else {
                continue;
            };
            if values.iter().all(|v| v.shape().contains(&0)) {
                continue;
            }
            let red = values.iter().enumerate().map(|(neuron, value)| {
                value.scalar().map(|v| v > above).ok_or_else(|| {
                    wrong(
                        &self.path,
                        &format!("stat.{field}"),
                        format!("of neuron {} is not a number", neuron + 1),
                        "give one number for each neuron, or for none",
                    )
                })
            });
            return red.collect::<Result<_>>().map(Some);
        }
        Ok(None)
    }

    fn load_npz(&self) -> Result<Recording> {
        let file = NpzFile::open(&self.path)?;
        let responses = file.read_single("responses")?;
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
        Recording::new(self.origin(), responses, stimulus, images)
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
const MOST_IDS: f64 = 1e6;

/// A value that is not MATLAB's `[]`.
fn filled(value: Option<Value>) -> Option<Value> {
    value.filter(|v| !v.shape().contains(&0))
}
