use std::path::Path;

use ndarray::Array1;
use serde::{Deserialize, Serialize};

use super::{UNKNOWN, wrong};
use crate::mat::{Item, write_mat};
use crate::{Categories, Images, Recording, Result};

/// What the deposit says of a session beside the recording itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The animal, such as `M170714_MP032`.
    pub mouse_name: String,
    /// The day, such as `2017-09-14`.
    pub date: String,
    /// Pixels of each neuron's mask, `stat.npix`; empty where neurons have no masks.
    pub pixels: Vec<u32>,
}

/// Writes a recording in the layout of the deposit: struct `stim` (`resp`, `istim`, `spont`), struct
/// array `stat` with one entry per neuron (`npix`, `redcell`, `redprob`, as far as known), `med`
/// where positions are known, and `db`.
///
/// The gray screen gets the id after the last image. A reader that is not told the number of
/// images takes the largest id for it, so a recording without gray screens has to be read with
/// [`RecordingFile::images`](crate::RecordingFile::images).
///
/// # Errors
/// [`Error::Variable`](crate::Error::Variable) where `session.pixels` has another number of
/// neurons; [`Error::Core`](crate::Error::Core) where the file cannot be written.
pub fn write_recording_mat(path: impl AsRef<Path>, recording: &Recording, session: &Session) -> Result<()> {
    let path = path.as_ref();
    let neurons = recording.neurons();
    let pixels = session.pixels.as_slice();
    if !pixels.is_empty() && pixels.len() != neurons {
        return Err(wrong(
            path,
            "stat.npix",
            format!("has {} entries for {neurons} neurons", pixels.len()),
            "give one per neuron, or none",
        ));
    }
    let gray = recording.images();
    let ids: Array1<f64> =
        recording.stimulus().iter().map(|id| id.map_or(gray, |id| id as usize) as f64 + 1.0).collect();
    let ids = ids.into_dyn();
    let mut stim = vec![
        ("resp", Item::from(recording.responses().view().into_dyn())),
        ("istim", Item::from(ids.view())),
    ];
    if let Some(spontaneous) = recording.spontaneous() {
        stim.push(("spont", Item::from(spontaneous.view().into_dyn())));
    }
    let mut variables = vec![("stim", Item::Struct(stim))];
    if let Some(stat) = stat(recording, pixels) {
        variables.push(("stat", stat));
    }
    if let Some(positions) = recording.positions() {
        variables.push(("med", Item::from(positions.view().into_dyn())));
    }
    variables.push((
        "db",
        Item::Struct(vec![
            ("mouse_name", Item::Text(&session.mouse_name)),
            ("date", Item::Text(&session.date)),
        ]),
    ));
    write_mat(path, &variables)
}

/// One entry per neuron, where anything is known of them.
fn stat<'a>(recording: &Recording, pixels: &[u32]) -> Option<Item<'a>> {
    let red = recording.red_cells();
    let mut fields = Vec::new();
    if !pixels.is_empty() {
        fields.push("npix");
    }
    if red.is_some() {
        fields.extend(["redcell", "redprob"]);
    }
    if fields.is_empty() {
        return None;
    }
    let entries = (0..recording.neurons())
        .map(|neuron| {
            let mut entry = Vec::with_capacity(fields.len());
            entry.extend(pixels.get(neuron).map(|&n| Item::Number(n.into())));
            if let Some(red) = red {
                let red = f64::from(red[neuron]);
                entry.extend([Item::Number(red), Item::Number(red)]);
            }
            entry
        })
        .collect();
    Some(Item::StructArray { fields, entries })
}

/// Writes images in the layout of the deposit: `imgs`, height x width x images.
///
/// # Errors
/// [`Error::Core`](crate::Error::Core) where the file cannot be written.
pub fn write_images_mat(path: impl AsRef<Path>, images: &Images) -> Result<()> {
    let pixels = images.pixels.view().permuted_axes([1, 2, 0]).into_dyn();
    write_mat(path, &[("imgs", Item::from(pixels))])
}

/// Writes categories in the layout of the deposit: `class_assignment` (1 x images, 0 is unknown) and
/// `class_names` (a cell array whose first name is `unknown`).
///
/// # Errors
/// [`Error::Variable`](crate::Error::Variable) where an image has a category without a name;
/// [`Error::Core`](crate::Error::Core) where the file cannot be written.
pub fn write_categories_mat(path: impl AsRef<Path>, categories: &Categories) -> Result<()> {
    let path = path.as_ref();
    let count = categories.names.len();
    if let Some(category) = categories.of.iter().flatten().find(|&&c| c as usize >= count) {
        return Err(wrong(
            path,
            "class_assignment",
            format!("holds category {category}, but there are {count} names from 0 on"),
            "give one name per category",
        ));
    }
    let assignment: Array1<f64> =
        categories.of.iter().map(|category| category.map_or(0.0, |c| f64::from(c) + 1.0)).collect();
    let assignment = assignment.insert_axis(ndarray::Axis(0)).into_dyn();
    let names: Vec<Item<'_>> =
        std::iter::once(UNKNOWN).chain(categories.names.iter().map(String::as_str)).map(Item::Text).collect();
    let names = Item::Cell { shape: vec![1, names.len()], values: names };
    write_mat(path, &[("class_assignment", Item::from(assignment.view())), ("class_names", names)])
}
