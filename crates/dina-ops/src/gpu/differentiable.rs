//! A value that was computed, as a node of candle's graph with its gradient.

use std::cell::Cell;
use std::sync::Mutex;

use candle_core::{
    CpuStorage, CudaStorage, CustomOp2, CustomOp3, InplaceOp1, Layout, MetalStorage, Result, Shape, Tensor,
};

type Backward<const N: usize> = Box<dyn Fn(&Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync>;

/// A custom operation that hands over a result instead of computing it: what lies between inputs and result is calls on
/// tensors, which candle's operations, given storages, could not make.
struct Computed<const N: usize> {
    name: &'static str,
    result: Mutex<Option<Tensor>>,
    backward: Backward<N>,
}

impl<const N: usize> Computed<N> {
    fn new(
        name: &'static str,
        result: Tensor,
        backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
    ) -> Self {
        Self { name, result: Mutex::new(Some(result)), backward: Box::new(backward) }
    }

    /// The storage of the result: candle asks once.
    fn take<S>(&self) -> Result<(S, Shape)>
    where
        Take<S>: InplaceOp1,
    {
        let result = self.result.lock().ok().and_then(|mut result| result.take());
        let Some(result) = result else { candle_core::bail!("{}: the result was taken before", self.name) };
        if !result.is_contiguous() || result.layout().start_offset() != 0 {
            candle_core::bail!("{}: the result is a part of another tensor", self.name)
        }
        let take = Take(Cell::new(None));
        result.inplace_op1(&take)?;
        match take.0.into_inner() {
            Some(storage) => Ok((storage, result.shape().clone())),
            None => candle_core::bail!("{}: the result is on another device", self.name),
        }
    }
}

/// Moves the storage out of a tensor that nobody else has.
struct Take<S>(Cell<Option<S>>);

impl InplaceOp1 for Take<CpuStorage> {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        self.0.set(Some(std::mem::replace(storage, CpuStorage::U8(Vec::new()))));
        Ok(())
    }
}

impl InplaceOp1 for Take<CudaStorage> {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &mut CudaStorage, _: &Layout) -> Result<()> {
        self.0.set(Some(super::cuda::take(storage)?));
        Ok(())
    }
}

impl InplaceOp1 for Take<MetalStorage> {
    fn name(&self) -> &'static str {
        "take"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "metal")]
    fn metal_fwd(&self, storage: &mut MetalStorage, _: &Layout) -> Result<()> {
        // A clone shares the buffer.
        self.0.set(Some(storage.clone()));
        Ok(())
    }
}

/// `result`, which was computed from `inputs`, as a function of them; `backward` gives the gradients from that of the result. Where
/// no input is tracked, the result as it is. Nothing that `backward` keeps may share the memory of the result, which is moved.
pub(super) fn differentiable2(
    name: &'static str,
    [first, second]: [&Tensor; 2],
    result: Tensor,
    backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; 2]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !first.track_op() && !second.track_op() {
        return Ok(result);
    }
    first.apply_op2(second, Computed::new(name, result, backward))
}

/// [`differentiable2`] of three inputs.
pub(super) fn differentiable3(
    name: &'static str,
    [first, second, third]: [&Tensor; 3],
    result: Tensor,
    backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; 3]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if ![first, second, third].iter().any(|input| input.track_op()) {
        return Ok(result);
    }
    first.apply_op3(second, third, Computed::new(name, result, backward))
}

impl CustomOp2 for Computed<2> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.take()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [first, second] = (self.backward)(&gradient.contiguous()?)?;
        Ok((first, second))
    }
}

impl CustomOp3 for Computed<3> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.take()
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.take()
    }

    fn metal_fwd(
        &self,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
        _: &MetalStorage,
        _: &Layout,
    ) -> Result<(MetalStorage, Shape)> {
        self.take()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [first, second, third] = (self.backward)(&gradient.contiguous()?)?;
        Ok((first, second, third))
    }
}
