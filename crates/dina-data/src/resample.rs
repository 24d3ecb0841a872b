use ndarray::{Array3, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::window::Window;
use crate::{Error, Images, Result};

/// How the pixels of an image are weighted when it is brought to another resolution. Either keeps a
/// uniform image uniform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernel {
    /// A new pixel is the mean of the area it covers. The mean of the image is exactly kept, and no
    /// grey level is made that was not there; frequencies near the highest that remains are weakened, and
    /// some of those above it are left.
    #[default]
    Area,
    /// A windowed sinc of three lobes, as wide as the coarser of the two pixels asks (Lanczos;
    /// Duchon 1979): sharper, with less aliasing, and overshoot beside edges.
    Lanczos,
}

/// The part of the input that one output pixel covers: where it starts, and the weight of each
/// input pixel. Weights add up to 1.
struct Cover {
    start: usize,
    weights: Vec<f32>,
}

/// Area resampling in two passes: an output pixel is the mean of the input over the area it
/// covers. Cutting edges across pixels makes it exact for any ratio, so the mean of an image is
/// kept, and averaging over the whole area is what keeps fine detail from aliasing.
pub(crate) struct Resampler {
    rows: Vec<Cover>,
    columns: Vec<Cover>,
}

impl Resampler {
    /// Area means, from `input` to `output`, both height and width, all at least 1.
    pub fn new(input: (usize, usize), output: (usize, usize)) -> Self {
        Self::with_kernel(input, output, Kernel::Area)
    }

    /// The same with another kernel.
    pub fn with_kernel(input: (usize, usize), output: (usize, usize), kernel: Kernel) -> Self {
        let covers = match kernel {
            Kernel::Area => covers,
            Kernel::Lanczos => lanczos,
        };
        Self { rows: covers(input.0, output.0), columns: covers(input.1, output.1) }
    }

    /// Fills `out` with the resampled `value` of every pixel of `plane`.
    pub fn apply<T: Copy>(
        &self,
        plane: ArrayView2<'_, T>,
        value: impl Fn(T) -> f32,
        mut out: ArrayViewMut2<'_, f32>,
    ) {
        let width = self.columns.len();
        let mut narrow = Vec::with_capacity(plane.nrows() * width);
        let mut wide = vec![0.0; plane.ncols()];
        for row in plane.rows() {
            wide.iter_mut().zip(row).for_each(|(w, &p)| *w = value(p));
            narrow.extend(self.columns.iter().map(|cover| -> f32 {
                let covered = &wide[cover.start..];
                covered.iter().zip(&cover.weights).map(|(v, w)| v * w).sum()
            }));
        }
        for (cover, mut out) in self.rows.iter().zip(out.rows_mut()) {
            out.fill(0.0);
            for (row, weight) in narrow.chunks(width).skip(cover.start).zip(&cover.weights) {
                out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v);
            }
        }
    }
}

fn covers(input: usize, output: usize) -> Vec<Cover> {
    let step = input as f64 / output as f64;
    (0..output)
        .map(|i| {
            let (from, to) = (i as f64 * step, ((i + 1) as f64 * step).min(input as f64));
            let start = (from as usize).min(input - 1);
            let end = (to.ceil() as usize).clamp(start + 1, input);
            let overlap = |j: usize| (to.min((j + 1) as f64) - from.max(j as f64)).max(0.0);
            let whole: f64 = (start..end).map(overlap).sum();
            Cover { start, weights: (start..end).map(|j| (overlap(j) / whole) as f32).collect() }
        })
        .collect()
}

/// Weights of the windowed sinc, in units of the coarser pixel; what would lie outside the image is
/// left out and the rest scaled to add up to 1.
fn lanczos(input: usize, output: usize) -> Vec<Cover> {
    const LOBES: f64 = 3.0;
    let sinc =
        |x: f64| if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    let kernel = |x: f64| if x.abs() < LOBES { sinc(x) * sinc(x / LOBES) } else { 0.0 };
    let step = input as f64 / output as f64;
    let pixel = step.max(1.0);
    (0..output)
        .map(|i| {
            let centre = (i as f64 + 0.5) * step;
            let reach = LOBES * pixel;
            let start = ((centre - reach).floor().max(0.0) as usize).min(input - 1);
            let end = ((centre + reach).ceil() as usize).clamp(start + 1, input);
            let weight = |j: usize| kernel((j as f64 + 0.5 - centre) / pixel);
            let whole: f64 = (start..end).map(weight).sum();
            Cover { start, weights: (start..end).map(|j| (weight(j) / whole) as f32).collect() }
        })
        .collect()
}

