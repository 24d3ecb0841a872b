//! Recordings, images and categories from files of every format, and into files of the layout of the
//! 2,800-image deposit of Stringer et al. (figshare 10.25378/janelia.6845348).

mod choice;
mod deposit;
mod recording;
mod save;
mod stimuli;

pub use recording::{RecordingFile, load_recording};
pub use save::{Session, write_categories_mat, write_images_mat, write_recording_mat};
pub use stimuli::{load_categories, load_images};

use std::path::Path;

use ndarray::{Array2, ArrayD, Ix2};

use crate::mat::{MatFile, Selection, Value};
use crate::{Error, Result};

/// Name of a category that means that there is none.
const UNKNOWN: &str = "unknown";

/// The selected variables of a MATLAB file.
struct Workspace {
    file: MatFile,
    variables: Vec<(String, Value)>,
}

impl Workspace {
    fn read(path: &Path, selection: &Selection) -> Result<Self> {
        let file = MatFile::open(path)?;
        let variables = file.read_selected(selection)?;
        Ok(Self { file, variables })
    }

    /// Moves a variable out; of several with one name the last, as MATLAB does.
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.variables.iter().rposition(|(n, _)| n == name)?;
        Some(self.variables.swap_remove(at).1)
    }

    fn expect(&mut self, name: &str) -> Result<Value> {
        self.take(name).ok_or_else(|| self.file.missing(name))
    }
}

/// A variable error about a file.
fn wrong(path: &Path, variable: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::variable(path.display().to_string(), variable, problem, remedy)
}

/// "1 x 3": a shape for people.
fn shown(shape: &[usize]) -> String {
    let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
    axes.join(" x ")
}

/// A matrix of `f32`; `layout` says what its axes are.
fn matrix(path: &Path, variable: &str, array: ArrayD<f32>, layout: &str) -> Result<Array2<f32>> {
    let shape = array.shape().to_vec();
    array.into_dimensionality::<Ix2>().map_err(|_| {
        let problem = format!("has shape {}, expected {layout}", shown(&shape));
        wrong(path, variable, problem, "save it as a matrix")
    })
}

/// The same from a MATLAB value.
fn value_matrix(path: &Path, variable: &str, value: Value, layout: &str) -> Result<Array2<f32>> {
    match value {
        Value::Numeric { values, .. } => matrix(path, variable, values.into_f32(), layout),
        other => {
            let problem = format!("is {}, expected {layout} numbers", other.class().name());
            Err(wrong(path, variable, problem, "save it as single or double"))
        }
    }
}
