//! Simple and complex channels of one image with divisive normalisation, and the way back.

use crate::real::Real;
use crate::vector::{dot, sum, vectorised};

/// Keeps the energy differentiable at zero.
pub(crate) const EPSILON: f64 = 1e-4;

/// Channels that a pair of filters gives.
pub(crate) const PER_PAIR: usize = 5;

/// Shapes of one image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Normalisation {
    /// Quadrature pairs.
    pub pairs: usize,
    /// Positions of the map.
    pub positions: usize,
}

impl Normalisation {
    pub(crate) fn channels(&self) -> usize {
        self.pairs * PER_PAIR
    }

    /// From `filtered` `[2 x pairs, positions]`: fills the channels `y` `[channels, positions]` and the inverse divisors
    /// `[positions]`.
    pub(crate) fn forward<T: Real>(&self, filtered: &[T], pool: &[T], y: &mut [T], inverse: &mut [T]) {
        vectorised(
            #[inline(always)]
            || {
                inverse.fill(pool[self.channels()]);
                let pairs = filtered.chunks_exact(2 * self.positions);
                let channels = y.chunks_exact_mut(PER_PAIR * self.positions);
                for ((filtered, x), w) in pairs.zip(channels).zip(pool.as_chunks::<PER_PAIR>().0) {
                    rectify(filtered, x, w, inverse);
                }
                for divisor in inverse.iter_mut() {
                    *divisor = divisor.recip();
                }
                for channel in y.chunks_exact_mut(self.positions) {
                    for (value, inverse) in channel.iter_mut().zip(inverse.iter()) {
                        *value *= *inverse;
                    }
                }
            },
        );
    }

    /// From the gradient `g` of the channels and what [`Normalisation::forward`] left in `y` and `inverse`: adds to the
    /// pool's gradient and overwrites that of the filter outputs. `s` is scratch, `[positions]`.
    ///
    /// With y = x / d: dL/dx_c = (g_c - w_c s) / d and dL/dw_c = -sum_p y_c s, where s = sum_c g_c y_c.
    pub(crate) fn backward<T: Real>(
        &self,
        filtered: &[T],
        pool: &[T],
        (g, y, inverse): (&[T], &[T], &[T]),
        s: &mut [T],
        pool_gradient: &mut [T],
        filtered_gradient: &mut [T],
    ) {
        let n = self.positions;
        vectorised(
            #[inline(always)]
            || {
                s.fill(T::zero());
                for (g, y) in g.chunks_exact(n).zip(y.chunks_exact(n)) {
                    for ((s, g), y) in s.iter_mut().zip(g).zip(y) {
                        *s += *g * *y;
                    }
                }
                for (gradient, y) in pool_gradient.iter_mut().zip(y.chunks_exact(n)) {
                    *gradient -= dot(y, s);
                }
                let sigma = &mut pool_gradient[self.channels()];
                *sigma -= dot(s, inverse);
                let pairs = filtered.chunks_exact(2 * n).zip(filtered_gradient.chunks_exact_mut(2 * n));
                let channels = g.chunks_exact(PER_PAIR * n).zip(y.chunks_exact(PER_PAIR * n));
                let weights = &pool.as_chunks::<PER_PAIR>().0[..self.pairs];
                for (((filtered, gradient), (g, y)), w) in pairs.zip(channels).zip(weights) {
                    unrectify(filtered, (g, &y[4 * n..]), w, (s, inverse), gradient);
                }
            },
        );
    }
}

/// The five channels of a pair, added to the divisor with their weights.
#[inline(always)]
fn rectify<T: Real>(filtered: &[T], x: &mut [T], w: &[T; PER_PAIR], divisor: &mut [T]) {
    let n = divisor.len();
    let (even, odd) = (&filtered[..n], &filtered[n..][..n]);
    let (on_even, x) = x.split_at_mut(n);
    let (off_even, x) = x.split_at_mut(n);
    let (on_odd, x) = x.split_at_mut(n);
    let (off_odd, energy) = x.split_at_mut(n);
    let energy = &mut energy[..n];
    let epsilon = T::from_f64(EPSILON);
    for p in 0..n {
        let (e, o) = (even[p], odd[p]);
        let positive = |v: T| if v > T::zero() { v } else { T::zero() };
        on_even[p] = positive(e);
        off_even[p] = positive(-e);
        on_odd[p] = positive(o);
        off_odd[p] = positive(-o);
        energy[p] = (e * e + o * o + epsilon).sqrt();
        divisor[p] = divisor[p]
            + w[0] * on_even[p]
            + w[1] * off_even[p]
            + w[2] * on_odd[p]
            + w[3] * off_odd[p]
            + w[4] * energy[p];
    }
}

/// From the gradients of a pair's channels to those of its filters.
#[inline(always)]
fn unrectify<T: Real>(
    filtered: &[T],
    (g, energy): (&[T], &[T]),
    w: &[T; PER_PAIR],
    (s, inverse): (&[T], &[T]),
    gradient: &mut [T],
) {
    let n = s.len();
    let (even, odd) = (&filtered[..n], &filtered[n..][..n]);
    let (even_gradient, odd_gradient) = gradient.split_at_mut(n);
    let odd_gradient = &mut odd_gradient[..n];
    let (g0, g1, g2, g3, g4) = (&g[..n], &g[n..][..n], &g[2 * n..][..n], &g[3 * n..][..n], &g[4 * n..][..n]);
    let (energy, inverse) = (&energy[..n], &inverse[..n]);
    for p in 0..n {
        let (e, o, s) = (even[p], odd[p], s[p]);
        // The channel holds energy / d: its product with d would only be divided out again.
        let along = (g4[p] - w[4] * s) * inverse[p] * inverse[p] / energy[p];
        // At exactly zero a filter is in neither channel.
        let side = |v: T, on: T, off: T| {
            let one = if v > T::zero() { on } else { -off };
            if v == T::zero() { T::zero() } else { one }
        };
        even_gradient[p] = side(e, g0[p] - w[0] * s, g1[p] - w[1] * s) * inverse[p] + along * e;
        odd_gradient[p] = side(o, g2[p] - w[2] * s, g3[p] - w[3] * s) * inverse[p] + along * o;
    }
}

/// Per channel the mean over positions.
pub(crate) fn channel_means<T: Real>(maps: &[T], means: &mut [T], positions: usize) {
    let scale = T::from_f64(1. / positions as f64);
    vectorised(
        #[inline(always)]
        || {
            for (mean, channel) in means.iter_mut().zip(maps.chunks_exact(positions)) {
                *mean = sum(channel) * scale;
            }
        },
    );
}

/// `to[c, p] += values[c]`.
pub(crate) fn add_per_channel<T: Real>(to: &mut [T], values: &[T], positions: usize) {
    vectorised(
        #[inline(always)]
        || {
            for (channel, value) in to.chunks_exact_mut(positions).zip(values) {
                for to in channel {
                    *to += *value;
                }
            }
        },
    );
}
