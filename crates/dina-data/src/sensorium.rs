//! Folders in the layout of the Sensorium challenges (Willeke et al. 2022, arXiv 2206.08666): a
//! numpy file for each trial.
//!
//! ```text
//! static.../
//!   data/images/0.npy, 1.npy ...       height x width, or 1 x height x width
//!   data/responses/0.npy, 1.npy ...    neurons
//!   meta/trials/frame_image_id.npy     trials: which image; without it, equal pixels are one image
//!   meta/trials/tiers.npy              trials: train, validation, test, final_test
//!   meta/neurons/cell_motor_coordinates.npy    neurons x 3, micrometres
//! ```
//!
//! Trials are presentations in their order; every different id is an image, numbered in ascending
//! order; there is no gray screen. Behaviour and pupil are not read. Where the challenge withholds
//! responses, they are zeros throughout a tier; such a tier is refused, and
//! [`RecordingFile::tiers`](crate::RecordingFile::tiers) chooses the others. Films, whose responses
//! have a time axis (Sensorium 2023), are refused. Archives have to be unpacked first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dina_core::ContentHash;
use ndarray::{Array2, Array3, ArrayD, Axis, Ix2};

use crate::container::VariableInfo;
use crate::npz::{NpyArray, NpzFile};
use crate::source::Picks;
use crate::{Error, Format, Result};

const IMAGES: &str = "data/images";
const RESPONSES: &str = "data/responses";
const IDS: &str = "meta/trials/frame_image_id.npy";
const TIERS: &str = "meta/trials/tiers.npy";
const POSITIONS: &str = "meta/neurons/cell_motor_coordinates.npy";
/// The name of the array in a `.npy` file.
const ARRAY: &str = "array";

/// Whether a folder has this layout.
pub(crate) fn is_layout(folder: &Path) -> bool {
    folder.join(IMAGES).is_dir() && folder.join(RESPONSES).is_dir()
}

/// A folder whose trials have been counted.
#[derive(Debug, Clone)]
pub struct SensoriumFolder {
    path: PathBuf,
    trials: usize,
}

/// What a folder holds.
pub(crate) struct Responses {
    /// Picked trials x picked neurons.
    pub responses: Array2<f32>,
    /// Per trial of the whole folder the image, from 0 on.
    pub stimulus: Vec<u32>,
    pub images: usize,
    pub positions: Option<Array2<f32>>,
}

