//! The text of the kernels.

use candle_core::DType;

/// Lanes of a block, of every kernel.
pub(crate) const BLOCK: usize = 256;

#[cfg(any(feature = "cuda", test))]
pub(crate) const CUDA: &str = include_str!("../kernels/cuda.h");

#[cfg(any(feature = "metal", test))]
pub(crate) const METAL: &str = include_str!("../kernels/metal.h");

const KERNELS: [&str; 8] = [
    include_str!("../kernels/common.h"),
    include_str!("../kernels/normalise.kernel"),
    include_str!("../kernels/adamw.kernel"),
    include_str!("../kernels/cosine.kernel"),
    include_str!("../kernels/info_nce.kernel"),
    include_str!("../kernels/read_in.kernel"),
    include_str!("../kernels/streams.kernel"),
    include_str!("../kernels/unfold.kernel"),
];

/// All kernels behind the words of a platform, for one type of storage.
pub(crate) fn source(platform: &str, storage: DType) -> String {
    let precision = if storage == DType::BF16 { "#define BF16\n" } else { "" };
    format!("#define BLOCK {BLOCK}\n{precision}{platform}\n{}", KERNELS.join("\n"))
}
