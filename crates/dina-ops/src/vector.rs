//! Loops over slices, compiled for every instruction set and chosen at run time.
//!
//! Sums have a fixed number of lanes whatever the registers hold, and products are not contracted with sums: the
//! results are the same on every processor.

use crate::real::Real;

/// Partial sums of a reduction; two registers of 16, so that additions overlap.
const LANES: usize = 32;

/// Runs `f` with the widest vector instructions of this processor. What `f` calls has to be inlined into it.
#[inline(always)]
pub(crate) fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Sum of the lanes, the upper half added to the lower one until one is left.
#[inline(always)]
fn halved<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Sum of the products of two slices of one length.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::zero(); LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let mut total = halved(lanes);
    for (a, b) in a_rest.iter().zip(b_rest) {
        total += *a * *b;
    }
    total
}

/// Sum of a slice.
#[inline(always)]
pub(crate) fn sum<T: Real>(a: &[T]) -> T {
    let mut lanes = [T::zero(); LANES];
    let (chunks, rest) = a.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    let mut total = halved(lanes);
    for value in rest {
        total += *value;
    }
    total
}

/// `to += factor * from`.
#[inline(always)]
pub(crate) fn add_scaled<T: Real>(to: &mut [T], factor: T, from: &[T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * *from;
    }
}

/// `to += from`.
#[inline(always)]
pub(crate) fn add<T: Real>(to: &mut [T], from: &[T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += *from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_every_length_are_exact_on_whole_numbers() {
        for len in [0, 1, 31, 32, 33, 100] {
            let a: Vec<f32> = (0..len).map(|i| i as f32).collect();
            let squares: usize = (0..len).map(|i| i * i).sum();
            assert_eq!(vectorised(|| dot(&a, &a)), squares as f32);
            assert_eq!(vectorised(|| sum(&a)), (0..len).sum::<usize>() as f32);
            let mut b = a.clone();
            vectorised(|| add_scaled(&mut b, 2., &a));
            vectorised(|| add(&mut b, &a));
            assert!(b.iter().zip(&a).all(|(b, a)| *b == 4. * a));
        }
    }
}