impl SensoriumFolder {
    /// Counts the trials of a folder.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] for another layout; [`Error::Variable`] where trials are
    /// missing.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match Format::of_content(path)? {
            Format::Sensorium => {}
            other => return Err(other.unsupported(path)),
        }
        let folder = Self { path: path.to_path_buf(), trials: count(path, RESPONSES)? };
        let images = count(path, IMAGES)?;
        if images != folder.trials {
            return Err(folder.wrong(
                IMAGES,
                format!("has {images} trials, `{RESPONSES}` has {}", folder.trials),
                "unpack the archive again",
            ));
        }
        Ok(folder)
    }

    /// Number of trials.
    pub fn trials(&self) -> usize {
        self.trials
    }

    /// The tier of each trial, such as `train`; `None` where the folder does not say.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a damaged file; [`Error::Variable`] where it is not one text a trial.
    pub fn tiers(&self) -> Result<Option<Vec<String>>> {
        if !self.path.join(TIERS).is_file() {
            return Ok(None);
        }
        match self.array(TIERS)? {
            NpyArray::Text { values, .. } if values.len() == self.trials => {
                Ok(Some(values.iter().cloned().collect()))
            }
            other => Err(self.per_trial(TIERS, &other, "one text")),
        }
    }

    fn wrong(&self, variable: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::variable(self.path.display().to_string(), variable, problem, remedy)
    }

    fn per_trial(&self, variable: &str, array: &NpyArray, expected: &str) -> Error {
        let problem =
            format!("has shape {:?} and type {}, expected {expected} a trial", array.shape(), array.dtype());
        self.wrong(variable, problem, "unpack the archive again")
    }

    fn array(&self, name: &str) -> Result<NpyArray> {
        NpzFile::open(self.path.join(name))?.read(ARRAY)
    }

    fn image(&self, trial: usize) -> Result<Array2<u8>> {
        let name = format!("{IMAGES}/{trial}.npy");
        let array = self.array(&name)?;
        let wrong = || {
            let problem = format!(
                "has shape {:?} and type {}, expected one image of grey levels from 0 to 255",
                array.shape(),
                array.dtype()
            );
            self.wrong(&name, problem, "save grey levels as uint8")
        };
        let NpyArray::Numeric(levels) = &array else {
            return Err(wrong());
        };
        let (height, width) = match *levels.shape() {
            [height, width] | [1, height, width] => (height, width),
            _ => return Err(wrong()),
        };
        let mut pixels = Vec::with_capacity(levels.len());
        levels.for_each(|level| {
            if (0.0..=255.0).contains(&level) && level.fract() == 0.0 {
                pixels.push(level as u8);
            }
        });
        Array2::from_shape_vec((height, width), pixels).map_err(|_| wrong())
    }

    /// The image of each trial, and the trial of each image that comes first.
    fn images_shown(&self) -> Result<(Vec<u32>, Vec<usize>)> {
        let mut keys: Vec<String> = Vec::with_capacity(self.trials);
        let mut numbers: Vec<f64> = Vec::new();
        if self.path.join(IDS).is_file() {
            match self.array(IDS)? {
                NpyArray::Numeric(ids) if ids.len() == self.trials => ids.for_each(|id| numbers.push(id)),
                NpyArray::Text { values, .. } if values.len() == self.trials => keys.extend(values),
                other => return Err(self.per_trial(IDS, &other, "one id")),
            }
        } else {
            for trial in 0..self.trials {
                let image = self.image(trial)?;
                let (height, width) = image.dim();
                let pixels: Vec<u8> = image.iter().copied().collect();
                let size = [height, width].map(|n| (n as u64).to_le_bytes());
                keys.push(ContentHash::of([size.as_flattened(), &pixels]).to_string());
            }
        }
        // Ids that are numbers come in their order, others in that of their texts.
        let mut order: Vec<usize> = (0..self.trials).collect();
        match numbers.is_empty() {
            true => order.sort_by(|&a, &b| keys[a].cmp(&keys[b])),
            false => order.sort_by(|&a, &b| numbers[a].total_cmp(&numbers[b])),
        }
        let same = |a: usize, b: usize| match numbers.is_empty() {
            true => keys[a] == keys[b],
            false => numbers[a].total_cmp(&numbers[b]).is_eq(),
        };
        let mut stimulus = vec![0; self.trials];
        let mut first: Vec<usize> = Vec::new();
        for &trial in &order {
            match first.last() {
                Some(&before) if same(before, trial) => {}
                _ => first.push(trial),
            }
            stimulus[trial] = first.len() as u32 - 1;
        }
        Ok((stimulus, first))
    }

    /// The images: images x height x width.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a damaged file; [`Error::Variable`] where images are no grey levels,
    /// of different sizes, or differ between trials of one id.
    pub fn pixels(&self) -> Result<Array3<u8>> {
        let (stimulus, first) = self.images_shown()?;
        let mut pixels: Option<Array3<u8>> = None;
        for (number, &trial) in first.iter().enumerate() {
            let image = self.image(trial)?;
            let (height, width) = image.dim();
            let pixels = pixels.get_or_insert_with(|| Array3::zeros((first.len(), height, width)));
            if pixels.dim() != (first.len(), height, width) {
                let name = format!("{IMAGES}/{trial}.npy");
                return Err(self.wrong(&name, "has another size than the first", "give images of one size"));
            }
            pixels.index_axis_mut(Axis(0), number).assign(&image);
        }
        let pixels = pixels.unwrap_or_else(|| Array3::zeros((0, 0, 0)));
        for (trial, &number) in stimulus.iter().enumerate() {
            if first[number as usize] != trial
                && self.image(trial)? != pixels.index_axis(Axis(0), number as usize)
            {
                let name = format!("{IMAGES}/{trial}.npy");
                let problem = format!("is not the image of trial {}, of the same id", first[number as usize]);
                return Err(self.wrong(&name, problem, "correct `frame_image_id.npy`, or remove it"));
            }
        }
        Ok(pixels)
    }

    /// Reads what is picked of the responses.
    pub(crate) fn read(&self, picks: &Picks) -> Result<Responses> {
        let all: Vec<usize> = (0..self.trials).collect();
        let trials = picks.rows.as_deref().unwrap_or(&all);
        if let Some(missing) = trials.iter().find(|&&trial| trial >= self.trials) {
            let problem = format!("has {} trials, number {missing} (from 0) was asked for", self.trials);
            return Err(self.wrong(RESPONSES, problem, "ask for what is in it"));
        }
        let mut responses: Option<Array2<f32>> = None;
        let mut neurons = 0;
        for (row, &trial) in trials.iter().enumerate() {
            let name = format!("{RESPONSES}/{trial}.npy");
            let values: ArrayD<f32> = NpzFile::open(self.path.join(&name))?.read_single(ARRAY)?;
            if values.ndim() > 1 {
                return Err(Error::Unsupported {
                    path: self.path.join(&name),
                    what: format!("responses of shape {:?}, which are those to films,", values.shape()),
                    remedy: "average over the time axis, or give a challenge of static images".to_owned(),
                });
            }
            if responses.is_none() {
                neurons = values.len();
                let (_, width) = picks.within(usize::MAX, neurons).map_err(|what| {
                    self.wrong(&name, what.replace("columns", "neurons"), "ask for what is in it")
                })?;
                responses = Some(Array2::zeros((trials.len(), width)));
            }
            if values.len() != neurons {
                let problem = format!("has {} neurons, trials before have {neurons}", values.len());
                return Err(self.wrong(&name, problem, "unpack the archive again"));
            }
            if let Some(responses) = &mut responses {
                let mut slots = responses.row_mut(row);
                match &picks.columns {
                    None => slots.iter_mut().zip(&values).for_each(|(slot, &value)| *slot = value),
                    Some(columns) => {
                        slots.iter_mut().zip(columns).for_each(|(slot, &column)| *slot = values[[column]]);
                    }
                }
            }
        }
        let responses = responses.unwrap_or_else(|| Array2::zeros((0, 0)));
        self.refuse_withheld(&responses, trials)?;
        let positions = match self.path.join(POSITIONS).is_file() {
            false => None,
            true => {
                let positions = NpzFile::open(self.path.join(POSITIONS))?.read_single(ARRAY)?;
                let shape = positions.shape().to_vec();
                let positions = positions.into_dimensionality::<Ix2>().ok().filter(|p| p.nrows() == neurons);
                let positions = positions.ok_or_else(|| {
                    let problem = format!("has shape {shape:?}, expected {neurons} x 3");
                    self.wrong(POSITIONS, problem, "unpack the archive again")
                })?;
                Some(match &picks.columns {
                    None => positions,
                    Some(columns) => positions.select(Axis(0), columns),
                })
            }
        };
        let (stimulus, first) = self.images_shown()?;
        Ok(Responses { responses, stimulus, images: first.len(), positions })
    }

    /// Zeros that stand for responses that the challenge keeps to itself.
    fn refuse_withheld(&self, responses: &Array2<f32>, trials: &[usize]) -> Result<()> {
        let Some(tiers) = self.tiers()? else {
            return Ok(());
        };
        let mut silent: BTreeMap<&str, bool> = BTreeMap::new();
        for (row, &trial) in trials.iter().enumerate() {
            let zeros = responses.row(row).iter().all(|&v| v == 0.0);
            *silent.entry(tiers[trial].as_str()).or_insert(true) &= zeros;
        }
        let Some((withheld, _)) = silent.iter().find(|&(_, &silent)| silent) else {
            return Ok(());
        };
        let others: Vec<&str> =
            silent.iter().filter(|&(_, &silent)| !silent).map(|(&tier, _)| tier).collect();
        Err(self.wrong(
            RESPONSES,
            format!("is zero in every trial of the tier `{withheld}`, which the challenge withholds"),
            format!("choose others with `RecordingFile::tiers`: {}", others.join(", ")),
        ))
    }
}

