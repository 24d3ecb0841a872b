use ndarray::{ArrayBase, ArrayViewD, Data, Dimension};

use crate::Result;

/// A read-only `f32` array, wherever it lies.
///
/// Satisfied by ndarray arrays and views of any dimension and, with the feature `candle`, by
/// candle tensors. The view borrows where the layout allows: always for ndarray, and for `f32`
/// tensors on the CPU. A tensor of another type or on another device is converted or copied for
/// the duration of the call; that is the only hidden cost.
pub trait ArrayLike {
    /// The extent of every axis.
    fn shape(&self) -> Vec<usize>;

    /// Calls `f` with a view of the values.
    ///
    /// # Errors
    /// When a tensor cannot be brought to the CPU as `f32`.
    fn with_view<T>(&self, f: impl FnOnce(ArrayViewD<'_, f32>) -> T) -> Result<T>;
}

impl<S: Data<Elem = f32>, D: Dimension> ArrayLike for ArrayBase<S, D> {
    fn shape(&self) -> Vec<usize> {
        ArrayBase::shape(self).to_vec()
    }

    fn with_view<T>(&self, f: impl FnOnce(ArrayViewD<'_, f32>) -> T) -> Result<T> {
        Ok(f(self.view().into_dyn()))
    }
}

#[cfg(feature = "candle")]
mod tensor {
    use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
    use ndarray::{ArrayViewD, IxDyn, ShapeBuilder};

    use super::ArrayLike;
    use crate::{Error, Result};

    impl ArrayLike for Tensor {
        fn shape(&self) -> Vec<usize> {
            self.dims().to_vec()
        }

        fn with_view<T>(&self, f: impl FnOnce(ArrayViewD<'_, f32>) -> T) -> Result<T> {
            if self.dtype() != DType::F32 || !self.device().is_cpu() {
                // Through a copy: half types and other devices have no f32 memory to borrow.
                let copy = self.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
                return copy.contiguous()?.with_view(f);
            }
            let (storage, layout) = self.storage_and_layout();
            let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
                return Err(Error::value("tensor storage", "f32 on the CPU", "another"));
            };
            let shape = IxDyn(layout.dims()).strides(IxDyn(layout.stride()));
            let view = ArrayViewD::from_shape(shape, &values[layout.start_offset()..])
                .map_err(|_| Error::shape("tensor layout", layout.dims(), layout.stride()))?;
            Ok(f(view))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_transposed_slice_is_seen_without_a_copy() {
            let tensor = Tensor::arange(0f32, 24., &Device::Cpu).unwrap().reshape((2, 3, 4)).unwrap();
            let part = tensor.narrow(1, 1, 2).unwrap().transpose(0, 2).unwrap();
            assert_eq!(ArrayLike::shape(&part), [4, 2, 2]);
            part.with_view(|view| {
                // part[i, j, k] = tensor[k, j + 1, i]
                assert_eq!(view[[3, 1, 1]], 12. + 8. + 3.);
                assert_eq!(view[[0, 0, 0]], 4.);
            })
            .unwrap();
        }

        #[test]
        fn other_types_are_converted() {
            let tensor = Tensor::new(&[1f64, 2.5], &Device::Cpu).unwrap();
            let sum = tensor.with_view(|view| view.sum()).unwrap();
            assert_eq!(sum, 3.5);
        }
    }
}