impl Images {
    /// Every image cut to the window and brought to a resolution, images x height x width, still
    /// in grey levels (0 to 255).
    ///
    /// The size is that of the window in degrees over `degrees_per_pixel`, rounded, and at least
    /// one pixel. Each new pixel is the mean of the area it covers, so nothing aliases and
    /// the mean over the window is kept. Images gain nothing from a finer resolution than their
    /// own; it is allowed, for sets whose pixels differ a little.
    ///
    /// # Errors
    /// When the window does not lie inside the images or `degrees_per_pixel` is not positive.
    pub fn crop_resize(&self, window: &Window, degrees_per_pixel: f32) -> Result<Array3<f32>> {
        window.check(self)?;
        if !(degrees_per_pixel.is_finite() && degrees_per_pixel > 0.0) {
            return Err(Error::Core(dina_core::Error::value(
                "degrees per pixel",
                "positive",
                degrees_per_pixel,
            )));
        }
        let scale = f64::from(self.degrees_per_pixel) / f64::from(degrees_per_pixel);
        let size = |pixels: usize| ((pixels as f64 * scale).round() as usize).max(1);
        let (height, width) = (size(window.height), size(window.width));
        let resampler = Resampler::new((window.height, window.width), (height, width));
        let mut out = Array3::zeros((self.len(), height, width));
        out.axis_iter_mut(Axis(0)).into_par_iter().zip(self.pixels.axis_iter(Axis(0))).for_each(
            |(out, image)| {
                let part = image.slice(s![
                    window.top..window.top + window.height,
                    window.left..window.left + window.width
                ]);
                resampler.apply(part, f32::from, out);
            },
        );
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use proptest::prelude::*;

    use super::*;

    fn resample(plane: &Array2<u8>, output: (usize, usize)) -> Array2<f32> {
        let mut out = Array2::zeros(output);
        Resampler::new(plane.dim(), output).apply(plane.view(), f32::from, out.view_mut());
        out
    }

    #[test]
    fn a_known_ratio_of_three_to_two() {
        let plane = Array2::from_shape_vec((1, 3), vec![0, 30, 90]).unwrap();
        let out = resample(&plane, (1, 2));
        // (0 + 30/2) / 1.5 and (30/2 + 90) / 1.5
        assert!((out[[0, 0]] - 10.0).abs() < 1e-4 && (out[[0, 1]] - 70.0).abs() < 1e-4);
    }

    #[test]
    fn a_grating_finer_than_the_new_pixels_leaves_grey() {
        let plane = Array2::from_shape_fn((32, 32), |(_, x)| if x % 2 == 0 { 0 } else { 200 });
        assert!(resample(&plane, (8, 8)).iter().all(|&v| (v - 100.0).abs() < 1e-3));
    }

    proptest! {
        #[test]
        fn constant_images_and_means_are_kept(
            (height, width) in (1usize..40, 1usize..40),
            output in (1usize..50, 1usize..50),
            bytes in prop::collection::vec(any::<u8>(), 1600),
            grey in any::<u8>(),
        ) {
            let constant = resample(&Array2::from_elem((height, width), grey), output);
            prop_assert!(constant.iter().all(|&v| (v - f32::from(grey)).abs() < 1e-3));
            let plane = Array2::from_shape_fn((height, width), |(y, x)| bytes[y * width + x]);
            let mean = plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len() as f64;
            let out = resample(&plane, output);
            let after = out.iter().map(|&v| f64::from(v)).sum::<f64>() / out.len() as f64;
            prop_assert!((mean - after).abs() < 1e-2, "{mean} became {after}");
        }
    }
}
