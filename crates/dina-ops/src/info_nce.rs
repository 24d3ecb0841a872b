//! Symmetric InfoNCE from similarities, with several positives, in one pass each way.

use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::gpu;
use crate::real::{Real, dispatch, with_slices};

/// The stimulus identity of every trial and every image of a batch: equal ones are positives of each other.
#[derive(Debug, Clone)]
pub struct Positives {
    trials: Vec<u32>,
    images: Vec<u32>,
    /// Trials, and images, that have a positive.
    paired: (usize, usize),
}

impl Positives {
    /// # Errors
    /// When no trial has a positive.
    pub fn new(trials: &[u32], images: &[u32]) -> Result<Self> {
        let of =
            |queries: &[u32], candidates: &[u32]| queries.iter().filter(|id| candidates.contains(id)).count();
        let paired = (of(trials, images), of(images, trials));
        if paired.0 == 0 {
            candle_core::bail!("info_nce: no image of the batch is the one that a trial answers")
        }
        Ok(Self { trials: trials.to_vec(), images: images.to_vec(), paired })
    }

    pub(crate) fn trials(&self) -> &[u32] {
        &self.trials
    }

    pub(crate) fn images(&self) -> &[u32] {
        &self.images
    }

    /// Trials, and images, that have a positive.
    pub(crate) fn paired(&self) -> (usize, usize) {
        self.paired
    }
}

/// `L = -1/2 [ mean_t log( sum_{i in P(t)} e^{S_ti} / sum_i e^{S_ti} ) + mean_i log( sum_{t in P(i)} e^{S_ti} / sum_t e^{S_ti} ) ]` with
/// `S = similarity e^{log_scale}`, a scalar; differentiable in both. `similarity` is `[trials, images]`. A trial or an image without a
/// positive is a candidate only and not averaged over.
///
/// # Errors
/// When the shapes do not fit.
pub fn info_nce(similarity: &Tensor, log_scale: &Tensor, positives: &Positives) -> Result<Tensor> {
    check(similarity, log_scale, positives)?;
    if gpu::takes(&[similarity, log_scale]) {
        return gpu::info_nce(similarity, log_scale, positives);
    }
    if !similarity.device().is_cpu() {
        return info_nce_composed(similarity, log_scale, positives);
    }
    similarity.contiguous()?.apply_op2(log_scale, InfoNce(positives.clone()))
}

fn check(similarity: &Tensor, log_scale: &Tensor, positives: &Positives) -> Result<()> {
    let expected = [positives.trials.len(), positives.images.len()];
    if similarity.dims() != expected || log_scale.elem_count() != 1 || similarity.dtype() != log_scale.dtype()
    {
        candle_core::bail!(
            "info_nce: expected similarities {expected:?} and a scalar of one type, found {similarity:?} and {log_scale:?}"
        )
    }
    Ok(())
}

/// The same from candle's own operations, for other devices and as a reference.
///
/// # Errors
/// As [`info_nce`].
pub fn info_nce_composed(similarity: &Tensor, log_scale: &Tensor, positives: &Positives) -> Result<Tensor> {
    check(similarity, log_scale, positives)?;
    let logits = similarity.broadcast_mul(&log_scale.exp()?.reshape(())?)?;
    let by_trial = one_side(&logits, &positives.trials, &positives.images)?;
    let by_image = one_side(&logits.t()?.contiguous()?, &positives.images, &positives.trials)?;
    (by_trial + by_image)? * 0.5
}

