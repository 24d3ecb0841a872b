use ndarray::{Array2, Array3, Axis, Ix2, Ix3};

use super::{NwbChoice, NwbFile};
use crate::hdf5::Hdf5Array;
use crate::table::natural_order;
use crate::{Numeric, Result};

const TEMPLATES: &str = "stimulus/templates";

/// Where template images lie.
pub(super) enum Templates {
    /// One dataset an image, by name.
    Named(String, Vec<String>),
    /// One dataset for all.
    Series(String),
}

impl NwbFile {
    /// The templates of the file; `None` where there are none.
    fn templates(&self, choice: &NwbChoice) -> Result<Option<Templates>> {
        let file = self.hdf5();
        let mut found: Vec<String> =
            file.subgroups(TEMPLATES).map(|name| format!("{TEMPLATES}/{name}")).collect();
        if let Some(chosen) = &choice.templates {
            found = vec![chosen.trim_matches('/').to_owned()];
        }
        if found.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = found.iter().map(String::as_str).collect();
        let group = self.only("template images", "templates", &names)?;
        if file.contains(&format!("{group}/data")) {
            return Ok(Some(Templates::Series(format!("{group}/data"))));
        }
        let order = format!("{group}/order_of_images");
        if file.contains(&order)
            && let Hdf5Array::Reference(images) = file.read(&order)?
        {
            let name =
                |path: Option<String>| path.as_deref().and_then(|p| p.rsplit('/').next()).map(str::to_owned);
            let names: Option<Vec<String>> = images.into_iter().map(name).collect();
            let remedy = "let it refer to the template images";
            let names = names.ok_or_else(|| file.variable(&order, "refers to nothing", remedy))?;
            return Ok(Some(Templates::Named(group.to_owned(), names)));
        }
        let mut names = Vec::new();
        for name in file.members(group) {
            if file.dataset(&format!("{group}/{name}"))?.shape().len() >= 2 {
                names.push(name.to_owned());
            }
        }
        names.sort_by(|a, b| natural_order(a, b));
        Ok((!names.is_empty()).then(|| Templates::Named(group.to_owned(), names)))
    }

    /// Names of the template images, where they have some.
    pub(super) fn template_names(&self, choice: &NwbChoice) -> Result<Vec<String>> {
        match self.templates(choice)? {
            Some(Templates::Named(_, names)) => Ok(names),
            _ => Ok(Vec::new()),
        }
    }

    /// Number of template images; `None` where there are none or several kinds.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) where the file is damaged.
    pub fn template_count(&self, choice: &NwbChoice) -> Result<Option<usize>> {
        // Without a choice among several, the ids alone say how many images there are.
        if choice.templates.is_none() && self.hdf5().subgroups(TEMPLATES).count() > 1 {
            return Ok(None);
        }
        match self.templates(choice)? {
            Some(Templates::Named(_, names)) => Ok(Some(names.len())),
            Some(Templates::Series(path)) => Ok(self.hdf5().dataset(&path)?.shape().first().copied()),
            None => Ok(None),
        }
    }

    /// The template images: images x height x width, grey levels in one byte.
    ///
    /// # Errors
    /// [`Error::Variable`](crate::Error::Variable) where there are none, or several kinds and no
    /// choice, or they are of another type or of different sizes.
    pub fn images(&self, choice: &NwbChoice) -> Result<Array3<u8>> {
        let file = self.hdf5();
        let wrong = |path: &str, shape: &[usize], dtype: &str| {
            let problem = format!("has shape {shape:?} and type {dtype}, expected grey levels in uint8");
            file.variable(path, problem, "save the images as height x width, grey levels from 0 to 255")
        };
        match self.templates(choice)? {
            None => {
                Err(file.variable(TEMPLATES, "holds no images", "give the images in a file of their own"))
            }
            Some(Templates::Series(path)) => {
                let dataset = file.dataset(&path)?;
                let wrong = || wrong(&path, dataset.shape(), dataset.dtype());
                let Hdf5Array::Numeric(Numeric::UInt8(pixels)) = file.read(&path)? else {
                    return Err(wrong());
                };
                pixels.into_dimensionality::<Ix3>().map_err(|_| wrong())
            }
            Some(Templates::Named(group, names)) => {
                let mut pixels: Option<Array3<u8>> = None;
                for (at, name) in names.iter().enumerate() {
                    let path = format!("{group}/{name}");
                    let dataset = file.dataset(&path)?;
                    let wrong = || wrong(&path, dataset.shape(), dataset.dtype());
                    let &[height, width] = dataset.shape() else {
                        return Err(wrong());
                    };
                    let Hdf5Array::Numeric(Numeric::UInt8(image)) = file.read(&path)? else {
                        return Err(wrong());
                    };
                    let image: Array2<u8> = image.into_dimensionality::<Ix2>().map_err(|_| wrong())?;
                    let pixels = pixels.get_or_insert_with(|| Array3::zeros((names.len(), height, width)));
                    if pixels.dim() != (names.len(), height, width) {
                        let (_, first, second) = pixels.dim();
                        let problem =
                            format!("is {height} x {width}, the images before are {first} x {second}");
                        return Err(file.variable(&path, problem, "give images of one size"));
                    }
                    pixels.index_axis_mut(Axis(0), at).assign(&image);
                }
                Ok(pixels.unwrap_or_else(|| Array3::zeros((0, 0, 0))))
            }
        }
    }
}