/// How many trials a folder of files `0.npy`, `1.npy` and so on has, none missing.
fn count(path: &Path, part: &str) -> Result<usize> {
    let folder = path.join(part);
    let io = |source| Error::Io { path: folder.clone(), source };
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_suffix(".npy")).and_then(|stem| stem.parse().ok());
        trials.extend(number.map(|number: usize| number));
    }
    trials.sort_unstable();
    match trials.iter().enumerate().find(|&(expected, &trial)| expected != trial) {
        None if !trials.is_empty() => Ok(trials.len()),
        missing => Err(Error::variable(
            path.display().to_string(),
            part,
            format!("has no trial {}", missing.map_or(0, |(expected, _)| expected)),
            "unpack the archive again",
        )),
    }
}

/// Lists a folder: trials as one array each for images and responses, the others as they are.
pub(crate) fn contents(path: &Path) -> Result<Vec<VariableInfo>> {
    let folder = SensoriumFolder::open(path)?;
    let mut variables = Vec::new();
    for part in [IMAGES, RESPONSES] {
        let (mut shape, mut sum, mut dtype) = (Vec::new(), Some(0.0), String::new());
        for trial in 0..folder.trials() {
            let name = format!("{part}/{trial}.npy");
            let array = folder.array(&name)?;
            if trial == 0 {
                shape = array.shape().to_vec();
                array.dtype().clone_into(&mut dtype);
            } else if shape != array.shape() {
                let problem = format!("has shape {:?}, the first has {shape:?}", array.shape());
                return Err(folder.wrong(&name, problem, "unpack the archive again"));
            }
            sum = sum.zip(array.sum()).map(|(a, b)| a + b);
        }
        shape.insert(0, folder.trials());
        let sum = sum.filter(|sum: &f64| sum.is_finite());
        variables.push(VariableInfo {
            name: part.to_owned(),
            class: "ndarray".to_owned(),
            shape,
            dtype,
            sum,
        });
    }
    for name in [IDS, TIERS, POSITIONS] {
        if path.join(name).is_file() {
            variables.push(VariableInfo::of_array(name, &folder.array(name)?));
        }
    }
    Ok(variables)
}
