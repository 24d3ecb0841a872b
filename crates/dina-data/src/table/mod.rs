//! Responses in a table of text, with the images in a folder: what any program can write.
//!
//! ```text
//! session/
//!   responses.csv      a row per presentation, in the order shown
//!   images/            PNG or JPEG files of one size
//!   images.csv         optional: which file is which stimulus
//!   neurons.csv        optional: where the neurons lie, and which are red
//!   spontaneous.csv    optional: a row per time point without stimulus
//! ```
//!
//! - `responses.csv` starts with a row of column names. The column `stimulus` says what was shown;
//!   columns named `trial`, `repeat` and `time` are left out; every other column is a neuron, its
//!   cells numbers with a decimal point. Columns are separated by commas, semicolons or tabs. The
//!   table may have any name when it is given itself; then it is recognised by `stimulus` among its
//!   first columns, and the other files lie beside it.
//! - A stimulus is the name of an image file, with or without its ending. Where no stimulus is one
//!   and all are whole numbers, they count the images from 0, in the order of their names (numbers
//!   in names compare as numbers: `2.png` comes before `10.png`). Without images, names are numbered
//!   in that order. The gray screen is `-1`, `gray`, `blank` or an empty cell.
//! - `images.csv` has the columns `stimulus` and `file`, a row per image: its name in
//!   `responses.csv`, and its file in `images/`. The images are numbered by these rows.
//! - `neurons.csv` has a row per neuron, with any of `neuron` (its column's name; without it rows
//!   are in the order of the columns), `x`, `y`, `z` (micrometres; `z` may be missing) and `red` (0 or 1).
//! - `spontaneous.csv` has the columns of the neurons.
//!
//! Colours become grey levels as the crate `image` weights them (Rec. 709); transparency is left out.

mod images;
mod text;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3};

pub use images::ImageFile;
pub(crate) use images::{holds_images, natural_order};
use text::Table;
pub(crate) use text::recognises;

use crate::container::VariableInfo;
use crate::source::Picks;
use crate::{Error, Format, Numeric, Result};

/// The table of responses in a folder.
pub(crate) const RESPONSES: &str = "responses.csv";
const IMAGES: &str = "images";
const MAPPING: &str = "images.csv";
const NEURONS: &str = "neurons.csv";
const SPONTANEOUS: &str = "spontaneous.csv";
/// The column that says what was shown.
const STIMULUS: &str = "stimulus";
/// Columns that are no neurons.
const NO_NEURONS: [&str; 4] = [STIMULUS, "trial", "repeat", "time"];
/// Names of the gray screen, in lower case.
const GRAY: [&str; 5] = ["", "-1", "gray", "grey", "blank"];

/// A table of responses, and what lies beside it.
#[derive(Debug, Clone)]
pub struct ResponseTable {
    responses: PathBuf,
    folder: PathBuf,
}

/// What a table holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Responses {
    /// Presentations x neurons.
    pub responses: Array2<f32>,
    /// Per presentation of the whole table the image from 0 on; -1 is the gray screen.
    pub stimulus: Vec<f64>,
    /// Number of images, where there are some.
    pub images: Option<usize>,
    pub spontaneous: Option<Array2<f32>>,
    pub positions: Option<Array2<f32>>,
    pub red_cells: Option<Vec<bool>>,
}

