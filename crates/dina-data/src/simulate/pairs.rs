use dina_core::Seed;
use ndarray::Array2;
use rand::RngExt;

/// Pairs of neurons, 2k and 2k + 1, that carry information only together.
///
/// In every presentation a fair coin says whether the first of a pair is driven, twice as much as
/// on average, or not at all. The second is driven with the first where the sign of the image is
/// positive and instead of it where it is negative. Either alone follows a fair coin whatever the
/// image; the mean product of the two deviations is the sign times the product of the mean drives.
pub(super) struct Pairs {
    /// 1 or -1, pairs x images.
    pub signs: Array2<f32>,
}

impl Pairs {
    /// Factors with mean 1, 0 or 2, on the drive of `neuron` over bins; `noise` is the seed of all
    /// private noise.
    pub fn factors(
        &self,
        neuron: usize,
        bins: usize,
        stimulus: impl Fn(usize) -> usize,
        noise: Seed,
    ) -> Vec<f32> {
        let pair = neuron / 2;
        let mut random = noise.index(2 * pair).stream("coin");
        (0..bins)
            .map(|b| {
                let coin = if random.random::<bool>() { 1.0 } else { -1.0 };
                let sign = if neuron.is_multiple_of(2) { 1.0 } else { self.signs[[pair, stimulus(b)]] };
                1.0 + coin * sign
            })
            .collect()
    }
}
