//! The text of the kernels.

#[cfg(any(feature = "cuda", feature = "metal", test))]
use candle_core::DType;

/// Lanes of a block, of every kernel.
pub(crate) const BLOCK: usize = 256;

#[cfg(any(feature = "cuda", test))]
pub(crate) const CUDA: &str = include_str!("../kernels/cuda.h");

#[cfg(any(feature = "metal", test))]
pub(crate) const METAL: &str = include_str!("../kernels/metal.h");

#[cfg(any(feature = "cuda", feature = "metal", test))]
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
#[cfg(any(feature = "cuda", feature = "metal", test))]
pub(crate) fn source(platform: &str, storage: DType) -> String {
    let precision = if storage == DType::BF16 { "#define BF16\n" } else { "" };
    format!("#define BLOCK {BLOCK}\n{precision}{platform}\n{}", KERNELS.join("\n"))
}

/// Name and number of parameters of every kernel in a text.
#[cfg(test)]
pub(crate) fn kernels(text: &str) -> Vec<(&str, usize)> {
    let signatures = text.split("\nKERNEL(").skip(1).filter_map(|rest| rest.split(" GRID)").next());
    signatures
        .map(|signature| {
            let name = signature.split(')').next().unwrap_or_default();
            (name, ["INPUT(", "OUTPUT(", "VALUE("].iter().map(|word| signature.matches(word).count()).sum())
        })
        .collect()
}