/// Mean over the queries that have a positive of `log sum_all - log sum_positives`.
fn one_side(logits: &Tensor, queries: &[u32], candidates: &[u32]) -> Result<Tensor> {
    let rows: Vec<u32> =
        (0..queries.len() as u32).filter(|&row| candidates.contains(&queries[row as usize])).collect();
    // Far below any logit, and finite: an infinite one would give 0 x infinity on the way back.
    let penalty: Vec<f32> = rows
        .iter()
        .flat_map(|&row| candidates.iter().map(move |&c| if queries[row as usize] == c { 0. } else { -1e4 }))
        .collect();
    let penalty = Tensor::from_vec(penalty, (rows.len(), candidates.len()), logits.device())?;
    let logits = if rows.len() == queries.len() {
        logits.clone()
    } else {
        logits.index_select(&Tensor::new(rows, logits.device())?, 0)?
    };
    let log_sum_exp = |x: &Tensor| -> Result<Tensor> {
        let highest = x.max_keepdim(D::Minus1)?.detach();
        x.broadcast_sub(&highest)?.exp()?.sum_keepdim(D::Minus1)?.log()? + highest
    };
    let of_positives = log_sum_exp(&(&logits + penalty.to_dtype(logits.dtype())?)?)?;
    (log_sum_exp(&logits)? - of_positives)?.mean_all()
}

struct InfoNce(Positives);

impl CustomOp2 for InfoNce {
    fn name(&self) -> &'static str {
        "info_nce"
    }

    fn cpu_fwd(
        &self,
        similarity: &CpuStorage,
        similarity_layout: &Layout,
        log_scale: &CpuStorage,
        log_scale_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        use candle_core::backend::BackendStorage;
        let inputs = [(similarity, similarity_layout), (log_scale, log_scale_layout)];
        dispatch!(similarity.dtype(), forward(&self.0, inputs))
    }

    fn bwd(
        &self,
        similarity: &Tensor,
        log_scale: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        dispatch!(similarity.dtype(), backward(&self.0, similarity, log_scale, gradient))
    }
}

/// Logits row by row, with the identities of rows and columns.
struct Side<'a, T> {
    logits: &'a [T],
    queries: &'a [u32],
    candidates: &'a [u32],
    /// Queries that have a positive.
    paired: usize,
}

impl<T: Real> Side<'_, T> {
    /// Logarithms of the sums over all candidates and over the positives, for every query that has one.
    fn sums(&self) -> Vec<Option<(T, T)>> {
        self.logits
            .par_chunks(self.candidates.len())
            .zip(self.queries)
            .map(|(row, &query)| {
                let all = log_sum_exp(row.iter().copied());
                let positives = row.iter().zip(self.candidates).filter(|(_, id)| **id == query);
                let positives = log_sum_exp(positives.map(|(value, _)| *value));
                positives.is_finite().then_some((all, positives))
            })
            .collect()
    }

    fn loss(&self) -> T {
        let terms = self.sums().into_iter().flatten().map(|(all, positives)| all - positives);
        terms.sum::<T>() * T::from_f64(0.5 / self.paired as f64)
    }

    /// Gradient of the loss by the logits, row by row.
    fn gradient(&self) -> Vec<T> {
        let weight = T::from_f64(0.5 / self.paired as f64);
        let mut gradient = vec![T::zero(); self.logits.len()];
        gradient
            .par_chunks_mut(self.candidates.len())
            .zip(self.logits.par_chunks(self.candidates.len()))
            .zip(self.queries.par_iter().zip(self.sums()))
            .for_each(|((gradient, row), (&query, sums))| {
                let Some((all, positives)) = sums else { return };
                for ((gradient, logit), &id) in gradient.iter_mut().zip(row).zip(self.candidates) {
                    let mut value = (*logit - all).exp();
                    if id == query {
                        value -= (*logit - positives).exp();
                    }
                    *gradient = value * weight;
                }
            });
        gradient
    }
}

/// Minus infinity of nothing.
fn log_sum_exp<T: Real>(values: impl Iterator<Item = T> + Clone) -> T {
    let highest = values.clone().fold(T::neg_infinity(), num_traits::Float::max);
    if highest == T::neg_infinity() {
        return highest;
    }
    highest + values.map(|value| (value - highest).exp()).sum::<T>().ln()
}

fn transposed<T: Real>(values: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|column| values.iter().skip(column).step_by(columns).copied()).collect()
}