impl ResponseTable {
    /// A table, or the folder that holds `responses.csv`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unsupported`] where it is something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match Format::of_content(path)? {
            Format::Csv if path.is_dir() => {
                Ok(Self { responses: path.join(RESPONSES), folder: path.to_path_buf() })
            }
            Format::Csv => {
                let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
                Ok(Self { responses: path.to_path_buf(), folder })
            }
            other => Err(other.unsupported(path)),
        }
    }

    /// The images, in the order in which they are numbered; none where there is no folder of them.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Variable`] where `images.csv` names a file that is not there or lies
    /// elsewhere.
    pub fn images(&self) -> Result<Vec<ImageFile>> {
        let folder = self.folder.join(IMAGES);
        let mapping = self.folder.join(MAPPING);
        if mapping.is_file() {
            return images::mapped(&mapping, &folder);
        }
        if folder.is_dir() { images::listed(&folder) } else { Ok(Vec::new()) }
    }

    /// The pixels of the images: images x height x width.
    ///
    /// # Errors
    /// As [`ResponseTable::images`]; [`Error::Malformed`] for a damaged image; [`Error::Variable`]
    /// where there is none, or they are of different sizes.
    pub fn pixels(&self) -> Result<Array3<u8>> {
        images::pixels(&self.folder.join(IMAGES), &self.images()?)
    }

    /// Reads the table and what lies beside it, of responses what is picked.
    pub(crate) fn read(&self, picks: &Picks) -> Result<Responses> {
        let table = Table::read(&self.responses, Some(STIMULUS), picks)?;
        let images = self.images()?;
        let stimulus = self.numbered(&table.keys, &images)?;
        let mut read = Responses {
            responses: table.values,
            stimulus,
            images: (!images.is_empty()).then_some(images.len()),
            spontaneous: None,
            positions: None,
            red_cells: None,
        };
        let spontaneous = self.folder.join(SPONTANEOUS);
        if spontaneous.is_file() {
            let rows = Picks { rows: None, columns: picks.columns.clone() };
            let bins = Table::read(&spontaneous, None, &rows)?;
            if bins.names != table.names {
                return Err(wrong(
                    &spontaneous,
                    SPONTANEOUS,
                    format!("has {} columns that are not those of {RESPONSES}", bins.names.len()),
                    "give the same neurons in the same order",
                ));
            }
            read.spontaneous = Some(bins.values);
        }
        let neurons = self.folder.join(NEURONS);
        if neurons.is_file() {
            (read.positions, read.red_cells) =
                text::neurons(&neurons, &table.names, picks.columns.as_deref())?;
        }
        Ok(read)
    }

    /// The number of the image of each stimulus.
    fn numbered(&self, stimuli: &[String], images: &[ImageFile]) -> Result<Vec<f64>> {
        let gray = |name: &str| GRAY.contains(&name.to_lowercase().as_str());
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (number, image) in images.iter().enumerate() {
            for name in [Some(image.stimulus.as_str()), image.path.file_name().and_then(|n| n.to_str())] {
                known.extend(name.map(|name| (name, number)));
            }
        }
        let names = || stimuli.iter().map(String::as_str).filter(|name| !gray(name));
        let counted = |name: &str| name.parse::<f64>().ok().filter(|id| id.fract() == 0.0 && *id >= 0.0);
        let by_name = names().any(|name| known.contains_key(name));
        if !by_name && names().all(|name| counted(name).is_some()) {
            return Ok(stimuli.iter().map(|name| counted(name).unwrap_or(-1.0)).collect());
        }
        if images.is_empty() {
            let mut sorted: Vec<&str> = names().collect();
            sorted.sort_by(|a, b| natural_order(a, b));
            sorted.dedup();
            known = sorted.into_iter().enumerate().map(|(number, name)| (name, number)).collect();
        }
        let number = |name: &String| match known.get(name.as_str()) {
            Some(&number) => Ok(number as f64),
            None if gray(name) => Ok(-1.0),
            None => Err(wrong(
                &self.responses,
                STIMULUS,
                format!("holds `{name}`, which is none of the {} images", images.len()),
                "name the file in `images`, or add it to `images.csv`",
            )),
        };
        stimuli.iter().map(number).collect()
    }
}

/// Lists a table or a folder of images.
pub(crate) fn contents(path: &Path) -> Result<Vec<VariableInfo>> {
    let mut variables = Vec::new();
    let mut add = |name: &str, class: &str, values: Numeric| {
        variables.push(VariableInfo {
            name: name.to_owned(),
            class: class.to_owned(),
            shape: values.shape().to_vec(),
            dtype: values.dtype().name().to_owned(),
            sum: Some(values.sum()).filter(|sum| sum.is_finite()),
        });
    };
    if Format::of_content(path)? == Format::ImageFolder {
        add("images", "images", images::pixels(path, &images::listed(path)?)?.into_dyn().into());
        return Ok(variables);
    }
    let table = ResponseTable::open(path)?;
    let read = table.read(&Picks::ALL)?;
    add("responses", "table", read.responses.into_dyn().into());
    add("stimulus", "table", ndarray::Array1::from_vec(read.stimulus).into_dyn().into());
    let others = [("spontaneous", read.spontaneous), ("positions", read.positions)];
    for (name, values) in others {
        if let Some(values) = values {
            add(name, "table", values.into_dyn().into());
        }
    }
    if read.images.is_some() {
        add("images", "images", table.pixels()?.into_dyn().into());
    }
    Ok(variables)
}

/// Pixels of the images in a folder, in the order of their names.
pub(crate) fn pixels_of_folder(folder: &Path) -> Result<Array3<u8>> {
    images::pixels(folder, &images::listed(folder)?)
}

fn wrong(path: &Path, variable: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::variable(path.display().to_string(), variable, problem, remedy)
}

/// How two texts compare of which one has ended.
fn by_end(a: Option<u8>, b: Option<u8>) -> Ordering {
    a.is_some().cmp(&b.is_some())
}
