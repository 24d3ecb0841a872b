use std::cmp::Ordering;
use std::fs;
use std::io::{BufReader, Result as IoResult};
use std::path::{Component, Path, PathBuf};

use image::{ImageReader, Limits};
use ndarray::{Array2, Array3, Axis};
use rayon::prelude::*;

use super::{IMAGES, MAPPING, STIMULUS, by_end, text, wrong};
use crate::source::MAX_EXPANSION;
use crate::{Error, Result};

/// Pixels of a byte, where each takes one bit.
const PIXELS: u64 = 8;
/// More than any stimulus has.
const MOST_PIXELS: u64 = 1 << 26;

/// An image and the name by which the table of responses means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// The name.
    pub stimulus: String,
    /// The file.
    pub path: PathBuf,
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|e| e.to_str()).map(str::to_lowercase);
    matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg"))
}

/// Whether a folder has PNG or JPEG files in it.
pub(crate) fn holds_images(folder: &Path) -> IoResult<bool> {
    for entry in fs::read_dir(folder)? {
        if is_image(&entry?.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The images in a folder, in the order of their names.
pub(super) fn listed(folder: &Path) -> Result<Vec<ImageFile>> {
    let io = |source| Error::Io { path: folder.to_path_buf(), source };
    let mut images = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if !is_image(&path) {
            continue;
        }
        // A name is what responses refer to: two that differ in bytes that are no text would become one.
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()) else {
            return Err(wrong(&path, IMAGES, "has a name that is not UTF-8", "rename the file"));
        };
        images.push(ImageFile { stimulus: stem.to_owned(), path });
    }
    images.sort_by(|a, b| natural_order(&a.stimulus, &b.stimulus).then_with(|| a.path.cmp(&b.path)));
    if let Some(pair) = images.windows(2).find(|pair| pair[0].stimulus == pair[1].stimulus) {
        return Err(wrong(
            folder,
            IMAGES,
            format!("has two files of the name `{}`", pair[0].stimulus),
            "keep one, or say in `images.csv` which is which",
        ));
    }
    Ok(images)
}

/// The images that `images.csv` names.
pub(super) fn mapped(mapping: &Path, folder: &Path) -> Result<Vec<ImageFile>> {
    let [stimuli, files] = text::columns(mapping, [STIMULUS, "file"])?;
    let image = |(stimulus, file): (String, String)| {
        // A table that came from elsewhere must not lead out of its folder.
        let inside = Path::new(&file).components().all(|part| matches!(part, Component::Normal(_)));
        let path = folder.join(&file);
        match inside && !file.is_empty() {
            true if path.is_file() => Ok(ImageFile { stimulus, path }),
            true => Err(wrong(
                mapping,
                MAPPING,
                format!("names `{file}`, which is not in `{IMAGES}`"),
                "add the file",
            )),
            false => Err(wrong(
                mapping,
                MAPPING,
                format!("names `{file}`, which lies outside of `{IMAGES}`"),
                "put the images into this folder",
            )),
        }
    };
    stimuli.into_iter().zip(files).map(image).collect()
}

/// The grey levels of images of one size.
pub(super) fn pixels(folder: &Path, images: &[ImageFile]) -> Result<Array3<u8>> {
    let Some(first) = images.first() else {
        return Err(wrong(
            folder,
            IMAGES,
            "holds no PNG or JPEG file",
            "put the images that were shown there",
        ));
    };
    let (height, width) = grey(&first.path)?.dim();
    let total = (images.len() as u64).saturating_mul(height as u64).saturating_mul(width as u64);
    // One size is what the first file claims for all.
    if total > MOST_PIXELS.saturating_mul(64) {
        let problem = format!("holds {} images of {height} x {width}", images.len());
        return Err(wrong(folder, IMAGES, problem, "make them smaller"));
    }
    let mut pixels = Array3::zeros((images.len(), height, width));
    pixels.axis_iter_mut(Axis(0)).into_par_iter().zip(images).try_for_each(|(mut place, image)| {
        let grey = grey(&image.path)?;
        if grey.dim() != (height, width) {
            let (h, w) = grey.dim();
            let problem = format!("is {h} x {w}, `{}` is {height} x {width}", first.path.display());
            return Err(wrong(&image.path, IMAGES, problem, "give images of one size"));
        }
        place.assign(&grey);
        Ok(())
    })?;
    Ok(pixels)
}

/// Decodes an image, whichever of the two formats it is in.
fn grey(path: &Path) -> Result<Array2<u8>> {
    let io = |source| Error::Io { path: path.to_path_buf(), source };
    let damaged = |what: String| Error::Malformed {
        path: path.to_path_buf(),
        what: format!("{what}; the image is damaged or not a PNG or JPEG, get it again"),
    };
    let length = fs::metadata(path).map_err(io)?.len();
    let reader = || -> Result<ImageReader<BufReader<fs::File>>> {
        let mut reader = ImageReader::open(path).map_err(io)?.with_guessed_format().map_err(io)?;
        let mut limits = Limits::default();
        limits.max_alloc = Some(16 * MOST_PIXELS);
        reader.limits(limits);
        Ok(reader)
    };
    let (width, height) = reader()?.into_dimensions().map_err(|error| damaged(error.to_string()))?;
    let declared = u64::from(width) * u64::from(height);
    if declared > length.saturating_mul(MAX_EXPANSION * PIXELS).min(MOST_PIXELS) {
        return Err(damaged(format!("{width} x {height} pixels are declared in {length} bytes")));
    }
    let image = reader()?.decode().map_err(|error| damaged(error.to_string()))?.into_luma8();
    let shape = (image.height() as usize, image.width() as usize);
    Array2::from_shape_vec(shape, image.into_raw()).map_err(|error| damaged(error.to_string()))
}

/// The order of names in which numbers compare as numbers.
pub(crate) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.as_bytes(), b.as_bytes());
    let number = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    loop {
        let (digits_left, digits_right) = (number(left), number(right));
        let order = if digits_left > 0 && digits_right > 0 {
            let strip = |text: &[u8], digits: usize| -> Vec<u8> {
                text[..digits].iter().copied().skip_while(|&digit| digit == b'0').collect()
            };
            let (m, n) = (strip(left, digits_left), strip(right, digits_right));
            (left, right) = (&left[digits_left..], &right[digits_right..]);
            m.len().cmp(&n.len()).then_with(|| m.cmp(&n))
        } else {
            let pair = (left.first().copied(), right.first().copied());
            match pair {
                (Some(m), Some(n)) => {
                    (left, right) = (&left[1..], &right[1..]);
                    m.cmp(&n)
                }
                // Equal but for zeros in front of numbers.
                (None, None) => return a.cmp(b),
                (m, n) => return by_end(m, n),
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_compare_as_numbers() {
        let mut names = ["b2", "a10", "a2", "a02", "a", "a2b", "a1", "", "b"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["", "a", "a1", "a02", "a2", "a2b", "a10", "b", "b2"]);
    }
}