/// Calls `f` with both sides; the second one's logits are images x trials.
fn with_sides<T: Real, R>(
    positives: &Positives,
    similarity: &[T],
    scale: T,
    f: impl Fn(&Side<T>) -> R + Sync,
) -> [R; 2] {
    let logits: Vec<T> = similarity.iter().map(|value| *value * scale).collect();
    let across = transposed(&logits, positives.images.len());
    let Positives { trials, images, paired } = positives;
    [
        f(&Side { logits: &logits, queries: trials, candidates: images, paired: paired.0 }),
        f(&Side { logits: &across, queries: images, candidates: trials, paired: paired.1 }),
    ]
}

fn forward<T: Real>(
    positives: &Positives,
    inputs: [(&CpuStorage, &Layout); 2],
) -> Result<(CpuStorage, Shape)> {
    let [similarity, log_scale] = inputs.map(|(storage, layout)| T::slice(storage, layout));
    let [by_trial, by_image] = with_sides(positives, similarity?, log_scale?[0].exp(), |side| side.loss());
    Ok((T::storage(vec![by_trial + by_image]), Shape::from(())))
}

fn backward<T: Real>(
    positives: &Positives,
    similarity: &Tensor,
    log_scale: &Tensor,
    gradient: &Tensor,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let (of_similarity, of_scale) =
        with_slices::<T, _, 3>([similarity, log_scale, gradient], |[similarity, log_scale, outer]| {
            let scale = log_scale[0].exp();
            let [mut by_trial, by_image] = with_sides(positives, similarity, scale, |side| side.gradient());
            let by_image = transposed(&by_image, positives.trials.len());
            let mut of_scale = T::zero();
            for ((value, other), similarity) in by_trial.iter_mut().zip(by_image).zip(similarity) {
                *value = (*value + other) * scale * outer[0];
                of_scale += *value * *similarity;
            }
            Ok((by_trial, of_scale))
        })?;
    Ok((
        Some(Tensor::from_vec(of_similarity, similarity.shape(), similarity.device())?),
        Some(Tensor::from_vec(vec![of_scale], log_scale.shape(), log_scale.device())?),
    ))
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::check::{gradient_error, normal};

    /// Several positives, a trial and an image without one.
    fn positives() -> Positives {
        Positives::new(&[1, 2, 2, 9, 3], &[2, 1, 1, 3, 7, 2]).unwrap()
    }

    fn inputs() -> (Var, Var) {
        let similarity = Var::from_tensor(&normal("similarity", &[5, 6]).unwrap()).unwrap();
        (similarity, Var::new(0.7f64, &Device::Cpu).unwrap())
    }

    #[test]
    fn agrees_with_composed_operations() {
        let (similarity, log_scale) = inputs();
        let value = |t: Tensor| t.to_scalar::<f64>().unwrap();
        let fused = value(info_nce(&similarity, &log_scale, &positives()).unwrap());
        let composed = value(info_nce_composed(&similarity, &log_scale, &positives()).unwrap());
        assert!((fused - composed).abs() < 1e-12, "{fused} {composed}");
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (similarity, log_scale) = inputs();
        let run = || info_nce(&similarity, &log_scale, &positives());
        assert!(gradient_error(&[&similarity, &log_scale], run).unwrap() < 1e-7);
    }

    #[test]
    fn equal_similarities_cost_the_logarithm_of_the_candidates() {
        let same = Tensor::zeros((4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
        let scale = Tensor::new(2f32, &Device::Cpu).unwrap();
        let ids = [5, 6, 7, 8];
        let loss = info_nce(&same, &scale, &Positives::new(&ids, &ids).unwrap()).unwrap();
        assert!((loss.to_scalar::<f32>().unwrap() - 4f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn batches_that_do_not_fit_are_refused() {
        let (similarity, log_scale) = inputs();
        assert!(Positives::new(&[1, 2], &[3, 4]).is_err());
        let other = Positives::new(&[1, 2], &[1, 2]).unwrap();
        assert!(info_nce(&similarity, &log_scale, &other).is_err());
    }
}
