use candle_core::Tensor;
use dina_core::Error as CoreError;

use super::{Attribution, Explainer, Method, explainer::Items};
use crate::Result;

impl Explainer<'_> {
    /// Grad-CAM (Selvaraju et al. 2017) on the aligned maps: every channel that the target reads is weighted with the
    /// mean over positions of the target's gradient with respect to it, the sum is cut off below zero and brought
    /// to the size of the image bilinearly (pixel centres aligned, as `align_corners=False`).
    ///
    /// A tower shows its maps and no layer before, so that this says where the maps support the target and not which
    /// pixels cause it: it is coarse, and blind to everything before the maps. Most useful with
    /// [`Target::level_matching`](super::Target::level_matching).
    ///
    /// # Errors
    /// When the inputs are not images `[items, 1, height, width]`, or the tower refuses them.
    pub fn grad_cam(&self, inputs: &Tensor) -> Result<Attribution> {
        let items = Items::new(inputs)?;
        let &[_, _, height, width] = items.dims() else {
            return Err(
                CoreError::shape("images for Grad-CAM", "[items, 1, height, width]", items.dims()).into()
            );
        };
        let (_, rows, columns) = self.map_dims();
        let positions = rows * columns;
        let depth = items.dims()[1];
        let mut values = Vec::with_capacity(items.values.len());
        let mut targets = Vec::with_capacity(items.count);
        self.maps(&items, |_, target, map, gradient| {
            let mut cam = vec![0.; positions];
            for (map, gradient) in map.chunks(positions).zip(gradient.chunks(positions)) {
                let weight = gradient.iter().sum::<f64>() / positions as f64;
                cam.iter_mut().zip(map).for_each(|(cam, a)| *cam += weight * a);
            }
            cam.iter_mut().for_each(|value| *value = value.max(0.));
            let large = bilinear(&cam, (rows, columns), (height, width));
            (0..depth).for_each(|_| values.extend(&large));
            targets.push(target);
        })?;
        Ok(Attribution {
            values: items.array(&values)?,
            method: Method::GradCam,
            targets,
            completeness: None,
            standard_error: None,
            groups: None,
            checks: None,
        })
    }
}

/// Bilinear resampling between the centres of pixels; beyond the outermost centres the border is repeated.
pub(crate) fn bilinear(map: &[f64], from: (usize, usize), to: (usize, usize)) -> Vec<f64> {
    let between = |extent: usize, target: usize, index: usize| {
        let place =
            ((index as f64 + 0.5) * extent as f64 / target as f64 - 0.5).clamp(0., extent as f64 - 1.);
        let low = place.floor() as usize;
        (low, (low + 1).min(extent - 1), place - low as f64)
    };
    let mut large = Vec::with_capacity(to.0 * to.1);
    for y in 0..to.0 {
        let (top, bottom, down) = between(from.0, to.0, y);
        for x in 0..to.1 {
            let (left, right, along) = between(from.1, to.1, x);
            let row = |y: usize| {
                let row = &map[y * from.1..][..from.1];
                row[left] + along * (row[right] - row[left])
            };
            large.push(row(top) + down * (row(bottom) - row(top)));
        }
    }
    large
}

#[cfg(test)]
mod tests {
    use super::bilinear;

    /// `torch.nn.functional.interpolate(torch.tensor([[[[0., 1.], [2., 4.]]]]), (3, 4), mode="bilinear",
    /// align_corners=False)`, worked out by hand from its definition: rows at -1/6 (cut to 0), 1/2, 1.
    #[test]
    fn bilinear_as_in_pytorch() {
        let found = bilinear(&[0., 1., 2., 4.], (2, 2), (3, 4));
        let expected = [0., 0.25, 0.75, 1., 1., 1.375, 2.125, 2.5, 2., 2.5, 3.5, 4.];
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?}");
        }
    }
}
