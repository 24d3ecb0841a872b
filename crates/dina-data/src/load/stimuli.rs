use std::path::Path;

use ndarray::{ArrayD, Axis, Ix3};

use super::{UNKNOWN, Workspace, shown, wrong};
use crate::mat::{MatFile, Selection, Value};
use crate::npz::{NpyArray, NpzFile};
#[cfg(feature = "hdf5")]
use crate::nwb::NwbChoice;
use crate::{Categories, Format, Images, Numeric, Result, sensorium, table};

/// The visual angle of a pixel in the deposit.
const DEGREES_PER_PIXEL: f32 = 1.0;

/// Reads the images of a stimulus set, one degree a pixel as in the deposit.
///
/// From MATLAB files `imgs` (height x width x images), from numpy files `images` or the one array
/// (images x height x width), both of grey levels 0 to 255 in one byte; from NWB files the templates;
/// from a folder of PNG and JPEG files, a text table or a Sensorium folder the images in them.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io), [`Error::Unsupported`](crate::Error::Unsupported),
/// [`Error::Malformed`](crate::Error::Malformed); [`Error::Variable`](crate::Error::Variable)
/// where the variable is missing, of another type or shape, or empty.
pub fn load_images(path: impl AsRef<Path>) -> Result<Images> {
    let path = path.as_ref();
    let loaded = |pixels| Ok(Images { pixels, degrees_per_pixel: DEGREES_PER_PIXEL });
    let (variable, layout, numbers, dtype) = match Format::of_content(path)? {
        Format::ImageFolder => return table::pixels_of_folder(path).and_then(loaded),
        Format::Csv => return table::ResponseTable::open(path)?.pixels().and_then(loaded),
        Format::Sensorium => return sensorium::SensoriumFolder::open(path)?.pixels().and_then(loaded),
        #[cfg(feature = "hdf5")]
        Format::Hdf5 | Format::Nwb => {
            return crate::nwb::NwbFile::open(path)?.images(&NwbChoice::default()).and_then(loaded);
        }
        format if format.is_mat() => {
            let value = MatFile::open(path)?.read("imgs")?;
            let dtype = value.dtype();
            let numbers = match value {
                Value::Numeric { values, .. } => Some(values),
                _ => None,
            };
            ("imgs", "height x width x images", numbers, dtype.to_owned())
        }
        Format::Npz | Format::Npy => {
            let file = NpzFile::open(path)?;
            let name =
                if file.contains("images") { "images" } else { file.names().next().unwrap_or("images") };
            let name = if file.names().len() == 1 { name } else { "images" };
            let array = file.read(name)?;
            let dtype = array.dtype().to_owned();
            let numbers = match array {
                NpyArray::Numeric(values) => Some(values),
                _ => None,
            };
            ("images", "images x height x width", numbers, dtype)
        }
        other => return Err(other.unsupported(path)),
    };
    let Some(Numeric::UInt8(mut pixels)) = numbers else {
        return Err(wrong(
            path,
            variable,
            format!("has type {dtype}, expected uint8"),
            "save the images as grey levels from 0 to 255 in uint8",
        ));
    };
    if variable == "imgs" {
        pixels = images_first(pixels);
    }
    let shape = pixels.shape().to_vec();
    let pixels = pixels.into_dimensionality::<Ix3>().ok();
    match pixels.filter(|pixels| !pixels.is_empty()) {
        Some(pixels) => Ok(Images {
            pixels: pixels.as_standard_layout().into_owned(),
            degrees_per_pixel: DEGREES_PER_PIXEL,
        }),
        None => Err(wrong(
            path,
            variable,
            format!("has {} values on {} axes, expected {layout}", shown(&shape), shape.len()),
            "give the image file of the recording",
        )),
    }
}

/// MATLAB drops the last axis of a single image, and keeps the number of images there.
fn images_first(pixels: ArrayD<u8>) -> ArrayD<u8> {
    match pixels.ndim() {
        2 => pixels.insert_axis(Axis(0)),
        3 => pixels.permuted_axes(vec![2, 0, 1]),
        _ => pixels,
    }
}

/// Reads the category of each image from a MATLAB file: `class_assignment` (1 x images, counted
/// from 0) and `class_names` (a cell array of text).
///
/// A category named `unknown` is none: its images have no category, and the others move up.
///
/// # Errors
/// As [`load_images`]; [`Error::Variable`](crate::Error::Variable) also where the number of images
/// is not `images`, or an image has a category without a name.
pub fn load_categories(path: impl AsRef<Path>, images: usize) -> Result<Categories> {
    let path = path.as_ref();
    let selection = Selection::only(["class_assignment", "class_names"]);
    let mut workspace = Workspace::read(path, &selection)?;
    let assignment = workspace.expect("class_assignment")?;
    let names = workspace.expect("class_names")?;
    let names = match &names {
        Value::Cell(cells) => cells.t().iter().map(Value::text).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let names = names.ok_or_else(|| {
        wrong(path, "class_names", "is not a cell array of text", "give one name per category")
    })?;
    let assignment = assignment
        .to_f64()
        .ok_or_else(|| wrong(path, "class_assignment", "holds no numbers", "give one category per image"))?;
    if assignment.len() != images {
        return Err(wrong(
            path,
            "class_assignment",
            format!("has {} entries for {images} images", assignment.len()),
            "give the category file of these images",
        ));
    }
    // Per name the category after `unknown` is left out.
    let mut known = Vec::new();
    let category: Vec<Option<u32>> = names
        .into_iter()
        .map(|name| {
            (!name.eq_ignore_ascii_case(UNKNOWN)).then(|| {
                known.push(name);
                known.len() as u32 - 1
            })
        })
        .collect();
    let of = assignment.iter().map(|&number| {
        let named = category.get(number as usize).filter(|_| number >= 0.0 && number.fract() == 0.0);
        named.copied().ok_or_else(|| {
            wrong(
                path,
                "class_assignment",
                format!("holds category {number}, but there are {} names from 0 on", category.len()),
                "give one name per category in `class_names`",
            )
        })
    });
    let of = of.collect::<Result<_>>()?;
    Ok(Categories { names: known, of })
}
