//! Cosine of every row of one matrix with every row of another, as one product.

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::gpu;
use crate::matrix::{Matrix, Target, product, product_into};
use crate::real::{Real, dispatch, with_slices};
use crate::vector::{dot, vectorised};

/// Keeps the norm of an empty row differentiable.
const EPSILON: f64 = 1e-12;

#[derive(Debug, Clone, Copy)]
struct Plan {
    trials: usize,
    images: usize,
    columns: usize,
    groups: usize,
}

impl Plan {
    fn new(trials: &[usize], images: &[usize], groups: usize) -> Result<Self> {
        match (trials, images) {
            (&[trials, columns], &[images, others])
                if columns == others && columns > 0 && groups > 0 && columns % groups == 0 =>
            {
                Ok(Self { trials, images, columns, groups })
            }
            _ => candle_core::bail!(
                "grouped_cosine: expected rows of one length that {groups} divides, found {trials:?} and {images:?}"
            ),
        }
    }

    /// Columns of a group.
    fn part(&self) -> usize {
        self.columns / self.groups
    }

    /// One group of columns of some rows.
    fn group<'a, T>(&self, values: &'a [T], rows: usize, group: usize) -> Matrix<'a, T> {
        Matrix::strided(&values[group * self.part()..], rows, self.part(), self.columns)
    }

    /// Inverse norms of every group of every row, `[rows, groups]`.
    fn inverse_norms<T: Real>(&self, values: &[T]) -> Vec<T> {
        values
            .par_chunks(self.part())
            .with_min_len(self.groups.max(4))
            .map(|part| {
                let square = vectorised(
                    #[inline(always)]
                    || dot(part, part),
                );
                (square + T::from_f64(EPSILON)).sqrt().recip()
            })
            .collect()
    }

    /// Products of one group of columns, trials x images.
    fn products<T: Real>(&self, b: &[T], a: &[T], group: usize, products: &mut [T]) {
        let (b, a) = (self.group(b, self.trials, group), self.group(a, self.images, group));
        product(b, a.t(), products, false, true);
    }
}

/// Mean over `groups` equal parts of the rows of the cosine of that part: `[trials, images]` from rows `[trials, columns]`
/// and `[images, columns]`; differentiable in both. Beside inputs and results it holds a few matrices of trials x
/// images; never a copy of the rows.
///
/// # Errors
/// When the rows differ in length, or the groups do not divide it.
pub fn grouped_cosine(trials: &Tensor, images: &Tensor, groups: usize) -> Result<Tensor> {
    let plan = Plan::new(trials.dims(), images.dims(), groups)?;
    if gpu::takes(&[trials, images]) {
        return gpu::grouped_cosine(trials, images, groups);
    }
    if !trials.device().is_cpu() || trials.dtype() != images.dtype() {
        return grouped_cosine_composed(trials, images, groups);
    }
    trials.contiguous()?.apply_op2(&images.contiguous()?, GroupedCosine(plan))
}

/// The same from candle's own operations, for other devices and as a reference.
///
/// # Errors
/// As [`grouped_cosine`].
pub fn grouped_cosine_composed(trials: &Tensor, images: &Tensor, groups: usize) -> Result<Tensor> {
    let plan = Plan::new(trials.dims(), images.dims(), groups)?;
    let unit = |x: &Tensor| -> Result<Tensor> {
        let parts = x.reshape((x.dim(0)?, groups, plan.part()))?;
        let norm = (parts.sqr()?.sum_keepdim(D::Minus1)? + EPSILON)?.sqrt()?;
        parts.broadcast_div(&norm)?.reshape((x.dim(0)?, plan.columns))
    };
    unit(trials)?.matmul(&unit(images)?.t()?)? * (1. / groups as f64)
}

struct GroupedCosine(Plan);

impl CustomOp2 for GroupedCosine {
    fn name(&self) -> &'static str {
        "grouped_cosine"
    }

    fn cpu_fwd(
        &self,
        trials: &CpuStorage,
        trials_layout: &Layout,
        images: &CpuStorage,
        images_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        dispatch!(trials.dtype(), forward(self.0, (trials, trials_layout), (images, images_layout)))
    }

    fn bwd(
        &self,
        trials: &Tensor,
        images: &Tensor,
        cosine: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        dispatch!(trials.dtype(), backward(self.0, [trials, images, cosine, gradient]))
    }
}

fn forward<T: Real>(
    plan: Plan,
    (b, b_layout): (&CpuStorage, &Layout),
    (a, a_layout): (&CpuStorage, &Layout),
) -> Result<(CpuStorage, Shape)> {
    let (b, a) = (T::slice(b, b_layout)?, T::slice(a, a_layout)?);
    let (of_b, of_a) = (plan.inverse_norms(b), plan.inverse_norms(a));
    let mut cosine = vec![T::zero(); plan.trials * plan.images];
    let mut products = cosine.clone();
    for group in 0..plan.groups {
        plan.products(b, a, group, &mut products);
        scale(plan, group, (&of_b, &of_a), &mut products);
        for (sum, value) in cosine.iter_mut().zip(&products) {
            *sum += *value;
        }
    }
    let share = T::from_f64(1. / plan.groups as f64);
    cosine.iter_mut().for_each(|value| *value *= share);
    Ok((T::storage(cosine), (plan.trials, plan.images).into()))
}

