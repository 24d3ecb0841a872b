//! Functions whose plain formula overflows in `f32`.

use candle_core::{D, Result, Tensor};

/// `x - log sum exp x` over the last axis, with the maximum taken out first.
pub(crate) fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?;
    x.broadcast_sub(&x.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// `log(1 + e^x)`, as the logarithm of `e^x + e^0` with the larger exponent taken out. Its gradient is the logistic
/// function everywhere, zero included, where those of `|x|` and `max(x, 0)` are a convention.
pub(crate) fn softplus(x: &Tensor) -> Result<Tensor> {
    let highest = x.relu()?.detach();
    let sum = (x.sub(&highest)?.exp()? + highest.neg()?.exp()?)?;
    sum.log()? + highest
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::check::{gradients_agree, normal};

    #[test]
    fn both_are_right_and_finite_far_out() {
        let x = Tensor::new(&[-1e4f32, -3., 0., 3., 1e4], &Device::Cpu).unwrap();
        let found = softplus(&x).unwrap().to_vec1::<f32>().unwrap();
        for (found, wanted) in found.iter().zip([0., 0.048_587, std::f32::consts::LN_2, 3.048_587, 1e4]) {
            assert!((found - wanted).abs() < 1e-5, "{found} {wanted}");
        }
        let rows = Tensor::new(&[[1e4f32, 0.], [2., 2.]], &Device::Cpu).unwrap();
        let found = log_softmax(&rows).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(found[0], [0., -1e4]);
        assert!(found[1].iter().all(|v| (v + 2f32.ln()).abs() < 1e-6));
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let x = Var::from_tensor(&normal("x", &[3, 4])).unwrap();
        let weights = normal("weights", &[3, 4]);
        let weighted = |y: Tensor| (y * &weights).unwrap().sum_all().unwrap();
        gradients_agree(&[&x], || weighted(softplus(&x).unwrap()));
        gradients_agree(&[&x], || weighted(log_softmax(&x).unwrap()));
        let zero = Var::from_tensor(&Tensor::new(0f64, &Device::Cpu).unwrap()).unwrap();
        gradients_agree(&[&zero], || softplus(&zero).unwrap());
    }
}
