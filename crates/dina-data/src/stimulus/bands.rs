use ndarray::Axis;
use ndarray::parallel::prelude::*;
use serde::{Deserialize, Serialize};

use super::Stack;
use super::fourier::{Border, Spectral};
use super::stack::refused;
use crate::Result;

/// The energy of images in bands of spatial frequency, from [`band_energy`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BandEnergy {
    /// Borders of the bands, in cycles per degree, ascending; one more than there are bands.
    pub edges: Vec<f32>,
    /// Per image and band the share in the variance of the pixels, in squared grey levels:
    /// `energy[image][band]`.
    pub energy: Vec<Vec<f64>>,
    /// Per image the variance in no band. With `energy` it adds up to the variance of the pixels
    /// (divided by their number); the mean grey counts nowhere.
    pub outside: Vec<f64>,
}

impl BandEnergy {
    /// Energy of each band, mean over images.
    pub fn mean(&self) -> Vec<f64> {
        let images = self.energy.len().max(1) as f64;
        let bands = self.edges.len().saturating_sub(1);
        (0..bands).map(|b| self.energy.iter().filter_map(|e| e.get(b)).sum::<f64>() / images).collect()
    }
}

/// Energy per band of spatial frequency: what a filter is judged by.
///
/// `E(band) = sum |F(k)|^2 / n^2` over the frequencies `k` of the band, lower border included and
/// upper excluded, in every direction, with `n` the number of pixels transformed. By Parseval's
/// theorem all bands add up to the variance of the pixels. With [`Border::Mirror`] the image and
/// its mirror images are transformed, so that the edge between opposite borders does not count.
///
/// # Errors
/// When there are fewer than two borders, or they do not ascend from 0 or above.
pub fn band_energy(stack: &Stack, edges: &[f32], border: Border) -> Result<BandEnergy> {
    let ascending = edges.windows(2).all(|pair| pair[0] < pair[1]) && edges.iter().all(|e| e.is_finite());
    if edges.len() < 2 || edges[0] < 0.0 || !ascending {
        return Err(refused("band borders", "two or more, ascending from 0 or above", format!("{edges:?}")));
    }
    let spectral = Spectral::new(stack.size(), border);
    let band_of: Vec<Option<usize>> = spectral
        .frequencies(stack.degrees_per_pixel())
        .iter()
        .map(|f| edges.windows(2).position(|pair| f64::from(pair[0]) <= *f && *f < f64::from(pair[1])))
        .collect();
    let scale = (spectral.len() as f64).powi(-2);
    let (energy, outside) = stack
        .pixels()
        .axis_iter(Axis(0))
        .into_par_iter()
        .map(|image| {
            let mut bands = vec![0.0; edges.len() - 1];
            let mut outside = 0.0;
            for (c, band) in spectral.analyse(image).iter().zip(&band_of).skip(1) {
                let power = c.norm_sqr() * scale;
                match band {
                    Some(band) => bands[*band] += power,
                    None => outside += power,
                }
            }
            (bands, outside)
        })
        .unzip();
    Ok(BandEnergy { edges: edges.to_vec(), energy, outside })
}

/// Borders of bands one octave wide, in cycles per degree, downwards from the highest frequency
/// that the pixels show, as many as the image can resolve.
///
/// The lowest band holds at least one cycle over the smaller extent of the image.
pub fn octave_edges(stack: &Stack) -> Vec<f32> {
    let [height, width] = stack.extent();
    let lowest = 1.0 / height.min(width);
    let mut edges: Vec<f32> = std::iter::successors(Some(stack.nyquist()), |f| Some(f / 2.0))
        .take_while(|&f| f >= 0.999 * lowest)
        .collect();
    edges.reverse();
    edges
}