/// Multiplies element (t, i) by the inverse norms of one group of trial t and image i.
fn scale<T: Real>(plan: Plan, group: usize, (of_b, of_a): (&[T], &[T]), values: &mut [T]) {
    let of_a: Vec<T> = of_a.iter().skip(group).step_by(plan.groups).copied().collect();
    for (row, b) in values.chunks_exact_mut(plan.images).zip(of_b.iter().skip(group).step_by(plan.groups)) {
        for (value, a) in row.iter_mut().zip(&of_a) {
            *value *= *a * *b;
        }
    }
}

fn backward<T: Real>(plan: Plan, tensors: [&Tensor; 4]) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let [trials, images, _, _] = tensors;
    let (of_trials, of_images) = with_slices::<T, _, 4>(tensors, |slices| Ok(gradients(plan, slices)))?;
    Ok((
        Some(Tensor::from_vec(of_trials, trials.shape(), trials.device())?),
        Some(Tensor::from_vec(of_images, images.shape(), images.device())?),
    ))
}

/// With unit parts u = b / |b|, the gradient of a part is (g - <g, u> u) / |b|: what points along the part is lost. <g, u> is a sum
/// over the other side of gradient times cosine, so that neither unit parts nor their gradients are formed.
fn gradients<T: Real>(plan: Plan, [b, a, cosine, gradient]: [&[T]; 4]) -> (Vec<T>, Vec<T>) {
    let (of_b, of_a) = (plan.inverse_norms(b), plan.inverse_norms(a));
    let (mut b_gradient, mut a_gradient) = (vec![T::zero(); b.len()], vec![T::zero(); a.len()]);
    let share = T::from_f64(1. / plan.groups as f64);
    let mut parts = vec![T::zero(); cosine.len()];
    let mut weights = parts.clone();
    for group in 0..plan.groups {
        if plan.groups == 1 {
            parts.copy_from_slice(cosine);
        } else {
            plan.products(b, a, group, &mut parts);
            scale(plan, group, (&of_b, &of_a), &mut parts);
        }
        // Gradient times cosine, summed over images and over trials.
        let (mut along_b, mut along_a) = (vec![T::zero(); plan.trials], vec![T::zero(); plan.images]);
        let rows = parts.chunks_exact(plan.images).zip(gradient.chunks_exact(plan.images));
        for ((parts, gradient), along_b) in rows.zip(&mut along_b) {
            for ((part, gradient), along_a) in parts.iter().zip(gradient).zip(&mut along_a) {
                let product = *part * *gradient * share;
                *along_b += product;
                *along_a += product;
            }
        }
        for (weight, gradient) in weights.iter_mut().zip(gradient) {
            *weight = *gradient * share;
        }
        scale(plan, group, (&of_b, &of_a), &mut weights);
        let weights = Matrix::new(&weights, plan.trials, plan.images);
        let sides = [
            (b, &of_b, &along_b, &mut b_gradient, weights, plan.group(a, plan.images, group)),
            (a, &of_a, &along_a, &mut a_gradient, weights.t(), plan.group(b, plan.trials, group)),
        ];
        for (values, inverse, along, gradient, weights, others) in sides {
            remove_along(plan, group, (values, inverse, along), gradient);
            let target = Target { data: &mut gradient[group * plan.part()..], row_stride: plan.columns };
            product_into(weights, others, target, true, true);
        }
    }
    (b_gradient, a_gradient)
}

/// Sets a group of every row to minus what points along it.
fn remove_along<T: Real>(
    plan: Plan,
    group: usize,
    (values, inverse, along): (&[T], &[T], &[T]),
    gradient: &mut [T],
) {
    let at = group * plan.part()..(group + 1) * plan.part();
    gradient
        .par_chunks_exact_mut(plan.columns)
        .zip(values.par_chunks_exact(plan.columns))
        .zip(inverse.par_chunks_exact(plan.groups).zip(along))
        .for_each(|((gradient, values), (inverse, along))| {
            let factor = -*along * inverse[group] * inverse[group];
            for (gradient, value) in gradient[at.clone()].iter_mut().zip(&values[at.clone()]) {
                *gradient = factor * *value;
            }
        });
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::check::{gradient_error, normal};

    #[test]
    fn is_the_mean_of_the_cosines() {
        let (b, a) = (normal("b", &[3, 24]).unwrap(), normal("a", &[5, 24]).unwrap());
        let rows = |tensor: &Tensor| tensor.to_vec2::<f64>().unwrap();
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        for groups in [1, 4] {
            let found = rows(&grouped_cosine(&b, &a, groups).unwrap());
            for (t, b) in rows(&b).iter().enumerate() {
                for (i, a) in rows(&a).iter().enumerate() {
                    let parts = b.chunks(24 / groups).zip(a.chunks(24 / groups));
                    let mean = parts.map(|(x, y)| dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()).sum::<f64>();
                    assert!((found[t][i] - mean / groups as f64).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for groups in [1, 3] {
            let b = Var::from_tensor(&normal("b", &[4, 6]).unwrap()).unwrap();
            let a = Var::from_tensor(&normal("a", &[5, 6]).unwrap()).unwrap();
            let error = gradient_error(&[&b, &a], || grouped_cosine(&b, &a, groups)).unwrap();
            assert!(error < 1e-7, "{groups}: {error}");
            let error = gradient_error(&[&b, &a], || grouped_cosine_composed(&b, &a, groups)).unwrap();
            assert!(error < 1e-7, "composed, {groups}: {error}");
        }
    }

    #[test]
    fn an_empty_row_is_similar_to_nothing_and_wrong_groups_are_refused() {
        let zero = Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(grouped_cosine(&zero, &zero, 2).unwrap().to_vec2::<f32>().unwrap(), [[0.]]);
        assert!(grouped_cosine(&zero, &zero, 3).is_err());
    }
}
